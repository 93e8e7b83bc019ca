"""The daily self-test of a post, under virtual time: it proves the way and is never a call."""

from __future__ import annotations

import msgspec

from device.core import (
    GATEWAY_DEAF_US,
    SECOND_US,
    SELFTEST_PAUSE_US,
    SELFTEST_QUIET_US,
    UNRESOLVED_MAX,
    Click,
    Edge,
    PostSettings,
    Pulse,
    ShowLamp,
    Sound,
)
from device.held import Held
from process.core import Tick
from protocol import messages
from protocol.messages import Alarm, Health, ListedAlarm
from protocol.values import timestamp
from tests.device.rig import POST_ID, WALL_MS, Rig, listed

DUE = timestamp(WALL_MS)
NEXT_DUE = timestamp(WALL_MS + 86_400_000)
LOOPED = PostSettings(POST_ID, -7.944, 112.611, "test", loop=True)


def due(rig: Rig | None = None, **rig_has: object) -> Rig:
    """A post that is connected, at rest for a minute, and reads that its self-test is due."""
    rig = rig or Rig(**rig_has)  # type: ignore[arg-type]
    rig.advance(60)
    rig.connect()
    rig.document(due=DUE)
    rig.advance(1)
    return rig


def selftests(rig: Rig) -> list[Alarm]:
    """Each once, however often it was offered."""
    offers = {a.alarm_id: a for a in rig.published(Alarm) if a.kind == "selftest"}
    return list(offers.values())


def over(alarm_id: str) -> ListedAlarm:
    return msgspec.structs.replace(listed(alarm_id, "resolved", answered=0), kind="selftest")


def reports(rig: Rig) -> list[Health]:
    return [health for health in rig.published(Health) if health.selftest is not None]


def test_a_due_selftest_is_on_disk_before_it_is_offered_and_neither_seen_nor_heard() -> None:
    rig = due()
    (alarm,) = selftests(rig)
    assert alarm.alarm_id in rig.held
    rig.document(over(alarm.alarm_id))
    rig.advance(30)
    assert {effect.meaning for effect in rig.done(ShowLamp)} <= {"out_of_order", "armed"}
    assert rig.lamp() == "armed"
    assert rig.done(Sound) == []
    assert rig.done(Click) == []


def test_its_answer_is_reported_with_each_hop_until_a_heartbeat_is_answered() -> None:
    rig = due()
    (alarm,) = selftests(rig)
    rig.document(over(alarm.alarm_id))
    rig.advance(1)
    report = reports(rig)[-1].selftest
    assert report is not None
    assert (report.alarm_id, report.on_disk, report.lamp) == (alarm.alarm_id, True, "armed")
    assert report.disk_ms == 0
    assert report.answered_ms is not None
    rig.answer()
    said = len(reports(rig))
    rig.advance(60)
    assert len(reports(rig)) == said


def test_one_selftest_for_each_time_it_is_due() -> None:
    rig = due()
    (alarm,) = selftests(rig)
    rig.document(over(alarm.alarm_id))
    rig.document(due=DUE)
    rig.advance(600)
    assert len({one.alarm_id for one in selftests(rig)}) == 1
    rig.document(due=NEXT_DUE)
    rig.advance(1)
    assert len({one.alarm_id for one in selftests(rig)}) == 2


def test_what_the_wiring_lets_a_selftest_say_of_the_button() -> None:
    assert selftests(due())[0].circuit == "unproven"
    assert selftests(due(nc_closed=True))[0].circuit == "levels"
    assert selftests(due(settings=LOOPED))[0].circuit == "looped"
    assert selftests(due(nc_closed=True, settings=LOOPED))[0].circuit == "looped"


def test_a_pulse_that_the_line_does_not_show_is_a_dead_circuit_and_the_lamp_says_so() -> None:
    rig = due(settings=LOOPED, loop="dead")
    (alarm,) = selftests(rig)
    assert alarm.circuit == "dead"
    assert rig.post.faults == ("button_circuit_dead",)
    assert rig.lamp() == "out_of_order"
    rig.document(over(alarm.alarm_id))
    rig.loop = "good"
    rig.answer()
    rig.document(due=NEXT_DUE)
    rig.advance(SELFTEST_PAUSE_US / SECOND_US)
    assert not rig.post.faults


def test_a_press_shows_that_a_circuit_lives() -> None:
    rig = due(settings=LOOPED, loop="dead")
    rig.press()
    assert rig.post.faults == ()


def test_a_stuck_button_is_a_dead_circuit() -> None:
    rig = Rig(settings=LOOPED)
    rig.send(Edge("button", rig.at_us, closed=True))
    due(rig)
    assert selftests(rig)[0].circuit == "dead"
    assert rig.done(Pulse) == []
    assert rig.post.faults == ("button_stuck",)


def test_a_pulse_is_no_press_and_three_presses_around_it_are_a_call() -> None:
    rig = Rig(settings=LOOPED)
    rig.advance(60)
    rig.connect()
    rig.document(due=DUE)
    rig.loop = "by hand"
    rig.send(Tick())
    assert len(rig.done(Pulse)) == 1
    # The finger comes while the loop-back closes the line: from outside it is one closing.
    rig.send(Edge("button", rig.at_us + 300, closed=True))
    rig.advance(0.09)
    rig.send(Edge("button", rig.at_us, closed=False))
    rig.advance(0.2)
    rig.press()
    rig.press()
    assert len(rig.done(Click)) == 3
    assert [held.is_call for held, _ in rig.post.held] == [True]
    assert selftests(rig) == []
    assert rig.lamp() == "calling"


