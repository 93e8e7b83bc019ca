"""Makes editions, finds them, and says who may see what of them.

A week is counted outside of any transaction; the edition, its line in the record and what is to be
sent are one. Of two processes that make a week's first edition at once, one does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from django.db.models import Max
from django.utils.translation import gettext as _

from mcc.anev import rows
from mcc.anev.figures import CITY, TREND_WEEKS, WEEK_MS, Report, Scope, report, week_name
from mcc.anev.models import Edition
from mcc.cases.actions import Refused
from mcc.cases.changes import changes
from mcc.cases.models import Entry
from mcc.people.models import User
from mcc.people.roles import OWN_AREA_ONLY
from mcc.registers.models import Officer, Unit
from mcc.settings import MccFile

MADE = "anev_made"
# Editions of one week; more are a mistake of somebody's.
EDITIONS_MAX = 99
_REPORT = msgspec.json.Decoder(Report)
# Told of an edition inside the transaction that writes it.
Told = Callable[[Edition], None]


def draft(settings: MccFile, begin_ms: int, now_ms: int) -> Report:
    """The figures of a week as they stand; nothing is stored.

    Raises:
        Refused: the week has not begun, or has too many calls.
    """
    if begin_ms > now_ms:
        raise Refused("wrong", _("This week has not begun."))
    try:
        return report(rows.rows(begin_ms), rows.limits_of(settings), begin_ms, now_ms)
    except rows.TooMany:
        said = _("More than %(calls)s calls came in %(weeks)s weeks: too many for one analysis.")
        bounds = {"calls": rows.CASES_MAX, "weeks": TREND_WEEKS + 1}
        raise Refused("full", said % bounds) from None


def make(settings: MccFile, begin_ms: int, now_ms: int, user: User, told: Told) -> Edition:
    """Make the next edition of a week that is over, for this person.

    Raises:
        Refused: the week is not over, or has too many calls or editions.
        django.db.Error: nothing was made.
    """
    if begin_ms + WEEK_MS > now_ms:
        raise Refused("wrong", _("This week is not over."))
    made = draft(settings, begin_ms, now_ms)
    with changes():
        return _write(made, user, told)


def make_first(settings: MccFile, begin_ms: int, now_ms: int, told: Told) -> Edition | None:
    """Make the first edition of a week that is over; None where there is one.

    Of a week before the first record there is nothing to say: None as well.

    Raises:
        Refused: the week has too many calls.
        django.db.Error: nothing was made.
    """
    week = Edition.objects.filter(week=week_name(begin_ms))
    began_ms = rows.began_ms()
    if week.exists() or began_ms is None or began_ms >= begin_ms + WEEK_MS:
        return None
    made = draft(settings, begin_ms, now_ms)
    with changes():
        return None if week.exists() else _write(made, None, told)


def _write(made: Report, user: User | None, told: Told) -> Edition:
    """Inside `changes()`: nobody else is writing."""
    of_week = Edition.objects.filter(week=made.week)
    number = (of_week.aggregate(latest=Max("number"))["latest"] or 0) + 1
    if number > EDITIONS_MAX:
        raise Refused("full", _("There are %(max)s editions already.") % {"max": EDITIONS_MAX})
    body = msgspec.json.encode(made).decode()
    edition = Edition(
        week=made.week,
        number=number,
        made_ms=made.made_ms,
        made_by=user.label if user else "",
        body=body,
    )
    edition.save()
    Entry(
        at_ms=made.made_ms,
        action=MADE,
        operator=user.label if user else "kentongan",
        role=user.role if user else "",
        user_id=user.pk if user else None,
        detail={"week": made.week, "edition": number, "sha256": digest_of(body)},
    ).save()
    told(edition)
    return edition


def report_of(edition: Edition) -> Report:
    """What it says."""
    return _REPORT.decode(edition.body)


def is_as_made(edition: Edition) -> bool:
    """Whether it is what the record says was made."""
    # By the moment, which has an index: the record grows for ever.
    lines = Entry.objects.filter(at_ms=edition.made_ms, action=MADE)
    wanted = {"week": edition.week, "edition": edition.number, "sha256": digest_of(edition.body)}
    return any(one.detail == wanted for one in lines)


def digest_of(body: str) -> str:
    """What tells an edition from one that was changed: SHA-256, hexadecimal."""
    return hashlib.sha256(body.encode()).hexdigest()


def scopes_of(user: User, made: Report) -> list[Scope]:
    """What of a report this person may see, the widest first."""
    if not user.has_right("anev"):
        return []
    if user.has_right("visit"):
        return _scopes_of_officer(user.officer, made) if user.officer else []
    if user.role not in OWN_AREA_ONLY:
        return list(made.scopes)
    return scopes_of_unit(user.unit, made) if user.unit else []


def _scopes_of_officer(officer: Officer, made: Report) -> list[Scope]:
    """The figures of the kelurahan that is the officer's now, and the own ones.

    The own ones are those of a kelurahan too: in an edition of before a transfer, of another.
    """
    ward, own = f"kel/{officer.kelurahan_id}", f"officer/{officer.pk}"

    def is_own(scope: Scope) -> bool:
        above = scope.parent or ""
        return scope.key == own and (above == ward or not above.startswith("kel/"))

    return [scope for scope in made.scopes if scope.key == ward or is_own(scope)]


def scopes_of_unit(unit: Unit, made: Report) -> list[Scope]:
    """A unit's own area and what lies in it; the Polresta's is the city."""
    top = CITY if unit.kind == Unit.Kind.POLRESTA else f"kec/{unit.kecamatan_id}"
    return within(made, top)


def within(made: Report, top: str) -> list[Scope]:
    """A scope and all below it; none where there is no such scope."""
    wanted = {top}
    found = []
    for scope in made.scopes:
        # A scope stands behind its parent.
        if scope.key == top or scope.parent in wanted:
            wanted.add(scope.key)
            found.append(scope)
    return found
