"""The page's addresses: the page itself, the present state, what is looked up, what is done.

Every answer is made for the person who asks: role and area are checked here for what is read, and
in `mcc.cases.actions` for what is done. No text that came over MQTT is put into markup.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_GET, require_POST
from django.views.i18n import JavaScriptCatalog

from mcc.cases import picture as pictures
from mcc.cases.actions import Refused, act
from mcc.cases.models import Alarm
from mcc.console.areas import areas_of_kecamatan
from mcc.console.seen import posts_seen, sight_of
from mcc.console.tiles import TilesUnusable, tiles_of
from mcc.people.address import client_address
from mcc.people.models import Screen, User
from mcc.people.roles import ACTIONS
from mcc.registers.models import Post
from protocol.values import Uuid

WISH_BYTES_MAX = 4_096
# A screen that has said nothing for so long is closed.
SCREEN_KEPT_MS = 3_600_000
_REFUSED_STATUS = {"not_allowed": 403, "unknown": 404, "wrong": 400, "full": 503}

words = login_not_required(JavaScriptCatalog.as_view(packages=["mcc.console"]))


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page asks to be done; the meaning of each field is that of `mcc.cases.actions`."""

    action: str
    screen: str
    alarm_id: str | None = None
    post: str | None = None
    repeats: int | None = None
    kind: str | None = None
    unit: str | None = None
    outcome: str | None = None
    note: str = ""
    minutes: int | None = None
    fault: str | None = None
    hours: int | None = None
    result: str | None = None


class ScreenSaid(msgspec.Struct, frozen=True):
    """One browser's word about itself."""

    screen: Uuid
    sound: bool


_View = Callable[..., HttpResponseBase]


def _for(*rights: str) -> Callable[[_View], _View]:
    """Whoever has one of these rights; everybody else is refused."""

    def guard(view: _View) -> _View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not any(_user(request).has_right(right) for right in rights):
                return HttpResponse(status=403)
            return view(request, *args, **kwargs)

        return guarded

    return guard


def _user(request: HttpRequest) -> User:
    """Whoever is logged in; the middleware has refused everybody else."""
    if not isinstance(request.user, User):
        raise Http404
    return request.user


@require_GET
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """The console; a picket is sent to the view for telephones, a technician to the registers."""
    user = _user(request)
    if user.has_right("console"):
        return render(request, "console/console.html", {"config": _config(user)})
    if user.has_right("phone"):
        return redirect("phone")
    if user.has_right("visit"):
        return redirect("visits-phone")
    if user.has_right("admin"):
        return redirect("admin:index")
    return HttpResponse(status=403)


@require_GET
@never_cache
@_for("phone", "console", "cases")
def phone(request: HttpRequest) -> HttpResponse:
    """For a telephone: to a picket the open alarms of the own area, to an officer the cases of the
    own kelurahan."""
    return render(request, "console/phone.html", {"config": _config(_user(request))})


def _config(user: User) -> dict[str, Any]:
    """What the page has to know beside the picture."""
    mcc = settings.MCC
    return {
        "actions": sorted(ACTIONS.get(user.role, frozenset())),  # type: ignore[call-overload]
        "user": user.label,
        "user_id": user.pk,
        "unit": user.unit.name if user.unit else None,
        "map": {
            "tiles": "/map/tiles/{z}/{x}/{y}" if mcc.map.pmtiles else mcc.map.tiles,
            "attribution": mcc.map.attribution,
            "areas": reverse("console-areas"),
            "latitude": mcc.map.latitude,
            "longitude": mcc.map.longitude,
            "zoom": mcc.map.zoom,
        },
        "targets": {
            "acknowledge_s": mcc.targets.acknowledge_s,
            "acknowledge_late_s": mcc.targets.acknowledge_late_s,
            "dispatch_s": mcc.targets.dispatch_s,
        },
        "second_tone_s": mcc.escalation.second_tone_s,
    }


@require_GET
@never_cache
@gzip_page  # 5,000 posts are 2 MB, and a patrol reads them by telephone
@_for("console", "phone", "cases")
def picture(request: HttpRequest) -> HttpResponse:
    """The present state, whole, with the number of the newest change in it."""
    seen = sight_of(_user(request))
    shown = pictures.cases if seen.only_cases else pictures.picture
    return _json(shown(posts=seen.posts))


