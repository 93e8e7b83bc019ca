"""What the API takes and gives, typed once: answers are made into these, and so is its document.

Times are RFC 3339 in UTC with milliseconds. New fields may come; none that is here goes before
`/api/v2`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol.values import Label, Note, Outcome, Repeats, timestamp

LIMIT_MAX = 200
UnitSlug = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", max_length=40)]
Said = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2026-11-28T14:03:11.000Z"])]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the API."""


class Asked(Shape, frozen=True, forbid_unknown_fields=True):
    """One object that others send: what is not known is refused."""


class Step(Shape, frozen=True):
    """When a state was reached, and by whom."""

    at: Said
    operator: str | None


class Place(Shape, frozen=True):
    """Degrees, WGS 84, and how they are known."""

    lat: float | None
    lon: float | None
    source: str | None


class Alarm(Shape, frozen=True):
    """One call for help, as it stands.

    `repeats` and `kind` are to be sent back with an answer: it answers the calls that were seen.
    `sending`: what operators have done and no gateway has confirmed yet.
    """

    alarm_id: str
    post: str
    post_name: str | None
    unit: str | None
    kind: str
    state: str
    is_open: bool
    is_answered: bool
    raised_at: Said
    raised_known: str
    heard_at: Said
    repeats: int
    answered_repeats: int | None
    follows: str | None
    cancel_requested_at: Said | None
    acknowledged: Step | None
    dispatched: Step | None
    resolved: Step | None
    unit_sent: str | None
    outcome: str | None
    note: str | None
    location: Place
    sending: list[str]


class Alarms(Shape, frozen=True):
    """Some alarms, the newest first; `next_before` asks for those before them, None: no more."""

    alarms: list[Alarm]
    next_before: int | None


class Fault(Shape, frozen=True):
    """A fault that stands: since when, how often it has come since, and what people said of it."""

    fault: str
    raised_at: Said
    count: int
    acknowledged_at: Said | None
    acknowledged_by: str | None
    shelved_until: Said | None


class Post(Shape, frozen=True):
    """One post: where it is, whose it is, and whether it could call.

    `faults` are the names; `standing` says of each how long it has stood, and of a silence too.
    """

    post: str
    name: str
    kelurahan: str | None
    unit: str | None
    place: Place
    connection: str | None
    faults: list[str]
    standing: list[Fault]
    last_seen_at: Said | None
    in_test_window: bool


class Posts(Shape, frozen=True):
    """Some posts, in the order of their ids; `next_after` asks for those after them."""

    posts: list[Post]
    next_after: str | None


class Status(Shape, frozen=True):
    """Whether the command centre hears and would answer.

    `standing`: what stands at each gateway at which anything does.
    """

    faults: list[str]
    gateways: dict[str, str]
    standing: dict[str, list[Fault]]
    reason: str


class Done(Shape, frozen=True):
    """It is in the record, under this number; an order is on its way to the gateway."""

    entry: int
    command_id: str | None


class Refusal(Shape, frozen=True):
    """It was not done. `first_operator`, `first_at`: who was first, where somebody was."""

    code: str
    why: str
    first_operator: str | None = None
    first_at: Said | None = None


class Act(Asked, frozen=True):
    """Something done about an alarm; which fields count depends on `action`.

    Without `repeats` and `kind` the calls of this moment are answered. A `dispatch` without `unit`
    goes to the unit of the post's registered kelurahan. `resolve` needs `outcome`; `note` and
    `correction` need `note`.
    """

    action: Literal[
        "acknowledge",
        "dispatch",
        "resolve",
        "panic",
        "on_the_way",
        "on_scene",
        "note",
        "correction",
    ]
    repeats: Repeats | None = None
    kind: Literal["panic", "test"] | None = None
    unit: UnitSlug | None = None
    outcome: Outcome | None = None
    note: Note = ""


class AlarmsAsked(Asked, frozen=True):
    """Which alarms."""

    open: Annotated[bool, Meta(description="only open (or only closed) ones")] | None = None
    before: (
        Annotated[int, Meta(ge=0, le=4_102_444_799_999, description="raised before, Unix ms")]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = 50


class PostsAsked(Asked, frozen=True):
    """Which posts."""

    after: Annotated[str, Meta(pattern=r"^[a-z0-9-]*$", max_length=64)] = ""
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = 50


def alarm_of(shown: dict[str, Any]) -> Alarm:
    """An alarm of `mcc.cases.picture` as the API gives it."""
    reached = shown["reached"]
    return Alarm(
        alarm_id=shown["alarm_id"],
        post=shown["post"],
        post_name=shown["post_name"],
        unit=shown["default_unit"],
        kind=shown["kind"],
        state=shown["state"],
        is_open=shown["is_open"],
        is_answered=shown["is_answered"],
        raised_at=timestamp(shown["raised_ms"]),
        raised_known=shown["raised_known"],
        heard_at=timestamp(shown["heard_ms"]),
        repeats=shown["repeats"],
        answered_repeats=shown["answered_repeats"],
        follows=shown["follows"],
        cancel_requested_at=_said(shown["cancel_requested_ms"]),
        acknowledged=_step(reached["acknowledged"]),
        dispatched=_step(reached["dispatched"]),
        resolved=_step(reached["resolved"]),
        unit_sent=shown["unit"],
        outcome=shown["outcome"],
        note=shown["note"],
        location=Place(
            lat=shown["location"]["lat"],
            lon=shown["location"]["lon"],
            source=shown["location"]["source"],
        ),
        sending=[one["action"] for one in shown["sending"]],
    )


def post_of(shown: dict[str, Any]) -> Post:
    """A post of `mcc.cases.picture` as the API gives it."""
    return Post(
        post=shown["post"],
        name=shown["name"],
        kelurahan=shown["kelurahan"]["code"] if shown["kelurahan"] else None,
        unit=shown["unit"],
        place=Place(lat=shown["lat"], lon=shown["lon"], source=shown["place_source"]),
        connection=shown["connection"],
        faults=[str(one) for one in shown["faults"]],
        standing=[fault_of(one) for one in shown["lives"]],
        last_seen_at=_said(shown["last_seen_ms"]),
        in_test_window=shown["test_window"] is not None,
    )


def fault_of(shown: dict[str, Any]) -> Fault:
    """One life of a fault of `mcc.cases.faults` as the API gives it."""
    return Fault(
        fault=shown["fault"],
        raised_at=timestamp(shown["raised_ms"]),
        count=shown["count"],
        acknowledged_at=_said(shown["acknowledged_ms"]),
        acknowledged_by=shown["acknowledged_by"] or None,
        shelved_until=_said(shown["shelved_until_ms"]),
    )


def _step(step: dict[str, Any] | None) -> Step | None:
    return None if step is None else Step(at=timestamp(step["at_ms"]), operator=step["operator"])


def _said(at_ms: int | None) -> str | None:
    return None if at_ms is None else timestamp(at_ms)


__all__ = [
    "LIMIT_MAX",
    "Act",
    "Alarm",
    "Alarms",
    "AlarmsAsked",
    "Done",
    "Fault",
    "Label",
    "Post",
    "Posts",
    "PostsAsked",
    "Refusal",
    "Status",
    "alarm_of",
    "fault_of",
    "post_of",
]
