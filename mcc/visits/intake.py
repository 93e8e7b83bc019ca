"""A visit as a telephone sends it: checked, its pictures drawn anew, kept once under its own key.

What is kept is on disk before anybody is told so, because the telephone then forgets it. The same
visit sent again is well; another one under the same key is refused and changes nothing.
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import IO, Annotated, Literal

import msgspec
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from msgspec import Meta

from mcc.cases.actions import Refused
from mcc.cases.changes import changes
from mcc.people.models import User
from mcc.registers.models import Kelurahan, Post
from mcc.registers.photos import Unusable, prepared
from mcc.visits import models
from mcc.visits.models import FollowUp, Visit
from mcc.visits.record import write_down
from protocol.values import Uuid

PHOTO_SIDE_PIXELS_MAX = 1_600
SIGNATURE_SIDE_PIXELS_MAX = 600
FOLLOW_UPS_MAX = 10
# A telephone's clock may be a little wrong, and a queue may wait for long.
AHEAD_MS_MAX = 86_400_000
AGE_MS_MAX = 366 * 86_400_000
# Pictures must not fill the disk on which the alarms are.
FREE_BYTES_MIN = 2 * 1024**3
_DIRECTORY = "visits/"

Kind = Literal["household", "shop", "post", "other"]
Purpose = Literal["greeting", "advice", "complaint", "mediation", "post", "follow_up", "other"]
# What no column holds on either database.
_NO_NUL = r"^[^\x00]*\Z"


class Place(msgspec.Struct, frozen=True):
    """Where it was, with the consent of whoever was visited; degrees and metres."""

    lat: Annotated[float, Meta(ge=-90.0, le=90.0)]
    lon: Annotated[float, Meta(ge=-180.0, le=180.0)]
    accuracy_m: Annotated[float, Meta(ge=0.0, le=1_000_000.0)]
    consent: Literal[True]


class Check(msgspec.Struct, frozen=True):
    """What the officer saw at a guard post; None: not looked at."""

    post: Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL)]
    pressed: bool | None = None
    lamp: bool | None = None
    poster: bool | None = None


class Task(msgspec.Struct, frozen=True):
    """What is to be done until when."""

    text: Annotated[str, Meta(min_length=1, max_length=models.FOLLOW_UP_CHARS_MAX, pattern=_NO_NUL)]
    due: dt.date


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One visit. Fields that it does not know are ignored: a kept page may be older or newer.

    `user_id`: for whom it was written down. Another person's session on the same telephone sends it
    under no name.
    """

    visit_id: Uuid
    user_id: int
    kelurahan: Annotated[str, Meta(max_length=13, pattern=_NO_NUL)]
    visited_ms: Annotated[int, Meta(ge=0, lt=2**53)]
    kind: Kind
    purpose: Purpose
    name: Annotated[str, Meta(max_length=models.NAME_CHARS_MAX, pattern=_NO_NUL)] = ""
    phone: Annotated[str, Meta(max_length=models.PHONE_CHARS_MAX, pattern=_NO_NUL)] = ""
    address: Annotated[str, Meta(max_length=models.ADDRESS_CHARS_MAX, pattern=_NO_NUL)] = ""
    findings: Annotated[str, Meta(max_length=models.FINDINGS_CHARS_MAX, pattern=_NO_NUL)] = ""
    place: Place | None = None
    check: Check | None = None
    follow_ups: Annotated[tuple[Task, ...], Meta(max_length=FOLLOW_UPS_MAX)] = ()


_SENT = msgspec.json.Decoder(Sent)
# As the form calls what an officer can change.
_LABELS = {
    "kelurahan": gettext_lazy("Kelurahan"),
    "visited_ms": gettext_lazy("When"),
    "kind": gettext_lazy("Whom"),
    "purpose": gettext_lazy("Purpose"),
    "name": gettext_lazy("Name of the visited"),
    "phone": gettext_lazy("Telephone"),
    "address": gettext_lazy("Address"),
    "findings": gettext_lazy("Findings"),
    "place": gettext_lazy("Place"),
    "check": gettext_lazy("Check of the guard post"),
    "follow_ups": gettext_lazy("Follow-ups"),
}


def receive(
    user: User,
    raw: bytes,
    photo: IO[bytes] | None,
    signature: IO[bytes] | None,
    *,
    address: str,
) -> Visit:
    """Keep one visit; it when everything is on disk, also when it has been for long.

    Raises:
        Refused: nothing was kept. `not_allowed`: it is somebody else's, or the account is no
            officer's; `already`: another visit has this key; `wrong`: it has to be changed;
            `full`: the disk does not take it now.
        django.db.Error: nothing was kept.
    """
    sent = _read(raw)
    if sent.user_id != user.pk or user.officer is None:
        raise Refused("not_allowed", _("Sign in as the officer who wrote this visit down."))
    digest = _digest(raw, photo, signature)
    known = _known(user, sent, digest)
    if known is not None:
        return known
    _check(sent)
    pictures = {
        "photo": _picture(photo, PHOTO_SIDE_PIXELS_MAX),
        "signature": _picture(signature, SIGNATURE_SIDE_PIXELS_MAX),
    }
    kept: dict[str, str] = {}
    try:
        for field, content in pictures.items():
            if content is not None:
                kept[field] = _on_disk(content)
        with changes() as change:
            # Sent twice at once: the second waited here for the first.
            known = _known(user, sent, digest)
            if known is None:
                transaction.on_commit(kept.clear)
                return _write(user, sent, digest, kept, change.at_ms, address)
    except OSError:
        raise Refused("full", _("The server cannot keep it now. It stays here.")) from None
    finally:
        # Whatever no row names.
        for name in kept.values():
            default_storage.delete(name)
    return known


