"""The states of an alarm. They rise and never fall, on every hop and in every store.

Everything that compares or merges states does it with this table.
"""

from __future__ import annotations

from typing import Literal

State = Literal["raised", "received", "delivered", "acknowledged", "dispatched", "resolved"]

#   state          on whose word it is reached
RANK: dict[State, int] = {
    "raised": 0,  # the post: three presses
    "received": 1,  # the gateway: committed to its journal
    "delivered": 2,  # the MCC: its first receipt
    "acknowledged": 3,  # an operator has seen it
    "dispatched": 4,  # a unit is on its way
    "resolved": 5,  # it is over, with an outcome
}
STATES: tuple[State, ...] = tuple(RANK)


def higher(one: State, other: State) -> State:
    """The later of two states: the whole of merging them."""
    return one if RANK[one] >= RANK[other] else other


def is_answered(state: State) -> bool:
    """Whether a person has seen the alarm (acknowledged or later)."""
    return RANK[state] >= RANK["acknowledged"]


def is_open(state: State) -> bool:
    """Whether the alarm is not over yet."""
    return state != "resolved"
