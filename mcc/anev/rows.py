"""Reads what the figures are made of from the database; it counts and decides nothing.

Everything of one report is read in one look, so that its figures fit each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec
from django.db.models import Max, Min

from mcc.alarms import AlarmRecord
from mcc.anev.figures import (
    CITY,
    PRESS_NEAR_MS,
    TREND_WEEKS,
    WEEK_MS,
    Case,
    FaultSpan,
    Limits,
    PostRow,
    Remark,
    Rows,
    Scope,
    Visit,
)
from mcc.cases.changes import reading
from mcc.cases.faults import of_gateway, of_post
from mcc.cases.lives import GATEWAY_SILENT
from mcc.cases.models import Alarm, Entry, FaultLife, PostDocument
from mcc.escalation.figures import answer_of
from mcc.registers.models import Kecamatan, Kelurahan, Officer, Post
from mcc.settings import MccFile
from mcc.visits import models as visited
from protocol.messages import MccPost
from protocol.values import wall_ms

# Calls of thirteen weeks. A city has a few thousand; a report of more would fit no page.
CASES_MAX = 20_000
# Lines that people wrote about one case; the first ones.
REMARKS_MAX = 20
_IDS_AT_ONCE = 500
_RECORD = msgspec.json.Decoder(AlarmRecord)
_POST = msgspec.json.Decoder(MccPost)
_POST_PREFIX = of_post("")


class TooMany(Exception):
    """There are more than `CASES_MAX` calls in the weeks of a report; nothing was made."""


def limits_of(settings: MccFile) -> Limits:
    """What the settings hold figures against."""
    targets, proofs = settings.targets, settings.proofs
    return Limits(
        acknowledge_s=targets.acknowledge_s,
        acknowledge_percent=targets.acknowledge_percent,
        acknowledge_late_s=targets.acknowledge_late_s,
        acknowledge_late_percent=targets.acknowledge_late_percent,
        dispatch_s=targets.dispatch_s,
        on_scene_s=settings.anev.on_scene_s,
        not_proven_days=proofs.not_proven_days,
        not_pressed_days=proofs.not_pressed_days,
    )


def rows(begin_ms: int) -> Rows:
    """What the report of the week that begins at this moment is made of.

    Raises:
        TooMany: of calls.
        django.db.Error: the database does not answer.
    """
    end_ms = begin_ms + WEEK_MS
    first_ms = begin_ms - TREND_WEEKS * WEEK_MS
    with reading():
        return Rows(
            scopes=tuple(_scopes()),
            posts=tuple(_posts(end_ms)),
            cases=tuple(_cases(first_ms, begin_ms, end_ms)),
            faults=tuple(_faults(begin_ms, end_ms)),
            outages=tuple(_outages(begin_ms, end_ms)),
            visits=tuple(visits(begin_ms, end_ms)),
            began_ms=began_ms(),
        )


def visits(begin_ms: int, end_ms: int) -> Iterator[Visit]:
    """The visits of the week that have come in; no name, no finding."""
    found = visited.Visit.objects.filter(visited_ms__gte=begin_ms, visited_ms__lt=end_ms)
    columns = ("visit_id", "officer_id", "kelurahan_id", "visited_ms", "post", "pressed")
    for visit, officer, kelurahan, at_ms, post, pressed in found.values_list(*columns):
        yield Visit(
            visit_id=str(visit),
            officer=str(officer),
            kelurahan=kelurahan,
            at_ms=at_ms,
            post=post or None,
            is_pressed=bool(pressed),
        )


def _scopes() -> Iterator[Scope]:
    yield Scope(key=CITY, name="")
    for kecamatan in Kecamatan.objects.order_by("code"):
        yield Scope(key=f"kec/{kecamatan.code}", name=kecamatan.name, parent=CITY)
    for kelurahan in Kelurahan.objects.order_by("code"):
        parent = f"kec/{kelurahan.kecamatan_id}"
        yield Scope(key=f"kel/{kelurahan.code}", name=kelurahan.name, parent=parent)
    for officer in Officer.objects.select_related("unit").order_by("name", "pk"):
        above = CITY
        if officer.kelurahan_id:
            above = f"kel/{officer.kelurahan_id}"
        elif officer.unit and officer.unit.kecamatan_id:
            above = f"kec/{officer.unit.kecamatan_id}"
        yield Scope(key=f"officer/{officer.pk}", name=str(officer), parent=above)


def _posts(end_ms: int) -> Iterator[PostRow]:
    """Every post that register or a gateway knows. Presses after the week prove nothing of it.

    Those shortly after it are read apart: they may be what an officer pressed at the end of it.
    """
    registered = {
        post: (name, kelurahan)
        for post, name, kelurahan in Post.objects.values_list("post_id", "name", "kelurahan")
    }
    pressed = _latest_presses(raised_ms__lt=end_ms)
    after = _latest_presses(raised_ms__gte=end_ms, raised_ms__lte=end_ms + PRESS_NEAR_MS)
    said: dict[str, MccPost | None] = {}
    for post, body in PostDocument.objects.values_list("post", "body").iterator():
        try:
            said[post] = _POST.decode(body)
        except (msgspec.MsgspecError, ValueError):
            said[post] = None  # its next document takes the place of this row
    for post in sorted({*registered, *said}):
        name, kelurahan = registered.get(post, ("", None))
        document = said.get(post)
        test = document.selftest if document else None
        proven = [pressed.get(post), wall_ms(test.proven_at) if test and test.proven_at else None]
        yield PostRow(
            post=post,
            name=name or (document.name if document else None) or post,
            kelurahan=kelurahan,
            is_heard=post in said,
            proven_ms=max((one for one in proven if one is not None), default=None),
            pressed_ms=pressed.get(post),
            after_ms=after.get(post),
        )


def _latest_presses(**which: int) -> dict[str, int]:
    presses = Alarm.objects.filter(kind__in=("panic", "test"), **which)
    return dict(presses.values_list("post").annotate(latest=Max("raised_ms")))


def _cases(first_ms: int, begin_ms: int, end_ms: int) -> Iterator[Case]:
    found = Alarm.objects.filter(
        kind__in=("panic", "test"), raised_ms__gte=first_ms, raised_ms__lt=end_ms
    )
    bodies = list(found.order_by("raised_ms", "alarm_id").values_list("body")[: CASES_MAX + 1])
    if len(bodies) > CASES_MAX:
        raise TooMany(f"more than {CASES_MAX} calls in {TREND_WEEKS + 1} weeks")
    records = [_RECORD.decode(body) for (body,) in bodies]
    on_scene = _on_scene([one.alarm_id for one in records])
    mine = {one.alarm_id for one in records if begin_ms <= wall_ms(one.raised.at)}
    remarks = _remarks(sorted(mine))
    for one in records:
        answer = answer_of(one)
        said = remarks.get(one.alarm_id, [])
        # The note of the one who closed it may have come from another centre's record.
        if one.alarm_id in mine and one.note and one.reached.resolved:
            step = one.reached.resolved
            if all(remark.text != one.note for remark in said):
                said.append(Remark(at_ms=wall_ms(step.at), who=step.operator or "", text=one.note))
        yield Case(
            alarm_id=one.alarm_id,
            post=one.post,
            kind=one.kind,
            raised_ms=wall_ms(one.raised.at),
            pressed_ms=answer.pressed_ms,
            received_ms=wall_ms(one.reached.received.at),
            acknowledged_ms=answer.answered_ms,
            sent_ms=answer.sent_ms,
            on_scene_ms=on_scene.get(one.alarm_id),
            outcome=one.outcome or "",
            is_open=one.is_open,
            remarks=tuple(said),
        )


def _on_scene(alarm_ids: list[str]) -> dict[str, int]:
    """When somebody first said to be there."""
    found: dict[str, int] = {}
    for start in range(0, len(alarm_ids), _IDS_AT_ONCE):
        some = alarm_ids[start : start + _IDS_AT_ONCE]
        lines = Entry.objects.filter(action="on_scene", alarm_id__in=some).values_list("alarm_id")
        found.update(lines.annotate(first=Min("at_ms")))
    return found


def _remarks(alarm_ids: list[str]) -> dict[str, list[Remark]]:
    found: dict[str, list[Remark]] = defaultdict(list)
    for start in range(0, len(alarm_ids), _IDS_AT_ONCE):
        some = alarm_ids[start : start + _IDS_AT_ONCE]
        lines = Entry.objects.filter(alarm_id__in=some, detail__has_key="note").order_by("id")
        for line in lines:
            own = found[line.alarm_id or ""]
            if len(own) < REMARKS_MAX:
                text = str(line.detail["note"])
                own.append(Remark(at_ms=line.at_ms, who=line.operator, text=text))
    return found


def _faults(begin_ms: int, end_ms: int) -> Iterator[FaultSpan]:
    """What stood in the week, if only for a moment."""
    yield from _spans(_POST_PREFIX, begin_ms, end_ms)


def _outages(begin_ms: int, end_ms: int) -> Iterator[FaultSpan]:
    """When gateways were not heard."""
    yield from _spans(of_gateway(""), begin_ms, end_ms, fault=GATEWAY_SILENT)


def _spans(prefix: str, begin_ms: int, end_ms: int, **which: str) -> Iterator[FaultSpan]:
    lives = FaultLife.objects.filter(owner__startswith=prefix, raised_ms__lt=end_ms, **which)
    lives = lives.exclude(cleared_ms__lt=begin_ms)
    for life in lives.order_by("raised_ms", "id"):
        yield FaultSpan(
            fault_id=str(life.pk),
            post=life.owner.removeprefix(prefix),
            fault=life.fault,
            raised_ms=life.raised_ms,
            cleared_ms=life.cleared_ms,
        )


def began_ms() -> int | None:
    """Since when there is anything: an empty week before that is no quiet week."""
    heard = Alarm.objects.aggregate(first=Min("heard_ms"))["first"]
    written = Entry.objects.aggregate(first=Min("at_ms"))["first"]
    return min((one for one in (heard, written) if one is not None), default=None)
