"""Lines of the record about visits. Nothing ever shortens it: no line says whom it was about."""

from __future__ import annotations

from mcc.cases.models import Entry
from mcc.people.models import User


def write_down(
    user: User | None, action: str, at_ms: int, address: str = "", **detail: object
) -> None:
    """One line, by whoever did it (None: the command line); inside the transaction that does it."""
    Entry(
        at_ms=at_ms,
        action=action,
        operator=user.label if user else "command line",
        role=user.role if user else "",
        user_id=user.pk if user else None,
        address=address,
        detail=detail,
    ).save()
