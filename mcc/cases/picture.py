"""The present state as console and API show it: plain data, ready for JSON, made anew each time.

It reads and never writes. Times are Unix milliseconds, ages seconds, places WGS 84 degrees. Texts
that came over MQTT are in it as they came: a page puts them in as text, never as markup.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from django.db import models

from mcc.alarms import AlarmRecord, Verdict, unanswered_repeats
from mcc.cases import faults as fault_lives
from mcc.cases.models import (
    Alarm,
    Command,
    Entry,
    Fault,
    GatewayDocument,
    PostDocument,
    Process,
    Store,
)
from mcc.registers.models import Officer, Post, Unit
from process.log import log
from protocol.messages import MccGateway, MccPost, Raised, Step
from protocol.values import wall_ms

CLOSED_SHOWN_MAX = 50
OPEN_SHOWN_MAX = 1_000
POSTS_SHOWN_MAX = 5_000
HISTORY_SHOWN_MAX = 500
# The newest lines of each kind that people wrote about one alarm.
SAID_SHOWN_MAX = 50
REFUSALS_SHOWN_S = 120
# An alarm that was heard here so much later than it was raised says so.
LATE_S = 60

_RECORD = msgspec.json.Decoder(AlarmRecord)
_POST = msgspec.json.Decoder(MccPost)
_GATEWAY = msgspec.json.Decoder(MccGateway)
_VERDICT = msgspec.json.Decoder(Verdict)
# What people say of a case beside its orders, and its name in the picture.
_SCENE = {
    "on_the_way": "on_the_way",
    "on_scene": "on_scene",
    "message": "messages",
    "ask_assist": "assists",
    "confirm_by_phone": "confirmed",
}
_WORDS = ("note", "unit_name", "result")
# What stands in `cases` of an alarm, and of its post.
_OF_A_CASE = (
    "alarm_id",
    "post",
    "post_name",
    "kind",
    "state",
    "is_open",
    "is_answered",
    "late_repeats",
    "raised_ms",
    "follows",
    "cancel_requested_ms",
    "unit",
    "outcome",
    "location",
    "on_the_way",
    "on_scene",
    "assists",
    "messages",
)
_OF_ITS_POST = ("post", "name", "rw", "address", "kelurahan")
_STEPS = ("received", "delivered", "acknowledged", "dispatched", "resolved")


def picture(*, posts: frozenset[str] | None = None) -> dict[str, Any]:
    """Everything that is shown; `sequence` is the newest change that is surely in it.

    `posts` narrows it to these (an area, as of `mcc.registers.area.posts_of`); None: all.
    Alarms are the open ones, oldest first, then the newest closed ones. At `OPEN_SHOWN_MAX` and
    `POSTS_SHOWN_MAX` the rest is only counted, in `alarms_left_out` and `posts_left_out`.
    """
    now_ms = time.time_ns() // 1_000_000
    store = Store.objects.first()  # before the rest, which may be newer
    rows = Alarm.objects.all() if posts is None else Alarm.objects.filter(post__in=posts)
    opened = list(rows.filter(is_open=True).order_by("raised_ms")[: OPEN_SHOWN_MAX + 1])
    left_out = 0
    if len(opened) > OPEN_SHOWN_MAX:
        left_out = rows.filter(is_open=True).count() - OPEN_SHOWN_MAX
        opened = opened[:OPEN_SHOWN_MAX]
    closed = list(rows.filter(is_open=False).order_by("-raised_ms")[:CLOSED_SHOWN_MAX])
    shown_posts = _posts(posts)
    return {
        "sequence": store.sequence if store else 0,
        "store_id": store.store_id if store else None,
        "reason": store.reason if store else "",
        "at_ms": now_ms,
        "alarms": _alarms([*opened, *closed], now_ms),
        "alarms_left_out": left_out,
        "posts": shown_posts[:POSTS_SHOWN_MAX],
        "posts_left_out": max(0, len(shown_posts) - POSTS_SHOWN_MAX),
        "test_windows": _test_windows(shown_posts, now_ms),
        "gateways": gateways(),
        "processes": processes(),
        "faults": faults(),
        "units": units(),
    }


def cases(posts: frozenset[str] | None) -> dict[str, Any]:
    """The alarms of `picture` with where they are and what is written about them, nothing else.

    For whoever has to know of a call and answers none.
    """
    shown = picture(posts=posts)
    return {
        "sequence": shown["sequence"],
        "at_ms": shown["at_ms"],
        "alarms": [case_of(one) for one in shown["alarms"]],
        "posts": [{name: one[name] for name in _OF_ITS_POST} for one in shown["posts"]],
    }


def case_of(alarm: dict[str, Any]) -> dict[str, Any]:
    """Of one alarm of `picture` what stands in `cases`."""
    return {name: alarm[name] for name in _OF_A_CASE}


def alarm_picture(alarm_id: str) -> dict[str, Any] | None:
    """One alarm as it stands in `picture()["alarms"]`; None when there is none."""
    rows = list(Alarm.objects.filter(alarm_id=alarm_id))
    return next(iter(_alarms(rows, time.time_ns() // 1_000_000)), None)


def post_picture(post: str) -> dict[str, Any] | None:
    """One post as it stands in `picture()["posts"]`; None when nobody knows it."""
    return next(iter(_posts(frozenset((post,)))), None)


def alarm_pictures(alarm_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Several alarms by id, each as in `alarm_picture`; those that are not there are left out."""
    rows = list(Alarm.objects.filter(alarm_id__in=list(alarm_ids)))
    return {one["alarm_id"]: one for one in _alarms(rows, time.time_ns() // 1_000_000)}


def post_pictures(posts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Several posts by id, each as in `post_picture`; those that nobody knows are left out."""
    return {one["post"]: one for one in _posts(frozenset(posts))}


def post_card(post: str) -> dict[str, Any] | None:
    """One post with what its card says beside: contacts, notes, outcomes, officers on duty.

    `outcomes` counts its closed alarms by outcome. `photo`: the name of the picture, or None.
    """
    shown = post_picture(post)
    if shown is None:
        return None
    register = Post.objects.filter(post_id=post).first()
    counted = Alarm.objects.filter(post=post, is_open=False).values_list("outcome")
    outcomes = {name or "none": count for name, count in counted.annotate(n=models.Count("*"))}
    officers = Officer.objects.none()
    if shown["unit"] is not None:
        kelurahan = shown["kelurahan"]["code"]
        here = models.Q(kelurahan=kelurahan) | models.Q(kelurahan=None, unit=shown["unit"])
        officers = Officer.objects.filter(here, on_duty=True)
    return {
        **shown,
        "contacts": register.contacts if register else "",
        "notes": register.notes if register else "",
        "photo": (register.photo.name or None) if register else None,
        "outcomes": outcomes,
        "past_faults": fault_lives.history(fault_lives.of_post(post)),
        "officers": [
            {"name": one.name, "rank": one.rank, "phone": one.phone} for one in officers[:50]
        ],
    }


def history(*, alarm_id: str | None = None, post: str | None = None) -> list[dict[str, Any]]:
    """The record of what people did, newest first, at most `HISTORY_SHOWN_MAX` lines."""
    rows = Entry.objects.order_by("-id")
    if alarm_id is not None:
        rows = rows.filter(alarm_id=alarm_id)
    if post is not None:
        rows = rows.filter(post=post)
    return [
        {
            "id": one.pk,
            "at_ms": one.at_ms,
            "action": one.action,
            "alarm_id": one.alarm_id,
            "post": one.post,
            "operator": one.operator,
            "role": one.role,
            "address": one.address,
            "screen": one.screen,
            "command_id": one.command_id,
            "detail": one.detail,
        }
        for one in rows[:HISTORY_SHOWN_MAX]
    ]


# --- alarms -----------------------------------------------------------------------------------


def _alarms(rows: Sequence[Alarm], now_ms: int) -> list[dict[str, Any]]:
    ids = [row.alarm_id for row in rows]
    followers: dict[str, list[str]] = defaultdict(list)
    for alarm_id, follows in Alarm.objects.filter(follows__in=ids).values_list(
        "alarm_id", "follows"
    ):
        followers[follows or ""].append(alarm_id)
    commands: dict[str, list[Command]] = defaultdict(list)
    for command in Command.objects.filter(alarm_id__in=ids).order_by("created_ms"):
        commands[command.alarm_id or ""].append(command)
    on_the_way: dict[str, list[Entry]] = defaultdict(list)
    seen = Entry.objects.filter(alarm_id__in=ids, action__in=_SCENE)
    for entry in seen.order_by("id"):
        on_the_way[entry.alarm_id or ""].append(entry)
    areas = _registered({row.post for row in rows})
    shown = []
    for row in rows:
        alarm = _decoded(_RECORD, row.body)
        if alarm is not None:
            register = areas.get(row.post)
            shown.append(
                {
                    **_face(row, alarm, followers[row.alarm_id]),
                    **_commands(commands[row.alarm_id], now_ms),
                    **_scene(on_the_way[row.alarm_id]),
                    "post_name": register.name if register else None,
                    "default_unit": _unit_slug(register),
                }
            )
    return shown


def _face(row: Alarm, alarm: AlarmRecord, followers: Sequence[str]) -> dict[str, Any]:
    late_ms = row.heard_ms - row.raised_ms
    place = alarm.location
    return {
        "alarm_id": alarm.alarm_id,
        "post": alarm.post,
        "gateway": alarm.gateway,
        "kind": alarm.kind,
        "state": alarm.state,
        "is_open": alarm.is_open,
        "is_answered": alarm.is_answered,
        "raised_ms": row.raised_ms,
        # computed, post_clock, or before: then nobody knows how long before.
        "raised_known": alarm.raised.known,
        "heard_ms": row.heard_ms,
        "is_late": alarm.raised.known == "before" or late_ms > LATE_S * 1000,
        "late_s": max(0, late_ms // 1000),
        "reached": {name: _step(getattr(alarm.reached, name)) for name in _STEPS},
        "repeats": alarm.repeats,
        "last_repeat_ms": _raised_ms(alarm.last_repeat),
        "answered_repeats": alarm.answered_repeats,
        "late_repeats": unanswered_repeats(alarm, bool(followers)),
        "rings": row.rings,
        "follows": alarm.follows,
        "followed_by": sorted(followers),
        "cancel_requested_ms": _ms(alarm.cancel_requested_at),
        "sounded_ms": _ms(alarm.sounded_at),
        "closed_here_ms": _ms(alarm.closed_here),
        "unit": alarm.unit,
        "outcome": alarm.outcome,
        "note": alarm.note,
        "location": {
            "lat": place.lat,
            "lon": place.lon,
            "source": place.source,
            "age_s": place.age_s,
            "accuracy_m": place.accuracy_m,
        },
    }


def _commands(commands: Sequence[Command], now_ms: int) -> dict[str, Any]:
    """What is being sent, and what was refused just now."""
    recent_ms = now_ms - REFUSALS_SHOWN_S * 1000
    return {
        "sending": [
            {
                "command_id": one.command_id,
                "action": one.action,
                "operator": one.operator,
                "since_ms": one.created_ms,
            }
            for one in commands
            if one.state == Command.State.SENDING
        ],
        "refusals": [
            {
                "command_id": one.command_id,
                "action": one.action,
                "operator": one.operator,
                "at_ms": one.settled_ms,
                **_verdict(one.verdict),
            }
            for one in commands
            if one.state == Command.State.REFUSED and (one.settled_ms or 0) > recent_ms
        ],
    }


def _verdict(body: str | None) -> dict[str, Any]:
    verdict = _decoded(_VERDICT, body or "{}") or Verdict()
    return {
        "refused": verdict.refused,
        "why": verdict.why,
        "first_operator": verdict.first_operator,
        "first_at_ms": _ms(verdict.first_at),
    }


def _scene(entries: Sequence[Entry]) -> dict[str, Any]:
    said: dict[str, list[dict[str, Any]]] = {name: [] for name in _SCENE.values()}
    for entry in entries:
        words = {name: entry.detail[name] for name in _WORDS if name in entry.detail}
        line = {"operator": entry.operator, "role": entry.role, "at_ms": entry.at_ms, **words}
        said[_SCENE[entry.action]].append(line)
    return {name: lines[-SAID_SHOWN_MAX:] for name, lines in said.items()}


def _step(step: Step | None) -> dict[str, Any] | None:
    if step is None:
        return None
    return {"at_ms": wall_ms(step.at), "operator": step.operator, "console": step.console}


# --- posts ------------------------------------------------------------------------------------


def _registered(posts: Iterable[str]) -> dict[str, Post]:
    rows = Post.objects.filter(post_id__in=list(posts))
    return {row.post_id: row for row in rows.select_related("kelurahan__kecamatan__unit")}


def _posts(posts: frozenset[str] | None) -> list[dict[str, Any]]:
    """Register and document of each post that either knows; those that are not well first."""
    registers = Post.objects.select_related("kelurahan__kecamatan__unit")
    documents = PostDocument.objects.order_by("-connection")  # unknown, silent, online
    if posts is not None:
        registers = registers.filter(post_id__in=posts)
        documents = documents.filter(post__in=posts)
    known = {row.post_id: row for row in registers[: POSTS_SHOWN_MAX + 1]}
    said = {row.post: _decoded(_POST, row.body) for row in documents[: POSTS_SHOWN_MAX + 1]}
    missing = [post for post in said if post not in known]
    known |= _registered(missing)
    names = sorted({*known, *said})
    owners = None if posts is None else [fault_lives.of_post(name) for name in names]
    lives = fault_lives.open_lives(owners)
    shown = [
        {**_post(name, known.get(name), said.get(name)), "lives": lives[fault_lives.of_post(name)]}
        for name in names
    ]
    return sorted(shown, key=lambda one: one["connection"] == "online" and not one["faults"])


def _post(name: str, register: Post | None, said: MccPost | None) -> dict[str, Any]:
    kelurahan = register.kelurahan if register else None
    lat, lon, source = _place(register, said)
    window = said.test_window if said else None
    planned = said.maintenance if said else None
    return {
        "post": name,
        "is_registered": register is not None,
        "name": (register.name if register else None) or (said.name if said else None) or name,
        "rw": register.rw if register else "",
        "address": register.address if register else "",
        "kelurahan": {"code": kelurahan.code, "name": kelurahan.name} if kelurahan else None,
        "kecamatan": (
            {"code": kelurahan.kecamatan.code, "name": kelurahan.kecamatan.name}
            if kelurahan
            else None
        ),
        "unit": _unit_slug(register),
        "lat": lat,
        "lon": lon,
        # register, gateway, or kelurahan: the centroid of the ward and nothing better.
        "place_source": source,
        # None: no gateway has told of it.
        "connection": said.connection if said else None,
        "faults": list(said.faults) if said else [],
        "gateway": said.gateway if said else None,
        "firmware": said.firmware if said else None,
        "last_seen_ms": _ms(said.last_seen) if said else None,
        "said_ms": wall_ms(said.at) if said else None,
        "test_window": (
            {"until_ms": wall_ms(window.until), "opened_by": window.opened_by} if window else None
        ),
        "maintenance": (
            {"until_ms": wall_ms(planned.until), "by": planned.by, "why": planned.why}
            if planned
            else None
        ),
    }


def _place(
    register: Post | None, said: MccPost | None
) -> tuple[float | None, float | None, str | None]:
    if register is not None and register.lat is not None and register.lon is not None:
        return register.lat, register.lon, "register"
    if said is not None and said.place is not None:
        return said.place.lat, said.place.lon, "gateway"
    if register is not None and register.kelurahan is not None:
        return register.kelurahan.lat, register.kelurahan.lon, "kelurahan"
    return None, None, None


def _unit_slug(register: Post | None) -> str | None:
    if register is None or register.kelurahan is None:
        return None
    unit: Unit | None = getattr(register.kelurahan.kecamatan, "unit", None)
    return unit.slug if unit else None


def _test_windows(posts: Sequence[dict[str, Any]], now_ms: int) -> list[dict[str, Any]]:
    return [
        {"post": one["post"], **one["test_window"]}
        for one in posts
        if one["test_window"] and one["test_window"]["until_ms"] > now_ms
    ]


# --- what carries it --------------------------------------------------------------------------


def gateways() -> list[dict[str, Any]]:
    """The gateways' last lasting words, and whether they live as the ingest knows it.

    `liveness` is `unknown` while the ingest has no link, or has not heard the gateway on it.
    """
    ingest = Process.objects.filter(name="ingest").first()
    lives: dict[str, str] = (ingest.body.get("gateways") or {}) if ingest else {}
    shown = []
    rows = list(GatewayDocument.objects.order_by("gateway"))
    faulty = fault_lives.open_lives([fault_lives.of_gateway(row.gateway) for row in rows])
    for row in rows:
        said = _decoded(_GATEWAY, row.body)
        shown.append(
            {
                "gateway": row.gateway,
                "liveness": lives.get(row.gateway, "unknown"),
                "faults": list(said.faults) if said else [],
                "lives": faulty[fault_lives.of_gateway(row.gateway)],
                "journal_id": said.journal_id if said else None,
            }
        )
    return shown


def processes() -> list[dict[str, Any]]:
    """The command centre's processes, each with the age of its beat.

    `age_s` is counted on this process's own clock since it last saw the number change; at the
    first look it is the difference of two wall clocks, and no better than they are. `body` of
    `ingest`: `link_up`, `link_reason`, `gateways` (liveness by name).
    """
    return [
        {
            "name": row.name,
            "beat": row.beat,
            "at_ms": row.at_ms,
            "age_s": _ages.age_s(row.name, row.beat, row.at_ms),
            "body": row.body,
        }
        for row in Process.objects.order_by("name")
    ]


def faults() -> list[dict[str, Any]]:
    """What is wrong with the command centre itself."""
    return [
        {"name": row.name, "since_ms": row.since_ms, "detail": row.detail}
        for row in Fault.objects.order_by("since_ms")
    ]


def units() -> list[dict[str, Any]]:
    """Who can be sent."""
    return [
        {
            "unit": row.slug,
            "name": row.name,
            "kind": row.kind,
            "kecamatan": row.kecamatan_id,
            "phone": row.phone,
        }
        for row in Unit.objects.all()
    ]


class _Ages:
    """When this process saw each beat change, on a clock that is never stepped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, float]] = {}

    def age_s(self, name: str, beat: int, at_ms: int) -> float:
        now_s = time.monotonic()
        with self._lock:
            known = self._seen.get(name)
            if known is None:
                told_s = max(0.0, time.time() - at_ms / 1000)
                self._seen[name] = (beat, now_s - told_s)
            elif known[0] != beat:
                self._seen[name] = (beat, now_s)
            return round(now_s - self._seen[name][1], 1)


_ages = _Ages()


def _ms(text: str | None) -> int | None:
    return None if text is None else wall_ms(text)


def _raised_ms(raised: Raised | None) -> int | None:
    return None if raised is None else wall_ms(raised.at)


def _decoded(decoder: msgspec.json.Decoder[Any], body: str) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # One row that cannot be read must not hide the others.
        log("row_unreadable", level="error", why=str(error))
        return None