def _read(raw: bytes) -> Sent:
    try:
        return _SENT.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused("wrong", _why(error)) from None


def _why(error: Exception) -> str:
    """What an officer can do about it: the library's own words are for programmers, and English."""
    at = re.search(r"at `\$\.(\w+)", str(error))
    label = _LABELS.get(at[1]) if at else None
    if label is None:
        return _("The server cannot read this visit: change it and keep it again.")
    return _("%(field)s: the server cannot take what stands there. Change it.") % {"field": label}


def _digest(raw: bytes, *pictures: IO[bytes] | None) -> str:
    """One number for all that was sent."""
    whole = hashlib.sha256(hashlib.sha256(raw).digest())
    for picture in pictures:
        if picture is not None:
            picture.seek(0)
            whole.update(hashlib.file_digest(picture, "sha256").digest())  # type: ignore[arg-type]
        else:
            whole.update(bytes(32))
    return whole.hexdigest()


def _known(user: User, sent: Sent, digest: str) -> Visit | None:
    known = Visit.objects.filter(pk=sent.visit_id).first()
    if known is None:
        return None
    # What was removed has no digest any more, and does not come back by being sent again.
    is_same = known.author_id == user.pk and known.digest in (digest, "")
    if not is_same:
        raise Refused("already", _("Another visit has come under this key; this one is not kept."))
    return known


def _check(sent: Sent) -> None:
    now_ms = time.time_ns() // 1_000_000
    if not now_ms - AGE_MS_MAX <= sent.visited_ms <= now_ms + AHEAD_MS_MAX:
        raise Refused("wrong", _("The day of the visit is in the future, or over a year ago."))
    if not Kelurahan.objects.filter(pk=sent.kelurahan).exists():
        raise Refused("wrong", _("There is no such kelurahan."))
    if sent.check is not None:
        # One in which nothing was looked at would hide what an earlier one saw.
        if (sent.check.pressed, sent.check.lamp, sent.check.poster) == (None, None, None):
            raise Refused(
                "wrong", _("Say what you saw at the guard post, or choose that none was checked.")
            )
        post = Post.objects.filter(pk=sent.check.post).first()
        if post is None or post.kelurahan_id not in (None, sent.kelurahan):
            raise Refused("wrong", _("This post is not in the register of that kelurahan."))


def _picture(file: IO[bytes] | None, side_pixels_max: int) -> ContentFile[bytes] | None:
    if file is None:
        return None
    try:
        return prepared(file, side_pixels_max)
    except Unusable as error:
        raise Refused("wrong", str(error)) from None


def _on_disk(content: ContentFile[bytes]) -> str:
    """Write a picture so that it outlives a power cut; its name.

    Raises:
        OSError: it cannot be written, or what is free is left to the alarms.
    """
    directory = Path(default_storage.path(_DIRECTORY))
    directory.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(directory).free < FREE_BYTES_MIN:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    name = default_storage.save(_DIRECTORY + str(content.name), content)
    path = Path(default_storage.path(name))
    for place in (path, path.parent):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return name


def _write(
    user: User, sent: Sent, digest: str, pictures: dict[str, str], at_ms: int, address: str
) -> Visit:
    place, check = sent.place, sent.check
    visit = Visit(
        visit_id=sent.visit_id,
        digest=digest,
        author=user,
        officer=user.officer,
        kelurahan_id=sent.kelurahan,
        visited_ms=sent.visited_ms,
        received_ms=at_ms,
        kind=sent.kind,
        purpose=sent.purpose,
        name=sent.name.strip(),
        phone=sent.phone.strip(),
        address=sent.address.strip(),
        findings=sent.findings.strip(),
        lat=place.lat if place else None,
        lon=place.lon if place else None,
        accuracy_m=place.accuracy_m if place else None,
        post=check.post if check else "",
        pressed=check.pressed if check else None,
        lamp=check.lamp if check else None,
        poster=check.poster if check else None,
        **pictures,
    )
    visit.save(force_insert=True)
    FollowUp.objects.bulk_create(
        FollowUp(visit=visit, text=one.text, due=one.due) for one in sent.follow_ups
    )
    # The record is never shortened: nothing of whom it was about stands in it.
    write_down(user, "visit", at_ms, address, visit=str(visit.pk))
    return visit
