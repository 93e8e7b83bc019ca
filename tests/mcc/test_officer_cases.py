"""What an officer sees of the calls in the own kelurahan, and writes there; nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.test import Client, RequestFactory

from mcc.cases.actions import Refused, act
from mcc.cases.changes import reading
from mcc.cases.models import Alarm, Entry, Store
from mcc.cases.picture import alarm_picture
from mcc.console import stream as streams
from mcc.console.hub import Hub, Steps, steps_after
from mcc.people.models import User
from mcc.people.roles import ACTIONS, Action
from mcc.registers.models import Officer, Post
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST, uid
from tests.mcc.test_actions import FROM, registered, stored
from tests.mcc.test_hub import run
from tests.mcc.visits_rig import KASIN, an_officer

pytestmark = pytest.mark.usefixtures("database", "quick_passwords")
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
THERE = "mlg-klojen-kasin-rw02"
OWN, ELSEWHERE, NONE = uid(1), uid(2), uid(9)


@pytest.fixture
def officer(database: object) -> User:
    """Of Dinoyo, where somebody calls; so does somebody in Kasin."""
    registered()
    Post.objects.create(post_id=THERE, name="Pos Kasin", kelurahan_id=KASIN, contacts="Pak Slamet")
    stored(1)
    stored(2, post=THERE)
    return an_officer()


def picture(browser: Client) -> dict[str, Any]:
    answer = browser.get("/picture")
    assert answer.status_code == 200
    return cast(dict[str, Any], answer.json())


def seen(browser: Client) -> list[str]:
    return [one["alarm_id"] for one in picture(browser)["alarms"]]


def write(browser: Client, alarm_id: str, **fields: Any) -> Any:
    wish = {"action": "message", "screen": "s", "alarm_id": alarm_id, "note": "Saya di sini"}
    return browser.post("/do", json.dumps(wish | fields), content_type="application/json")


def move(officer: User, kelurahan: str | None) -> None:
    Officer.objects.filter(account=officer).update(kelurahan=kelurahan)


@sqlite_only
def test_an_officer_sees_the_cases_of_the_own_kelurahan_and_nothing_of_the_command_centre(
    officer: User,
) -> None:
    Alarm.objects.filter(alarm_id=OWN).update(is_open=False)
    shown = picture(signed_in(officer))
    assert set(shown) == {"sequence", "at_ms", "alarms", "posts"}
    [case], [post] = shown["alarms"], shown["posts"]
    assert (case["alarm_id"], case["post_name"], case["messages"]) == (OWN, "Pos RW 05", [])
    assert not {"reached", "sending", "refusals", "confirmed", "note"} & set(case)
    assert set(post) == {"post", "name", "rw", "address", "kelurahan"}
    assert signed_in(officer).get("/phone/").status_code == 200


@sqlite_only
def test_an_officer_without_a_kelurahan_sees_no_case(officer: User) -> None:
    move(officer, None)
    browser = signed_in(officer)
    assert seen(browser) == []
    assert "daftar petugas" in browser.get("/phone/").content.decode().lower()
    assert write(browser, OWN).status_code == 404


def test_what_an_officer_writes_is_a_line_of_the_record_and_read_with_name_and_role(
    officer: User,
) -> None:
    answer = write(signed_in(officer), OWN)
    assert answer.status_code == 200
    line = Entry.objects.get(action="message")
    assert (line.pk, line.alarm_id, line.post) == (answer.json()["entry"], OWN, POST)
    assert (line.operator, line.role, line.user_id) == ("wibowo", "bhabinkamtibmas", officer.pk)
    act(an_account(), "message", alarm_id=OWN, note="Polsek berangkat", **FROM)
    thread = [
        ("wibowo", "bhabinkamtibmas", "Saya di sini"),
        ("budi", "operator", "Polsek berangkat"),
    ]
    for role in ("operator", "picket"):
        shown = picture(signed_in(an_account(f"a-{role}", role)))
        [case] = [one for one in shown["alarms"] if one["alarm_id"] == OWN]
        said = [(one["operator"], one["role"], one["note"]) for one in case["messages"]]
        assert said == thread
    [case] = picture(signed_in(officer))["alarms"]
    assert [one["note"] for one in case["messages"]] == [note for *_, note in thread]


@sqlite_only
def test_a_case_of_another_kelurahan_is_answered_like_one_that_is_not_there(officer: User) -> None:
    browser = signed_in(officer)
    for fields in ({}, {"post": POST}, {"note": " "}, {"note": "x" * 201}):
        there, nowhere = (write(browser, one, **fields) for one in (ELSEWHERE, NONE))
        assert there.status_code in (400, 404)
        assert (there.status_code, there.content) == (nowhere.status_code, nowhere.content)
    assert not Entry.objects.filter(action="message").exists()
    shown = alarm_picture(ELSEWHERE)
    assert shown is not None
    assert shown["messages"] == []


@sqlite_only
def test_an_officer_does_nothing_else_with_a_case_and_looks_up_nothing(officer: User) -> None:
    browser = signed_in(officer)
    others = [one for one in {a for of in ACTIONS.values() for a in of} if one != "message"]
    assert len(others) > 15
    for action in others:
        with pytest.raises(Refused) as refused:
            act(officer, cast(Action, action), alarm_id=OWN, post=POST, note="x", **FROM)
        assert refused.value.code in ("not_allowed", "wrong")
    for address in (
        f"/case/{OWN}",
        f"/post/{POST}",
        f"/post/{POST}/photo",
        "/map/areas",
        "/shift/",
    ):
        assert browser.get(address).status_code == 403, address
    assert browser.post("/screen", "{}", content_type="application/json").status_code == 403
    assert not Entry.objects.exclude(action="signed_in").exists()


@sqlite_only
def test_an_officer_who_has_moved_sees_and_writes_there_and_here_no_more(officer: User) -> None:
    browser = signed_in(officer)
    assert seen(browser) == [OWN]
    move(officer, KASIN)
    assert seen(browser) == [ELSEWHERE]
    assert write(browser, OWN).status_code == 404
    assert write(browser, ELSEWHERE).status_code == 200


@sqlite_only
def test_an_account_that_was_closed_or_is_another_roles_sees_and_writes_nothing(
    officer: User,
) -> None:
    browser = signed_in(officer)
    User.objects.filter(pk=officer.pk).update(role="technician")
    assert (browser.get("/picture").status_code, browser.get("/phone/").status_code) == (403, 403)
    assert write(browser, OWN).status_code == 403
    User.objects.filter(pk=officer.pk).update(role="bhabinkamtibmas", is_active=False)
    for answer in (browser.get("/picture"), browser.get("/stream"), write(browser, OWN)):
        assert answer.status_code in (302, 403)
    officer.refresh_from_db()
    with pytest.raises(Refused):
        act(officer, "message", alarm_id=OWN, note="x", **FROM)


# --- what an open page is told --------------------------------------------------------------------


class Reader:
    """An open page, as the server sees it."""

    def __init__(self, browser: Client) -> None:
        request = RequestFactory().get("/stream")
        request.session = browser.session
        self._events = streams._events(cast(HttpRequest, request), 0)
        self.pulses: list[dict[str, Any]] = []

    async def next(self) -> tuple[str, Any] | None:
        """The next event but pulses; None: the stream has ended."""
        async for event in self._events:
            lines = dict(line.split(": ", 1) for line in event.decode().split("\n") if line)
            if lines.get("event") == "pulse":
                self.pulses.append(json.loads(lines["data"]))
            elif "event" in lines:
                return lines["event"], json.loads(lines["data"])
        return None


def written_about(alarm_id: str) -> Steps:
    """What all streams are given when an operator has written about an alarm."""
    operator = User.objects.filter(role="operator").first() or an_account()
    act(operator, "message", alarm_id=alarm_id, note="Lari ke utara", **FROM)
    newest = Store.objects.get().sequence
    with reading():
        return Steps(newest, steps_after(newest - 1, newest) or ())


def told(
    monkeypatch: pytest.MonkeyPatch, browser: Client, *doings: Callable[[], object]
) -> tuple[Reader, list[tuple[str, Any] | None]]:
    """What an open page is told of what was written, after each doing, about both calls."""
    hub = Hub()
    monkeypatch.setattr(streams, "hub", hub)
    readers: list[Reader] = []
    heard: list[tuple[str, Any] | None] = []

    async def story() -> None:
        reader = Reader(browser)
        readers.append(reader)
        assert await reader.next() == ("step", [])
        for doing in doings:
            await sync_to_async(doing)()
            for alarm_id in (OWN, ELSEWHERE):
                hub._give(await sync_to_async(written_about)(alarm_id))
                heard.append(await reader.next())

    run(story)
    return readers[0], heard


@sqlite_only
def test_a_message_reaches_the_open_page_of_the_officer_whose_case_it_is(
    monkeypatch: pytest.MonkeyPatch, officer: User
) -> None:
    reader, heard = told(monkeypatch, signed_in(officer), lambda: None)
    [own, elsewhere] = heard
    assert own is not None
    [step] = own[1]
    assert (own[0], step["kind"], step["key"]) == ("step", "alarm", OWN)
    assert [one["note"] for one in step["value"]["messages"]] == ["Lari ke utara"]
    assert "reached" not in step["value"]
    assert elsewhere == ("step", [])
    assert [set(one) for one in reader.pulses] == [{"user_id", "sequence", "at_ms", "database"}]


@sqlite_only
def test_the_open_page_of_an_officer_who_has_moved_is_loaded_anew_before_it_is_told_more(
    monkeypatch: pytest.MonkeyPatch, officer: User
) -> None:
    _, heard = told(monkeypatch, signed_in(officer), lambda: move(officer, KASIN))
    [first, second] = heard
    assert first == ("reset", {})
    assert second is not None
    assert [one["key"] for one in second[1]] == [ELSEWHERE]


@sqlite_only
@pytest.mark.parametrize(
    "lost", [{"is_active": False}, {"role": "technician"}], ids=["closed", "another role"]
)
def test_the_open_page_of_an_account_that_may_not_read_any_more_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch, officer: User, lost: dict[str, Any]
) -> None:
    def lose() -> None:
        User.objects.filter(pk=officer.pk).update(**lost)

    _, heard = told(monkeypatch, signed_in(officer), lose)
    assert heard == [None, None]
