"""Where nobody has been for long: kelurahan and posts, each with its latest visit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Max, Q

from mcc.registers.models import Kelurahan, Post
from mcc.visits.checks import Check, latest_checks
from mcc.visits.models import Visit

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Ward:
    """A kelurahan; `days` since its latest visit, None: never. `visits`: within the set days."""

    code: str
    name: str
    lat: float
    lon: float
    visits: int
    days: int | None
    is_due: bool


@dataclass(frozen=True)
class Place:
    """A post; `days` since somebody looked at it, None: never."""

    post: str
    name: str
    kelurahan: str
    lat: float | None
    lon: float | None
    check: Check | None
    days: int | None
    is_due: bool


def wards(rows: Iterable[Kelurahan], *, now_ms: int, not_visited_days: int) -> list[Ward]:
    """Those never visited first, then the longest ago."""
    since_ms = now_ms - not_visited_days * DAY_MS
    said = Visit.objects.values("kelurahan").annotate(
        latest=Max("visited_ms"), recent=Count("pk", filter=Q(visited_ms__gte=since_ms))
    )
    known = {one["kelurahan"]: one for one in said.order_by()}
    found = []
    for row in rows:
        one = known.get(row.pk)
        days = _days(one["latest"] if one else None, now_ms)
        is_due = days is None or days >= not_visited_days
        visits = one["recent"] if one else 0
        found.append(Ward(row.code, row.name, row.lat, row.lon, visits, days, is_due))
    return sorted(found, key=lambda one: (one.days is not None, -(one.days or 0), one.name))


def places(rows: Iterable[Post], *, now_ms: int, not_visited_days: int) -> list[Place]:
    """Those never looked at first, then the longest ago."""
    checks = latest_checks()
    found = []
    for row in rows:
        check = checks.get(row.post_id)
        days = _days(check.visited_ms if check else None, now_ms)
        ward = row.kelurahan.name if row.kelurahan else ""
        is_due = days is None or days >= not_visited_days
        found.append(Place(row.post_id, row.name, ward, row.lat, row.lon, check, days, is_due))
    return sorted(found, key=lambda one: (one.days is not None, -(one.days or 0), one.name))


def _days(latest_ms: int | None, now_ms: int) -> int | None:
    """Whole days; a visit of a clock that is ahead was just now."""
    return None if latest_ms is None else max(0, (now_ms - latest_ms) // DAY_MS)
