"""States rise and never fall, in whatever order they are merged."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from protocol.states import RANK, STATES, State, higher, is_answered, is_open


def test_the_table_names_every_state_once_in_its_order() -> None:
    assert get_args(State) == STATES
    assert list(RANK.values()) == list(range(len(STATES)))


@pytest.mark.parametrize("state", STATES)
def test_merging_a_state_with_itself_changes_nothing(state: State) -> None:
    assert higher(state, state) == state


def test_the_order_of_merging_does_not_matter() -> None:
    for one, other in product(STATES, repeat=2):
        assert higher(one, other) == higher(other, one)
        assert RANK[higher(one, other)] == max(RANK[one], RANK[other])


def test_the_grouping_of_merges_does_not_matter() -> None:
    for one, other, third in product(STATES, repeat=3):
        assert higher(higher(one, other), third) == higher(one, higher(other, third))


def test_answered_begins_with_acknowledged_and_stays() -> None:
    answered = [state for state in STATES if is_answered(state)]
    assert answered == ["acknowledged", "dispatched", "resolved"]


def test_only_a_resolved_alarm_is_not_open() -> None:
    assert [state for state in STATES if not is_open(state)] == ["resolved"]
