"""The command centre's part in a post's self-test: a receipt, an answer, and nothing to see."""

from __future__ import annotations

import msgspec
import pytest

from mcc.alarms import RESPONDER
from mcc.core import Commit, CommitFailed, Committed, DocumentCleared, Show
from protocol.messages import MccAlarm, Raised
from protocol.values import timestamp
from tests.mcc.rig import START_MS, STORE_ID, Desk, document, receipted, uid


def selftest(n: int = 1, state: str = "received") -> MccAlarm:
    if state == "resolved":
        return document(n, state, kind="selftest", outcome="test", presses_ms=())
    return document(n, state, kind="selftest", presses_ms=())


def answered(desk: Desk) -> list[tuple[str, str | None]]:
    return [(one.action, one.operator) for one in desk.published() if one.action != "beat"]


def test_a_selftest_is_committed_then_receipted_then_answered_by_the_responder() -> None:
    desk = Desk().up()
    desk.hear(selftest())
    assert answered(desk) == [("receive", None)]
    commit = next(e for e in desk.effects if isinstance(e, Commit) and e.selftests)
    assert [one.alarm_id for one in commit.selftests] == [uid(1)]
    desk.forget()
    desk.hear(receipted(selftest(state="delivered")))
    assert answered(desk) == [("resolve", RESPONDER)]
    (answer,) = desk.published("resolve")
    assert (answer.kind, answer.outcome) == ("selftest", "test")
    desk.forget()
    desk.hear(selftest(state="resolved"))
    desk.run(60)
    assert {one.action for one in desk.published()} == {"receive", "beat"}


def test_of_two_that_are_written_at_once_the_later_one_stands_last() -> None:
    desk = Desk().up()
    desk.disk_answers = False
    desk.hear(document(9))
    desk.forget()
    for n, at in ((1, 60_000), (2, 0)):
        raised = Raised(at=timestamp(START_MS + at), known="computed")
        desk.hear(msgspec.structs.replace(selftest(n), raised=raised))
    desk.disk_answers = True
    desk.send(Committed())
    commit = next(e for e in desk.effects if isinstance(e, Commit) and e.selftests)
    assert [one.alarm_id for one in commit.selftests] == [uid(2), uid(1)]


def test_it_is_on_no_screen_makes_no_sound_and_is_no_alarm() -> None:
    desk = Desk().up()
    desk.forget()
    for shown in (selftest(), receipted(selftest(state="delivered")), selftest(state="resolved")):
        desk.hear(shown)
    desk.run(20)
    assert [e for e in desk.effects if isinstance(e, Show)] == []
    assert list(desk.core.alarms()) == []
    assert desk.stored == {}


def test_the_answer_is_repeated_until_the_document_shows_it() -> None:
    desk = Desk().up()
    desk.hear(receipted(selftest(state="delivered")))
    desk.run(20)
    first, *again = desk.published("resolve")
    assert len(again) >= 3
    assert {one.command_id for one in again} == {first.command_id}


def test_a_console_whose_receipts_do_not_count_answers_nothing() -> None:
    desk = Desk().up()
    other = receipted(selftest(state="delivered"), uid(99))
    desk.hear(other)
    desk.run(20)
    assert desk.published("resolve") == []
    assert desk.published("receive")[0].store_id == STORE_ID


def test_a_store_that_does_not_write_answers_nothing() -> None:
    desk = Desk().up()
    desk.disk_works = False
    desk.hear(selftest())
    desk.hear(receipted(selftest(state="delivered")))
    desk.run(5)
    assert answered(desk) == []
    desk.disk_works = True
    desk.run(5)
    assert answered(desk)[0] == ("resolve", RESPONDER)


def test_a_failed_commit_of_one_that_is_gone_is_not_tried_again() -> None:
    desk = Desk().up()
    desk.disk_answers = False
    desk.hear(selftest())
    desk.send(DocumentCleared(uid(1)))
    desk.disk_answers = True
    desk.send(CommitFailed("disk full"))
    desk.forget()
    desk.run(5)
    assert not any(isinstance(e, Commit) and e.selftests for e in desk.effects)


def test_beyond_the_bound_the_newest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcc.core.SELFTESTS_MAX", 2)
    desk = Desk().up()
    for n in (1, 2, 3):
        desk.hear(selftest(n))
    assert [one.alarm_id for one in desk.published("receive")] == [uid(1), uid(2)]
    desk.send(DocumentCleared(uid(1)))
    desk.hear(selftest(3))
    assert desk.published("receive")[-1].alarm_id == uid(3)


def test_one_that_an_operator_has_made_a_panic_rings() -> None:
    desk = Desk().up()
    desk.hear(selftest())
    desk.hear(document(1, "delivered"))
    assert desk.rings() == [uid(1)]