def test_a_loop_back_that_is_too_slow_is_found_and_makes_no_call() -> None:
    """A plain relay without the capacitor of the drawing: what it makes are presses."""
    rig = Rig(settings=LOOPED, loop="slow")
    rig.advance(60)
    rig.connect()
    rig.document(due=DUE)
    for _ in range(40):
        if len(rig.done(Pulse)) > len(rig.done(Click)):
            rig.send(Edge("button", rig.at_us + 300, closed=True))
            rig.advance(0.04)
            rig.send(Edge("button", rig.at_us, closed=False))
        rig.advance(10)
        rig.answer()
    assert [alarm.circuit for alarm in selftests(rig)] == ["dead"]
    assert [held.is_call for held, _ in rig.post.held] == [False]


def test_a_selftest_waits_until_nobody_has_touched_the_button_for_a_while() -> None:
    rig = Rig(settings=LOOPED)
    rig.advance(60)
    rig.connect()
    rig.press()
    rig.document(due=DUE)
    rig.advance(SELFTEST_QUIET_US / SECOND_US - 0.5)
    assert rig.done(Pulse) == []
    rig.advance(0.6)
    assert len(rig.done(Pulse)) == 1


def test_it_waits_for_the_end_of_a_call_and_of_a_test_window() -> None:
    rig = Rig()
    rig.advance(60)
    rig.connect()
    alarm_id = rig.press3()
    rig.document(listed(alarm_id, "received"), due=DUE)
    rig.advance(60)
    assert selftests(rig) == []
    window = messages.TestWindow(until=NEXT_DUE, opened_by="Ani", command_id=alarm_id)
    rig.document(listed(alarm_id, "resolved", answered=0), due=DUE, window=window)
    rig.advance(60)
    assert selftests(rig) == []
    rig.document(due=DUE)
    rig.advance(1)
    assert len(selftests(rig)) == 1


def test_calls_during_a_selftest_are_calls_and_a_selftest_takes_none_of_their_places() -> None:
    rig = due()
    (selftest,) = selftests(rig)
    rig.document(listed_selftest(selftest.alarm_id))
    for _ in range(UNRESOLVED_MAX):
        alarm_id = rig.press3()
        rig.document(
            listed_selftest(selftest.alarm_id),
            *(
                listed(held.alarm_id, "acknowledged", answered=0)
                for held, _ in rig.post.held
                if held.is_call
            ),
        )
        rig.advance(6)
        assert rig.newest.alarm_id == alarm_id
    assert sum(held.is_call for held, _ in rig.post.held) == UNRESOLVED_MAX
    assert rig.lamp() == "answered"


def listed_selftest(alarm_id: str) -> ListedAlarm:
    return msgspec.structs.replace(listed(alarm_id, "received"), kind="selftest")


def test_a_cancel_key_means_no_selftest() -> None:
    rig = due()
    rig.send(Edge("cancel", rig.at_us, closed=True))
    rig.advance(4)
    assert rig.newest.alarm.cancel_requested_at is None


def test_a_selftest_that_a_restart_interrupts_goes_on_and_is_reported() -> None:
    rig = due()
    (alarm,) = selftests(rig)
    again = Rig(held=dict(rig.held), boot_id="00000000-0000-4000-8000-0000000000b1")
    again.connect()
    again.document(due=DUE)
    again.advance(30)
    assert {one.alarm_id for one in selftests(again)} == {alarm.alarm_id}
    again.document(over(alarm.alarm_id))
    again.advance(1)
    report = reports(again)[-1].selftest
    assert report is not None
    assert (report.alarm_id, report.on_disk, report.disk_ms) == (alarm.alarm_id, True, None)


def test_a_selftest_goes_out_without_a_disk_and_says_so() -> None:
    rig = due(disk="failing")
    (alarm,) = selftests(rig)
    rig.document(over(alarm.alarm_id))
    rig.advance(1)
    report = reports(rig)[-1].selftest
    assert report is not None
    assert not report.on_disk


def test_a_gateway_that_hears_heartbeats_and_lists_nothing_is_deaf() -> None:
    rig = due()
    for _ in range(3):
        rig.advance(GATEWAY_DEAF_US / SECOND_US / 2)
        rig.answer()
    assert rig.post.faults == ("gateway_deaf",)
    (alarm_id,) = {one.alarm_id for one in selftests(rig)}
    rig.document(over(alarm_id))
    assert not rig.post.faults


def test_nobody_is_deaf_while_the_link_is_down() -> None:
    rig = due()
    rig.disconnect()
    rig.advance(2 * GATEWAY_DEAF_US / SECOND_US)
    assert rig.post.faults == ()


def test_a_held_selftest_is_no_call() -> None:
    rig = due()
    held = rig.newest
    assert isinstance(held, Held)
    assert not held.is_call
