"""Practice days: windows that a named person opens, presses counted per post, who practised."""

from __future__ import annotations

import datetime as dt
import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from mcc.cases.actions import Refused
from mcc.cases.models import Alarm, Command, Entry, PostDocument
from mcc.community import drills
from mcc.community.drills import DRILL_POSTS_MAX, PARTICIPANTS_MAX
from mcc.community.models import NAME_CHARS_MAX, Drill, DrillWindow
from mcc.people.models import User
from mcc.registers.models import Post
from protocol.messages import TEST_WINDOW_MINUTES_MAX
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST, uid
from tests.mcc.test_actions import heard_of, registered, sent, stored

pytestmark = [
    pytest.mark.usefixtures("database", "quick_passwords"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]
TODAY = dt.date(2026, 11, 29)
HERE = {"address": "127.0.0.1"}


@pytest.fixture
def user() -> User:
    return an_account()


def a_drill(user: User) -> Drill:
    registered()
    heard_of()
    return drills.plan(user, "Latihan RW 05", TODAY, [POST], **HERE)


def lines() -> list[tuple[str, str | None, dict[str, Any]]]:
    rows = Entry.objects.filter(action__startswith="drill").order_by("id")
    assert {(one.operator, one.address) for one in rows} <= {("budi", "127.0.0.1")}
    return [(one.action, one.post, one.detail) for one in rows]


def test_a_window_is_asked_for_by_name_and_for_no_longer_than_the_contract_allows(
    user: User,
) -> None:
    drill = a_drill(user)
    assert not Command.objects.exists()
    assert drills.open_windows(user, drill, [POST, "not-of-it"], **HERE) == {}
    [order] = sent()
    assert (order.action, order.post, order.operator) == ("open_test", POST, "budi")
    assert order.minutes == TEST_WINDOW_MINUTES_MAX
    assert DrillWindow.objects.get().operator == "budi"


def test_a_refusal_names_the_post_and_leaves_no_window(user: User) -> None:
    drill = a_drill(user)
    PostDocument.objects.all().delete()
    assert list(drills.open_windows(user, drill, [POST], **HERE)) == [POST]
    assert not DrillWindow.objects.exists()
    assert not Command.objects.exists()


def test_presses_in_the_windows_count_and_a_real_call_is_shown_as_one(user: User) -> None:
    drill = a_drill(user)
    drills.open_windows(user, drill, [POST], **HERE)
    asked_ms = DrillWindow.objects.get().asked_ms
    for n, (kind, answered, after_s) in enumerate(
        (("test", True, 5), ("test", False, 60), ("panic", False, 90), ("test", True, 7200)), 1
    ):
        stored(n)
        Alarm.objects.filter(alarm_id=uid(n)).update(
            kind=kind, is_answered=answered, raised_ms=asked_ms + after_s * 1000
        )
    [row] = drills.practised(drill)
    assert (row.windows, row.tests, row.answered, row.calls) == (1, 2, 1, 1)


def test_no_name_vanishes_for_a_character_in_it(user: User) -> None:
    drill = a_drill(user)
    names = ["Bu Sri", " Pak\tJoko ", "", "Bu Sri", "Bu\u00a0Tini", "Pak\u200b Karto\x00", "\u200b"]
    drills.write_down(user, drill, POST, names, **HERE)
    assert drills.practised(drill)[0].names == ("Bu Sri", "Pak Joko", "Bu Tini", "Pak Karto")


def test_what_is_done_about_a_practice_day_stands_in_the_record_and_no_name_does(
    user: User,
) -> None:
    drill = a_drill(user)
    drills.write_down(user, drill, POST, ["Bu Sri", "Pak Joko"], **HERE)
    drills.write_down(user, drill, POST, [], **HERE)
    drills.end(user, drill, **HERE)
    drills.end(user, drill, **HERE)
    assert lines() == [
        ("drill_planned", None, {"drill": drill.pk, "day": "2026-11-29", "posts": 1}),
        ("drill_names", POST, {"drill": drill.pk, "names": 2}),
        ("drill_names", POST, {"drill": drill.pk, "names": 0}),
        ("drill_ended", None, {"drill": drill.pk}),
    ]
    with pytest.raises(Refused):
        drills.write_down(user, drill, "not-of-it", ["x"], **HERE)
    with pytest.raises(Refused):
        drills.plan(user, "x", TODAY, [], **HERE)
    assert len(lines()) == 4


def test_an_ended_drill_closes_its_windows_and_opens_no_more(user: User) -> None:
    drill = a_drill(user)
    drills.open_windows(user, drill, [POST], **HERE)
    drills.end(user, drill, **HERE)
    assert [one.action for one in sent()] == ["open_test", "close_test"]
    with pytest.raises(Refused):
        drills.open_windows(user, drill, [POST], **HERE)
    drills.end(user, drill, **HERE)
    assert len(sent()) == 2


def test_a_drill_has_at_most_so_many_posts_and_all_are_known(user: User) -> None:
    rows = [Post(post_id=f"p-{n}", name="x") for n in range(DRILL_POSTS_MAX + 1)]
    Post.objects.bulk_create(rows)
    names = [one.post_id for one in rows]
    for wrong in (names, [], ["nowhere"]):
        with pytest.raises(Refused):
            drills.plan(user, "x", TODAY, wrong, **HERE)
    assert drills.plan(user, "x", TODAY, names[:-1], **HERE).posts.count() == DRILL_POSTS_MAX


def test_a_post_has_at_most_so_many_names(user: User) -> None:
    drill = a_drill(user)
    with pytest.raises(Refused):
        drills.write_down(
            user, drill, POST, [f"n {n}" for n in range(PARTICIPANTS_MAX + 1)], **HERE
        )
    drills.write_down(user, drill, POST, ["n" * (NAME_CHARS_MAX + 1)], **HERE)
    assert drills.practised(drill)[0].names == ("n" * NAME_CHARS_MAX,)


def test_from_the_page(user: User) -> None:
    registered()
    heard_of()
    client = signed_in(user)
    client.cookies["django_language"] = "en"

    def says(answer: Any) -> str:
        return str(answer.content.decode())

    assert "at least one post" in says(
        client.post("/practice/", {"name": "x", "day": "2026-12-05"})
    )
    plan = {"name": "Latihan", "day": "2026-12-05", "posts": [POST]}
    page = client.post("/practice/", plan, follow=True)
    where = page.redirect_chain[-1][0]
    assert "0 of 1 posts have practised" in says(page)
    client.post(f"{where}open", {"posts": [POST]})
    page = client.post(f"{where}open", {"posts": [POST]}, follow=True)
    assert "budi is opening a test window already" in says(page)
    client.post(f"{where}names", {"post": POST, "names": "Bu Sri\r\n<script>"})
    shown = says(client.get(where))
    assert "Bu Sri, &lt;script&gt;" in shown
    # What is kept stands in the field: a tap on the button changes nothing.
    [held] = re.findall(r'<textarea name="names"[^>]*>\n(.*?)</textarea>', shown, re.DOTALL)
    client.post(f"{where}names", {"post": POST, "names": unescape(held)})
    assert "Bu Sri, &lt;script&gt;" in says(client.get(where))
    client.post(f"{where}end")
    assert "Latihan" in says(client.get("/practice/"))
    assert Client().get(where).status_code == 302
