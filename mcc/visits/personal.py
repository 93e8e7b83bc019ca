"""What is held about people: found, exported, removed; and visits that have been kept long enough.

Every column of the database in which somebody could be named stands in `SOURCES` or `NOT_SEARCHED`;
a test walks the tables, so that a new one is not forgotten. What is searched and not removed says
why. Backups, gateways, logs and telephones are not this database: docs/visits.md names them.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.apps import apps
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from mcc.cases.actions import Refused
from mcc.cases.changes import changes
from mcc.people.models import User
from mcc.visits.models import FollowUp, Visit
from mcc.visits.record import write_down

NAME_CHARS_MIN = 3
DIGITS_MIN = 6
REFERENCE_CHARS_MAX = 120
DAY_MS = 86_400_000
# Whoever writes alarms waits for one of these.
_BATCH = 50
# So long a picture waits for a row that names it: its visit is just being kept, or somebody has
# restored a wrong backup and will restore another.
_STRAY_S = 7 * 86_400
_SEPARATOR = r"[\s().\-/]*"
_PERSONAL = ("name", "phone", "address", "findings")

_EVIDENCE = gettext_lazy(
    "the record of what was done is evidence; the database refuses to change it"
)
_CASE = gettext_lazy("the file of a case, and what a gateway said; kept for the newest million")
_REGISTER = gettext_lazy("a register: whoever keeps it changes it there")
_ACCOUNT = gettext_lazy("accounts are closed and not deleted, because the record names them")
_OFFICE = gettext_lazy("what the office wrote or planned in its own name")


@dataclass(frozen=True)
class Source:
    """Columns of a table in which people may be named; `kept`: why nothing is removed there."""

    label: str
    fields: tuple[str, ...]
    kept: str | Promise | None = None

    @property
    def model(self) -> type[Model]:
        """The table."""
        return apps.get_model(self.label)


SOURCES = (
    Source("visits.Visit", _PERSONAL),
    Source("visits.FollowUp", ("text",)),
    Source("community.Participant", ("name",)),
    # A line of these that names the person goes; the others stay.
    Source("registers.Post", ("contacts", "notes")),
    Source("registers.Post", ("name", "address"), _REGISTER),
    Source("registers.Officer", ("name", "rank", "number", "phone"), _REGISTER),
    Source("registers.Unit", ("name", "phone"), _REGISTER),
    Source("people.User", ("username", "first_name", "last_name", "email"), _ACCOUNT),
    Source("api.Token", ("name",), _ACCOUNT),
    Source("api.Hook", ("name", "url", "why"), _ACCOUNT),
    Source("cases.Entry", ("operator", "address", "detail"), _EVIDENCE),
    Source("admin.LogEntry", ("object_repr", "change_message"), _EVIDENCE),
    Source("anev.Edition", ("made_by", "body"), _EVIDENCE),
    Source("cases.Alarm", ("body",), _CASE),
    Source("cases.Selftest", ("body",), _CASE),
    Source("cases.PostDocument", ("body",), _CASE),
    Source("cases.Command", ("operator", "body", "verdict"), _CASE),
    Source("cases.FaultLife", ("acknowledged_by", "shelved_by", "shelved_why"), _CASE),
    Source("escalation.Notice", ("target", "label"), _CASE),
    Source(
        "community.Section",
        ("title", "text", "title_en", "text_en", "responsible", "verified_by"),
        _OFFICE,
    ),
    Source("community.Drill", ("name",), _OFFICE),
    Source("community.DrillWindow", ("operator",), _OFFICE),
)
# Tables (or columns) that name no person of the public: codes, ids, places, numbers, secrets,
# sessions that end within a day, and what was typed at a sign-in that failed.
NOT_SEARCHED = frozenset(
    (
        "admin.LogEntry.object_id",
        "anev.Edition.week",
        "api.Hook.secret",
        "api.Token.digest",
        "api.Token.start",
        "auth.Group",
        "auth.Permission",
        "axes.AccessAttempt",
        "axes.AccessFailureLog",
        "axes.AccessLog",
        "cases.Alarm.alarm_id",
        "cases.Alarm.follows",
        "cases.Alarm.gateway",
        "cases.Alarm.kind",
        "cases.Alarm.outcome",
        "cases.Alarm.post",
        "cases.Alarm.state",
        "cases.Change",
        "cases.Command.action",
        "cases.Command.alarm_id",
        "cases.Command.command_id",
        "cases.Command.post",
        "cases.Entry.action",
        "cases.Entry.alarm_id",
        "cases.Entry.command_id",
        "cases.Entry.post",
        "cases.Entry.role",
        "cases.Entry.screen",
        "cases.Fault",
        "cases.FaultLife.fault",
        "cases.FaultLife.gateway",
        "cases.FaultLife.group",
        "cases.FaultLife.owner",
        "cases.GatewayDocument",
        "cases.PostDocument.connection",
        "cases.PostDocument.gateway",
        "cases.PostDocument.post",
        "cases.Process",
        "cases.Selftest.alarm_id",
        "cases.Selftest.post",
        "cases.Store",
        "community.DrillPost",
        "community.DrillWindow.post",
        "community.Participant.post",
        "community.Section.slug",
        "contenttypes.ContentType",
        "escalation.Notice.call",
        "escalation.Notice.rung",
        "escalation.Notice.state",
        "escalation.Notice.unit",
        "otp_totp.TOTPDevice",
        "people.Screen",
        "people.User.password",
        "registers.Kecamatan",
        "registers.Kelurahan",
        "registers.Post.post_id",
        "registers.Post.rw",
        "registers.Unit.slug",
        "sessions.Session",
        "visits.Visit.digest",
        "visits.Visit.post",
    )
)


class Needle:
    """A person as looked for: a name, a telephone, or either of the two."""

    def __init__(self, name: str, phone: str) -> None:
        """Take them as they were typed.

        Raises:
            Refused: too little to tell somebody by.
        """
        self._name = _folded(name)
        digits = re.sub(r"\D", "", phone)
        # 0812…, 62812… and +62 812… are one number.
        core = re.sub(r"^(?:62|0)", "", digits)
        if self._name and len(self._name) < NAME_CHARS_MIN:
            raise Refused(
                "wrong", _("A name has at least %(min)s letters.") % {"min": NAME_CHARS_MIN}
            )
        if phone.strip() and len(core) < DIGITS_MIN:
            raise Refused(
                "wrong", _("A telephone number has at least %(min)s digits.") % {"min": DIGITS_MIN}
            )
        if not self._name and not core:
            raise Refused("wrong", _("Give a name or a telephone number."))
        spaced = _SEPARATOR.join(core)
        begun = rf"(?<!\d)(?:\+?{_SEPARATOR}62|0)?{_SEPARATOR}{spaced}(?!\d)"
        self._phone = re.compile(begun) if core else None

    def is_in(self, text: str) -> bool:
        """Whether a text names the person."""
        if self._name and self._name in _folded(text):
            return True
        return self._phone is not None and self._phone.search(text) is not None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class Hit:
    """One row that names the person; `key` with `label` finds it again."""

    label: str
    key: str
    texts: dict[str, str]

    @property
    def choice(self) -> str:
        """What a form says for it."""
        return f"{self.label}:{self.key}"


@dataclass
class Found:
    """What can be removed, row by row; what is kept, by its source."""

    hits: list[Hit] = field(default_factory=list)
    kept: dict[Source, list[Hit]] = field(default_factory=dict)


def find(needle: Needle) -> Found:
    """Everything in this database that names the person. It reads every table of `SOURCES`."""
    found = Found(list(_removable(needle).values()))
    for source in SOURCES:
        rows = [] if source.kept is None else list(_rows(source, needle))
        if rows:
            found.kept[source] = rows
    return found


def _removable(needle: Needle) -> dict[str, Hit]:
    """What can be removed, by its choice; a visit with its follow-ups is one."""
    known: dict[str, Hit] = {}
    for source in SOURCES:
        for hit in _rows(source, needle) if source.kept is None else ():
            known.setdefault(hit.choice, hit).texts.update(hit.texts)
    return known


def _rows(source: Source, needle: Needle) -> Iterator[Hit]:
    # What is to be done after a visit is a part of it.
    is_task = source.label == "visits.FollowUp"
    label, key = ("visits.Visit", "visit_id") if is_task else (source.label, "pk")
    rows = source.model._default_manager.values_list(key, *source.fields)
    for pk, *values in rows.iterator():
        texts = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in zip(source.fields, values, strict=True)
            if value
        }
        named = {name: text for name, text in texts.items() if needle.is_in(text)}
        if named:
            yield Hit(label, str(pk), named)


# --- removing ---------------------------------------------------------------------------------


def remove(
    user: User, needle: Needle, chosen: Iterable[str], *, reference: str, address: str
) -> Counter[str]:
    """Remove the chosen rows of what the needle finds; how many of each table.

    Raises:
        Refused: no reference, or nothing was chosen; nothing is removed.
        django.db.Error: nothing is removed.
    """
    _require(reference)
    # Read before the transaction: whoever writes alarms must not wait for a search.
    hits = _chosen(_removable(needle).values(), chosen)
    if not hits:
        raise Refused("wrong", _("Choose what is about this person."))
    done = Counter(one.label for one in hits)
    with changes() as change:
        blank(Visit.objects.filter(pk__in=_keys(hits, "visits.Visit")), change.at_ms)
        _source("community.Participant").model._default_manager.filter(
            pk__in=_keys(hits, "community.Participant")
        ).delete()
        posts = _source("registers.Post")
        for row in posts.model._default_manager.filter(pk__in=_keys(hits, "registers.Post")):
            for name in posts.fields:
                lines = getattr(row, name).splitlines()
                setattr(row, name, "\n".join(one for one in lines if not needle.is_in(one)))
            row.save()
            change.note("post", str(row.pk))
        write_down(
            user, "person_removed", change.at_ms, address, reference=reference, rows=dict(done)
        )
    return done


def _chosen(hits: Iterable[Hit], chosen: Iterable[str]) -> list[Hit]:
    wanted = set(chosen)
    return [one for one in hits if one.choice in wanted]


def _keys(hits: Iterable[Hit], label: str) -> list[str]:
    return [one.key for one in hits if one.label == label]


def _source(label: str) -> Source:
    return next(one for one in SOURCES if one.label == label)


def _require(reference: str) -> None:
    fits = len(reference) <= REFERENCE_CHARS_MAX and reference.isprintable()
    if not reference.strip() or not fits:
        raise Refused(
            "wrong", _("Give the number of the request; it stays in the record: no name.")
        )


def blank(visits: Iterable[Visit], at_ms: int) -> Counter[str]:
    """Take out of these visits whom they were about; what went, counted. In a transaction.

    What is counted stays: when, where (kelurahan), which officer, why, and the check of a post.
    """
    gone: Counter[str] = Counter()
    for visit in visits:
        gone["visits"] += 1
        for picture in (visit.photo, visit.signature):
            if picture:
                gone["pictures"] += 1
                transaction.on_commit(partial(default_storage.delete, str(picture.name)))
        for name in _PERSONAL:
            setattr(visit, name, "")
        visit.photo = visit.signature = visit.digest = ""
        visit.lat = visit.lon = visit.accuracy_m = None
        visit.removed_ms = at_ms
        visit.save()
        gone["follow_ups"] += FollowUp.objects.filter(visit=visit).exclude(text="").update(text="")
    return gone


def forget(now_ms: int, keep_days: int) -> Counter[str]:
    """Take out of visits that are older than that whom they were about, and what no row names.

    Raises:
        django.db.Error: the batch that was under way was not done; those before it were.
    """
    before_ms = now_ms - keep_days * DAY_MS
    gone: Counter[str] = Counter()
    while expired(before_ms).exists():
        with changes() as change:
            done = blank(expired(before_ms)[:_BATCH], change.at_ms)
            write_down(
                None, "visits_forgotten", change.at_ms, before_ms=before_ms, removed=dict(done)
            )
        gone += done
    gone["stray_files"] += _sweep(now_ms)
    return gone


def expired(before_ms: int) -> QuerySet[Visit]:
    """The visits before that which still say whom they were about."""
    return Visit.objects.filter(visited_ms__lt=before_ms, removed_ms=None).order_by("visited_ms")


def _sweep(now_ms: int) -> int:
    """Pictures of a visit that came to nothing, or of one whose end a crash cut off."""
    try:
        _directories, files = default_storage.listdir("visits")
    except FileNotFoundError:
        return 0
    named = set(Visit.objects.exclude(photo="").values_list("photo", flat=True))
    named |= set(Visit.objects.exclude(signature="").values_list("signature", flat=True))
    strays = [
        name
        for name in (f"visits/{one}" for one in files)
        if name not in named
        and now_ms / 1000 - default_storage.get_modified_time(name).timestamp() > _STRAY_S
    ]
    for name in strays:
        default_storage.delete(name)
    return len(strays)


# --- export -----------------------------------------------------------------------------------


def export(
    user: User,
    needle: Needle,
    chosen: Iterable[str],
    kept: Iterable[str],
    *,
    reference: str,
    address: str,
) -> bytes:
    """A ZIP file of the chosen rows and of the chosen kept tables: `person.json` and the pictures.

    `not_chosen` in it: how many rows that can be removed name the person and are not in the file.

    Raises:
        Refused: no reference, or nothing was chosen.
    """
    _require(reference)
    found, tables = find(needle), set(kept)
    hits = _chosen(found.hits, chosen)
    more = [one for source, rows in found.kept.items() if source.label in tables for one in rows]
    if not hits and not more:
        raise Refused("wrong", _("Choose what is about this person."))
    visits = list(
        Visit.objects.filter(pk__in=_keys(hits, "visits.Visit"))
        .select_related("officer", "kelurahan")
        .prefetch_related("follow_ups")
    )
    with changes() as change:
        count = dict(Counter(one.label for one in (*hits, *more)))
        write_down(user, "person_exported", change.at_ms, address, reference=reference, rows=count)
    others = [one for one in (*hits, *more) if one.label != "visits.Visit"]
    person = {
        "reference": reference,
        "visits": [_whole(one) for one in visits],
        "rows": [{"table": one.label, "key": one.key, **one.texts} for one in others],
        "not_chosen": len(found.hits) - len(hits),
        "not_covered": str(NOT_COVERED),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("person.json", json.dumps(person, ensure_ascii=False, indent=1))
        for visit in visits:
            for name in ("photo", "signature"):
                picture = getattr(visit, name)
                if picture and default_storage.exists(picture.name):
                    with picture.open("rb") as file:
                        archive.writestr(f"{name}-{visit.pk}.jpg", file.read())
    return out.getvalue()


NOT_COVERED = gettext_lazy(
    "Not searched: backups; the journal and register of the gateways; the posts; the broker; log"
    " files; telephones on which a visit still waits; messages and e-mails that were sent; paper."
)


def _whole(visit: Visit) -> dict[str, Any]:
    said = {name: getattr(visit, name) for name in _PERSONAL}
    for name in ("visited_ms", "received_ms", "kind", "purpose", "lat", "lon", "accuracy_m"):
        said[name] = getattr(visit, name)
    for name in ("post", "pressed", "lamp", "poster"):
        said[name] = getattr(visit, name)
    return {
        "visit_id": str(visit.pk),
        "officer": str(visit.officer),
        "kelurahan": visit.kelurahan.name,
        **said,
        "photo": bool(visit.photo),
        "signature": bool(visit.signature),
        "follow_ups": [
            {"text": one.text, "due": one.due.isoformat(), "done_ms": one.done_ms}
            for one in visit.follow_ups.all()
        ],
    }
