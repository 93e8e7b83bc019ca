"""The result card of an alarm: when it passed each hop of its way, as far as that is known.

Pure: the gateway and the command centre print the same card from what each of them holds. A hop
that did not happen, or that nobody timed, is said to be so and never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.messages import Raised, Step, Steps
from protocol.states import State
from protocol.values import Kind, Outcome, timestamp, wall_ms

WIDTH = 28


class Passed(Protocol):
    """What a card needs of an alarm, whoever holds it."""

    @property
    def post(self) -> str:
        """Whose button."""
        ...

    @property
    def alarm_id(self) -> str:
        """Which call."""
        ...

    @property
    def kind(self) -> Kind:
        """Panic or test."""
        ...

    @property
    def state(self) -> State:
        """How far it has come."""
        ...

    @property
    def raised(self) -> Raised:
        """When the third press was, and how that is known."""
        ...

    @property
    def presses_ms(self) -> Sequence[int]:
        """The presses before it, relative to it."""
        ...

    @property
    def reached(self) -> Steps:
        """The states with their times."""
        ...

    @property
    def repeats(self) -> int:
        """How often it was called again."""
        ...

    @property
    def sounded_at(self) -> str | None:
        """When the post made the answer heard."""
        ...

    @property
    def outcome(self) -> Outcome | None:
        """How it ended."""
        ...


@dataclass(frozen=True)
class Hop:
    """One line: what, when (None: not, or nobody knows), and by whom."""

    what: str
    at: str | None
    by: str | None = None


def hops(alarm: Passed) -> tuple[Hop, ...]:
    """Every hop from the first press to the end, in the order in which they belong."""
    raised, reached = alarm.raised, alarm.reached
    is_placed = raised.known != "before"
    raised_ms = wall_ms(raised.at)
    presses = [timestamp(raised_ms + offset_ms) for offset_ms in sorted(alarm.presses_ms)]
    first = presses[0] if presses else raised.at

    def step(what: str, taken: Step | None) -> Hop:
        return Hop(what, *((None, None) if taken is None else (taken.at, taken.operator)))

    return (
        Hop("first press", first if is_placed else None),
        Hop("raised (third press)", raised.at if is_placed else None),
        step("received by the gateway", reached.received),
        step("delivered to the centre", reached.delivered),
        step("acknowledged", reached.acknowledged),
        Hop("sounded at the post", alarm.sounded_at),
        step("resolved", reached.resolved),
    )


def has_passed(alarm: Passed) -> bool:
    """A walk test is passed when a test came the whole way and somebody answered it."""
    return (
        alarm.kind == "test"
        and alarm.reached.delivered is not None
        and alarm.reached.acknowledged is not None
    )


def card_lines(alarm: Passed) -> list[str]:
    """The card for people: a line for each hop with its time and the time since the raise."""
    lines = [
        f"post   {alarm.post}",
        f"alarm  {alarm.alarm_id}",
        f"kind   {alarm.kind}{', called again' if alarm.repeats else ''}",
    ]
    since_ms = wall_ms(alarm.raised.at) if alarm.raised.known != "before" else None
    for hop in hops(alarm):
        words = f"{hop.what:{WIDTH}}"
        if hop.at is None:
            lines.append(f"{words}-")
            continue
        words += hop.at[:-1].replace("T", " ") + "Z"
        if since_ms is not None:
            words += f"  {(wall_ms(hop.at) - since_ms) / 1000:+9.3f} s"
        lines.append(words + (f"  by {hop.by}" if hop.by else ""))
    if alarm.raised.known == "before":
        lines.append(f"raised some time before {alarm.raised.at}: the post's clock was not set")
    lines.append(_verdict(alarm))
    return lines


def card_object(alarm: Passed) -> dict[str, object]:
    """The card for programs."""
    return {
        "post": alarm.post,
        "alarm_id": alarm.alarm_id,
        "kind": alarm.kind,
        "state": alarm.state,
        "outcome": alarm.outcome,
        "passed": has_passed(alarm),
        "hops": [{"what": hop.what, "at": hop.at, "by": hop.by} for hop in hops(alarm)],
    }


def _verdict(alarm: Passed) -> str:
    if alarm.kind != "test":
        return f"this is no test but a {alarm.kind} alarm"
    if not has_passed(alarm):
        return "WALK TEST NOT PASSED: nobody has answered it"
    if alarm.sounded_at is None:
        return "walk test passed; the post has not said that its buzzer sounded: was it heard?"
    return "walk test passed"