@require_GET
@never_cache
@_for("console", "phone")
def case(request: HttpRequest, alarm_id: UUID) -> HttpResponse:
    """What people did about one alarm, oldest first."""
    row = Alarm.objects.filter(alarm_id=str(alarm_id)).first()
    if row is None or not _sees(request, row.post):
        raise Http404
    return _json({"history": pictures.history(alarm_id=str(alarm_id))[::-1]})


@require_GET
@never_cache
@_for("console", "phone")
def card(request: HttpRequest, post: str) -> HttpResponse:
    """One post with what its card says, and what people did about it."""
    shown = pictures.post_card(post) if _sees(request, post) else None
    if shown is None:
        raise Http404
    photo = reverse("console-photo", args=[post]) if shown["photo"] else None
    return _json({**shown, "photo": photo, "history": pictures.history(post=post)[:20]})


@require_GET
@_for("console", "phone")
def photo(request: HttpRequest, post: str) -> HttpResponseBase:
    """The photo of a post's site."""
    row = Post.objects.filter(post_id=post).first() if _sees(request, post) else None
    if row is None or not row.photo:
        raise Http404
    try:
        return FileResponse(row.photo.open("rb"))
    except OSError:
        raise Http404 from None


def _sees(request: HttpRequest, post: str) -> bool:
    posts = posts_seen(_user(request))
    return posts is None or post in posts


@require_POST
@_for("console", "phone", "posts", "cases")
def do(request: HttpRequest) -> HttpResponseBase:
    """Do one thing; a refusal says why, in the language of the page, and who was first."""
    if len(request.body) > WISH_BYTES_MAX:
        return _json({"code": "wrong", "why": ""}, status=413)
    try:
        wish = msgspec.json.decode(request.body, type=Wish)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _json({"code": "wrong", "why": str(error)}, status=400)
    fields = msgspec.structs.asdict(wish)
    try:
        entry = act(_user(request), address=client_address(request), **fields)
    except Refused as error:
        status = _REFUSED_STATUS.get(error.code, 409)
        return _json(
            {
                "code": error.code,
                "why": error.why,
                "first_operator": error.first_operator,
                "first_at_ms": error.first_at_ms,
            },
            status=status,
        )
    return _json({"entry": entry.pk, "command_id": entry.command_id})


@require_POST
@_for("console")
def screen(request: HttpRequest) -> HttpResponse:
    """A console says of itself that it is open, and whether a call would be heard at it.

    It is told who is signed in, which another tab of the same browser may have changed.
    """
    try:
        said = msgspec.json.decode(request.body[:WISH_BYTES_MAX], type=ScreenSaid)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _json({"code": "wrong", "why": str(error)}, status=400)
    now_ms = time.time_ns() // 1_000_000
    user = _user(request)
    Screen.objects.update_or_create(
        screen_id=said.screen,
        defaults={"user": user, "seen_ms": now_ms, "sound": said.sound},
    )
    Screen.objects.filter(seen_ms__lt=now_ms - SCREEN_KEPT_MS).delete()
    return _json({"user": user.label, "user_id": user.pk})


@require_GET
@_for("console", "phone")
def areas(_request: HttpRequest) -> HttpResponse:
    """What lies under the posts: real borders where the settings name them, else approximate."""
    named = settings.MCC.map.borders
    if named is None:
        answer = _json(areas_of_kecamatan())
    else:
        try:
            answer = HttpResponse(Path(named).read_bytes(), content_type="application/geo+json")
        except OSError:
            raise Http404 from None
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer


@require_GET
@_for("console", "phone")
def tile(_request: HttpRequest, z: int, x: int, y: int) -> HttpResponse:
    """One picture of the map, from the PMTiles file of the settings."""
    path = settings.MCC.map.pmtiles
    found = None
    if path is not None:
        try:
            tiles = tiles_of(Path(path))
        except TilesUnusable as error:
            raise Http404 from error
        found = tiles.picture(z, x, y)
    if found is None:
        raise Http404
    answer = HttpResponse(found, content_type=tiles.content_type)
    answer.headers["Cache-Control"] = "private, max-age=86400"
    return answer


@login_not_required
@require_POST
def language(request: HttpRequest) -> HttpResponse:
    """Remember in this browser which language the pages speak."""
    wanted = request.POST.get("next", "/")
    if not url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}):
        wanted = "/"
    response = redirect(wanted)
    chosen = request.POST.get("language", "")
    if chosen in dict(settings.LANGUAGES):
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            chosen,
            max_age=365 * 86_400,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return response


def _json(value: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(value), content_type="application/json", status=status)
