"""Shifts and their hand-over: who answers for the calls, item by item."""

from __future__ import annotations

import time

import msgspec
import pytest

import device.core
from mcc.cases.actions import Refused, act
from mcc.cases.models import Entry, PostDocument
from mcc.people import shifts
from mcc.people.models import Shift, User
from mcc.people.templatetags.people import state_word
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST, post, uid
from tests.mcc.test_actions import FROM, heard_of, registered, stored

pytestmark = [
    pytest.mark.usefixtures("database", "quick_passwords"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def holders() -> dict[str, str | None]:
    items = shifts.open_items(now_ms()).items
    return {one.key: one.holder if one.holder_id else None for one in items}


def on() -> list[str]:
    return [one.user.label for one in shifts.on_shift(now_ms())]


@pytest.fixture
def budi() -> User:
    return an_account("budi")


@pytest.fixture
def siti() -> User:
    return an_account("siti")


def test_a_shift_begins_once_and_ends_and_is_written_down(budi: User) -> None:
    first = shifts.begin(budi, **FROM)
    assert shifts.begin(budi, **FROM) == first
    assert on() == ["budi"]
    shifts.end(budi, **FROM)
    assert on() == []
    assert [one.action for one in Entry.objects.order_by("id")] == ["shift_began", "shift_ended"]
    with pytest.raises(Refused):
        shifts.end(budi, **FROM)


@pytest.mark.parametrize("action", ["shift_began", "shift_ended"])
def test_a_shift_has_no_second_door(budi: User, action: str) -> None:
    shifts.begin(budi, **FROM)
    wish = {"action": action, "screen": "screen-1"}
    answer = signed_in(budi).post("/do", wish, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong")
    assert Entry.objects.filter(action__startswith="shift_").count() == 1
    assert on() == ["budi"]


@pytest.mark.parametrize("role", ["picket", "technician", "administrator"])
def test_who_answers_no_calls_has_no_shift(role: str) -> None:
    with pytest.raises(Refused):
        shifts.begin(an_account(role=role), **FROM)


def test_a_shift_that_was_forgotten_counts_as_ended_and_another_can_begin(budi: User) -> None:
    shifts.begin(budi, **FROM)
    Shift.objects.update(began_ms=now_ms() - shifts.SHIFT_MS_MAX)
    assert on() == []
    shifts.begin(budi, **FROM)
    assert on() == ["budi"]
    assert Shift.objects.filter(ended_ms=None).count() == 1


def test_an_open_alarm_is_held_by_whoever_acknowledged_it_while_on_shift(budi: User) -> None:
    stored()
    assert holders() == {uid(1): None}
    act(budi, "acknowledge", alarm_id=uid(1), **FROM)
    assert holders() == {uid(1): None}
    shifts.begin(budi, **FROM)
    assert holders() == {uid(1): "budi"}


def test_each_item_is_taken_over_by_who_comes_and_then_the_other_may_go(
    budi: User, siti: User
) -> None:
    stored()
    registered()
    heard_of()
    PostDocument.objects.update(connection="silent")
    shifts.begin(budi, **FROM)
    act(budi, "acknowledge", alarm_id=uid(1), **FROM)
    with pytest.raises(Refused, match="1"):
        shifts.end(budi, **FROM)
    with pytest.raises(Refused):
        shifts.take_over(siti, alarm_id=uid(1), **FROM)
    with pytest.raises(Refused):
        shifts.end(budi, to=siti, anyway=True, **FROM)
    shifts.begin(siti, **FROM)
    shifts.take_over(siti, alarm_id=uid(1), **FROM)
    shifts.take_over(siti, post=POST, **FROM)
    assert holders() == {uid(1): "siti", POST: "siti"}
    assert shifts.end(budi, to=siti, **FROM).handed_to == siti
    assert on() == ["siti"]


def test_who_has_to_go_may_go_and_what_was_held_is_held_by_nobody(budi: User) -> None:
    stored()
    shifts.begin(budi, **FROM)
    act(budi, "acknowledge", alarm_id=uid(1), **FROM)
    shifts.end(budi, anyway=True, **FROM)
    assert holders() == {uid(1): None}


def test_what_is_over_or_well_is_no_item(budi: User) -> None:
    stored(1, "resolved")
    heard_of()
    assert holders() == {}


@pytest.mark.parametrize("fault", shifts.DEAF_FAULTS)
def test_a_post_that_is_online_and_does_not_see_its_button_is_an_item(
    budi: User, fault: str
) -> None:
    said = post(name='"faults":["button_stuck"]', faults=("mains_off",))
    heard_of()
    PostDocument.objects.update(body=msgspec.json.encode(said).decode())
    assert holders() == {}
    said = msgspec.structs.replace(said, faults=("mains_off", fault))
    PostDocument.objects.update(body=msgspec.json.encode(said).decode())
    [item] = shifts.open_items(now_ms()).items
    assert (item.key, item.state) == (POST, fault)
    assert state_word(fault) in signed_in(budi).get("/shift/").content.decode()
    assert shifts.open_items(now_ms()).left_out == 0


def test_a_test_that_nobody_has_answered_is_listed_as_one_and_a_call_as_a_call(budi: User) -> None:
    stored()
    stored(2, kind="test")
    listed = {one.key: one.is_test for one in shifts.open_items(now_ms()).items}
    assert listed == {uid(1): False, uid(2): True}
    html = signed_in(budi).get("/shift/").content.decode()
    rows = [row for row in html.split("<tr") if "tidak ada yang bertugas" in row]
    assert ['class="call"' in row for row in rows] == ["<td>Alarm</td>" in row for row in rows]
    assert len(rows) == 2


def test_the_faults_are_those_with_which_a_post_calls_itself_out_of_order() -> None:
    assert shifts.DEAF_FAULTS == device.core.DEAF_FAULTS


def test_a_hand_over_lists_so_many_items_and_counts_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shifts, "ITEMS_MAX", 2)
    for n in range(1, 6):
        stored(n)
    found = shifts.open_items(now_ms())
    assert (len(found.items), found.left_out) == (2, 3)


def test_the_page_begins_takes_over_and_ends(budi: User, siti: User) -> None:
    stored()
    registered()
    here, there = signed_in(budi), signed_in(siti)
    here.post("/shift/begin")
    act(budi, "acknowledge", alarm_id=uid(1), **FROM)
    there.post("/shift/begin", {"screen": "console-2"})
    page = there.get("/shift/").content.decode()
    assert "Pos RW 05" in page
    assert f'value="{uid(1)}"' in page
    there.post("/shift/take", {"alarm_id": uid(1)})
    assert here.post("/shift/end", {"to": siti.pk}).status_code == 302
    assert on() == ["siti"]
    took = Entry.objects.get(action="take_over")
    assert (took.operator, took.alarm_id) == ("siti", uid(1))


def test_a_refusal_stands_on_the_page_and_in_the_json(budi: User) -> None:
    stored()
    client = signed_in(budi)
    client.post("/shift/begin")
    act(budi, "acknowledge", alarm_id=uid(1), **FROM)
    client.post("/shift/end")
    assert 'role="alert"' in client.get("/shift/").content.decode()
    answer = client.post("/shift/end", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong")
    shown = client.get("/shift/", headers={"Accept": "application/json"}).json()
    assert shown["is_on_shift"] is True
    assert [one["holder"] for one in shown["items"]] == ["budi"]


def test_text_from_outside_is_text_on_the_page(budi: User) -> None:
    stored()
    registered()
    from mcc.registers.models import Post

    Post.objects.update(name="<script>alert(1)</script>")
    page = signed_in(budi).get("/shift/").content.decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("fields", [{"alarm_id": "a\x00b"}, {"post": "a\x00b"}, {"post": "p" * 65}])
def test_what_no_database_can_hold_is_refused_in_words(budi: User, fields: dict[str, str]) -> None:
    stored()
    client = signed_in(budi)
    client.post("/shift/begin", {"screen": "\x00"})
    answer = client.post("/shift/take", fields, headers={"Accept": "application/json"})
    assert answer.status_code == 409
    assert not Entry.objects.filter(action="take_over").exists()
