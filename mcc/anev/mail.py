"""Sends editions to the lists of the settings: as notices of `mcc.escalation`, durable and once.

Its targets have digests of their own, so that a weekly letter and a call for help that nobody
answers neither wait for each other nor come as one message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from mcc.anev import words
from mcc.anev.editions import report_of, scopes_of_unit
from mcc.anev.figures import CITY, Report, week_name
from mcc.anev.models import Edition
from mcc.cases.changes import changes
from mcc.escalation.desk import ANEV, Target, target_of
from mcc.escalation.models import Notice
from mcc.escalation.words import File, Message
from mcc.registers.models import Unit
from mcc.settings import AnevSettings, NoticeUrl
from process.log import log


def targets(anev: AnevSettings) -> dict[str, Target]:
    """Every target of the lists, by digest."""
    return {target.digest: target for _unit, target in _listed(anev)}


def _listed(anev: AnevSettings) -> Iterator[tuple[str, Target]]:
    """The unit (empty: the whole city's) and where to, each once."""
    for unit, urls in {"": anev.mail, **anev.units}.items():
        for url in dict.fromkeys(urls):
            yield unit, _target(url, unit)


def _target(url: NoticeUrl, unit: str) -> Target:
    digest = hashlib.sha256(f"{ANEV} {unit} {url}".encode()).hexdigest()[:16]
    return replace(target_of(url), digest=digest)


def put_out(edition: Edition) -> None:
    """Write a notice for each target; inside a transaction, mostly that which makes the edition."""
    known = set(Unit.objects.values_list("slug", flat=True))
    for unit, target in _listed(settings.MCC.anev):
        if unit and unit not in known:
            log("anev_unit_unknown", level="warning", unit=unit)
            continue
        Notice.objects.create(
            call=f"{ANEV}/{edition}",
            rung=ANEV,
            unit=unit,
            target=target.digest,
            label=target.label,
            next_ms=edition.made_ms,
            created_ms=edition.made_ms,
        )


def put_out_late(begin_ms: int) -> Edition | None:
    """Put out the newest edition of a week of which nobody was told; None: there is nothing to do.

    Somebody may have made one to be looked at before the week's letter was due.

    Raises:
        django.db.Error: nothing was put out.
    """
    week = week_name(begin_ms)
    with changes():
        newest = Edition.objects.filter(week=week).order_by("-number").first()
        if newest is None or not targets(settings.MCC.anev):
            return None
        if Notice.objects.filter(call__startswith=f"{ANEV}/{week}/").exists():
            return None
        put_out(newest)
    return newest


def message(notices: Sequence[Notice]) -> Message:
    """One letter for editions that were claimed together, with their papers."""
    from mcc.anev.paper import paper_of

    lines: list[str] = []
    files = []
    title = ""
    with translation.override(settings.LANGUAGE_CODE):
        for notice in notices:
            _kind, week, number = notice.call.split("/")
            edition = Edition.objects.get(week=week, number=int(number))
            report = report_of(edition)
            scope = _scope(notice.unit, report)
            if scope is None:
                title = title or f"{_('Anev')} {week}"
                lines += [_("There is no unit %(unit)s any more.") % {"unit": notice.unit}, ""]
                continue
            name = words.scope_name(report, scope)
            title = f"{_('Anev')} {week}: {name}"
            lines += [f"{title}, {words.days(report.begin_ms)}", ""]
            lines += [f"- {one}" for one in words.summary(report, report.sections[scope])]
            if base := settings.MCC.community.public_url:
                where = reverse("anev-edition", args=[week, edition.number])
                lines += ["", base.rstrip("/") + where]
            lines.append("")
            which = scope.replace("/", "-")
            content = paper_of(report, scope, edition)
            files.append(File(f"anev-{week}-{number}-{which}.pdf", "application/pdf", content))
    return Message(title, "\n".join(lines).strip(), tuple(files))


def _scope(unit: str, report: Report) -> str | None:
    """What a unit's letter is about; None: there is no such unit any more."""
    if not unit:
        return CITY
    found = Unit.objects.filter(slug=unit).first()
    scopes = scopes_of_unit(found, report) if found else []
    return scopes[0].key if scopes else None
