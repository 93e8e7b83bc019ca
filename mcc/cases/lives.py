"""The life of a fault at the command centre: raised, acknowledged, shelved, cleared. Pure.

What stands is what the documents show; what people have said of it is this centre's own record, so
that every console sees the same and a restart forgets nothing (docs/adr/0011). What could not be
heard raises nothing and clears nothing. Times are Unix milliseconds: they are for people, and for
the end of a shelf, which a person has set by the clock on the wall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from protocol.messages import MccGateway, MccPost
from protocol.values import wall_ms

SILENT = "silent"
GATEWAY_SILENT = "gateway_silent"
SHELF_HOURS_MAX = 30 * 24
HOUR_MS = 3_600_000

Liveness = Literal["unknown", "online", "silent", "offline"]


@dataclass(frozen=True)
class Standing:
    """A fault as a document shows it; `group`: the gateway's group of silent posts it is in."""

    since_ms: int
    count: int = 1
    group: str = ""


@dataclass(frozen=True)
class Said:
    """What a party's documents say: what stands, and of what they say nothing just now."""

    standing: Mapping[str, Standing]
    untold: frozenset[str] | Literal["all"] = frozenset()

    def is_untold(self, fault: str) -> bool:
        """Whether nobody can say if this fault stands."""
        return self.untold == "all" or fault in self.untold


@dataclass(frozen=True)
class Life:
    """One fault of one party from its raising to its clearing."""

    fault: str
    raised_ms: int
    count: int = 1
    group: str = ""
    cleared_ms: int | None = None
    acknowledged_ms: int | None = None
    acknowledged_by: str = ""
    shelved_until_ms: int | None = None
    shelved_by: str = ""
    shelved_why: str = ""

    def is_shelved(self, now_ms: int) -> bool:
        """Whether nobody is to be bothered with it now."""
        return self.shelved_until_ms is not None and now_ms < self.shelved_until_ms

    def acknowledged(self, by: str, now_ms: int) -> Life:
        """As it is when somebody has seen it; the first one stays named."""
        if self.acknowledged_ms is not None:
            return self
        return replace(self, acknowledged_ms=now_ms, acknowledged_by=by)

    def shelved(self, by: str, why: str, hours: int, now_ms: int) -> Life:
        """As it is when somebody has put it aside until an end.

        Raises:
            ValueError: the end is not within the bound, or no reason is given.
        """
        if not 1 <= hours <= SHELF_HOURS_MAX or not why.strip():
            raise ValueError(f"a fault is shelved for 1 to {SHELF_HOURS_MAX} hours, with a reason")
        until_ms = now_ms + hours * HOUR_MS
        return replace(self, shelved_until_ms=until_ms, shelved_by=by, shelved_why=why)

    def unshelved(self) -> Life:
        """As it is when somebody has taken it off the shelf."""
        return replace(self, shelved_until_ms=None, shelved_by="", shelved_why="")


def said_of_post(document: MccPost) -> Said:
    """What the document of a post says. One that is not heard and not silent is untold."""
    standing = _standing(document)
    if document.connection == "silent":
        standing[SILENT] = Standing(wall_ms(document.at), group=document.silent_with or "")
    is_planned = document.maintenance is not None
    untold = document.connection == "unknown" and not is_planned
    return Said(standing, frozenset((SILENT,)) if untold else frozenset())


def said_of_gateway(document: MccGateway, liveness: Liveness, now_ms: int) -> Said:
    """What is known of a gateway. Only one that lives says what is wrong with it."""
    if liveness == "unknown":
        return Said({}, "all")
    if liveness == "online":
        return Said(_standing(document)) if document.online else Said({}, "all")
    return Said({GATEWAY_SILENT: Standing(now_ms)}, "all")


def _standing(document: MccPost | MccGateway) -> dict[str, Standing]:
    at_ms = wall_ms(document.at)
    since, count = document.faults_since, document.faults_count
    return {
        fault: Standing(
            wall_ms(since[place]) if place < len(since) else at_ms,
            count[place] if place < len(count) else 1,
        )
        for place, fault in enumerate(document.faults)
    }


def lived(
    open_: Mapping[str, Life], last: Mapping[str, Life], said: Said, now_ms: int
) -> dict[str, Life]:
    """The lives that become others by this word, by fault.

    `open_`: those that stand. `last`: the latest of each fault that is over. What comes again while
    it chatters is the life that it was; what comes again while it is shelved is shelved.
    """
    changed: dict[str, Life] = {}
    for fault, life in open_.items():
        if fault not in said.standing and not said.is_untold(fault):
            changed[fault] = replace(life, cleared_ms=max(now_ms, life.raised_ms))
    for fault, standing in said.standing.items():
        life = open_.get(fault) or _again(last.get(fault), standing, now_ms, fault)
        now = replace(life, count=standing.count, group=standing.group, cleared_ms=None)
        if now != open_.get(fault):
            changed[fault] = now
    return changed


def _again(before: Life | None, standing: Standing, now_ms: int, fault: str) -> Life:
    if before is not None and before.raised_ms == standing.since_ms:
        return before
    fresh = Life(fault, standing.since_ms)
    if before is None or not before.is_shelved(now_ms):
        return fresh
    return replace(
        fresh,
        shelved_until_ms=before.shelved_until_ms,
        shelved_by=before.shelved_by,
        shelved_why=before.shelved_why,
    )
