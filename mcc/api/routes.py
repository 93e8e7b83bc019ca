"""The API's addresses: one table from which both the URLs and the OpenAPI document are made.

It checks the token and the shape of what is asked; what may be seen and done is decided where it
is for people: by the role of the token's account, in `mcc.cases.actions` and the registers' areas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from mcc.api import shapes, tokens
from mcc.api.models import Token
from mcc.cases import picture
from mcc.cases.actions import Refused, act
from mcc.cases.models import Alarm, PostDocument
from mcc.console.seen import posts_seen
from mcc.people.address import client_address
from mcc.registers.models import Post as Register
from protocol.values import timestamp

BODY_BYTES_MAX = 8_192
_STATUS = {"not_allowed": 403, "unknown": 404, "wrong": 400, "full": 503}
_READERS = ("console", "phone", "posts")


@dataclass(frozen=True)
class Route:
    """One operation: `query` or `body` say what it takes, `gives` what it answers."""

    name: str
    method: str
    path: str
    summary: str
    gives: type[msgspec.Struct]
    handle: Callable[..., msgspec.Struct]
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.refusal = shapes.Refusal(code=code, why=why)


# --- operations ---------------------------------------------------------------------------------


def _alarms(_request: HttpRequest, token: Token, asked: shapes.AlarmsAsked) -> shapes.Alarms:
    rows = Alarm.objects.order_by("-raised_ms", "-alarm_id")
    seen = posts_seen(token.user)
    if seen is not None:
        rows = rows.filter(post__in=seen)
    if asked.open is not None:
        rows = rows.filter(is_open=asked.open)
    if asked.before is not None:
        rows = rows.filter(raised_ms__lt=asked.before)
    found = list(rows.values_list("alarm_id", "raised_ms")[: asked.limit + 1])
    ids = [alarm_id for alarm_id, _ in found[: asked.limit]]
    shown = picture.alarm_pictures(ids)
    return shapes.Alarms(
        alarms=[shapes.alarm_of(shown[one]) for one in ids if one in shown],
        next_before=found[asked.limit - 1][1] if len(found) > asked.limit else None,
    )


def _alarm(_request: HttpRequest, token: Token, alarm_id: str) -> shapes.Alarm:
    shown = picture.alarm_picture(alarm_id) if "\x00" not in alarm_id else None
    seen = posts_seen(token.user)
    if shown is None or (seen is not None and shown["post"] not in seen):
        raise Problem(404, "unknown", "There is no such alarm.")
    return shapes.alarm_of(shown)


def _act(request: HttpRequest, token: Token, alarm_id: str, asked: shapes.Act) -> shapes.Done:
    if not token.may_act:
        raise Problem(403, "not_allowed", "This token only reads.")
    _alarm(request, token, alarm_id)
    entry = act(
        token.user,
        alarm_id=alarm_id,
        address=client_address(request),
        screen=f"api {token.start}",
        **msgspec.structs.asdict(asked),
    )
    return shapes.Done(entry=entry.pk, command_id=entry.command_id)


def _posts(_request: HttpRequest, token: Token, asked: shapes.PostsAsked) -> shapes.Posts:
    seen = posts_seen(token.user)
    documents = PostDocument.objects.filter(post__gt=asked.after)
    registers = Register.objects.filter(post_id__gt=asked.after)
    if seen is not None:
        documents, registers = documents.filter(post__in=seen), registers.filter(post_id__in=seen)
    at_most = asked.limit + 1
    names = sorted(
        {
            *documents.order_by("post").values_list("post", flat=True)[:at_most],
            *registers.order_by("post_id").values_list("post_id", flat=True)[:at_most],
        }
    )[:at_most]
    page = names[: asked.limit]
    shown = picture.post_pictures(page)
    return shapes.Posts(
        posts=[shapes.post_of(shown[one]) for one in page if one in shown],
        next_after=page[-1] if len(names) > asked.limit else None,
    )


def _post(_request: HttpRequest, token: Token, post: str) -> shapes.Post:
    seen = posts_seen(token.user)
    hidden = "\x00" in post or (seen is not None and post not in seen)
    shown = None if hidden else picture.post_picture(post)
    if shown is None:
        raise Problem(404, "unknown", "There is no such post.")
    return shapes.post_of(shown)


def _status(_request: HttpRequest, _token: Token) -> shapes.Status:
    from mcc.cases.models import Store

    store = Store.objects.first()
    gateways = picture.gateways()
    return shapes.Status(
        faults=[one["name"] for one in picture.faults()],
        gateways={one["gateway"]: one["liveness"] for one in gateways},
        standing={
            one["gateway"]: [shapes.fault_of(life) for life in one["lives"]]
            for one in gateways
            if one["lives"]
        },
        reason=store.reason if store else "",
    )


ROUTES = (
    Route("alarms", "GET", "alarms", "Alarms, the newest first", shapes.Alarms, _alarms,
          query=shapes.AlarmsAsked),
    Route("alarm", "GET", "alarms/{alarm_id}", "One alarm", shapes.Alarm, _alarm),
    Route("act", "POST", "alarms/{alarm_id}/actions", "Do something about an alarm", shapes.Done,
          _act, body=shapes.Act),
    Route("posts", "GET", "posts", "Posts, in the order of their ids", shapes.Posts, _posts,
          query=shapes.PostsAsked),
    Route("post", "GET", "posts/{post}", "One post", shapes.Post, _post),
    Route("status", "GET", "status", "Whether the command centre hears and would answer",
          shapes.Status, _status),
)  # fmt: skip


# --- one request ---------------------------------------------------------------------------------


def _view(route: Route) -> Callable[..., HttpResponse]:
    @csrf_exempt  # no cookie lets anybody in here
    @login_not_required  # a token does
    def view(request: HttpRequest, **arguments: str) -> HttpResponse:
        # Words for programs are in one language.
        with translation.override("en"):
            try:
                return _answer(200, _handled(route, request, arguments))
            except Problem as problem:
                return _answer(problem.status, problem.refusal)
            except Refused as refused:
                return _refused(refused)

    return view


def _handled(route: Route, request: HttpRequest, arguments: dict[str, str]) -> msgspec.Struct:
    token = _token(request)
    if request.method != route.method:
        raise Problem(405, "wrong", f"Only {route.method} is understood here.")
    given: dict[str, Any] = dict(arguments)
    try:
        if route.query is not None:
            asked = {key: request.GET[key] for key in request.GET}
            given["asked"] = msgspec.convert(asked, route.query, strict=False)
        if route.body is not None:
            given["asked"] = msgspec.json.decode(_body(request), type=route.body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Problem(400, "wrong", str(error)) from None
    return route.handle(request, token, **given)


def _body(request: HttpRequest) -> bytes:
    if int(request.headers.get("Content-Length") or 0) > BODY_BYTES_MAX:
        raise Problem(413, "wrong", f"At most {BODY_BYTES_MAX} bytes are read.")
    body = request.read(BODY_BYTES_MAX + 1)
    if len(body) > BODY_BYTES_MAX:
        raise Problem(413, "wrong", f"At most {BODY_BYTES_MAX} bytes are read.")
    return body


def _token(request: HttpRequest) -> Token:
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    token = tokens.known(text.strip()) if kind.lower() == "bearer" else None
    if token is None:
        raise Problem(401, "not_allowed", "A token is needed: Authorization: Bearer ktg_...")
    if not any(token.user.has_right(right) for right in _READERS):
        raise Problem(403, "not_allowed", "The role of this token's account sees nothing here.")
    return token


def _refused(refused: Refused) -> HttpResponse:
    at_ms = refused.first_at_ms
    return _answer(
        _STATUS.get(refused.code, 409),
        shapes.Refusal(
            code=refused.code,
            why=refused.why,
            first_operator=refused.first_operator,
            first_at=None if at_ms is None else timestamp(at_ms),
        ),
    )


def _answer(status: int, value: msgspec.Struct | dict[str, Any]) -> HttpResponse:
    answer = HttpResponse(
        msgspec.json.encode(value), status=status, content_type="application/json"
    )
    answer.headers["Cache-Control"] = "no-store"
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


@login_not_required
def document(_request: HttpRequest) -> HttpResponse:
    """The OpenAPI document: it says what may be asked, and holds no secret."""
    from mcc.api.openapi import document

    return _answer(200, document())


@csrf_exempt
@login_not_required
def nothing(request: HttpRequest, rest: str) -> HttpResponse:
    """Every other address of the API: an error that a program can read."""
    return _answer(404, shapes.Refusal(code="unknown", why="There is nothing at this address."))


def urls() -> list[URLPattern]:
    """The addresses below /api/v1/."""
    made = []
    for one in ROUTES:
        address = one.path.replace("{", "<str:").replace("}", ">")
        made.append(path(address, _view(one), name=f"api-{one.name}"))
    return [
        *made,
        path("openapi.json", document, name="api-document"),
        path("<path:rest>", nothing, name="api-nothing"),
    ]
