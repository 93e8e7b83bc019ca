"""The lives of faults in the database: one row each, from its raising to its clearing and on.

It writes inside the caller's `changes()`. What a life is and how it changes is in `lives`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from mcc.cases.changes import Changes
from mcc.cases.lives import Life, Liveness, Said, lived, said_of_gateway, said_of_post
from mcc.cases.models import FaultLife
from protocol.messages import MccGateway, MccPost

# Lives that are over: of one party, and of all.
HISTORY_PER_OWNER_MAX = 200
HISTORY_STORED_MAX = 200_000
OWNERS_AT_ONCE = 500  # in one query


def of_post(post: str) -> str:
    """The owner's name of a post."""
    return f"post/{post}"


def of_gateway(gateway: str) -> str:
    """The owner's name of a gateway."""
    return f"gateway/{gateway}"


def heard(posts: Iterable[MccPost], gone_posts: Iterable[str], change: Changes) -> None:
    """Documents of posts have come in."""
    said = {of_post(one.post): (one.gateway, said_of_post(one)) for one in posts}
    said |= {of_post(post): ("", Said({})) for post in gone_posts}
    owners = list(said)
    for start in range(0, len(owners), OWNERS_AT_ONCE):
        _live({owner: said[owner] for owner in owners[start : start + OWNERS_AT_ONCE]}, change)


def heard_gateways(
    documents: Iterable[MccGateway], lives: Mapping[str, Liveness], change: Changes
) -> None:
    """What gateways say, or that they say nothing any more."""
    _live(
        {
            of_gateway(one.gateway): (
                one.gateway,
                said_of_gateway(one, lives.get(one.gateway, "unknown"), change.at_ms),
            )
            for one in documents
        },
        change,
    )


def _live(said: Mapping[str, tuple[str, Said]], change: Changes) -> None:
    if not said:
        return
    open_: dict[str, dict[str, FaultLife]] = defaultdict(dict)
    for row in FaultLife.objects.filter(owner__in=list(said), cleared_ms=None):
        open_[row.owner][row.fault] = row
    written: list[FaultLife] = []
    for owner, (gateway, word) in said.items():
        rows = open_.get(owner, {})
        fresh = word.standing.keys() - rows.keys()
        last = _latest(owner, fresh) if fresh else {}
        known = {fault: life_of(row) for fault, row in rows.items()}
        over = {fault: life_of(row) for fault, row in last.items()}
        for fault, life in lived(known, over, word, change.at_ms).items():
            earlier = last.get(fault)
            if earlier is not None and earlier.raised_ms != life.raised_ms:
                earlier = None
            row = rows.get(fault) or earlier or FaultLife(owner=owner)
            row.gateway = gateway or row.gateway
            put(row, life)
            written.append(row)
            note(row, change)
    for row in written:
        row.save()
        if row.cleared_ms is not None:
            _forget_old(row.owner)


def _latest(owner: str, faults: Iterable[str]) -> dict[str, FaultLife]:
    rows = FaultLife.objects.filter(owner=owner, fault__in=list(faults)).order_by("raised_ms")
    return {row.fault: row for row in rows}


def _forget_old(owner: str) -> None:
    over = FaultLife.objects.filter(owner=owner, cleared_ms__isnull=False)
    old = over.order_by("-cleared_ms", "-id").values_list("id", flat=True)[HISTORY_PER_OWNER_MAX:]
    if ids := list(old):
        FaultLife.objects.filter(id__in=ids).delete()


def prune() -> None:
    """Forget the oldest that are over, beyond the bound of all."""
    over = FaultLife.objects.filter(cleared_ms__isnull=False)
    edge = over.order_by("-cleared_ms").values_list("cleared_ms", flat=True)
    for cleared_ms in edge[HISTORY_STORED_MAX : HISTORY_STORED_MAX + 1]:
        over.filter(cleared_ms__lte=cleared_ms).delete()


def life_of(row: FaultLife) -> Life:
    """The life that a row holds."""
    return Life(**{name: getattr(row, name) for name in Life.__dataclass_fields__})


def put(row: FaultLife, life: Life) -> None:
    """Let a row hold this life."""
    for name, value in asdict(life).items():
        setattr(row, name, value)


def note(row: FaultLife, change: Changes) -> None:
    """Say which part of a screen shows this."""
    kind, _, name = row.owner.partition("/")
    change.note("post" if kind == "post" else "gateway", name)


# --- what is shown --------------------------------------------------------------------------------


def shown(row: FaultLife) -> dict[str, Any]:
    """One life as console and API show it."""
    return {
        "id": row.pk,
        "fault": row.fault,
        "raised_ms": row.raised_ms,
        "cleared_ms": row.cleared_ms,
        "count": row.count,
        "group": f"{row.gateway} {row.group}" if row.group else None,
        "acknowledged_ms": row.acknowledged_ms,
        "acknowledged_by": row.acknowledged_by,
        "shelved_until_ms": row.shelved_until_ms,
        "shelved_by": row.shelved_by,
        "shelved_why": row.shelved_why,
    }


def open_lives(owners: Iterable[str] | None) -> dict[str, list[dict[str, Any]]]:
    """The lives that stand, by owner, the oldest first; None: of everybody."""
    rows = FaultLife.objects.filter(cleared_ms=None).order_by("raised_ms", "id")
    if owners is not None:
        rows = rows.filter(owner__in=list(owners))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row.owner].append(shown(row))
    return found


def history(owner: str) -> list[dict[str, Any]]:
    """The lives of one party that are over, the newest first."""
    rows = FaultLife.objects.filter(owner=owner, cleared_ms__isnull=False)
    return [shown(row) for row in rows.order_by("-cleared_ms", "-id")[:HISTORY_PER_OWNER_MAX]]
