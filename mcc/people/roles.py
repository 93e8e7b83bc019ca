"""What each role may do: one table, read by the pages, the API and the one door to actions.

Pure data without Django. A role that is not in the table may do nothing.
"""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["operator", "picket", "supervisor", "technician", "administrator", "bhabinkamtibmas"]
ROLES: tuple[Role, ...] = get_args(Role)

# What goes to a gateway as a command.
Order = Literal["acknowledge", "dispatch", "resolve", "panic"]
Window = Literal["open_test", "close_test"]
# What is done about a fault, or about a group of posts that are silent together.
OnFault = Literal["fault_acknowledge", "fault_shelve", "fault_unshelve"]
# What stands in the command centre's own record only.
Note = Literal[
    "on_the_way",
    "on_scene",
    "correction",
    "note",
    # To everybody who works on the case.
    "message",
    # Another Polsek than the one of the place is asked to help.
    "ask_assist",
    # Somebody at the post was called back; with what was heard.
    "confirm_by_phone",
    # What a person decided about a post that cries wolf (`mcc.community.fairness`).
    "measure",
    "silence",
    "take_over",
    "shift_began",
    "shift_ended",
]
Action = Literal[Order, Window, OnFault, Note]
# Beside actions: what may be looked at, and what may be kept up.
# `registers`: units, kelurahan and officers beside the posts; `figures`: how soon calls are
# answered; `proofs`: which posts have shown that they work; `accounts`: people, tokens and hooks.
# `practice`: drills, posters and false alarms. `visit`: goes from door to door and sees what is
# theirs (`mcc.visits.access`); `visits`: sees all of it, and answers for what is held about people.
# `cases`: the calls of the own kelurahan's posts with what is written about them, and nothing else.
# `anev`: the weekly analysis; `anev_make`: editions.
Right = Literal[
    "console",
    "phone",
    "posts",
    "admin",
    "registers",
    "figures",
    "proofs",
    "accounts",
    "practice",
    "visit",
    "visits",
    "cases",
    "anev",
    "anev_make",
]

_DESK: frozenset[Action] = frozenset(
    (
        "acknowledge",
        "dispatch",
        "resolve",
        "panic",
        "open_test",
        "close_test",
        "fault_acknowledge",
        "fault_shelve",
        "fault_unshelve",
        "on_the_way",
        "on_scene",
        "correction",
        "note",
        "message",
        "ask_assist",
        "confirm_by_phone",
        "silence",
        "take_over",
        "shift_began",
        "shift_ended",
    )
)
ACTIONS: dict[Role, frozenset[Action]] = {
    "operator": _DESK,
    "supervisor": _DESK | {"measure"},
    "picket": frozenset(("on_the_way", "on_scene", "note", "message")),
    "technician": frozenset(
        (
            "open_test",
            "close_test",
            "fault_acknowledge",
            "fault_shelve",
            "fault_unshelve",
            "note",
        )
    ),
    # Looks after accounts and registers; answering alarms is for those who are on shift.
    "administrator": frozenset(),
    # Goes from door to door, which stands in `mcc.visits`; of calls says what it knows.
    "bhabinkamtibmas": frozenset(("message",)),
}
RIGHTS: dict[Role, frozenset[Right]] = {
    "operator": frozenset(("console", "posts", "practice")),
    "supervisor": frozenset(
        (
            "console",
            "posts",
            "admin",
            "registers",
            "figures",
            "proofs",
            "practice",
            "visits",
            "anev",
            "anev_make",
        )
    ),
    "picket": frozenset(("phone", "anev")),
    "technician": frozenset(("posts", "admin", "proofs", "practice")),
    "administrator": frozenset(
        ("console", "posts", "admin", "registers", "figures", "proofs", "accounts", "anev")
    ),
    "bhabinkamtibmas": frozenset(("visit", "cases", "anev")),
}
# Sees and does only what concerns its own unit's area.
OWN_AREA_ONLY: frozenset[Role] = frozenset(("picket",))


def may(role: str, action: str) -> bool:
    """Whether somebody of this role may do this."""
    return action in ACTIONS.get(role, frozenset())  # type: ignore[call-overload]


def has_right(role: str, right: str) -> bool:
    """Whether somebody of this role may look at (or keep up) this."""
    return right in RIGHTS.get(role, frozenset())  # type: ignore[call-overload]
