"""Lines of the record about visits. Nothing ever shortens it: no line says whom it was about."""

from __future__ import annotations

from mcc.cases.models import Entry
from mcc.people.models import User


def write_down(user: User, action: str, at_ms: int, address: str, **detail: object) -> None:
    """One line, by whoever did it, from there; inside the transaction that does it."""
    Entry(
        at_ms=at_ms,
        action=action,
        operator=user.label,
        role=user.role,
        user_id=user.pk,
        address=address,
        detail=detail,
    ).save()
