"""Clicks begin at once, sounds are played once each and told, and nothing makes the thread die."""

import threading
import time
from collections.abc import Iterator

import pytest

from hardware.buzzer import CLICK_MS, SOUNDS_WAITING_MAX, Buzzer, Sound, check_sound
from hardware.pins import MockPins

NUMBER = 18
SHORT: Sound = ((20, 20), (20, 0))
LONG: Sound = ((30_000, 0),)


@pytest.fixture
def pins() -> MockPins:
    return MockPins()


@pytest.fixture
def buzzer(pins: MockPins) -> Iterator[Buzzer]:
    buzzer = Buzzer(pins, NUMBER)
    yield buzzer
    buzzer.close()


def _eventually(pins: MockPins, level: int) -> bool:
    """Whether the buzzer's pin comes to `level` within 2 s."""
    until_s = time.monotonic() + 2
    while pins.level(NUMBER) != level:
        if time.monotonic() > until_s:
            return False
        threading.Event().wait(0.002)
    return True


def test_a_click_begins_in_the_calling_thread_and_ends_by_itself(
    pins: MockPins, buzzer: Buzzer
) -> None:
    began_s = time.monotonic()
    buzzer.click()
    assert pins.level(NUMBER) == 1
    assert not buzzer.sounding
    assert _eventually(pins, 0)
    assert time.monotonic() - began_s >= CLICK_MS / 1000


def test_a_sound_is_played_once_and_then_told(pins: MockPins, buzzer: Buzzer) -> None:
    done = threading.Event()
    began_s = time.monotonic()
    assert buzzer.sound(SHORT, done.set)
    assert buzzer.sounding
    assert done.wait(2)
    assert time.monotonic() - began_s >= 0.060
    assert not buzzer.sounding
    assert pins.level(NUMBER) == 0


def test_a_click_during_a_sound_is_swallowed(pins: MockPins, buzzer: Buzzer) -> None:
    buzzer.sound(LONG, lambda: None)
    assert _eventually(pins, 1)
    buzzer.click()
    assert buzzer._click_until_s is None
    assert pins.level(NUMBER) == 1


def test_a_sound_begun_during_a_click_is_whole(pins: MockPins, buzzer: Buzzer) -> None:
    done = threading.Event()
    buzzer.click()
    began_s = time.monotonic()
    buzzer.sound(((100, 0),), done.set)
    assert done.wait(2)
    assert time.monotonic() - began_s >= 0.1


def test_sounds_are_played_in_turn_and_each_is_told(buzzer: Buzzer) -> None:
    told: list[int] = []
    last = threading.Event()
    for n in range(3):
        buzzer.sound(((5, 0),), lambda n=n: told.append(n))  # type: ignore[misc]
    buzzer.sound(((5, 0),), last.set)
    assert last.wait(2)
    assert told == [0, 1, 2]


def test_a_sound_beyond_sixteen_waiting_is_refused(pins: MockPins, buzzer: Buzzer) -> None:
    buzzer.sound(LONG, lambda: None)
    assert _eventually(pins, 1)
    assert all(buzzer.sound(LONG, lambda: None) for _ in range(SOUNDS_WAITING_MAX))
    assert not buzzer.sound(LONG, lambda: None)


def test_stop_is_silence_at_once_and_tells_nobody(pins: MockPins, buzzer: Buzzer) -> None:
    told: list[str] = []
    buzzer.sound(LONG, lambda: told.append("cut short"))
    buzzer.sound(LONG, lambda: told.append("never begun"))
    assert _eventually(pins, 1)
    buzzer.stop()
    assert pins.level(NUMBER) == 0
    assert not buzzer.sounding
    done = threading.Event()
    buzzer.sound(((5, 0),), done.set)
    assert done.wait(2)
    assert told == []


def test_a_done_that_raises_is_counted_and_the_next_sound_plays(buzzer: Buzzer) -> None:
    def fails() -> None:
        raise RuntimeError("queue gone")

    done = threading.Event()
    buzzer.sound(((5, 0),), fails)
    buzzer.sound(((5, 0),), done.set)
    assert done.wait(2)
    assert buzzer.failures == 1


def test_a_buzzer_that_is_not_fitted_takes_the_same_time_in_silence() -> None:
    buzzer = Buzzer(None, None)
    done = threading.Event()
    began_s = time.monotonic()
    buzzer.click()
    assert buzzer.sound(((50, 0),), done.set)
    assert buzzer.sounding
    assert done.wait(2)
    assert time.monotonic() - began_s >= 0.05
    buzzer.close()


def test_a_failing_pin_still_tells_that_the_sound_is_over(
    buzzer: Buzzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __setattr__(self, name: str, value: object) -> None:
            raise OSError("GPIO gone")

    monkeypatch.setattr(buzzer, "_pin", Broken())
    done = threading.Event()
    buzzer.sound(((5, 0),), done.set)
    assert done.wait(2)
    assert buzzer.failures >= 1


def test_a_closed_buzzer_refuses(pins: MockPins) -> None:
    buzzer = Buzzer(pins, NUMBER)
    buzzer.sound(LONG, lambda: None)
    buzzer.close()
    buzzer.click()
    assert not buzzer.sound(SHORT, lambda: None)
    assert pins.level(NUMBER) == 0


@pytest.mark.parametrize("pattern", [(), ((0, 5),), ((5, -1),), ((61_000, 0),), ((1, 1),) * 65])
def test_an_impossible_sound_is_refused(pattern: Sound) -> None:
    with pytest.raises(ValueError, match="sound"):
        check_sound(pattern)


def test_a_buzzer_lives_until_it_is_closed(pins: MockPins) -> None:
    buzzer = Buzzer(pins, NUMBER)
    assert buzzer.alive()
    buzzer.close()
    assert not buzzer.alive()
