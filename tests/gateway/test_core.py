"""The gateway's rules one by one, under virtual time."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from gateway.core import (
    ALARMS_MAX,
    PARKED_MAX,
    PENDING_MAX,
    SAY_BURST,
    WAITING_MAX,
    Commit,
    GatewaySettings,
    Lookup,
    LookupFailed,
    NotSent,
    Recall,
)
from process.core import Acknowledge, Drop, LinkUp, Publish
from protocol.messages import (
    HEARTBEAT_S_MAX,
    HELD_MAX,
    Answer,
    MccAlarm,
    MccGateway,
    MccPost,
    PostState,
)
from protocol.topics import Address
from protocol.values import timestamp, wall_ms
from tests.gateway.rig import (
    ALARM,
    GATEWAY,
    POST,
    STORE,
    TOPICS,
    Rig,
    held,
    make_alarm,
    some_id,
)

OTHER_POST = "mlg-test-rw02"
OTHER_STORE = some_id(0x5702)


# --- commit, then say ----------------------------------------------------------------------


def test_an_offer_is_acknowledged_and_listed_only_after_its_commit() -> None:
    rig = Rig(disk="hanging")
    receipt = rig.offer()
    assert not rig.is_acknowledged(receipt)
    assert not rig.published(PostState)
    assert not rig.published(MccAlarm)

    rig.finish_commits()
    assert rig.is_acknowledged(receipt)
    assert rig.listed() is not None
    assert rig.alarm_document().state == "received"


def test_a_failed_commit_says_nothing_and_is_tried_again_every_second() -> None:
    rig = Rig(disk="failing")
    receipt = rig.offer()
    rig.advance(3.5)
    assert not rig.is_acknowledged(receipt)
    assert not rig.published(MccAlarm)
    assert len(rig.done(Commit)) == 4
    assert "journal_failing" in rig.gateway_document().faults

    rig.disk = "good"
    rig.advance(1)
    assert rig.is_acknowledged(receipt)
    assert rig.listed() is not None
    assert "journal_failing" not in rig.gateway_document().faults


def test_while_the_journal_fails_no_post_is_told_that_a_call_would_be_seen() -> None:
    rig = Rig()
    rig.beat()
    rig.disk = "failing"
    rig.offer()
    rig.heartbeat()
    assert not rig.published(Answer)[-1].mcc_answers


def test_while_the_journal_hangs_no_post_is_told_that_a_call_would_be_seen() -> None:
    rig = Rig()
    rig.beat()
    rig.disk = "hanging"
    rig.offer()
    rig.advance(2.9)
    rig.heartbeat()
    assert rig.published(Answer)[-1].mcc_answers
    rig.advance(0.2)
    rig.heartbeat()
    assert not rig.published(Answer)[-1].mcc_answers
    assert "journal_hanging" in rig.gateway_document().faults

    rig.finish_commits()
    rig.heartbeat()
    assert rig.published(Answer)[-1].mcc_answers
    assert "journal_hanging" not in rig.gateway_document().faults


def test_a_commit_that_failed_after_all_is_merged_with_what_it_left_behind() -> None:
    rig = Rig(disk="failing")
    rig.offer()
    put = rig.done(Commit)[0].puts[0]
    rig.journal[ALARM] = put.record
    rig.disk = "good"
    rig.advance(1)
    assert rig.listed() is not None
    assert rig.journal[ALARM] == put.record


def test_inputs_for_an_alarm_wait_while_its_change_is_on_the_way_to_the_journal() -> None:
    rig = Rig(disk="hanging")
    rig.offer()
    command = rig.command("acknowledge")
    assert len(rig.done(Commit)) == 1

    rig.finish_commits()
    step = rig.alarm_document().reached.acknowledged
    assert step is not None
    assert step.command_id == command
    history = [row.what for commit in rig.done(Commit) for p in commit.puts for row in p.history]
    assert history == ["received", "acknowledged"]


def test_an_offer_that_waited_for_the_journal_keeps_the_time_at_which_it_was_heard() -> None:
    rig = Rig(disk="hanging")
    rig.offer(age_s=5)
    rig.offer(age_s=8, repeat_ages_s=(2,))
    heard_at = rig.now.wall_ms
    rig.advance(60)
    rig.finish_commits()
    repeat = rig.alarm_document().last_repeat
    assert repeat is not None
    assert wall_ms(repeat.at) == heard_at - 2000


def test_a_repeat_stands_in_the_journal_at_its_press_however_late_it_came() -> None:
    rig = Rig()
    rig.offer(age_s=5)
    rig.advance(595)  # no gateway, or no link
    rig.offer(age_s=600, repeat_ages_s=(590,))
    rows = [row for commit in rig.done(Commit) for p in commit.puts for row in p.history]
    repeat = next(row for row in rows if row.what == "repeats 1")
    assert wall_ms(repeat.at) == rig.now.wall_ms - 590_000


def test_what_waits_for_one_alarm_is_bounded_and_the_rest_stays_unacknowledged() -> None:
    rig = Rig(disk="hanging")
    rig.offer()
    receipts = [rig.offer() for _ in range(WAITING_MAX + 1)]
    rig.finish_commits()
    assert rig.is_acknowledged(receipts[0])
    assert not rig.is_acknowledged(receipts[-1])
    assert rig.gateway.counts["input_no_room"] == 1


def test_beyond_the_bound_of_uncommitted_alarms_the_newest_offer_is_not_taken() -> None:
    rig = Rig(disk="hanging")
    for n in range(PENDING_MAX):
        rig.offer(some_id(n), post=f"mlg-test-rw{n // 100}")
    receipt = rig.offer(some_id(PENDING_MAX))
    rig.disk = "good"
    rig.finish_commits()
    assert len(rig.journal) == PENDING_MAX
    assert not rig.is_acknowledged(receipt)
    assert rig.gateway.counts["offer_no_room"] == 1
    rig.offer(some_id(PENDING_MAX))
    assert some_id(PENDING_MAX) in rig.journal


def test_offers_beyond_what_memory_holds_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ALARMS_MAX == 100_000
    monkeypatch.setattr("gateway.core.ALARMS_MAX", 2)
    rig = Rig()
    for n in range(3):
        rig.offer(some_id(n))
    assert len(rig.journal) == 2


# --- offers --------------------------------------------------------------------------------


def test_the_same_offer_again_commits_nothing_and_is_acknowledged_at_once() -> None:
    rig = Rig()
    rig.offer(age_s=1)
    rig.advance(1)
    rig.forget()
    receipt = rig.offer(age_s=2)
    assert rig.is_acknowledged(receipt)
    assert not rig.done(Commit)


def test_the_same_offer_again_brings_the_state_document_again_at_most_once_a_second() -> None:
    rig = Rig()
    rig.offer()
    rig.forget()
    for _ in range(50):
        rig.offer()
        rig.advance(0.1)
    assert 4 <= len(rig.published(PostState)) <= 6


def test_repeats_only_rise() -> None:
    rig = Rig()
    rig.offer(age_s=60, repeat_ages_s=(30, 20))
    rig.offer(age_s=60, repeat_ages_s=(30,))
    listed = rig.listed()
    assert listed is not None
    assert listed.repeats == 2


def test_the_first_cancel_request_stands_and_closes_nothing() -> None:
    rig = Rig()
    rig.offer()
    rig.offer(cancel=True)
    first = rig.alarm_document().cancel_requested_at
    rig.advance(5)
    rig.offer(cancel=True)
    assert first is not None
    assert rig.alarm_document().cancel_requested_at == first
    assert rig.alarm_document().state == "received"


def test_a_repeat_after_the_answer_raises_repeats_and_not_what_was_answered() -> None:
    rig = Rig()
    rig.offer(age_s=60, repeat_ages_s=(30,))
    rig.command("acknowledge", repeats=1)
    rig.offer(age_s=60, repeat_ages_s=(30, 1))
    listed = rig.listed()
    assert listed is not None
    assert (listed.repeats, listed.answered_repeats) == (2, 1)


def test_an_alarm_id_of_another_post_is_refused() -> None:
    rig = Rig()
    rig.offer()
    receipt = rig.offer(post=OTHER_POST)
    assert rig.is_acknowledged(receipt)
    assert rig.journal[ALARM].post == POST
    assert rig.gateway.counts["offer_of_another"] == 1


def test_an_alarm_id_of_another_post_that_has_left_memory_is_refused_too() -> None:
    rig = Rig()
    rig.offer()
    rig.settle()
    rig.pass_days(8)
    assert ALARM not in [record.alarm_id for record in rig.gateway.records]
    rig.offer(post=OTHER_POST)
    assert rig.journal[ALARM].post == POST
    assert rig.gateway.counts["offer_of_another"] == 1


@pytest.mark.parametrize(
    ("same_boot", "clock", "known", "age_ms"),
    [
        (True, "unsynchronised", "computed", 7000),
        (False, "synchronised", "post_clock", 7000),
        (False, "unsynchronised", "before", 0),
    ],
)
def test_the_time_of_the_raise_is_the_best_there_is(
    same_boot: bool, clock: str, known: str, age_ms: int
) -> None:
    rig = Rig()
    rig.offer(age_s=7, same_boot=same_boot, clock=clock)
    raised = rig.alarm_document().raised
    assert raised.known == known
    assert raised.at == timestamp(rig.now.wall_ms - age_ms)


# --- test windows --------------------------------------------------------------------------


def practising() -> Rig:
    rig = Rig()
    rig.heartbeat()
    rig.advance(1)
    rig.command("open_test")
    rig.advance(10)
    return rig


def test_three_presses_inside_the_window_are_a_test_and_sound_nothing() -> None:
    rig = practising()
    rig.offer(age_s=3)
    assert rig.alarm_document().kind == "test"
    assert rig.sounds == []


def test_presses_that_began_before_the_window_are_a_panic() -> None:
    rig = practising()
    rig.offer(age_s=10.1)
    assert rig.alarm_document().kind == "panic"


def test_presses_that_cannot_be_placed_are_a_panic() -> None:
    rig = practising()
    rig.offer(same_boot=False)
    assert rig.alarm_document().kind == "panic"


def test_a_call_that_was_held_back_until_a_window_was_open_is_a_panic() -> None:
    rig = Rig()
    rig.heartbeat()
    offer = make_alarm(rig.at_us // 1000, ALARM)
    rig.advance(10)
    rig.command("open_test")
    rig.advance(5)
    rig.hear(offer, Address("posts", "alarms", POST))
    assert rig.alarm_document().kind == "panic"
    assert wall_ms(rig.alarm_document().raised.at) - wall_ms(offer.raised_at) <= 10


def test_a_call_of_a_boot_that_has_sent_no_heartbeat_yet_is_a_panic() -> None:
    rig = Rig()
    rig.presence(online=True)
    rig.command("open_test")
    rig.offer(age_s=0.1)
    assert rig.alarm_document().kind == "panic"


def test_the_window_of_one_post_is_not_anothers() -> None:
    rig = practising()
    rig.offer(post=OTHER_POST)
    assert rig.alarm_document().kind == "panic"


def test_a_repeat_within_30_s_of_the_raise_makes_a_test_a_panic() -> None:
    rig = practising()
    rig.advance(30)
    rig.offer(age_s=29)
    rig.offer(age_s=30, repeat_ages_s=(1,))
    assert rig.alarm_document().kind == "panic"
    assert rig.sounds == ["alarm"]


def test_a_later_repeat_inside_the_window_stays_a_test() -> None:
    rig = practising()
    rig.offer(age_s=1)
    rig.advance(60)
    rig.offer(age_s=61, repeat_ages_s=(2,))
    assert rig.alarm_document().kind == "test"
    assert rig.alarm_document().repeats == 1


def test_a_repeat_inside_a_window_that_is_closed_by_now_stays_a_test() -> None:
    rig = practising()
    rig.offer(age_s=1)
    rig.advance(60)
    rig.command("close_test")
    rig.advance(5)
    rig.offer(age_s=66, repeat_ages_s=(8,))
    assert rig.alarm_document().kind == "test"


def test_a_repeat_that_cannot_be_placed_makes_a_test_a_panic() -> None:
    rig = practising()
    rig.offer(age_s=1)
    rig.advance(60)
    rig.offer(age_s=61, repeat_ages_s=(None,))
    assert rig.alarm_document().kind == "panic"


def test_a_restart_ends_the_window_and_a_repeat_is_a_panic() -> None:
    rig = practising()
    rig.offer(age_s=1)
    rig.advance(60)
    rig.restart()
    rig.offer(age_s=61, repeat_ages_s=(1,))
    assert rig.alarm_document().kind == "panic"


def test_an_operator_makes_a_test_a_panic_and_nothing_makes_it_a_test_again() -> None:
    rig = practising()
    rig.offer(age_s=1)
    rig.command("panic")
    rig.command("panic")
    rig.offer(age_s=1)
    assert rig.alarm_document().kind == "panic"
    assert rig.sounds == ["alarm"]
    assert rig.refusals == []


def test_a_selftest_stays_a_selftest_and_is_silent() -> None:
    rig = practising()
    rig.offer(kind="selftest")
    assert rig.alarm_document().kind == "selftest"
    assert rig.sounds == []


def test_the_window_is_shown_to_post_and_mcc_and_ends_by_itself() -> None:
    rig = Rig()
    rig.heartbeat()
    command = rig.command("open_test", minutes=15)
    for window in (rig.state_document().test_window, rig.post_document().test_window):
        assert window is not None
        assert (window.command_id, window.opened_by) == (command, "Sari")
    rig.advance(15 * 60 - 1)
    assert rig.state_document().test_window is not None
    rig.advance(2)
    assert rig.state_document().test_window is None
    assert rig.post_document().test_window is None


def test_a_close_ends_the_window_at_once() -> None:
    rig = practising()
    rig.command("close_test")
    assert rig.state_document().test_window is None
    rig.advance(5)
    rig.offer(age_s=1)
    assert rig.alarm_document().kind == "panic"


@pytest.mark.parametrize("age_s", [61, -61])
def test_an_open_test_far_from_the_gateways_clock_is_refused(age_s: float) -> None:
    rig = Rig()
    rig.advance(300)
    rig.heartbeat()
    rig.command("open_test", age_s=age_s)
    assert [answer.refused for answer in rig.refusals] == ["too_old"]
    assert rig.post_document().test_window is None


def test_an_open_test_from_before_the_last_close_is_refused() -> None:
    rig = practising()
    rig.command("close_test")
    rig.advance(2)
    rig.command("open_test", age_s=5)
    assert [answer.refused for answer in rig.refusals] == ["too_old"]
    rig.command("open_test", age_s=1)
    assert rig.state_document().test_window is not None


def test_an_open_test_that_comes_again_after_its_window_has_ended_is_refused() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(1)
    command = rig.command("open_test", minutes=1)
    rig.advance(59)
    rig.command("open_test", command_id=command, minutes=1, age_s=59)
    assert rig.refusals == []
    rig.advance(2)
    rig.command("open_test", command_id=command, minutes=1, age_s=30)
    assert [answer.refused for answer in rig.refusals] == ["too_old"]


def test_a_window_for_a_post_that_nobody_has_heard_of_is_refused() -> None:
    rig = Rig()
    rig.command("open_test")
    rig.command("close_test")
    assert [answer.refused for answer in rig.refusals] == ["unknown", "unknown"]


# --- the state document --------------------------------------------------------------------


def test_a_heartbeat_that_agrees_brings_no_document() -> None:
    rig = Rig()
    rig.offer()
    rig.advance(5)
    rig.forget()
    rig.heartbeat(held())
    rig.advance(2)
    assert rig.published(PostState) == []


@pytest.mark.parametrize(
    "holds",
    [
        (),
        (held(state="raised"),),
        (held(repeats=1),),
        (held(cancel=True),),
        (held(answered=0),),
        (held(), held(some_id(9))),
    ],
    ids=["missing", "state", "repeats", "cancel", "answered", "extra"],
)
def test_a_heartbeat_that_differs_brings_the_document_again(holds: tuple[object, ...]) -> None:
    rig = Rig()
    rig.offer()
    rig.advance(5)
    rig.forget()
    rig.heartbeat(*holds)  # type: ignore[arg-type]
    assert len(rig.published(PostState)) == 1


def test_the_document_comes_again_at_most_once_a_second() -> None:
    rig = Rig()
    rig.offer()
    rig.forget()
    for _ in range(100):
        rig.heartbeat()
        rig.advance(0.05)
    assert 4 <= len(rig.published(PostState)) <= 6


def test_a_resolved_alarm_is_listed_until_a_heartbeat_shows_it_resolved() -> None:
    rig = Rig()
    rig.offer()
    rig.command("resolve")
    rig.heartbeat(held(state="acknowledged"))
    listed = rig.listed()
    assert listed is not None
    assert listed.state == "resolved"
    rig.heartbeat(held(state="resolved", answered=0))
    assert rig.state_document().alarms == ()
    assert not rig.journal[ALARM].listed


def test_an_open_alarm_stays_listed_though_the_post_does_not_hold_it() -> None:
    rig = Rig()
    rig.offer()
    rig.heartbeat()
    assert rig.listed() is not None


def test_beyond_its_bound_the_document_lists_those_that_the_post_holds() -> None:
    rig = Rig()
    ids = [some_id(n) for n in range(2 * HELD_MAX)]
    for alarm_id in ids:
        rig.offer(alarm_id)
    rig.heartbeat(*(held(alarm_id) for alarm_id in ids[:16]))
    rig.advance(1)
    rig.offer(some_id(0xF0))
    listed = {one.alarm_id for one in rig.state_document().alarms}
    assert listed == {*ids[:16], *ids[-3:], some_id(0xF0)}


# --- heartbeats and their answers ----------------------------------------------------------


def test_every_heartbeat_is_answered_at_once_by_its_number() -> None:
    rig = Rig()
    rig.heartbeat()
    answer = rig.published(Answer)[-1]
    assert answer.connection == some_id(0xC1)
    assert not answer.mcc_answers


def said_to_the_post(rig: Rig) -> list[str]:
    """What its post was told since the last `forget`, in order."""
    told = [p.message for p in rig.done(Publish) if isinstance(p.message, PostState | Answer)]
    return [type(one).__name__ for one in told]


def test_what_a_heartbeat_has_not_read_is_said_before_the_answer() -> None:
    rig = Rig()
    rig.offer()
    rig.offer(repeat_ages_s=(0.5,))
    rig.advance(2)
    rig.forget()
    rig.heartbeat(held(repeats=0))
    assert said_to_the_post(rig) == ["PostState", "Answer"]
    assert rig.published(Answer)[-1].n == rig.said.n if rig.said else False
    rig.forget()
    rig.heartbeat(held(repeats=1))
    assert said_to_the_post(rig) == ["Answer"]


def test_an_answer_waits_for_a_document_that_may_not_be_said_again_yet() -> None:
    rig = Rig()
    rig.offer(repeat_ages_s=(0.5,))
    rig.forget()
    rig.heartbeat(held(repeats=0))
    rig.beat()  # the news that the command centre answers goes no other way
    assert said_to_the_post(rig) == []
    rig.advance(1)
    assert said_to_the_post(rig) == ["PostState", "Answer"]


def test_an_answer_waits_for_what_is_on_its_way_to_the_journal() -> None:
    rig = Rig()
    rig.offer()
    rig.advance(2)
    rig.disk = "hanging"
    rig.offer(repeat_ages_s=(0.5,))
    rig.forget()
    rig.heartbeat(held(repeats=0))
    rig.advance(0.2)
    assert "Answer" not in said_to_the_post(rig)
    rig.forget()
    rig.finish_commits()
    rig.advance(0.05)
    assert said_to_the_post(rig) == ["PostState", "Answer"]
    assert rig.published(PostState)[0].alarms[0].repeats == 1


def test_a_heartbeat_is_answered_while_the_journal_hangs() -> None:
    rig = Rig()
    rig.disk = "hanging"
    rig.offer()
    rig.advance(5)
    rig.forget()
    rig.heartbeat()
    assert "Answer" in said_to_the_post(rig)
    assert not rig.published(Answer)[-1].mcc_answers


def test_the_mcc_answers_for_25_s_after_a_beat() -> None:
    rig = Rig()
    rig.beat()
    rig.advance(25)
    rig.heartbeat()
    assert rig.published(Answer)[-1].mcc_answers
    rig.advance(0.1)
    rig.heartbeat()
    assert not rig.published(Answer)[-1].mcc_answers


def test_a_beat_of_another_console_or_connection_proves_nothing() -> None:
    rig = Rig()
    rig.command("beat", console="guest")
    rig.heartbeat()
    assert not rig.published(Answer)[-1].mcc_answers
    rig.beat()
    rig.disconnect("mcc")
    rig.connect("mcc")
    rig.heartbeat()
    assert not rig.published(Answer)[-1].mcc_answers


def test_without_receipts_the_mcc_answers_while_its_broker_does() -> None:
    rig = Rig(settings=GatewaySettings(GATEWAY, require_receipt=False))
    rig.heartbeat()
    assert rig.published(Answer)[-1].mcc_answers
    rig.disconnect("mcc")
    rig.heartbeat()
    assert not rig.published(Answer)[-1].mcc_answers


def test_posts_are_told_when_the_mcc_begins_to_answer() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.forget()
    rig.beat()
    assert [answer.mcc_answers for answer in rig.published(Answer)] == [True]
    rig.beat()
    assert len(rig.published(Answer)) == 1


@pytest.mark.parametrize("how", ["link down", "no beats", "journal failing", "journal hanging"])
def test_posts_are_told_at_once_when_the_mcc_answers_no_more(how: str) -> None:
    rig = Rig()
    rig.heartbeat()
    rig.heartbeat(post=OTHER_POST)
    rig.beat()
    rig.forget()
    match how:
        case "link down":
            rig.disconnect("mcc")
        case "no beats":
            rig.advance(25)
            assert rig.published(Answer) == []
            rig.advance(0.1)
        case "journal failing":
            rig.disk = "failing"
            rig.offer()
        case "journal hanging":
            rig.disk = "hanging"
            rig.offer()
            rig.advance(3)
    told = rig.published(Answer)
    assert {answer.post for answer in told} == {POST, OTHER_POST}
    assert len(told) == 2
    assert not any(answer.mcc_answers for answer in told)


def test_what_changed_while_the_posts_link_was_down_is_told_when_it_is_up() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.beat()
    rig.disconnect("posts")
    rig.disconnect("mcc")
    rig.forget()
    rig.connect("posts")
    assert [answer.mcc_answers for answer in rig.published(Answer)] == [False]


def test_answers_to_many_posts_are_paced() -> None:
    rig = Rig()
    for n in range(SAY_BURST + 1_000):
        rig.heartbeat(post=f"mlg-test-rw{n}")
    rig.beat()
    rig.advance(1)
    rig.beat()
    rig.forget()
    rig.disconnect("mcc")
    assert len(rig.published(Answer)) == SAY_BURST
    rig.advance(1)
    assert len(rig.published(Answer)) == SAY_BURST + 1_000


# --- presence ------------------------------------------------------------------------------


def test_a_post_is_silent_after_90_s_without_a_heartbeat() -> None:
    rig = Rig()
    rig.heartbeat()
    seen = rig.now.wall_ms
    assert rig.post_document().connection == "online"
    rig.advance(89)
    assert rig.post_document().connection == "online"
    rig.advance(2)
    assert rig.post_document().connection == "silent"
    assert rig.post_document().last_seen == timestamp(seen)


def test_a_will_shortens_the_wait_to_20_s() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(10)
    rig.presence(online=False)
    rig.advance(19)
    assert rig.post_document().connection == "online"
    rig.advance(2)
    assert rig.post_document().connection == "silent"


def test_a_post_that_is_back_within_20_s_was_never_silent() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.presence(online=False)
    rig.advance(15)
    rig.presence(online=True, connection=some_id(0xC2))
    rig.heartbeat(connection=some_id(0xC2))
    rig.advance(60)
    assert {document.connection for document in rig.published(MccPost)} == {"online"}


def test_posts_are_documented_on_transitions_and_every_ten_minutes() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.forget()
    for _ in range(14):
        rig.advance(30)
        rig.heartbeat()
        rig.beat()
    assert rig.published(MccPost) == []
    rig.heartbeat(faults=("button_worn",))
    assert rig.post_document().faults == ("button_worn",)
    rig.forget()
    for _ in range(26):
        rig.advance(30)
        rig.heartbeat(faults=("button_worn",))
        rig.beat()
    assert [document.faults for document in rig.published(MccPost)] == [("button_worn",)]


def test_a_link_on_which_not_even_our_own_documents_come_back_is_opened_anew() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.forget()
    rig.advance(41)
    assert [document.post for document in rig.published(PostState)] == [POST]
    assert rig.done(Drop) == []
    rig.advance(20)
    assert {drop.link for drop in rig.done(Drop)} == {"posts", "mcc"}


def test_the_echo_of_a_document_shows_that_a_quiet_link_hears() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.forget()
    for _ in range(20):
        rig.advance(30)
        rig.hear(
            PostState(post=POST, at=timestamp(rig.now.wall_ms)), Address("posts", "state", POST)
        )
        rig.beat()
    assert rig.done(Drop) == []


def test_after_a_start_known_posts_are_unknown_for_one_window() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(200)
    rig.heartbeat()
    rig.restart()
    assert rig.post_document().connection == "unknown"
    rig.advance(89)
    assert rig.post_document().connection == "unknown"
    rig.advance(2)
    assert rig.post_document().connection == "silent"


def test_a_retained_presence_proves_nobody_alive() -> None:
    rig = Rig()
    rig.presence(online=True, retained=True)
    assert rig.gateway.presence_of(POST) == "unknown"
    assert rig.post_document().firmware == "test 1"


def test_a_deaf_gateway_reports_itself_and_not_its_posts() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.disconnect("posts")
    assert "posts_link_down" in rig.gateway_document().faults
    rig.advance(600)
    assert rig.post_document().connection == "online"
    rig.connect("posts")
    assert "posts_link_down" not in rig.gateway_document().faults
    rig.advance(89)
    assert rig.post_document().connection == "online"
    rig.advance(2)
    assert rig.post_document().connection == "silent"


def test_beyond_the_bound_of_posts_a_new_one_is_answered_and_not_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.core.POSTS_MAX", 1)
    rig = Rig()
    rig.heartbeat()
    rig.heartbeat(post=OTHER_POST)
    assert rig.published(Answer)[-1].post == OTHER_POST
    assert rig.gateway.presence_of(OTHER_POST) is None
    rig.offer(post=OTHER_POST)
    assert rig.listed(post=OTHER_POST) is not None


# --- uplink --------------------------------------------------------------------------------


def test_an_alarm_is_offered_with_growing_pauses_until_it_is_receipted() -> None:
    rig = Rig()
    rig.beat()
    rig.offer()
    moments = []
    for _ in range(3000):
        before = len(rig.published(MccAlarm))
        rig.advance(0.1)
        if len(rig.published(MccAlarm)) > before:
            moments.append(rig.at_us / 1_000_000)
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert 6 <= len(moments) <= 14
    assert pauses[0] < 8
    assert all(pause <= 76 for pause in pauses)
    assert max(pauses) > 40

    rig.receive()
    rig.forget()
    rig.advance(400)
    assert rig.published(MccAlarm) == []


def test_the_first_receipt_is_delivery() -> None:
    rig = Rig()
    rig.offer()
    rig.receive()
    document = rig.alarm_document()
    assert document.state == "delivered"
    assert document.receipted is not None
    assert document.receipted.store_id == STORE
    assert document.receipted.content == document.content
    listed = rig.listed()
    assert listed is not None
    assert listed.state == "delivered"


def test_a_receipt_for_older_content_does_not_end_the_offers() -> None:
    rig = Rig()
    rig.offer(age_s=10)
    old = rig.alarm_document().content
    rig.offer(age_s=10, repeat_ages_s=(1,))
    rig.command("receive", content=old)
    assert rig.alarm_document().state == "delivered"
    assert rig.alarm_document().receipted is None
    rig.forget()
    rig.advance(10)
    assert rig.published(MccAlarm)


def test_an_open_alarm_is_published_every_10_minutes_though_it_is_receipted() -> None:
    rig = Rig()
    rig.offer()
    rig.receive()
    rig.forget()
    rig.advance(3600)
    assert 4 <= len(rig.published(MccAlarm)) <= 9


def test_only_the_receiver_receipts() -> None:
    rig = Rig()
    rig.offer()
    rig.command("receive", content=rig.alarm_document().content, console="guest")
    assert [answer.refused for answer in rig.refusals] == ["not_receiver"]
    assert rig.alarm_document().state == "received"


def test_a_receipt_that_comes_again_brings_the_document_again() -> None:
    rig = Rig()
    rig.offer()
    rig.receive()
    rig.advance(2)
    rig.forget()
    rig.receive()
    assert rig.done(Commit) == []
    assert len(rig.published(MccAlarm)) == 1


def test_without_receipts_each_document_is_published_once_and_never_delivered() -> None:
    rig = Rig(settings=GatewaySettings(GATEWAY, require_receipt=False))
    rig.offer()
    rig.advance(300)
    assert len(rig.published(MccAlarm)) == 1
    rig.command("acknowledge")
    rig.advance(300)
    assert len(rig.published(MccAlarm)) == 2
    assert all(document.state != "delivered" for document in rig.published(MccAlarm))
    rig.disconnect("mcc")
    rig.connect("mcc")
    assert len(rig.published(MccAlarm)) == 3
    assert rig.gateway_document().journal_depth == 0


def test_the_document_is_cleared_7_days_after_it_is_resolved_and_receipted() -> None:
    rig = Rig()
    rig.offer()
    rig.settle()
    rig.pass_days(6.99)
    assert rig.is_shown()
    rig.pass_days(0.02)
    assert not rig.is_shown()
    assert rig.gateway.records == []
    assert rig.journal[ALARM].cleared


def test_an_unreceipted_document_is_never_cleared() -> None:
    rig = Rig()
    rig.offer()
    rig.command("resolve")
    rig.heartbeat()
    rig.pass_days(30)
    assert rig.is_shown()


def test_the_7_days_go_on_over_a_restart() -> None:
    rig = Rig()
    rig.offer()
    rig.settle()
    rig.pass_days(4)
    rig.restart()
    rig.pass_days(3.01)
    assert not rig.is_shown()


def test_a_new_store_gets_what_is_shown_again_and_the_last_30_days() -> None:
    rig = Rig()
    rig.beat()
    ids = [some_id(0x200 + n) for n in range(250)]
    for alarm_id in ids:
        rig.offer(alarm_id)
        rig.settle(alarm_id)
        rig.advance(1)
    rig.pass_days(8)
    assert rig.gateway.records == []
    rig.offer()
    rig.receive()
    rig.forget()

    rig.beat(OTHER_STORE)
    received: set[str] = set()
    for _ in range(20):
        for document in rig.published(MccAlarm):
            if document.alarm_id not in received:
                received.add(document.alarm_id)
                rig.command(
                    "receive",
                    alarm_id=document.alarm_id,
                    content=document.content,
                    store_id=OTHER_STORE,
                )
        rig.advance(1)
    assert received == {*ids, ALARM}
    assert not any(rig.is_shown(alarm_id) for alarm_id in ids)
    assert [record.alarm_id for record in rig.gateway.records] == [ALARM]
    assert rig.meta["store_id"] == OTHER_STORE


def test_a_recall_that_a_restart_cut_short_begins_again() -> None:
    rig = Rig()
    rig.beat()
    rig.offer()
    rig.settle()
    rig.pass_days(8)
    rig.beat(OTHER_STORE)
    rig.restart()
    rig.forget()
    rig.beat(OTHER_STORE)
    assert rig.done(Recall)
    rig.receive(store_id=OTHER_STORE)
    assert rig.meta["store_id"] == OTHER_STORE
    rig.restart()
    rig.forget()
    rig.beat(OTHER_STORE)
    assert rig.done(Recall) == []


def test_alarms_older_than_30_days_are_not_recalled() -> None:
    rig = Rig()
    rig.beat()
    rig.offer()
    rig.settle()
    rig.pass_days(31)
    rig.forget()
    rig.beat(OTHER_STORE)
    assert rig.published(MccAlarm) == []


def test_a_receipt_for_a_recalled_alarm_that_comes_again_is_shown_again() -> None:
    rig = Rig()
    rig.beat()
    rig.offer()
    rig.settle()
    rig.pass_days(8)
    rig.beat(OTHER_STORE)
    rig.receive(store_id=OTHER_STORE)
    content = rig.published(MccAlarm)[-1].content
    rig.forget()
    rig.command("receive", content=content, store_id=OTHER_STORE)
    documents = rig.published(MccAlarm)
    assert len(documents) == 1
    assert documents[0].receipted is not None
    assert not rig.is_shown()
    assert rig.gateway.records == []


def test_the_gateways_own_document_names_journal_depth_and_lag() -> None:
    rig = Rig()
    rig.offer()
    rig.offer(some_id(2))
    rig.advance(65)
    document = rig.gateway_document()
    assert document.journal_depth == 2
    assert 50 <= document.uplink_lag_s <= 65
    assert document.journal_id == rig.journal_id
    rig.receive()
    rig.receive(some_id(2))
    rig.advance(11)
    assert rig.gateway_document().journal_depth == 0
    assert rig.gateway_document().uplink_lag_s == 0


def test_the_gateway_beats_every_10_s() -> None:
    rig = Rig()
    rig.forget()
    rig.advance(100)
    assert len(rig.published(MccGateway)) == 10


# --- commands ------------------------------------------------------------------------------


def test_acknowledge_dispatch_and_resolve_name_time_operator_and_command() -> None:
    rig = Rig()
    rig.offer()
    ids = [rig.command("acknowledge"), rig.command("dispatch"), rig.command("resolve")]
    reached = rig.alarm_document().reached
    steps = (reached.acknowledged, reached.dispatched, reached.resolved)
    assert [step.command_id for step in steps if step] == ids
    assert all(step.operator == "Sari" and step.console == "console" for step in steps if step)
    document = rig.alarm_document()
    assert (document.state, document.unit, document.outcome) == (
        "resolved",
        "Polsek Klojen",
        "real",
    )


def test_the_same_command_again_commits_nothing_and_shows_the_document() -> None:
    rig = Rig()
    rig.offer()
    command = rig.command("acknowledge")
    rig.advance(5)
    rig.forget()
    rig.command("acknowledge", command_id=command)
    rig.command("acknowledge", command_id=command)
    assert rig.done(Commit) == []
    assert rig.refusals == []
    assert len(rig.published(MccAlarm)) == 1


def test_the_second_operator_is_told_who_was_first() -> None:
    rig = Rig()
    rig.offer()
    rig.command("acknowledge", operator="Sari")
    rig.command("acknowledge", operator="Budi", console="second")
    (answer,) = rig.refusals
    assert (answer.refused, answer.first_operator, answer.console) == ("already", "Sari", "second")
    assert answer.first_at == rig.journal[ALARM].reached.acknowledged.at  # type: ignore[union-attr]
    step = rig.alarm_document().reached.acknowledged
    assert step is not None
    assert step.operator == "Sari"


@pytest.mark.parametrize("action", ["dispatch", "resolve"])
def test_the_first_committed_dispatch_and_outcome_stand(action: str) -> None:
    rig = Rig()
    rig.offer()
    rig.command(action, operator="Sari", unit="Polsek Klojen", outcome="real")  # type: ignore[arg-type]
    rig.command(action, operator="Budi", unit="Polsek Sukun", outcome="false")  # type: ignore[arg-type]
    assert [(answer.refused, answer.first_operator) for answer in rig.refusals] == [
        ("already", "Sari")
    ]
    assert rig.alarm_document().unit in (None, "Polsek Klojen") or action == "resolve"
    assert rig.alarm_document().outcome in (None, "real")


def test_a_lower_state_never_comes_back() -> None:
    rig = Rig()
    rig.offer()
    rig.command("resolve")
    rig.command("dispatch")
    rig.command("acknowledge")
    assert rig.alarm_document().state == "resolved"
    assert [answer.refused for answer in rig.refusals] == ["already", "already"]


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_what_the_operator_saw_is_frozen(action: str) -> None:
    rig = Rig()
    rig.offer(age_s=60, repeat_ages_s=(40, 20))
    rig.command(action, repeats=1)  # type: ignore[arg-type]
    assert rig.alarm_document().answered_repeats == 1
    if action == "acknowledge":
        rig.command("resolve", repeats=2)
    assert rig.alarm_document().answered_repeats == 1


def test_a_dispatch_without_a_number_answers_the_calls_that_were_committed() -> None:
    rig = Rig()
    rig.offer(age_s=60, repeat_ages_s=(40, 20))
    rig.command("dispatch")
    assert rig.alarm_document().answered_repeats == 2


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_an_answer_to_a_test_that_has_become_a_panic_is_refused(action: str) -> None:
    rig = practising()
    rig.offer(age_s=1)
    rig.command("panic")
    rig.command(action, kind="test")  # type: ignore[arg-type]
    assert [answer.refused for answer in rig.refusals] == ["kind_changed"]
    assert rig.alarm_document().state == "received"


def test_an_answer_to_a_panic_makes_a_test_a_panic() -> None:
    rig = practising()
    rig.offer(age_s=1)
    rig.command("acknowledge", kind="panic")
    assert rig.alarm_document().kind == "panic"
    assert rig.alarm_document().state == "acknowledged"


def test_a_command_for_an_alarm_that_comes_later_waits_for_it() -> None:
    rig = Rig()
    command = rig.command("acknowledge")
    rig.advance(600)
    rig.offer()
    step = rig.alarm_document().reached.acknowledged
    assert step is not None
    assert step.command_id == command
    assert rig.refusals == []


def test_a_command_for_an_alarm_that_nobody_knows_is_refused_after_15_minutes() -> None:
    rig = Rig()
    command = rig.command("acknowledge")
    rig.advance(400)
    rig.command("acknowledge", command_id=command)
    rig.advance(499)
    assert rig.refusals == []
    rig.advance(2)
    assert [(a.refused, a.command_id) for a in rig.refusals] == [("unknown", command)]


def test_the_journal_is_asked_before_an_alarm_counts_as_unknown() -> None:
    rig = Rig()
    rig.offer()
    rig.settle()
    rig.pass_days(8)
    rig.command("acknowledge", operator="Budi")
    assert rig.done(Lookup)
    assert [(a.refused, a.first_operator) for a in rig.refusals] == [("already", "Sari")]
    assert rig.gateway.records == []


def test_while_the_journal_cannot_be_read_a_command_is_not_called_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    monkeypatch.setattr(rig, "journal", {})
    monkeypatch.setattr("tests.gateway.rig.Found", lambda one, _: LookupFailed(one, "disk"))
    command = rig.command("acknowledge")
    rig.advance(60)
    rig.command("acknowledge", command_id=command)
    assert len(rig.done(Lookup)) == 2
    rig.advance(900)
    assert [answer.refused for answer in rig.refusals] == ["busy"]


def test_the_commands_that_wait_are_bounded() -> None:
    rig = Rig()
    for n in range(PARKED_MAX):
        rig.command("acknowledge", alarm_id=some_id(0x9000 + n))
    assert rig.refusals == []
    rig.command("acknowledge", alarm_id=some_id(0xA000))
    assert [answer.refused for answer in rig.refusals] == ["busy"]
    rig.advance(901)
    rig.forget()
    rig.command("acknowledge", alarm_id=some_id(0xA000))
    assert rig.refusals == []


def test_every_command_is_acknowledged_to_the_broker() -> None:
    rig = Rig()
    rig.offer()
    for action in ("beat", "acknowledge", "resolve", "panic", "open_test", "close_test"):
        rig.command(action)
    rig.command("dispatch", alarm_id=some_id(5))
    rig.receive()
    given = sum(len(done.receipts) for done in rig.done(Acknowledge))
    assert given == 1 + 8  # the offer, and each command once


# --- the owner repairs ---------------------------------------------------------------------


def test_on_connect_every_document_goes_out_again() -> None:
    rig = Rig()
    rig.offer()
    rig.heartbeat(held())
    for link in ("posts", "mcc"):
        rig.disconnect(link)
    rig.retained.clear()
    rig.connect()
    assert rig.listed() is not None
    assert rig.alarm_document().state == "received"
    assert rig.post_document().connection == "online"
    assert rig.gateway_document().online


def test_a_document_that_differs_is_overwritten_and_an_unknown_one_cleared() -> None:
    rig = Rig()
    rig.offer()
    old = rig.alarm_document()
    rig.command("acknowledge")
    rig.disconnect("mcc")
    topic = TOPICS.mcc("alarms", ALARM)
    unknown = TOPICS.mcc("alarms", some_id(0xDD))
    rig.retained[topic] = old
    rig.retained[unknown] = msgspec.structs.replace(old, alarm_id=some_id(0xDD))
    rig.connect("mcc")
    assert rig.alarm_document().state == "acknowledged"
    assert unknown not in rig.retained


def test_the_documents_of_another_gateway_are_left_alone() -> None:
    rig = Rig()
    rig.offer()
    other = msgspec.structs.replace(
        rig.alarm_document(), alarm_id=some_id(0xDD), gateway="mlg-other"
    )
    post = msgspec.structs.replace(rig.post_document(), post=OTHER_POST, gateway="mlg-other")
    rig.retained[TOPICS.mcc("alarms", some_id(0xDD))] = other
    rig.retained[TOPICS.mcc("posts", OTHER_POST)] = post
    rig.disconnect("mcc")
    rig.connect("mcc")
    assert rig.retained[TOPICS.mcc("alarms", some_id(0xDD))] is other
    assert rig.retained[TOPICS.mcc("posts", OTHER_POST)] is post


def test_a_state_document_of_a_post_that_is_not_known_becomes_an_empty_list() -> None:
    rig = Rig()
    rig.offer()
    rig.journal.clear()
    rig.restart()
    assert rig.state_document().alarms == ()


def test_a_post_that_only_the_mccs_documents_know_is_supervised() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.restart()
    assert rig.post_document().connection == "unknown"
    rig.advance(91)
    assert rig.post_document().connection == "silent"


def test_the_live_echo_of_an_own_document_is_passed_over() -> None:
    rig = Rig()
    rig.offer()
    old = rig.alarm_document()
    rig.command("acknowledge")
    rig.forget()
    rig.hear(old, TOPICS.parse(TOPICS.mcc("alarms", ALARM)))
    assert rig.published(MccAlarm) == []


def test_documents_go_out_at_a_bounded_rate_alarms_first() -> None:
    rig = Rig()
    posts = 3 * SAY_BURST
    for n in range(posts):
        rig.heartbeat(post=f"post-{n}")
    rig.offer()
    rig.advance(60)
    rig.disconnect("mcc")
    rig.forget()
    rig.connections["mcc"] = some_id(0xEE)
    effects = rig.gateway.handle(LinkUp("mcc", some_id(0xEE)), rig.now)
    documents = [e for e in effects if isinstance(e, Publish) and e.retain]
    assert len(documents) == SAY_BURST + 1  # and the gateway's own
    assert isinstance(documents[1].message, MccAlarm)
    rig.advance(2)
    assert len(rig.published(MccPost)) == posts + 1 - (SAY_BURST - 1)


def test_a_document_that_a_full_link_did_not_take_is_said_again_a_second_later() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.forget()
    rig.send(NotSent("mcc", TOPICS.mcc("posts", POST)))
    rig.send(NotSent("mcc", TOPICS.mcc("gateways", GATEWAY)))
    assert rig.published(MccPost) == []
    rig.advance(1)
    assert len(rig.published(MccPost)) == 1


# --- the gateway's buzzer ------------------------------------------------------------------


def test_the_buzzer_sounds_for_an_alarm_its_repeat_and_its_answer() -> None:
    rig = Rig()
    rig.offer(age_s=10)
    rig.offer(age_s=10, repeat_ages_s=(1,))
    rig.offer(age_s=10, repeat_ages_s=(1,))
    rig.command("acknowledge", repeats=1)
    rig.command("resolve", repeats=1)
    assert rig.sounds == ["alarm", "alarm", "acknowledged"]


def test_an_alarm_that_nobody_answers_escalates_every_60_s() -> None:
    rig = Rig()
    rig.offer()
    rig.advance(59)
    assert rig.sounds == ["alarm"]
    rig.advance(2)
    assert rig.sounds == ["alarm", "escalation"]
    rig.advance(60)
    assert rig.sounds == ["alarm", "escalation", "escalation"]
    rig.command("acknowledge")
    rig.advance(300)
    assert rig.sounds[3:] == ["acknowledged"]


def test_the_escalation_goes_on_after_a_restart() -> None:
    rig = Rig()
    rig.offer()
    rig.restart()
    rig.forget()
    rig.advance(61)
    assert rig.sounds == ["escalation"]


def test_a_silent_gateway_never_sounds() -> None:
    rig = Rig(settings=GatewaySettings(GATEWAY, silent=True))
    rig.offer()
    rig.advance(100)
    rig.command("acknowledge")
    assert rig.sounds == []
    assert rig.logged("alarm_escalated")


def test_a_heartbeat_too_slow_for_the_window_is_a_fault_of_its_own_and_no_silence() -> None:
    rig = Rig()
    rig.presence(online=True, heartbeat_s=HEARTBEAT_S_MAX)
    rig.heartbeat()
    assert rig.post_document().faults == ("heartbeat_too_slow",)
    rig.advance(HEARTBEAT_S_MAX)
    rig.heartbeat()
    assert rig.post_document().connection == "online"
    rig.presence(online=False)  # the will does not say it
    assert rig.post_document().faults == ("heartbeat_too_slow",)
    rig.presence(online=True, heartbeat_s=40)
    assert rig.post_document().faults == ()


@pytest.mark.parametrize(
    ("silent_after_s", "heartbeat_s", "is_fault"),
    [(20, 5, False), (20, 6, True), (20, 30, True), (90, 40, False), (90, 41, True)],
)
def test_two_heartbeats_and_10_s_have_to_fit_into_the_window(
    silent_after_s: int, heartbeat_s: int, is_fault: bool
) -> None:
    rig = Rig(settings=GatewaySettings(GATEWAY, silent_after_s=silent_after_s))
    for retained in (False, True):  # after its restart the broker tells the gateway
        rig.presence(online=True, heartbeat_s=heartbeat_s, retained=retained)
        assert rig.post_document().faults == (("heartbeat_too_slow",) if is_fault else ())
        rig.restart()


def test_a_gateway_of_thrifty_posts_waits_for_two_of_their_heartbeats() -> None:
    rig = Rig()
    rig.settings = rig.settings.__class__("mlg", silent_after_s=180)
    rig.restart()
    rig.connect()
    rig.presence(online=True, heartbeat_s=HEARTBEAT_S_MAX)
    for _ in range(3):
        rig.heartbeat()
        rig.advance(2 * HEARTBEAT_S_MAX)  # one is lost
        assert rig.post_document().connection == "online"
    assert rig.post_document().faults == ()
    rig.advance(20)
    assert rig.post_document().connection == "silent"
