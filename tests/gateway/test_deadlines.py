"""Deadlines: moved, put off cheaply, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.deadlines import Deadlines

STEPS = st.lists(
    st.tuples(st.sampled_from(("set", "cancel", "pass")), st.integers(0, 5), st.integers(0, 50)),
    max_size=80,
)


@given(STEPS)
def test_what_is_due_is_what_a_plain_dictionary_says(steps: list[tuple[str, int, int]]) -> None:
    deadlines, plain, now_us = Deadlines(), dict[tuple[str, ...], int](), 0
    for what, number, amount in steps:
        key = ("post", str(number))
        if what == "set":
            deadlines.set(key, now_us + amount)
            plain[key] = now_us + amount
        elif what == "cancel":
            deadlines.cancel(key)
            plain.pop(key, None)
        else:
            now_us += amount
            next_us = deadlines.next_us()
            if plain:
                assert next_us is not None
                assert next_us <= min(plain.values())
            due = set(deadlines.due(now_us))
            assert due == {one for one, at_us in plain.items() if at_us <= now_us}
            for one in due:
                del plain[one]
        assert len(deadlines) == len(plain)


def test_putting_a_deadline_off_again_and_again_takes_no_memory() -> None:
    deadlines = Deadlines()
    for at_us in range(100_000):
        deadlines.set(("post",), at_us)
    assert len(deadlines._heap) == 1


def test_deadlines_that_are_moved_forward_or_cancelled_take_bounded_memory() -> None:
    deadlines = Deadlines()
    for n in range(100_000):
        deadlines.set(("alarm", str(n)), n)
        deadlines.cancel(("alarm", str(n)))
    for n in range(100_000):
        deadlines.set(("alarm",), 1_000_000 - n)
    assert len(deadlines._heap) <= 1003
    assert deadlines.next_us() == 900_001
