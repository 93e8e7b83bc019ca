"""Every address of the site refuses whoever has no business there: the whole URL configuration."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from mcc.people.models import User
from mcc.people.roles import RIGHTS, ROLES, has_right
from tests.mcc.people_rig import one_of_each_role

pytestmark = [
    pytest.mark.usefixtures("database", "quick_passwords"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]
# Open to everybody, by route; nothing else is.
OPEN = frozenset(("health", "login/", "words.js", "language", "api/v1/openapi.json"))
# What the public reads.
OPEN |= {"info/", "info/sw.js", "info/post/<slug:post>"}
# Scripts and words of the officers' page, without anything of a person.
OPEN |= {"visits/phone/sw.js", "visits/phone/words.js"}
# For everybody who has signed in.
SIGNED_IN = frozenset(("logout/", "code/", "code/app/", "password/", "admin/logout/", ""))
# By the beginning of the route: who has one of these rights. A route in no table fails the test.
BY_RIGHT: dict[str, tuple[str, ...]] = {
    "admin/people/": ("accounts",),
    "admin/registers/post/": ("admin",),
    "admin/registers/": ("admin",),
    "admin/api/": ("accounts",),
    "admin/community/": ("registers",),
    "practice/": ("practice",),
    "posters/": ("practice",),
    "false-alarms/": ("practice",),
    "admin/": ("admin",),
    # For tokens only, which no browser has.
    "api/v1/": (),
    "anev/": ("anev",),
    "anev/make": ("anev_make",),
    "figures/": ("figures",),
    "proofs/": ("proofs",),
    "shift/": ("console",),
    "phone/": ("console", "phone", "cases"),
    "picture": ("console", "phone", "cases"),
    "stream": ("console", "phone", "cases"),
    # What of it may be done is `mcc.cases.actions`' to say.
    "do": ("console", "phone", "posts", "cases"),
    "screen": ("console",),
    "case/": ("console", "phone"),
    "post/": ("console", "phone"),
    "map/": ("console", "phone"),
    "visits/": ("visit", "visits"),
    "visits/phone/": ("visit",),
    "visits/me": ("visit",),
    "visits/activity/": ("visits",),
    "visits/person/": ("visits",),
    "visits/send": ("visit",),
}


def routes(resolver: URLResolver | None = None, before: str = "") -> Iterator[str]:
    for one in (resolver or get_resolver()).url_patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLPattern):
            yield route
        else:
            yield from routes(one, route)


def address_of(route: str) -> str:
    """The route with something in place of each of its arguments."""
    filled = re.sub(r"<uuid:\w+>", "00000000-0000-4000-8000-000000000001", route)
    filled = re.sub(r"<int:\w+>", "1", filled)
    filled = re.sub(r"<[^>]+>", "1", filled)
    # The catch-alls and lists of apps of Django's admin are regular expressions.
    return "/" + re.sub(r"\(\?P.*|[$^]|\(\.\*\)", "x", filled)


ROUTES = sorted(set(routes()))


def is_refused(client: Client, address: str) -> bool:
    for method in ("get", "post"):
        answer = getattr(client, method)(address)
        away = answer.status_code == 302 and answer["Location"].startswith(
            ("/login/", "/admin/login/")
        )
        # Django's admin leads away from what is not there, and from old addresses to new ones.
        elsewhere = ("/admin/", f"{address}change/")
        away = away or (answer.status_code == 302 and answer["Location"] in elsewhere)
        if not away and answer.status_code not in (401, 403, 404, 405):
            return False
    return True


def test_the_walk_finds_the_pages() -> None:
    assert {"health", "login/", "admin/people/user/add/"} <= set(ROUTES)


@pytest.mark.parametrize("route", [one for one in ROUTES if one not in OPEN])
def test_who_has_not_signed_in_is_refused(route: str) -> None:
    assert is_refused(Client(), address_of(route)), route


def rights_of(route: str) -> tuple[str, ...]:
    fitting = [one for one in BY_RIGHT if route.startswith(one)]
    assert fitting, f"say in BY_RIGHT, SIGNED_IN or OPEN who may see {route!r}"
    return BY_RIGHT[max(fitting, key=len)]


def test_who_has_the_wrong_role_is_refused_everywhere() -> None:
    clients = one_of_each_role()
    let_in = []
    for route, role in itertools.product(ROUTES, ROLES):
        if route in OPEN or route in SIGNED_IN:
            continue
        if any(has_right(role, right) for right in rights_of(route)):
            continue
        if not is_refused(clients[role], address_of(route)):
            let_in.append((role, route))
    assert let_in == []
    assert User.objects.count() == len(ROLES)


def test_a_password_without_the_code_that_is_due_opens_nothing() -> None:
    client = one_of_each_role()["administrator"]
    session = client.session
    del session["otp_device_id"]
    session.save()
    open_still = []
    for route in ROUTES:
        if route in OPEN or route in ("logout/", "code/", "code/app/"):
            continue
        answer = client.get(address_of(route))
        away = answer.status_code == 302 and answer["Location"].startswith(("/code/", "/admin/"))
        if not away and answer.status_code not in (401, 404, 405):
            open_still.append(route)
    assert open_still == []


def test_every_role_has_a_page_of_its_own() -> None:
    assert all(RIGHTS[role] for role in ROLES)


# In the menu that stands on the plain pages, on the registers and, in a fold, on the console.
IN_THE_MENU: dict[str, tuple[str, ...]] = {
    "/": ("console",),
    "/shift/": ("console",),
    "/phone/": ("phone", "cases"),
    "/practice/": ("practice",),
    "/posters/": ("practice",),
    "/false-alarms/": ("practice",),
    "/anev/": ("anev",),
    "/visits/": ("visit", "visits"),
    "/figures/": ("figures",),
    "/proofs/": ("proofs",),
    "/admin/": ("admin",),
}


@pytest.mark.parametrize("role", ROLES)
def test_the_menu_names_each_page_that_a_role_may_see_and_no_other(role: str) -> None:
    client = one_of_each_role()[role]
    wanted = {
        link for link, rights in IN_THE_MENU.items() if any(has_right(role, one) for one in rights)
    }
    for page in wanted & {"/", "/phone/", "/practice/", "/anev/", "/visits/", "/admin/"}:
        html = client.get(page).content.decode()
        menu = re.search(r'<nav aria-label="(?:Halaman|Pages)">.*?</nav>', html, re.DOTALL)
        assert menu is not None, page
        links = set(re.findall(r'href="([^"]+)"', menu[0])) - {"/info/"}
        assert links == wanted - ({"/"} if page == "/" else set()), page
        for link in links:
            assert client.get(link).status_code == 200, link
