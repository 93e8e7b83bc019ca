"""Notices in the database: written when a rung is reached, claimed, settled. It sends nothing.

Whoever sends has first changed the row by a *conditional* update: of many workers one gets it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Max, QuerySet

from mcc.cases.changes import Changes, changes
from mcc.cases.models import Alarm, Command, Entry, Fault
from mcc.escalation.ladder import Call, Rise
from mcc.escalation.models import Notice
from mcc.people.watch import NAMES
from mcc.registers.models import Post, Unit
from mcc.settings import EscalationSettings

# How often one notice is tried, with pauses that double from the first to the last.
ATTEMPTS_MAX = 8
# A weekly letter waits for a mail server that is mended tomorrow: a day of the longest pauses.
ANEV_ATTEMPTS_MAX = 300
PAUSE_MS = 5_000
PAUSE_MS_MAX = 300_000
# A sender that has not settled what it claimed within this is dead; apprise gives up far sooner.
LEASE_MS = 120_000
# Notices to one target that go out as one message.
BATCH_MAX = 50
SETTLED_STORED_MAX = 10_000
# Unanswered alarms that are looked at; the oldest, which are on the ladder already.
CALLS_MAX = 1_000
UNDELIVERED = "notice_undelivered"
NO_TARGET = "notice_without_target"
# The rung and kind of the weekly analysis (`mcc.anev.mail`).
ANEV = "anev"
_ANSWERS = ("acknowledge", "dispatch", "resolve")


@dataclass(frozen=True)
class Target:
    """Where to send to; `url` is a secret."""

    url: str
    digest: str
    label: str


def target_of(url: str) -> Target:
    """A target of the settings, with what may be shown of it: the kind and the host."""
    parts = urlsplit(url)
    try:
        host = parts.hostname or ""
    except ValueError:
        host = ""
    # For kinds with a service of their own the host is part of the secret.
    shown = f"{parts.scheme}://{host}" if parts.scheme.startswith(("mailto", "json")) else ""
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Target(url, digest, (shown or parts.scheme)[:80])


def targets(settings: EscalationSettings) -> dict[str, Target]:
    """Every target that the settings name, by digest."""
    urls = [*settings.supervisor, *(url for some in settings.pickets.values() for url in some)]
    return {one.digest: one for one in map(target_of, urls)}


def targets_of(rise: Rise, settings: EscalationSettings) -> list[Target]:
    """Who is told of this; the pickets of the Polresta where those of a unit have no target."""
    if rise.rung == "supervisor":
        return [target_of(url) for url in settings.supervisor]
    urls = settings.pickets.get(rise.call.unit or "", ())
    if not urls:
        polresta = Unit.objects.filter(kind=Unit.Kind.POLRESTA).order_by("slug")
        urls = tuple(url for unit in polresta for url in settings.pickets.get(unit.slug, ()))
    return [target_of(url) for url in urls]


# --- what wants to be answered ------------------------------------------------------------------


def unanswered() -> list[Call]:
    """Calls for help that nobody has answered or is answering, the oldest first."""
    answering = Command.objects.filter(state=Command.State.SENDING, action__in=_ANSWERS)
    rows = Alarm.objects.filter(is_open=True, is_answered=False, kind="panic")
    rows = rows.exclude(alarm_id__in=answering.values("alarm_id"))
    found = list(rows.order_by("raised_ms")[:CALLS_MAX])
    units = dict(
        Post.objects.filter(post_id__in=[row.post for row in found]).values_list(
            "post_id", "kelurahan__kecamatan__unit__slug"
        )
    )
    return [
        Call(f"alarm/{row.alarm_id}", row.raised_ms, row.heard_ms, units.get(row.post))
        for row in found
    ]


def mine() -> list[Call]:
    """Faults of the command centre itself of which the supervisor is told."""
    return [
        Call(
            f"fault/{row.name}/{row.since_ms}",
            row.since_ms,
            row.since_ms,
            None,
            rungs=("supervisor",),
        )
        for row in Fault.objects.filter(name__in=NAMES).order_by("since_ms")
    ]


def _wants_answer(call: str) -> bool:
    kind, key, *since = call.split("/")
    if kind == ANEV:
        return True
    if kind == "fault":
        return Fault.objects.filter(name=key, since_ms=since[0]).exists()
    if Command.objects.filter(
        state=Command.State.SENDING, action__in=_ANSWERS, alarm_id=key
    ).exists():
        return False
    return Alarm.objects.filter(alarm_id=key, is_open=True, is_answered=False).exists()


# --- notices ------------------------------------------------------------------------------------


def write(rises: Sequence[Rise], settings: EscalationSettings, now_ms: int) -> None:
    """Put a notice for each target of what was reached; those that are there already stay."""
    if not rises:
        return
    with changes() as change:
        for rise in rises:
            found = targets_of(rise, settings)
            if not found:
                who = rise.rung if rise.rung == "supervisor" else rise.call.unit or "pickets"
                _raise_fault(change, NO_TARGET, who)
            for target in found:
                Notice.objects.get_or_create(
                    call=rise.call.key,
                    target=target.digest,
                    defaults={
                        "rung": rise.rung,
                        "unit": rise.call.unit or "",
                        "label": target.label,
                        "next_ms": now_ms,
                        "created_ms": now_ms,
                    },
                )


def waiting_targets(now_ms: int) -> list[str]:
    """The digests of the targets for which something is to be sent now."""
    return list(_claimable(now_ms).values_list("target", flat=True).distinct())


def _claimable(now_ms: int) -> QuerySet[Notice]:
    state = Notice.State
    return Notice.objects.filter(state__in=(state.WAITING, state.SENDING), next_ms__lte=now_ms)


def claim(target: str, now_ms: int) -> list[Notice]:
    """Take what is to be sent to one target now; nobody else gets it until the lease is over.

    What was answered meanwhile is stopped instead.
    """
    taken = []
    with transaction.atomic():
        for notice in list(_claimable(now_ms).filter(target=target).order_by("id")[:BATCH_MAX]):
            # Whoever changes exactly one row goes on; another worker's look has become old.
            mine = Notice.objects.filter(
                pk=notice.pk, state=notice.state, attempts=notice.attempts, next_ms=notice.next_ms
            )
            if not _wants_answer(notice.call):
                mine.update(state=Notice.State.STOPPED, settled_ms=now_ms)
                continue
            claimed = mine.update(
                state=Notice.State.SENDING,
                attempts=notice.attempts + 1,
                next_ms=now_ms + LEASE_MS,
            )
            if claimed == 1:
                notice.attempts += 1
                notice.next_ms = now_ms + LEASE_MS
                taken.append(notice)
    return taken


def settle(notices: Sequence[Notice], *, delivered: bool, now_ms: int) -> None:
    """Note what became of what was claimed: told, to be tried again, or given up."""
    with changes() as change:
        for notice in notices:
            most = ANEV_ATTEMPTS_MAX if notice.rung == ANEV else ATTEMPTS_MAX
            given_up = notice.attempts >= most
            row = Notice.objects.filter(
                pk=notice.pk, state=Notice.State.SENDING, attempts=notice.attempts
            )
            if delivered:
                row.update(state=Notice.State.SENT, settled_ms=now_ms)
            elif given_up:
                row.update(state=Notice.State.FAILED, settled_ms=now_ms)
            else:
                row.update(state=Notice.State.WAITING, next_ms=now_ms + pause_ms(notice.attempts))
            if delivered or given_up:
                _record(change, notice, delivered=delivered)
        if not delivered:
            _raise_fault(change, UNDELIVERED, notices[0].label)
        elif not _failing():
            _mend_fault(change, UNDELIVERED)


def pause_ms(attempts: int) -> int:
    """How long after the nth attempt the next one may come (ms)."""
    return min(PAUSE_MS_MAX, PAUSE_MS << min(attempts - 1, 16))


def _failing() -> set[str]:
    """The targets whose newest attempt failed."""
    state = Notice.State
    tried = Notice.objects.filter(attempts__gt=0)
    newest = tried.values("target").annotate(newest=Max("id")).values("newest")
    rows = tried.filter(id__in=newest, state__in=(state.WAITING, state.FAILED))
    return set(rows.values_list("target", flat=True))


def drop_targets(known: Iterable[str], now_ms: int) -> None:
    """Stop what was for targets that the settings do not name any more."""
    state = Notice.State
    gone = Notice.objects.exclude(target__in=list(known))
    gone.filter(state__in=(state.WAITING, state.SENDING, state.FAILED)).update(
        state=state.STOPPED, settled_ms=now_ms
    )
    if not _failing():
        set_faults((), (UNDELIVERED,))


def _record(change: Changes, notice: Notice, *, delivered: bool) -> None:
    """Write into the record of the case whom the command centre has told."""
    kind, key, *more = notice.call.split("/")
    about = {kind: "/".join((key, *more)) if kind == ANEV else key}
    alarm = Alarm.objects.filter(alarm_id=key).first() if kind == "alarm" else None
    Entry(
        at_ms=change.at_ms,
        action="told",
        alarm_id=alarm.alarm_id if alarm else None,
        post=alarm.post if alarm else None,
        operator="kentongan",
        role="",
        detail={
            "rung": notice.rung,
            "unit": notice.unit,
            "by": notice.label,
            "delivered": delivered,
            **({} if alarm else about),
        },
    ).save()
    if alarm is not None:
        change.note("alarm", alarm.alarm_id)


def forget_settled() -> None:
    """Delete the oldest settled notices beyond the bound, letters and others each for themselves.

    That a week's letter went out is known by its notice, which no storm of calls may push out.
    """
    settled = Notice.objects.exclude(settled_ms=None).order_by("-id")
    for some in (settled.filter(rung=ANEV), settled.exclude(rung=ANEV)):
        for edge in some.values_list("id", flat=True)[SETTLED_STORED_MAX : SETTLED_STORED_MAX + 1]:
            some.filter(id__lte=edge).delete()


# --- faults -------------------------------------------------------------------------------------


def set_faults(found: Iterable[tuple[str, str]], names: Iterable[str]) -> None:
    """Make the faults of these names be those found; what is already so changes nothing."""
    wanted = dict(found)
    known = {row.name: row for row in Fault.objects.filter(name__in=list(names))}
    if wanted.keys() == known.keys() and all(
        known[name].detail == detail for name, detail in wanted.items()
    ):
        return
    with changes() as change:
        for name, detail in wanted.items():
            _raise_fault(change, name, detail)
        for name in known:
            if name not in wanted:
                _mend_fault(change, name)


def mend_without_target() -> None:
    """Nothing is unanswered any more: the fault that nobody could be told of it ends."""
    if Fault.objects.filter(name=NO_TARGET).exists():
        set_faults((), (NO_TARGET,))


def _raise_fault(change: Changes, name: str, detail: str) -> None:
    row, made = Fault.objects.get_or_create(
        name=name, defaults={"since_ms": change.at_ms, "detail": detail[:200]}
    )
    if made or row.detail != detail[:200]:
        row.detail = detail[:200]
        row.save()
        change.note("fault", name)


def _mend_fault(change: Changes, name: str) -> None:
    if Fault.objects.filter(name=name).delete()[0]:
        change.note("fault", name)
