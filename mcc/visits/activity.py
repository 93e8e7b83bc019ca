"""What the officers do, and who is assigned where: a line for each, and what is missing.

One officer, one kelurahan, one account: 57 of each. The register of officers assigns; nothing here
changes it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, Max, Q

from mcc.registers.models import Kelurahan, Officer
from mcc.visits.coverage import DAY_MS
from mcc.visits.models import FollowUp, Visit


@dataclass(frozen=True)
class Doings:
    """One officer's visits and follow-ups; `account` is empty where nobody can sign in."""

    officer: Officer
    account: str
    week: int
    month: int
    latest_ms: int | None
    open: int
    overdue: int


@dataclass(frozen=True)
class Activity:
    """Everybody, and what does not fit one to one."""

    officers: list[Doings]
    without_officer: list[str] = field(default_factory=list)
    with_several: list[str] = field(default_factory=list)
    without_kelurahan: list[str] = field(default_factory=list)
    without_account: list[str] = field(default_factory=list)


def activity(*, now_ms: int, today: dt.date) -> Activity:
    """Whoever has a kelurahan, an account or a visit."""
    recent = {
        name: Count("pk", filter=Q(visited_ms__gte=now_ms - days * DAY_MS))
        for name, days in (("week", 7), ("month", 30))
    }
    visits = Visit.objects.order_by().values("officer").annotate(latest=Max("visited_ms"), **recent)
    by_officer: dict[int, Any] = {one["officer"]: one for one in visits}
    waiting = Count("pk", filter=Q(done_ms=None))
    late = Count("pk", filter=Q(done_ms=None, due__lt=today))
    tasks = FollowUp.objects.order_by().values("visit__officer").annotate(open=waiting, late=late)
    of_officer: dict[int, Any] = {one["visit__officer"]: one for one in tasks}
    is_theirs = Q(account__role="bhabinkamtibmas") | ~Q(kelurahan=None) | Q(pk__in=by_officer)
    rows = Officer.objects.filter(is_theirs).select_related("kelurahan", "account")
    said = []
    for row in rows.order_by("kelurahan__name", "name"):
        account = getattr(row, "account", None)
        own, todo = by_officer.get(row.pk, {}), of_officer.get(row.pk, {})
        can_sign_in = account is not None and account.has_right("visit")
        said.append(
            Doings(
                officer=row,
                account=account.get_username() if account and can_sign_in else "",
                week=own.get("week", 0),
                month=own.get("month", 0),
                latest_ms=own.get("latest"),
                open=todo.get("open", 0),
                overdue=todo.get("late", 0),
            )
        )
    assigned = Counter(one.officer.kelurahan_id for one in said)
    names = dict(Kelurahan.objects.order_by("name").values_list("code", "name"))
    return Activity(
        officers=said,
        without_officer=[name for code, name in names.items() if not assigned[code]],
        with_several=[name for code, name in names.items() if assigned[code] > 1],
        without_kelurahan=[
            str(one.officer) for one in said if one.account and one.officer.kelurahan is None
        ],
        without_account=[
            str(one.officer) for one in said if not one.account and one.officer.kelurahan
        ],
    )
