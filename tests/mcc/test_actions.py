"""The one door for what people do, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.db import Error, connection, connections

from mcc.alarms import AlarmRecord, record_of
from mcc.cases.actions import Refused, act
from mcc.cases.changes import CHANGES_STORED_MAX, changes
from mcc.cases.models import Alarm, Change, Command, Entry, PostDocument, Store
from mcc.cases.record import guard, unguard
from mcc.core import COMMANDS_MAX
from mcc.people.models import User
from mcc.registers.models import Post
from protocol.messages import Command as Message
from protocol.values import wall_ms
from tests.mcc.rig import POST, document, post, uid

pytestmark = pytest.mark.usefixtures("database")
FROM: dict[str, Any] = {"address": "127.0.0.1", "screen": "screen-1"}
DINOYO = "35.73.05.1004"


def a_user(name: str = "budi", role: str = "operator", unit: str | None = None) -> User:
    return User.objects.create(username=name, role=role, unit_id=unit)


def stored(n: int = 1, state: str = "received", **fields: Any) -> AlarmRecord:
    alarm = record_of(document(n, state, **fields))
    raised_ms = wall_ms(alarm.raised.at)
    Alarm.objects.create(
        alarm_id=alarm.alarm_id,
        post=alarm.post,
        gateway=alarm.gateway,
        is_open=alarm.is_open,
        is_answered=alarm.is_answered,
        kind=alarm.kind,
        state=alarm.state,
        raised_ms=raised_ms,
        repeats=alarm.repeats,
        heard_ms=raised_ms,
        body=msgspec.json.encode(alarm).decode(),
    )
    return alarm


def registered(kelurahan: str | None = DINOYO) -> None:
    Post.objects.create(post_id=POST, name="Pos RW 05", kelurahan_id=kelurahan)


def heard_of() -> None:
    PostDocument.objects.create(
        post=POST,
        gateway="mlg",
        connection="online",
        body=msgspec.json.encode(post()).decode(),
    )


def sent() -> list[Message]:
    rows = Command.objects.order_by("created_ms")
    return [msgspec.json.decode(row.body, type=Message) for row in rows]


def test_an_acknowledgement_is_a_line_a_command_being_sent_and_a_change() -> None:
    stored(repeats=2)
    entry = act(a_user(), "acknowledge", alarm_id=uid(1), repeats=1, kind="panic", **FROM)
    [command] = sent()
    assert (command.action, command.alarm_id, command.operator) == ("acknowledge", uid(1), "budi")
    assert (command.repeats, command.kind) == (1, "panic")
    assert Command.objects.get().state == "sending"
    assert (entry.operator, entry.address, entry.post) == ("budi", "127.0.0.1", POST)
    assert entry.command_id == command.command_id
    assert [(c.sequence, c.kind, c.key) for c in Change.objects.all()] == [(1, "alarm", uid(1))]
    assert Store.objects.get().sequence == 1


def test_the_second_who_acknowledges_is_told_who_was_first() -> None:
    stored()
    act(a_user("siti"), "acknowledge", alarm_id=uid(1), **FROM)
    with pytest.raises(Refused, match="siti") as refused:
        act(a_user("budi"), "acknowledge", alarm_id=uid(1), **FROM)
    assert (refused.value.code, refused.value.first_operator) == ("already", "siti")
    assert refused.value.first_at_ms is not None
    assert Entry.objects.count() == Command.objects.count() == 1


def test_of_operators_who_answer_at_once_exactly_one_does() -> None:
    stored()
    users = [a_user(f"operator{n}") for n in range(6)]
    start = threading.Barrier(len(users))
    ended: list[Entry | Refused] = []

    def answer(user: User) -> None:
        start.wait()
        try:
            ended.append(act(user, "acknowledge", alarm_id=uid(1), **FROM))
        except Refused as refused:
            ended.append(refused)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=answer, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [one for one in ended if isinstance(one, Entry)]
    losers = [one for one in ended if isinstance(one, Refused)]
    assert len(losers) == len(users) - 1
    assert {one.first_operator for one in losers} == {winner.operator}
    assert len(sent()) == 1


def test_what_a_document_shows_as_answered_is_not_answered_again() -> None:
    stored(1, "acknowledged")
    with pytest.raises(Refused, match="sari") as refused:
        act(a_user(), "acknowledge", alarm_id=uid(1), **FROM)
    assert refused.value.first_operator == "sari"


def test_a_dispatch_goes_to_the_unit_of_the_registered_kelurahan_unless_one_is_named() -> None:
    stored()
    stored(2)
    registered()
    act(a_user(), "dispatch", alarm_id=uid(1), **FROM)
    act(a_user("siti"), "dispatch", alarm_id=uid(2), unit="polresta", **FROM)
    assert [one.unit for one in sent()] == ["Polsek Lowokwaru", "Polresta Malang Kota"]


def test_a_dispatch_for_a_post_in_no_register_wants_a_unit() -> None:
    stored()
    with pytest.raises(Refused, match="kelurahan"):
        act(a_user(), "dispatch", alarm_id=uid(1), **FROM)
    with pytest.raises(Refused) as refused:
        act(a_user("siti"), "dispatch", alarm_id=uid(1), unit="polsek-batu", **FROM)
    assert refused.value.code == "unknown"


def test_a_resolution_carries_its_outcome_and_note() -> None:
    stored(1, "acknowledged")
    with pytest.raises(Refused):
        act(a_user(), "resolve", alarm_id=uid(1), outcome="maybe", **FROM)
    act(a_user("siti"), "resolve", alarm_id=uid(1), outcome="prank", note="boys", **FROM)
    [command] = sent()
    assert (command.outcome, command.note, command.repeats) == ("prank", "boys", 0)


def test_a_test_that_has_become_a_call_for_help_is_to_be_looked_at_again() -> None:
    stored()
    with pytest.raises(Refused) as refused:
        act(a_user(), "acknowledge", alarm_id=uid(1), kind="test", **FROM)
    assert refused.value.code == "kind_changed"


def test_only_a_test_can_be_made_a_call_for_help() -> None:
    stored(1, kind="test")
    stored(2)
    act(a_user(), "panic", alarm_id=uid(1), **FROM)
    with pytest.raises(Refused):
        act(a_user("siti"), "panic", alarm_id=uid(2), **FROM)
    assert [one.action for one in sent()] == ["panic"]


@pytest.mark.parametrize("role", ["administrator", "technician", "picket", "nobody"])
def test_a_role_that_may_not_answer_does_not(role: str) -> None:
    stored()
    with pytest.raises(Refused) as refused:
        act(a_user(role=role, unit="polresta"), "acknowledge", alarm_id=uid(1), **FROM)
    assert refused.value.code == "not_allowed"
    assert not Entry.objects.exists()


def test_an_account_that_was_closed_does_nothing() -> None:
    stored()
    user = a_user()
    user.is_active = False
    with pytest.raises(Refused):
        act(user, "acknowledge", alarm_id=uid(1), **FROM)


def test_a_picket_says_what_it_does_in_its_own_area_only() -> None:
    stored()
    registered()
    here = a_user("lowokwaru", "picket", "polsek-lowokwaru")
    there = a_user("klojen", "picket", "polsek-klojen")
    act(here, "on_the_way", alarm_id=uid(1), **FROM)
    with pytest.raises(Refused) as refused:
        act(there, "on_scene", alarm_id=uid(1), **FROM)
    assert refused.value.code == "not_allowed"
    assert [one.action for one in Entry.objects.all()] == ["on_the_way"]
    assert not sent()


@pytest.mark.parametrize(
    ("action", "more"),
    [
        ("on_scene", {"alarm_id": uid(1)}),
        ("correction", {"alarm_id": uid(1), "note": "it was the neighbour"}),
        ("note", {"note": "quiet night"}),
        ("silence", {}),
        ("take_over", {"alarm_id": uid(1)}),
        ("take_over", {"post": POST}),
    ],
)
def test_what_concerns_the_record_alone_sends_nothing_and_reopens_nothing(
    action: Any, more: dict[str, Any]
) -> None:
    stored(1, "resolved")
    act(a_user(), action, **more, **FROM)
    assert Entry.objects.get().action == action
    assert not sent()
    assert Change.objects.count() == 1
    assert Alarm.objects.get().state == "resolved"


@pytest.mark.parametrize(
    ("action", "more"),
    [
        ("correction", {"alarm_id": uid(1), "note": " "}),
        ("note", {"note": "x" * 201}),
        ("on_scene", {}),
        ("take_over", {}),
        ("shift_began", {}),
        ("shift_ended", {}),
        ("open_test", {}),
        ("open_test", {"post": POST, "minutes": 16}),
        ("open_test", {"post": POST}),
        ("acknowledge", {"alarm_id": uid(1), "repeats": 1}),
        ("resolve", {"alarm_id": uid(1), "outcome": "real", "note": "a\x00b"}),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(action: Any, more: Any) -> None:
    stored()
    heard_of()
    with pytest.raises(Refused) as refused:
        act(a_user(), action, **more, **FROM)
    assert refused.value.code == "wrong"
    assert not Entry.objects.exists()
    assert not sent()
    assert not Change.objects.exists()


def test_a_technician_opens_one_test_window_of_a_post_that_a_gateway_knows() -> None:
    user = a_user(role="technician")
    with pytest.raises(Refused) as refused:
        act(user, "open_test", post=POST, minutes=10, **FROM)
    assert refused.value.code == "unknown"
    heard_of()
    act(user, "open_test", post=POST, minutes=10, **FROM)
    with pytest.raises(Refused):
        act(user, "open_test", post=POST, minutes=10, **FROM)
    act(user, "close_test", post=POST, **FROM)
    assert [(one.action, one.minutes) for one in sent()] == [
        ("open_test", 10),
        ("close_test", None),
    ]


def test_nobody_acts_on_an_alarm_that_is_not_there() -> None:
    with pytest.raises(Refused) as refused:
        act(a_user(), "acknowledge", alarm_id=uid(9), **FROM)
    assert refused.value.code == "unknown"


def test_a_full_outbox_refuses_the_next_command_in_words() -> None:
    stored()
    Command.objects.bulk_create(
        Command(command_id=uid(n), action="dispatch", operator="x", body="{}", created_ms=n)
        for n in range(100, 100 + COMMANDS_MAX)
    )
    with pytest.raises(Refused) as refused:
        act(a_user(), "acknowledge", alarm_id=uid(1), **FROM)
    assert refused.value.code == "full"


# --- the record and the feed --------------------------------------------------------------------


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: Entry.objects.update(operator="somebody else"),
        lambda: Entry.objects.all().delete(),
        lambda: Entry.objects.all()._raw_delete(using="default"),
        lambda: connection.cursor().execute("DELETE FROM cases_entry"),
        lambda: connection.cursor().execute("UPDATE cases_entry SET at_ms = 0"),
    ],
)
def test_the_database_itself_refuses_to_change_the_record(attempt: Callable[[], object]) -> None:
    act(a_user(), "note", note="as it was", **FROM)
    with pytest.raises(Error, match="only ever added to"):
        attempt()
    assert Entry.objects.get().detail == {"note": "as it was"}


def test_the_guard_can_be_put_back_on_a_table_that_was_made_anew() -> None:
    act(a_user(), "note", note="as it was", **FROM)
    unguard(connection)
    guard(connection)
    with pytest.raises(Error, match="only ever added to"):
        Entry.objects.all()._raw_delete(using="default")


def test_an_entry_is_written_once() -> None:
    entry = act(a_user(), "note", note="as it was", **FROM)
    with pytest.raises(TypeError):
        entry.save()
    with pytest.raises(TypeError):
        entry.delete()


def test_changes_of_many_writers_have_no_gaps() -> None:
    start = threading.Barrier(4)
    failed: list[Exception] = []

    def write(name: int) -> None:
        start.wait()
        try:
            for n in range(20):
                try:
                    with changes() as change:
                        change.note("post", f"{name}-{n}")
                        change.note("post", f"{name}-{n}")
                        if n % 5 == 4:
                            raise ValueError("nothing of this")
                except ValueError:
                    continue
        except Error as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    numbers = list(Change.objects.order_by("sequence").values_list("sequence", flat=True))
    assert numbers == list(range(1, 4 * 16 + 1))
    assert Store.objects.get().sequence == 64


def test_an_inner_change_joins_the_outer_one() -> None:
    with changes() as outer, changes() as inner:
        inner.note("fault", "a")
        outer.note("fault", "b")
    assert [c.key for c in Change.objects.order_by("sequence")] == ["a", "b"]


def test_the_feed_forgets_its_oldest_lines() -> None:
    with changes() as change:
        change.store.sequence = 500_990
        for n in range(20):
            change.note("post", str(n))
    Change.objects.create(sequence=500_990 - CHANGES_STORED_MAX, kind="post", key="old", at_ms=0)
    with changes() as change:
        for n in range(1_000):
            change.note("post", str(n))
    assert not Change.objects.filter(key="old").exists()
    assert Change.objects.filter(sequence=500_991).exists()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_postgresql_tells_listeners_at_the_commit() -> None:
    listener = connection.get_new_connection(
        {**connection.get_connection_params(), "autocommit": True}
    )
    listener.execute("LISTEN kentongan_changes")
    with changes() as change:
        change.note("fault", "a")
        assert not list(listener.notifies(timeout=0))
    [told] = list(listener.notifies(timeout=2, stop_after=1))
    assert told.payload == "1"
    listener.close()
