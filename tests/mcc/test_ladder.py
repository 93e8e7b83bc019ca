"""Who is told when: the ladder alone, under a time that the tests make."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcc.escalation.desk import ATTEMPTS_MAX, PAUSE_MS, PAUSE_MS_MAX, pause_ms
from mcc.escalation.ladder import Call, Ladder, Now, Rise
from mcc.people.watch import Ages, ScreenSeen, faults
from mcc.settings import EscalationSettings

AFTER = EscalationSettings(second_tone_s=15, supervisor_s=60, pickets_s=90)
WALL_MS = 1_800_000_000_000


def at(seconds: float) -> Now:
    return Now(1_000.0 + seconds, WALL_MS + int(seconds * 1000))


def a_call(n: int = 1, *, pressed_s: float = 0, heard_s: float = 0) -> Call:
    return Call(
        f"alarm/{n}", WALL_MS + int(pressed_s * 1000), WALL_MS + int(heard_s * 1000), "polsek-x"
    )


def rungs(rises: list[Rise]) -> list[str]:
    return [one.rung for one in rises]


def test_the_supervisor_is_told_after_60_s_and_the_pickets_after_90_each_once() -> None:
    ladder, call = Ladder(AFTER), a_call()
    told = {second: rungs(ladder.rises([call], at(second))) for second in range(120)}
    assert {second: who for second, who in told.items() if who} == {
        60: ["supervisor"],
        90: ["pickets"],
    }


def test_an_answer_takes_a_call_off_the_ladder() -> None:
    ladder, call = Ladder(AFTER), a_call()
    assert rungs(ladder.rises([call], at(61))) == ["supervisor"]
    assert ladder.rises([], at(62)) == []


def test_a_call_that_comes_late_leaves_operators_the_time_to_the_second_tone() -> None:
    ladder, call = Ladder(AFTER), a_call(pressed_s=-3600)
    assert ladder.rises([call], at(0)) == []
    assert ladder.rises([call], at(14.9)) == []
    assert rungs(ladder.rises([call], at(15))) == ["supervisor", "pickets"]


def test_after_a_restart_of_the_worker_the_ladder_stands_where_it_stood() -> None:
    call = a_call()
    assert Ladder(AFTER).rises([call], at(30)) == []
    anew = Ladder(AFTER)
    assert anew.rises([call], at(59)) == []
    assert rungs(anew.rises([call], at(60))) == ["supervisor"]


@given(st.floats(-86_400, 86_400))
def test_a_step_of_the_wall_clock_moves_no_deadline(step_s: float) -> None:
    ladder, call = Ladder(AFTER), a_call()
    ladder.rises([call], at(1))
    stepped = Now(1_000 + 59.9, WALL_MS + int((59.9 + step_s) * 1000))
    assert ladder.rises([call], stepped) == []
    assert rungs(ladder.rises([call], Now(1_060, stepped.wall_ms))) == ["supervisor"]


def test_a_press_that_seems_to_lie_in_the_future_counts_from_now() -> None:
    ladder, call = Ladder(AFTER), a_call(pressed_s=500, heard_s=500)
    assert ladder.rises([call], at(0)) == []
    assert rungs(ladder.rises([call], at(60))) == ["supervisor"]


def test_the_ladder_remembers_no_call_that_is_over() -> None:
    ladder = Ladder(AFTER)
    for n in range(1_000):
        ladder.rises([a_call(n)], at(0))
    assert len(ladder._due_s) == 2


def test_pauses_between_attempts_double_up_to_a_bound() -> None:
    pauses = [pause_ms(attempt) for attempt in range(1, ATTEMPTS_MAX + 1)]
    assert pauses[:3] == [PAUSE_MS, 2 * PAUSE_MS, 4 * PAUSE_MS]
    assert max(pauses) == PAUSE_MS_MAX
    assert pause_ms(10_000) == PAUSE_MS_MAX


# --- whether the command centre would answer ----------------------------------------------------


def a_screen(age_s: float = 1, *, sound: bool = True, may_answer: bool = True) -> ScreenSeen:
    return ScreenSeen(age_s, sound, may_answer)


def test_a_manned_desk_with_a_console_that_sounds_is_no_fault() -> None:
    assert faults(1, [a_screen(sound=False), a_screen()], silent_s=60) == {}


def test_nobody_on_shift_is_a_fault_whatever_is_open() -> None:
    assert list(faults(0, [a_screen()], silent_s=60)) == ["nobody_on_shift"]


def test_a_console_without_sound_or_word_or_somebody_who_may_answer_does_not_count() -> None:
    for screens in ([], [a_screen(sound=False)], [a_screen(60)], [a_screen(may_answer=False)]):
        assert list(faults(1, screens, silent_s=60)) == ["no_console_with_sound"]


def test_ages_are_measured_where_they_are_seen_and_survive_a_step_of_the_wall_clock() -> None:
    ages = Ages()
    assert ages.of({"a": 1_000}, mono_s=50, wall_ms=3_000) == {"a": 2.0}
    assert ages.of({"a": 1_000}, mono_s=55, wall_ms=9_000_000) == {"a": 7.0}
    assert ages.of({"a": 2_000}, mono_s=60, wall_ms=0) == {"a": 0.0}
    assert ages.of({}, mono_s=61, wall_ms=0) == {}
    assert len(ages._seen) == 0
