"""What a press means, under virtual time: the rules of the post one by one."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from device.core import LINK, UNRESOLVED_MAX, Click, Commit, Edge, Loaded, PostSettings, Sound
from process.core import Drop, Log, Publish, Stop
from protocol import messages
from protocol.messages import Alarm, Health, Presence
from protocol.values import timestamp
from tests.device.rig import BOOT, POST_ID, WALL_MS, Rig, listed

OTHER_BOOT = "00000000-0000-4000-8000-0000000000b1"


def connected() -> Rig:
    rig = Rig()
    rig.connect()
    rig.document()
    return rig


# --- raising -------------------------------------------------------------------------------


def test_three_presses_are_committed_before_they_are_offered() -> None:
    rig = connected()
    alarm_id = rig.press3()
    commit = next(c for c in rig.done(Commit) if c.puts)
    offer = next(p for p in rig.done(Publish) if isinstance(p.message, Alarm))
    assert [held.alarm_id for held in commit.puts] == [alarm_id]
    assert rig.effects.index(commit) < rig.effects.index(offer)
    assert len(rig.offers(alarm_id)) == 1
    assert rig.lamp() == "calling"


def test_edges_that_waited_in_a_stalled_queue_are_still_one_press() -> None:
    rig = connected()
    began_us = rig.at_us
    rig.at_us += 150_000  # the loop was held up while one press with 10 ms of release bounce came
    for n, at_ms in enumerate((0, 1, 2, 100, 101, 105, 107, 109.9)):
        rig.send(Edge("button", began_us + int(at_ms * 1000), closed=n % 2 == 0))
    rig.advance(6)
    assert len(rig.done(Click)) == 1
    assert rig.post.held == ()
    assert "button_worn" not in rig.post.faults


def test_each_counted_press_clicks_and_a_near_miss_does_nothing_else() -> None:
    rig = connected()
    rig.press()
    rig.press()
    rig.advance(60)
    assert len(rig.done(Click)) == 2
    assert rig.post.held == ()
    assert rig.lamp() != "calling"


def test_the_offer_carries_everything_the_gateway_needs() -> None:
    rig = connected()
    alarm_id = rig.press3()
    alarm = rig.offers(alarm_id)[0]
    assert alarm.kind == "panic"
    assert alarm.boot_id == BOOT
    assert alarm.sent_uptime_ms is not None
    assert 0 <= alarm.sent_uptime_ms - alarm.raised_uptime_ms < 100
    assert alarm.presses_ms == (-600, -300, 0)
    assert alarm.location.source == "surveyed"


def test_ten_hasty_presses_are_one_alarm_without_repeats() -> None:
    rig = connected()
    for _ in range(10):
        rig.press(0.06, 0.06)
    assert len(rig.post.held) == 1
    assert rig.newest.repeats == 0
    assert len(rig.done(Click)) == 10


def test_three_more_presses_after_a_pause_are_a_repeat() -> None:
    rig = connected()
    first = rig.press3()
    rig.advance(2.1)
    assert rig.press3() == first
    assert rig.newest.repeats == 1
    assert rig.offers(first)[-1].repeat_uptimes_ms == (rig.offers(first)[-1].repeat_uptimes_ms[0],)


def test_presses_without_a_pause_stay_one_call_for_ever() -> None:
    rig = connected()
    for _ in range(40):
        rig.press(0.1, 1.5)
    assert len(rig.post.held) == 1
    assert rig.newest.repeats == 0


def test_after_the_acknowledgement_three_presses_are_a_new_alarm_that_follows() -> None:
    rig = connected()
    first = rig.press3()
    rig.document(listed(first, "acknowledged", answered=0))
    rig.advance(5)
    second = rig.press3()
    assert second != first
    assert rig.newest.alarm.follows == first


def test_after_the_resolution_three_presses_are_a_new_alarm_that_follows_nothing() -> None:
    rig = connected()
    first = rig.press3()
    rig.document(listed(first, "resolved", answered=0))
    rig.document()
    rig.advance(5)
    rig.press3()
    assert rig.newest.alarm.follows is None


def test_when_a_call_is_over_the_next_presses_are_a_new_one_however_hasty() -> None:
    rig = connected()
    first = rig.press3()
    rig.document(listed(first, "resolved", answered=0))
    rig.document()
    for _ in range(3):
        rig.press(0.1, 1.2)
    assert rig.newest.alarm_id != first


def test_the_call_after_64_repeats_is_an_alarm_of_its_own() -> None:
    rig = connected()
    first = rig.press3()
    for _ in range(65):
        rig.advance(3)
        rig.press3()
    assert len(rig.post.held) == 2
    assert rig.newest.alarm.follows == first


# --- the outbox ----------------------------------------------------------------------------


def test_a_hanging_disk_delays_the_call_by_one_second_and_is_a_fault() -> None:
    rig = connected()
    rig.disk = "hanging"
    alarm_id = rig.press3()
    assert rig.offers(alarm_id) == []
    assert rig.lamp() != "calling"
    rig.advance(1.0)
    assert len(rig.offers(alarm_id)) == 1
    assert rig.lamp() == "calling"
    assert "disk_hanging" in rig.post.faults
    assert rig.post.held[-1][1] is False
    rig.disk = "good"
    rig.finish_commits()
    assert "disk_hanging" not in rig.post.faults
    assert rig.post.held[-1][1] is True


def test_a_failing_disk_lets_the_call_out_at_once_and_is_tried_again() -> None:
    rig = connected()
    rig.disk = "failing"
    alarm_id = rig.press3()
    assert len(rig.offers(alarm_id)) == 1
    assert "disk_failing" in rig.post.faults
    rig.disk = "good"
    rig.advance(6)
    assert alarm_id in rig.held
    assert "disk_failing" not in rig.post.faults


def test_alarms_of_a_disk_that_answers_late_are_offered_and_until_then_nothing_is_armed() -> None:
    before = connected()
    alarm_id = before.press3()
    rig = Rig(boot_id=OTHER_BOOT)
    rig.send(Loaded((), "disk_failing", unread=True))
    rig.connect()
    rig.document()
    assert rig.lamp() == "out_of_order"
    assert not rig.post.listening
    rig.send(Loaded(tuple(before.held.values())))
    assert len(rig.offers(alarm_id)) == 1
    assert rig.lamp() == "calling"


def test_only_one_write_is_under_way_however_often_the_button_is_pressed() -> None:
    rig = connected()
    rig.disk = "hanging"
    rig.press3()
    for _ in range(30):
        rig.advance(3)
        rig.press3()
    assert len(rig.waiting) == 1


def test_an_alarm_survives_a_restart_with_everything_it_says() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.advance(3)
    rig.press3()
    again = Rig(held=rig.held, boot_id=OTHER_BOOT, at_us=5_000_000)
    again.connect()
    again.document()
    again.advance(2)
    alarm = again.offers(alarm_id)[0]
    assert alarm.boot_id == BOOT
    assert alarm.sent_uptime_ms is None
    assert len(alarm.repeat_uptimes_ms) == 1


def test_a_repeat_in_a_later_boot_cannot_be_placed() -> None:
    rig = connected()
    alarm_id = rig.press3()
    again = Rig(held=rig.held, boot_id=OTHER_BOOT, at_us=5_000_000)
    again.connect()
    again.document(listed(alarm_id, "received"))
    again.press3()
    assert again.newest.alarm.repeat_uptimes_ms == (None,)


def test_an_alarm_from_the_card_is_repeated_only_when_the_gateway_has_said_what_it_knows() -> None:
    """The card may have forgotten a repeat that an operator has answered meanwhile."""
    rig = connected()
    from_card = rig.press3()
    again = Rig(held=rig.held, boot_id=OTHER_BOOT, at_us=5_000_000)
    own = again.press3()
    assert own != from_card
    assert again.newest.alarm.follows == from_card
    again.connect(answering=False)
    known = listed(from_card, "received", repeats=2)
    again.document(known, listed(own, "acknowledged", answered=0))
    again.advance(5)
    other = again.press3()  # the document may be older than what was offered before the start
    assert other not in (from_card, own)
    again.document(known, *(listed(one, "acknowledged", answered=0) for one in (own, other)))
    again.answer()
    again.advance(5)
    again.press3()
    assert again.newest.alarm_id == other
    assert again.held[from_card].repeats == 3


# --- offering and listing ------------------------------------------------------------------


def test_an_alarm_is_offered_again_with_growing_bounded_pauses_until_it_is_listed() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.advance(600)
    sent = [a.sent_uptime_ms or 0 for a in rig.offers(alarm_id)]
    pauses_ms = [b - a for a, b in itertools.pairwise(sent)]
    assert 750 <= pauses_ms[0] <= 1250
    assert max(pauses_ms) <= 12_500
    assert len(sent) >= 600 // 13
    rig.document(listed(alarm_id, "received"))
    count = len(rig.offers(alarm_id))
    rig.advance(600)
    assert len(rig.offers(alarm_id)) == count


def test_a_listing_without_the_repeat_is_no_receipt_for_it() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.document(listed(alarm_id, "received"))
    rig.advance(3)
    rig.press3()
    count = len(rig.offers(alarm_id))
    rig.advance(40)
    assert len(rig.offers(alarm_id)) > count
    rig.document(listed(alarm_id, "received", repeats=1))
    count = len(rig.offers(alarm_id))
    rig.advance(100)
    assert len(rig.offers(alarm_id)) == count


def test_scenario_01_a_listing_of_an_earlier_connection_proves_nothing() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.document(listed(alarm_id, "received"))
    rig.disconnect()
    rig.connect()
    count = len(rig.offers(alarm_id))
    rig.document()  # the gateway is back on an old journal and lists nothing
    rig.advance(2)
    assert len(rig.offers(alarm_id)) > count


def test_a_document_of_an_earlier_connection_is_not_heard() -> None:
    rig = connected()
    alarm_id = rig.press3()
    old = rig.connection
    rig.disconnect()
    rig.connect()
    rig.document(listed(alarm_id, "acknowledged", answered=0), connection=old)
    assert not rig.newest.answered


def test_an_alarm_raised_without_a_link_goes_out_as_soon_as_there_is_one() -> None:
    rig = Rig()
    alarm_id = rig.press3()
    rig.advance(3600)
    rig.connect()
    assert len(rig.offers(alarm_id)) == 1


# --- the lamp ------------------------------------------------------------------------------


def test_the_lamp_is_armed_only_while_gateway_and_mcc_answer() -> None:
    rig = Rig()
    assert rig.lamp() == "out_of_order"
    rig.connect(answering=False)
    assert rig.lamp() == "out_of_order"
    rig.answer(mcc=False)
    assert rig.lamp() == "out_of_order"
    rig.advance(30)
    rig.answer()
    assert rig.lamp() == "armed"
    rig.advance(44)
    assert rig.lamp() == "armed"
    rig.advance(1.1)
    assert rig.lamp() == "out_of_order"


def test_the_strict_heartbeat_of_5_s_puts_the_lamp_out_of_order_after_10_s() -> None:
    rig = Rig(settings=PostSettings(POST_ID, -7.9, 112.6, "test", heartbeat_s=5))
    rig.connect()
    rig.advance(9.9)
    assert rig.lamp() == "armed"
    rig.advance(0.2)
    assert rig.lamp() == "out_of_order"


def test_an_answer_proves_only_the_moment_its_heartbeat_was_sent() -> None:
    rig = Rig()
    rig.connect(answering=False)
    rig.advance(29)
    rig.answer(beat=rig.published(Health)[0].n)  # the heartbeat of 29 s ago
    assert rig.lamp() == "armed"
    rig.advance(15.9)
    assert rig.lamp() == "armed"
    rig.advance(0.2)
    assert rig.lamp() == "out_of_order"


def test_heartbeats_come_sooner_until_one_is_answered() -> None:
    rig = Rig()
    rig.connect(answering=False)
    rig.advance(7.5)
    assert len(rig.published(Health)) == 4  # at 0, 1, 3 and 7 s
    rig.answer()
    rig.advance(29)
    assert len(rig.published(Health)) == 4
    rig.advance(1)
    assert len(rig.published(Health)) == 5


def test_the_lamp_is_out_of_order_at_once_when_the_connection_closes() -> None:
    rig = connected()
    assert rig.lamp() == "armed"
    rig.disconnect()
    assert rig.lamp() == "out_of_order"


def test_a_call_not_listed_for_20_s_is_out_of_order_and_goes_on_trying() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.advance(19)
    assert rig.lamp() == "calling"
    rig.advance(1.1)
    assert rig.lamp() == "out_of_order"
    count = len(rig.offers(alarm_id))
    rig.advance(60)
    assert len(rig.offers(alarm_id)) > count
    rig.document(listed(alarm_id, "received"))
    assert rig.lamp() == "calling"


def test_an_answered_call_stays_answered_without_a_link() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.document(listed(alarm_id, "acknowledged", answered=0))
    rig.disconnect()
    rig.advance(3600)
    assert rig.lamp() == "answered"


def test_a_new_cry_is_not_outshone_by_an_older_answered_one() -> None:
    rig = connected()
    first = rig.press3()
    rig.document(listed(first, "acknowledged", answered=0))
    rig.advance(3)
    rig.press3()
    assert rig.lamp() == "calling"


def test_after_the_resolution_the_lamp_is_armed_and_the_alarm_forgotten_when_unlisted() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.document(listed(alarm_id, "resolved", answered=0))
    rig.answer()
    assert rig.lamp() == "armed"
    rig.advance(1)
    assert [h.state for h in rig.published(Health)[-1].alarms] == ["resolved"]
    rig.document()
    assert rig.post.held == ()
    assert rig.held == {}


# --- the buzzer ----------------------------------------------------------------------------


def test_the_buzzer_sounds_once_per_acknowledgement() -> None:
    rig = connected()
    alarm_id = rig.press3()
    for state in ("received", "acknowledged", "acknowledged", "dispatched", "resolved"):
        rig.document(listed(alarm_id, state, answered=0))
    rig.disconnect()
    rig.connect()
    rig.document(listed(alarm_id, "resolved", answered=0))
    assert len(rig.done(Sound)) == 1


def test_the_answer_is_on_disk_before_it_sounds() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.disk = "hanging"
    rig.document(listed(alarm_id, "acknowledged", answered=0))
    assert rig.done(Sound) == []
    assert rig.waiting[0].puts[0].sound == "due"
    rig.disk = "good"
    rig.finish_commits()
    assert len(rig.done(Sound)) == 1
    assert rig.held[alarm_id].sound == "sounded"


def test_scenario_06_a_sound_cut_short_by_a_power_cut_comes_again_and_only_then() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.buzzer = "slow"
    rig.document(listed(alarm_id, "acknowledged", answered=0))
    rig.document(listed(alarm_id, "dispatched", answered=0))
    assert len(rig.done(Sound)) == 1
    again = Rig(held=rig.held, boot_id=OTHER_BOOT)
    assert [s.alarm_id for s in again.done(Sound)] == [alarm_id]
    assert again.newest.answered_repeats == 0
    third = Rig(held=again.held, boot_id=OTHER_BOOT)
    assert third.done(Sound) == []


def test_scenario_14_a_post_that_was_away_sounds_once_and_is_armed() -> None:
    rig = connected()
    alarm_id = rig.press3()
    again = Rig(held=rig.held, boot_id=OTHER_BOOT)
    again.connect()
    again.document(listed(alarm_id, "resolved", answered=0))
    again.answer()
    assert len(again.done(Sound)) == 1
    assert again.lamp() == "armed"
    again.advance(1)
    again.document()
    again.disconnect()
    again.connect()
    again.document()
    assert len(again.done(Sound)) == 1


def test_scenario_19_no_sound_for_what_this_disk_never_held() -> None:
    rig = connected()
    foreign = "12345678-0000-4000-8000-000000000000"
    rig.document(listed(foreign, "delivered"))
    assert rig.lamp() == "calling"
    rig.document(listed(foreign, "acknowledged", answered=0))
    assert rig.lamp() == "answered"
    rig.document(listed(foreign, "resolved", answered=0))
    rig.document()
    rig.answer()
    assert rig.lamp() == "armed"
    assert rig.done(Sound) == []


def test_a_sound_cut_short_by_an_orderly_end_does_not_come_again() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.buzzer = "slow"
    rig.document(listed(alarm_id, "acknowledged", answered=0))
    rig.send(Stop())
    assert rig.held[alarm_id].sound == "sounded"
    assert Rig(held=rig.held).done(Sound) == []


def test_a_silent_post_shows_the_answer_and_makes_no_sound() -> None:
    rig = Rig(settings=PostSettings(POST_ID, -7.9, 112.6, "test", silent=True))
    rig.connect()
    alarm_id = rig.press3()
    rig.document(listed(alarm_id, "acknowledged", answered=0))
    assert rig.lamp() == "answered"
    assert rig.done(Sound) == []
    assert rig.held[alarm_id].sound == "sounded"


# --- calls that came too late to be seen ---------------------------------------------------


@pytest.mark.parametrize("answer", ["acknowledged", "resolved"])
def test_scenario_05_a_cry_that_the_operator_had_not_seen_becomes_a_new_alarm(answer: str) -> None:
    rig = connected()
    first = rig.press3()
    rig.document(listed(first, "delivered"))
    rig.advance(3)
    rig.press3()
    rig.document(listed(first, answer, repeats=1, answered=0))  # type: ignore[arg-type]
    new = rig.newest
    assert new.alarm_id != first
    assert new.alarm.follows == first
    both = [c for c in rig.done(Commit) if len(c.puts) == 2]
    assert {held.alarm_id for held in both[0].puts} == {first, new.alarm_id}
    assert rig.offers(new.alarm_id)
    assert rig.lamp() == "calling"


def test_scenario_05_every_later_call_is_carried_over_once() -> None:
    rig = connected()
    first = rig.press3()
    for _ in range(3):
        rig.advance(3)
        rig.press3()
    rig.document(listed(first, "acknowledged", repeats=3, answered=1))
    rig.document(listed(first, "acknowledged", repeats=3, answered=1))
    assert len(rig.post.held) == 2
    assert rig.newest.repeats == 1  # the second late call raised it, the third repeats it


def test_an_older_copy_of_the_card_carries_the_same_calls_over_under_the_same_id() -> None:
    rig = connected()
    first = rig.press3()
    rig.advance(3)
    rig.press3()
    older = dict(rig.held)
    answer = listed(first, "acknowledged", repeats=1, answered=0)
    rig.document(answer)
    new = rig.newest.alarm_id
    assert new != first
    again = Rig(held=older, boot_id=OTHER_BOOT)
    again.connect()
    again.document(answer)
    assert again.newest.alarm_id == new


@pytest.mark.parametrize("seen", [1, 2])
def test_a_call_after_the_card_has_lost_a_repeat_counts_as_one_more(seen: int) -> None:
    rig = connected()
    first = rig.press3()
    older = dict(rig.held)
    rig.advance(3)
    rig.press3()  # offered, listed, and then the power fails under a card that kept nothing of it
    again = Rig(held=older, boot_id=OTHER_BOOT)
    again.connect()
    again.document(listed(first, "delivered", repeats=1))
    again.press3()
    assert again.newest.repeats == 2
    assert again.offers(first)[-1].repeat_uptimes_ms == (None, None)
    again.document(listed(first, "acknowledged", repeats=2, answered=seen))
    assert (again.newest.alarm.follows == first) == (seen == 1)


def test_what_the_operator_saw_is_frozen_by_the_first_answer() -> None:
    rig = connected()
    first = rig.press3()
    rig.advance(3)
    rig.press3()
    rig.document(listed(first, "acknowledged", repeats=1, answered=1))
    rig.document(listed(first, "dispatched", repeats=1, answered=0))
    assert len(rig.post.held) == 1


def test_scenario_20_at_sixteen_open_alarms_nothing_is_swallowed() -> None:
    rig = connected()
    ids = []
    for _ in range(UNRESOLVED_MAX):
        ids.append(rig.press3())
        rig.document(*(listed(one, "acknowledged", answered=0) for one in ids))
        rig.advance(3)
    assert len(set(ids)) == UNRESOLVED_MAX
    assert rig.press3() == ids[-1]
    assert rig.newest.repeats == 1
    rig.advance(3)
    assert rig.press3() == ids[-1]
    rig.document(
        listed(ids[0], "resolved", answered=0),
        *(listed(one, "acknowledged", answered=0) for one in ids[1:]),
    )
    assert rig.newest.alarm.follows == ids[-1]
    assert rig.newest.repeats == 1


def test_at_sixteen_answered_alarms_a_call_that_waits_is_not_outshone() -> None:
    rig = connected()
    ids: list[str] = []
    for _ in range(UNRESOLVED_MAX):
        ids.append(rig.press3())
        rig.document(*(listed(one, "acknowledged", answered=0) for one in ids))
        rig.advance(3)
    assert rig.lamp() == "answered"
    rig.press3()
    assert rig.lamp() == "calling"
    rig.advance(21)
    assert rig.lamp() == "out_of_order"


def test_a_repeat_of_an_alarm_that_was_listed_long_ago_has_its_own_20_s() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.document(listed(alarm_id, "received"))
    rig.advance(300)
    rig.press3()
    assert rig.lamp() == "calling"
    rig.advance(21)
    assert rig.lamp() == "out_of_order"


def test_what_was_read_of_an_alarm_that_is_not_held_is_told_until_it_is_over() -> None:
    rig = connected()
    foreign = "12345678-0000-4000-8000-000000000000"
    rig.document(listed(foreign, "acknowledged", answered=0))
    rig.advance(31)
    (told,) = rig.published(Health)[-1].alarms
    assert (told.alarm_id, told.state, told.answered_repeats) == (foreign, "acknowledged", 0)
    rig.document(listed(foreign, "resolved", answered=0))
    rig.advance(31)
    assert rig.published(Health)[-1].alarms == ()


# --- cancel --------------------------------------------------------------------------------


def test_a_cancel_key_held_3_s_is_a_request_that_closes_nothing() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.document(listed(alarm_id, "received"))
    rig.send(Edge("cancel", rig.at_us, closed=True))
    rig.advance(2.9)
    assert rig.newest.alarm.cancel_requested_at is None
    rig.advance(0.2)
    rig.send(Edge("cancel", rig.at_us, closed=False))
    rig.advance(1)
    assert rig.newest.alarm.cancel_requested_at is not None
    assert rig.offers(alarm_id)[-1].cancel_requested_at is not None
    assert rig.lamp() == "calling"
    assert rig.newest.state == "received"


# --- faults, heartbeats, boot --------------------------------------------------------------


def test_a_button_closed_at_boot_is_not_pressed_and_is_stuck_after_30_s() -> None:
    rig = Rig(button_closed=True)
    rig.advance(29)
    assert "button_stuck" not in rig.post.faults
    rig.advance(1.1)
    assert "button_stuck" in rig.post.faults
    assert rig.done(Click) == []
    rig.connect()
    assert rig.lamp() == "out_of_order"  # the whole way answers, but nobody could call
    rig.send(Edge("button", rig.at_us, closed=False))
    rig.advance(1)
    assert "button_stuck" not in rig.post.faults


def test_heartbeats_are_numbered_and_name_what_is_held_and_what_is_wrong() -> None:
    rig = connected()
    alarm_id = rig.press3()
    rig.advance(90)
    beats = rig.published(Health)
    assert [b.n for b in beats] == list(range(1, len(beats) + 1))
    assert len(beats) >= 4
    assert [h.alarm_id for h in beats[-1].alarms] == [alarm_id]


def test_a_link_on_which_nothing_answers_is_opened_anew() -> None:
    rig = Rig()
    rig.connect(answering=False)
    rig.advance(119)
    assert rig.done(Drop) == []
    rig.advance(2)
    assert [d.link for d in rig.done(Drop)] == [LINK]


def test_presence_is_retained_and_names_the_connection_and_the_pause_of_heartbeats() -> None:
    rig = connected()
    presence = rig.published(Presence)[0]
    assert presence.online
    assert presence.connection == rig.connection
    assert presence.heartbeat_s == 30
    assert [p.retain for p in rig.done(Publish) if p.message == presence] == [True]


def test_an_unsynchronised_clock_is_said_with_the_alarm() -> None:
    rig = Rig(synchronised=False)
    rig.connect()
    alarm_id = rig.press3()
    assert rig.offers(alarm_id)[0].clock == "unsynchronised"


def test_the_ring_is_written_with_alarms_and_at_least_every_quarter_of_an_hour() -> None:
    rig = connected()
    rig.advance(901)
    written = [event.what for commit in rig.done(Commit) for event in commit.ring]
    assert "started" in written
    assert "link_up" in written


def test_a_quiet_post_lets_its_disk_prove_itself_every_quarter_of_an_hour_and_no_more() -> None:
    rig = connected()
    rig.advance(24 * 3600)
    assert len(rig.done(Commit)) == 24 * 4


def test_a_disk_that_fails_while_nobody_calls_is_a_fault_until_it_works_again() -> None:
    rig = connected()
    rig.disk = "failing"
    rig.advance(901)
    assert "disk_failing" in rig.post.faults
    rig.disk = "good"
    rig.advance(61)
    assert "disk_failing" not in rig.post.faults


def test_a_disk_that_hangs_while_nobody_calls_is_a_fault_until_it_answers() -> None:
    rig = connected()
    rig.disk = "hanging"
    rig.advance(900 + 9)
    assert "disk_hanging" not in rig.post.faults
    rig.advance(2)
    assert "disk_hanging" in rig.post.faults
    rig.finish_commits()
    assert "disk_hanging" not in rig.post.faults


def test_a_failed_write_of_the_ring_alone_does_not_keep_the_post_awake() -> None:
    rig = connected()
    rig.disk = "failing"
    rig.advance(901)
    rig.advance(6)
    wake_us = rig.post.wake_at_us()
    assert wake_us is not None
    assert wake_us > rig.at_us


def test_a_link_that_comes_while_the_card_writes_does_not_keep_the_post_awake() -> None:
    rig = Rig(disk="hanging")
    rig.press3()
    rig.connect()
    wake_us = rig.post.wake_at_us()
    assert wake_us is not None
    assert wake_us > rig.at_us
    rig.advance(1)
    assert len(rig.published(Alarm)) == 1


def test_an_alarm_message_never_exceeds_its_bound() -> None:
    rig = connected()
    alarm_id = rig.press3()
    for _ in range(70):
        rig.advance(3)
        rig.press3()
    alarm = rig.post.held[0][0].alarm
    assert len(alarm.repeat_uptimes_ms) == 64
    assert len(msgspec.json.encode(alarm)) < 4096
    assert isinstance(alarm, Alarm)
    assert alarm.alarm_id == alarm_id


# --- a test window -------------------------------------------------------------------------

WINDOW = messages.TestWindow(
    until=timestamp(WALL_MS + 600_000), opened_by="Ani", command_id=OTHER_BOOT
)


def test_a_test_window_is_shown_until_the_gateway_says_that_it_is_over() -> None:
    rig = connected()
    assert rig.post.practice_until is None
    rig.document(window=WINDOW)
    rig.document(window=WINDOW)
    assert rig.post.practice_until == WINDOW.until
    rig.document()
    assert rig.post.practice_until is None
    said = [line.fields for line in rig.done(Log) if line.event == "test_window"]
    assert said == [{"until": WINDOW.until, "by": "Ani"}, {"until": None, "by": None}]


def test_a_test_window_is_not_shown_beyond_the_connection_on_which_it_was_said() -> None:
    rig = connected()
    rig.document(window=WINDOW)
    rig.disconnect()
    assert rig.post.practice_until is None


def test_a_press_in_a_test_window_is_called_a_panic_all_the_same() -> None:
    rig = connected()
    rig.document(window=WINDOW)
    (offer,) = rig.offers(rig.press3())
    assert offer.kind == "panic"
    assert rig.lamp() == "calling"
