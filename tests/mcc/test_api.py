"""The HTTP API: tokens, the same rules as for people, and a document that tells the truth."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.test import Client
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from mcc.api import tokens
from mcc.api.models import Token
from mcc.api.openapi import document
from mcc.api.routes import BODY_BYTES_MAX, ROUTES
from mcc.api.shapes import LIMIT_MAX
from mcc.cases.actions import act
from mcc.cases.models import Command, Entry, FaultLife
from mcc.cases.store import CaseStore
from mcc.core import Commit, GatewayShown, LinkShown, Show
from mcc.people.models import User
from mcc.registers.models import Post
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST, gateway, post, uid
from tests.mcc.test_actions import FROM, heard_of, registered, stored

pytestmark = pytest.mark.usefixtures("database", "quick_passwords")
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]
ROOT = Path(__file__).parents[2]
# Requests to each operation, valid ones and then broken ones: many more in `make fuzz`.
REQUESTS = int(os.environ.get("KENTONGAN_API_REQUESTS", "10"))


def a_client(user: User, *, may_act: bool = True, days: int | None = None) -> Client:
    _, text = tokens.make("dispatch system", user, may_act=may_act, days=days)
    return Client(headers={"Authorization": f"Bearer {text}"}, REMOTE_ADDR="192.0.2.9")


@pytest.fixture
def client() -> Client:
    return a_client(an_account())


def do(client: Client, action: str, n: int = 1, **fields: Any) -> Any:
    return client.post(
        f"/api/v1/alarms/{uid(n)}/actions",
        json.dumps({"action": action, **fields}),
        content_type="application/json",
    )


def test_alarms_and_posts_are_read(client: Client) -> None:
    stored()
    registered()
    heard_of()
    [alarm] = client.get("/api/v1/alarms").json()["alarms"]
    assert (alarm["alarm_id"], alarm["post_name"], alarm["unit"]) == (
        uid(1), "Pos RW 05", "polsek-lowokwaru",
    )  # fmt: skip
    assert client.get(f"/api/v1/alarms/{uid(1)}").json() == alarm
    [post] = client.get("/api/v1/posts").json()["posts"]
    assert (post["post"], post["connection"]) == (POST, "online")
    assert client.get(f"/api/v1/posts/{POST}").json() == post
    assert client.get("/api/v1/status").json() == {
        "faults": [], "gateways": {}, "standing": {}, "reason": "",
    }  # fmt: skip


def test_how_long_a_fault_has_stood_and_who_has_seen_it_is_read(
    client: Client, tmp_path: Path
) -> None:
    since = ["2026-11-28T20:03:11.000Z", "2026-11-29T01:00:00.000Z"]
    store = CaseStore(tmp_path / "anchor")
    store.claim()
    one, other = (
        post(faults=("tamper",), faults_since=(since[0],)),
        gateway(faults=("clock_wrong",), faults_since=(since[1],)),
    )
    store.commit(Commit(posts=(one,), gateways=(other,)))
    store.show(Show(LinkShown(True)))
    store.show(Show(GatewayShown(other.gateway, "online")))
    store.pulse()
    [fault] = client.get(f"/api/v1/posts/{POST}").json()["standing"]
    assert (fault["fault"], fault["raised_at"], fault["count"]) == ("tamper", since[0], 1)
    assert (fault["acknowledged_at"], fault["acknowledged_by"]) == (None, None)
    row = FaultLife.objects.get(fault="tamper")
    act(an_account("siti"), "fault_acknowledge", fault=str(row.pk), **FROM)
    [fault] = client.get("/api/v1/posts").json()["posts"][0]["standing"]
    assert (fault["acknowledged_by"], fault["shelved_until"]) == ("siti", None)
    assert fault["acknowledged_at"] is not None
    [fault] = client.get("/api/v1/status").json()["standing"][other.gateway]
    assert (fault["fault"], fault["raised_at"]) == ("clock_wrong", since[1])


@ON_SQLITE
def test_lists_come_in_pages(client: Client) -> None:
    for n in range(1, 6):
        stored(n)
        Post.objects.create(post_id=f"post-{n}", name=f"Post {n}")
        from mcc.cases.models import Alarm

        Alarm.objects.filter(alarm_id=uid(n)).update(raised_ms=n * 1000)
    seen, before = [], ""
    for _ in range(3):
        page = client.get(f"/api/v1/alarms?limit=2{before}").json()
        seen += [one["alarm_id"] for one in page["alarms"]]
        before = f"&before={page['next_before']}"
    assert seen == [uid(n) for n in (5, 4, 3, 2, 1)]
    assert page["next_before"] is None
    page = client.get("/api/v1/posts?limit=3").json()
    rest = client.get(f"/api/v1/posts?after={page['next_after']}").json()
    assert [one["post"] for one in page["posts"] + rest["posts"]] == [
        f"post-{n}" for n in range(1, 6)
    ]
    assert client.get(f"/api/v1/alarms?limit={LIMIT_MAX + 1}").status_code == 400


def test_an_answer_goes_the_way_of_an_operators(client: Client) -> None:
    stored()
    done = do(client, "acknowledge", repeats=0, kind="panic")
    assert done.status_code == 200
    entry = Entry.objects.get(pk=done.json()["entry"])
    assert (entry.action, entry.operator, entry.address) == ("acknowledge", "budi", "192.0.2.9")
    assert entry.screen.startswith("api ktg_")
    assert Command.objects.get().command_id == done.json()["command_id"]


def test_the_second_to_answer_is_told_who_was_first(client: Client) -> None:
    stored()
    act(an_account("siti"), "acknowledge", alarm_id=uid(1), **FROM)
    refused = do(client, "acknowledge")
    assert (refused.status_code, refused.json()["code"]) == (409, "already")
    assert refused.json()["first_operator"] == "siti"


@ON_SQLITE
@pytest.mark.parametrize(
    ("n", "fields", "status"),
    [
        (1, {"action": "resolve"}, 400),
        (1, {"action": "fly"}, 400),
        (1, {"action": "take_over"}, 400),
        (1, {"action": "note"}, 400),
        (1, {"action": "note", "note": "a\x00b"}, 400),
        (1, {"action": "note", "note": "x", "operator": "somebody else"}, 400),
        (1, {"action": "acknowledge", "repeats": 3}, 400),
        (1, {"action": "dispatch", "unit": "polsek-batu"}, 404),
        (9, {"action": "acknowledge"}, 404),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    client: Client, n: int, fields: dict[str, Any], status: int
) -> None:
    stored()
    refused = do(client, n=n, **fields)
    assert refused.status_code == status
    assert refused.json()["why"]
    assert not Command.objects.exists()


@ON_SQLITE
def test_a_body_that_is_too_long_is_not_read(client: Client) -> None:
    stored()
    assert do(client, "note", note="x" * BODY_BYTES_MAX).status_code == 413


@ON_SQLITE
def test_a_token_without_the_scope_only_reads() -> None:
    stored()
    client = a_client(an_account(), may_act=False)
    assert client.get("/api/v1/alarms").status_code == 200
    assert do(client, "acknowledge").status_code == 403


@ON_SQLITE
def test_a_token_does_what_the_role_of_its_account_may_and_no_more() -> None:
    stored()
    registered()
    here = a_client(an_account("here", "picket", unit_id="polsek-lowokwaru"))
    there = a_client(an_account("there", "picket", unit_id="polsek-klojen"))
    assert do(here, "on_the_way").status_code == 200
    assert do(here, "acknowledge").status_code == 403
    assert there.get("/api/v1/alarms").json()["alarms"] == []
    assert there.get(f"/api/v1/alarms/{uid(1)}").status_code == 404
    assert there.get(f"/api/v1/posts/{POST}").status_code == 404
    assert do(there, "on_the_way").status_code == 404
    assert not Command.objects.exists()


@ON_SQLITE
@pytest.mark.parametrize("how", ["none", "wrong", "revoked", "expired", "closed account"])
def test_a_token_that_does_not_count_opens_nothing(how: str) -> None:
    user = an_account()
    token, text = tokens.make("x", user, may_act=True, days=1)
    words = {"none": "", "wrong": "Bearer ktg_" + "x" * 43}.get(how, f"Bearer {text}")
    client = Client(headers={"Authorization": words})
    if how == "revoked":
        tokens.revoke(token)
    if how == "expired":
        Token.objects.update(expires_ms=time.time_ns() // 1_000_000)
    if how == "closed account":
        User.objects.update(is_active=False)
    for address in ("alarms", "posts", "status", f"alarms/{uid(1)}"):
        assert client.get(f"/api/v1/{address}").status_code == 401
    assert do(client, "acknowledge").status_code == 401


@ON_SQLITE
def test_only_a_digest_of_a_token_is_kept() -> None:
    _, text = tokens.make("x", an_account(), may_act=True, days=None)
    kept = json.dumps(list(Token.objects.values()), default=str)
    assert text not in kept
    assert tokens.known(text) is not None
    assert tokens.known(text + "x" * tokens.TOKEN_CHARS_MAX) is None


@ON_SQLITE
def test_a_browser_that_has_signed_in_needs_a_token_all_the_same() -> None:
    assert signed_in(an_account()).get("/api/v1/alarms").status_code == 401


@ON_SQLITE
def test_an_administrator_makes_a_token_that_is_shown_once_and_revokes_it() -> None:
    user = an_account()
    desk = signed_in(an_account("admin", "administrator"))
    fields = {"name": "dispatch", "user": user.pk, "may_act": "on", "days": "30"}
    page = desk.post("/admin/api/token/add/", fields, follow=True).content.decode()
    text = page[page.index("ktg_") :].split("<")[0].strip()
    assert tokens.known(text) is not None
    assert text not in desk.get("/admin/api/token/").content.decode()
    token = Token.objects.get()
    desk.post("/admin/api/token/", {"action": "revoke", "_selected_action": [token.pk]})
    assert tokens.known(text) is None


# --- the document -------------------------------------------------------------------------------


@ON_SQLITE
def test_the_document_is_open_and_the_committed_one_is_up_to_date() -> None:
    said = Client().get("/api/v1/openapi.json").json()
    committed = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert said == committed, "run: make openapi"


@ON_SQLITE
def test_what_is_answered_is_what_the_document_says(client: Client) -> None:
    stored(1, "acknowledged")
    registered()
    heard_of()
    whole = document()
    for address, name in ((f"alarms/{uid(1)}", "Alarm"), (f"posts/{POST}", "Post")):
        schema = {"$ref": f"#/components/schemas/{name}", "components": whole["components"]}
        jsonschema.validate(client.get(f"/api/v1/{address}").json(), schema)


@ON_SQLITE
def test_nothing_that_is_asked_makes_a_server_error() -> None:
    an_account()
    stored()
    stored(2)
    registered()
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())
    _, text = tokens.make("tests", User.objects.get(), may_act=True, days=None)
    headers = {"Authorization": f"Bearer {text}"}
    statuses: set[int] = set()
    operations: list[Any] = [one.ok() for one in schema.get_all_operations()]  # type: ignore[union-attr]
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(max_examples=REQUESTS, deadline=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                answer = case.call(headers=headers)
                case.validate_response(answer, checks=CHECKS)
                statuses.add(answer.status_code)

            ask()
    assert len(operations) == len(ROUTES)
    assert {200, 400, 404} <= statuses
