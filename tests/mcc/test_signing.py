"""Signing in: passwords, lock-outs, one-time codes, how long it lasts, what is written down."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django.utils import timezone, translation
from django.views.defaults import server_error
from django_otp.plugins.otp_totp.models import TOTPDevice

from mcc.cases.models import Entry
from mcc.console import stream
from mcc.people.models import User
from tests.mcc.people_rig import PASSWORD, an_account, an_app, code_of, signed_in

pytestmark = [
    pytest.mark.usefixtures("database", "quick_passwords"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]
NEXT = "/password/"  # a page that every role may see


def sign_in(client: Client, name: str = "budi", password: str = PASSWORD) -> int:
    return client.post("/login/", {"username": name, "password": password}).status_code


def is_in(client: Client) -> bool:
    return client.get(NEXT).status_code == 200


def test_there_is_no_account_before_somebody_makes_one() -> None:
    assert not User.objects.exists()


def test_a_name_and_its_password_let_in_and_are_written_down() -> None:
    an_account()
    client = Client(REMOTE_ADDR="192.0.2.7")
    assert sign_in(client) == 302
    assert is_in(client)
    entry = Entry.objects.get()
    assert (entry.action, entry.operator, entry.address) == ("signed_in", "budi", "192.0.2.7")
    client.post("/logout/")
    assert not is_in(client)
    assert [one.action for one in Entry.objects.order_by("id")] == ["signed_in", "signed_out"]


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer() -> None:
    an_account()
    assert "English" in Client().get("/login/").content.decode()
    wrong = Client().post("/login/", {"username": "budi", "password": "x"})
    unknown = Client().post("/login/", {"username": "nobody", "password": "x"})
    assert b'role="alert"' in wrong.content
    bare = [re.sub(rb'value="[^"]*"', b"", one.content) for one in (wrong, unknown)]
    assert bare[0] == bare[1]
    assert not Entry.objects.exists()


def test_nobody_is_signed_out_by_a_link() -> None:
    client = signed_in(an_account())
    assert client.get("/logout/").status_code == 405
    assert is_in(client)


def test_wrong_passwords_shut_an_account_out_from_one_address_and_say_for_how_long() -> None:
    an_account()
    here, elsewhere = Client(REMOTE_ADDR="192.0.2.1"), Client(REMOTE_ADDR="192.0.2.2")
    statuses = [sign_in(here, password="wrong") for _ in range(settings.MCC.people.attempts)]
    assert statuses[:-1] == [200] * (settings.MCC.people.attempts - 1)
    answer = here.post("/login/", {"username": "budi", "password": PASSWORD})
    assert answer.status_code == 429
    assert str(settings.MCC.people.locked_minutes) in answer.content.decode()
    assert sign_in(elsewhere) == 302


def test_an_administrator_lets_an_account_in_again() -> None:
    user = an_account()
    client = Client()
    for _ in range(settings.MCC.people.attempts):
        sign_in(client, password="wrong")
    desk = signed_in(an_account("admin", "administrator"))
    desk.post("/admin/people/user/", {"action": "let_in_again", "_selected_action": [user.pk]})
    assert sign_in(client) == 302


@pytest.mark.parametrize(("role", "hours"), [("operator", 14), ("picket", 10), ("technician", 4)])
def test_a_session_ends_at_a_moment_whatever_is_done_in_it(role: str, hours: int) -> None:
    client = signed_in(an_account(role=role))
    session = client.session
    session["something"] = "later"
    session.save()
    ends = Session.objects.get().expire_date - timezone.now()
    assert timedelta(hours=hours, minutes=-1) < ends <= timedelta(hours=hours)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert not is_in(client)


def test_an_open_stream_sees_that_its_session_is_over() -> None:
    client = signed_in(an_account())
    request = RequestFactory().get("/stream")
    request.session = client.session
    assert stream._seen(request).posts is None
    request.session.set_expiry(timezone.now() - timedelta(seconds=1))
    with pytest.raises(stream._Gone):
        stream._seen(request)


def test_an_answer_to_an_ended_session_leaves_the_cookie_of_a_newer_one() -> None:
    client = signed_in(an_account())
    Session.objects.all().delete()
    name = settings.SESSION_COOKIE_NAME
    for path in ("/", "/picture", "/stream", "/login/"):
        answer = client.get(path)
        assert not getattr(answer, "streaming", False)
        assert name not in answer.cookies, path
    client = signed_in(User.objects.get())
    assert client.post("/logout/").cookies[name].value == ""


def test_a_closed_account_is_out_at_once() -> None:
    client = signed_in(an_account())
    assert is_in(client)
    User.objects.update(is_active=False)
    assert not is_in(client)


def test_a_changed_password_ends_every_other_session() -> None:
    user = an_account()
    here, there = signed_in(user), signed_in(user)
    new = {"old_password": PASSWORD, "new_password1": "sawah-hijau-9", "new_password2": "x"}
    assert here.post("/password/", new).status_code == 200
    new["new_password2"] = new["new_password1"]
    assert here.post("/password/", new).status_code == 302
    assert is_in(here)
    assert not is_in(there)


@pytest.mark.parametrize("weak", ["kentongan", "123456789012", "password1234"])
def test_a_weak_password_is_refused_in_words(weak: str) -> None:
    client = signed_in(an_account())
    new = {"old_password": PASSWORD, "new_password1": weak, "new_password2": weak}
    answer = client.post("/password/", new)
    assert (answer.status_code, b'class="errorlist' in answer.content) == (200, True)


def test_a_password_that_somebody_else_chose_has_to_be_changed_first() -> None:
    desk = signed_in(an_account("admin", "administrator"))
    answer = desk.post(
        "/admin/people/user/add/",
        {"username": "siti", "role": "operator", "usable_password": "true"}
        | {"password1": "dua-belas-huruf", "password2": "dua-belas-huruf"},
    )
    assert answer.status_code == 302, answer.content.decode()
    client = Client()
    sign_in(client, "siti", "dua-belas-huruf")
    assert client.get("/admin/")["Location"].startswith("/password/")
    new = {"old_password": "dua-belas-huruf", "new_password1": PASSWORD, "new_password2": PASSWORD}
    client.post("/password/", new)
    assert not User.objects.get(username="siti").password_given


def test_a_picket_without_a_unit_is_not_made() -> None:
    desk = signed_in(an_account("admin", "administrator"))
    fields = {"username": "siti", "role": "picket", "usable_password": "true"}
    words = {"password1": "dua-belas-huruf", "password2": "dua-belas-huruf"}
    assert desk.post("/admin/people/user/add/", fields | words).status_code == 200
    assert not User.objects.filter(username="siti").exists()


def test_nobody_takes_the_own_rights_away() -> None:
    user = an_account("admin", "administrator")
    desk = signed_in(user)
    desk.post(f"/admin/people/user/{user.pk}/change/", {"username": "admin", "role": "operator"})
    user.refresh_from_db()
    assert (user.role, user.is_active) == ("administrator", True)


def test_accounts_are_closed_and_not_deleted() -> None:
    user = an_account()
    desk = signed_in(an_account("admin", "administrator"))
    assert desk.post(f"/admin/people/user/{user.pk}/delete/", {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=user.pk).exists()


# --- one-time codes ---------------------------------------------------------------------------


def test_a_supervisor_sets_up_an_app_before_anything_else() -> None:
    user = an_account(role="supervisor")
    client = Client()
    sign_in(client)
    assert client.get("/admin/")["Location"] == "/code/?next=%2Fadmin%2F"
    page = client.get("/code/app/?next=/admin/").content.decode()
    assert 'src="data:image/svg+xml' in page
    key = client.session["code_key"]
    assert client.post("/code/app/?next=/admin/", {"code": "000000"}).status_code == 403
    assert not TOTPDevice.objects.exists()
    done = client.post("/code/app/?next=/admin/", {"code": code_of(key)})
    assert (done.status_code, done["Location"]) == (302, "/admin/")
    assert client.get("/admin/").status_code == 200
    assert TOTPDevice.objects.get(user=user).confirmed


def test_a_password_alone_sets_up_no_second_app() -> None:
    user = an_account(role="supervisor")
    an_app(user)
    client = Client()
    sign_in(client)
    assert client.get("/code/app/")["Location"] == "/code/"
    assert client.post("/code/app/", {"code": "123456"})["Location"] == "/code/"


def test_a_code_lets_in_once() -> None:
    app = an_app(an_account(role="supervisor"))
    first, second = Client(), Client()
    code = code_of(app.key)
    sign_in(first)
    sign_in(second)
    assert first.post("/code/", {"code": code}).status_code == 302
    assert second.post("/code/", {"code": code}).status_code == 403
    assert first.get("/admin/").status_code == 200
    assert second.get("/admin/").status_code == 302


def test_guesses_of_a_code_slow_the_next_ones_down() -> None:
    app = an_app(an_account(role="supervisor"))
    client = Client()
    sign_in(client)
    right = code_of(app.key)
    wrong = "000000" if right != "000000" else "111111"
    client.post("/code/", {"code": wrong})
    assert client.post("/code/", {"code": right}).status_code == 403
    app.refresh_from_db()
    assert app.throttling_failure_count == 1


def test_an_operator_needs_no_code_unless_there_is_an_app() -> None:
    user = an_account()
    assert is_in(signed_in(user))
    app = an_app(user)
    client = Client()
    sign_in(client)
    assert not is_in(client)
    client.post("/code/", {"code": code_of(app.key)})
    assert is_in(client)


def test_an_administrator_lets_a_lost_phone_be_forgotten() -> None:
    user = an_account(role="supervisor")
    an_app(user)
    desk = signed_in(an_account("admin", "administrator"))
    desk.post("/admin/people/user/", {"action": "forget_app", "_selected_action": [user.pk]})
    assert not TOTPDevice.objects.filter(user=user).exists()


def test_no_page_leads_to_another_site_after_signing_in() -> None:
    app = an_app(an_account(role="supervisor"))
    client = Client()
    sent = {"username": "budi", "password": PASSWORD}
    assert client.post("/login/?next=https://evil.example/", sent)["Location"] == "/"
    done = client.post("/code/?next=//evil.example/", {"code": code_of(app.key)})
    assert done["Location"] == "/"


def test_the_secret_of_an_app_is_shown_nowhere_in_the_registers() -> None:
    desk = signed_in(an_account("admin", "administrator"))
    page = desk.get("/admin/").content.decode()
    assert "totp" not in page.lower()


@pytest.mark.parametrize("page", ["/login/", "/code/app/", "/password/"])
@pytest.mark.parametrize("language", ["id", "en"])
def test_no_page_needs_an_inline_script_or_style(page: str, language: str) -> None:
    client = signed_in(an_account())
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = language
    text = client.get(page).content.decode()
    assert f'lang="{language}"' in text
    assert not re.search(r"<script(?![^>]* src=)|<script[^>]*>[^<]", text)
    assert "style=" not in text
    assert " on" not in " ".join(re.findall(r"<[^>]*>", text)).replace(" one-time", "")


def test_a_form_that_was_sent_too_late_leads_back_to_its_page_and_never_to_its_target() -> None:
    client = Client()
    taken = {"post": "pos-1"}
    for referer, wanted in (
        ("http://testserver/shift/", "/shift/"),
        ("http://evil.example/shift/", "/"),
        ("", "/"),
    ):
        answer = client.post("/shift/take", taken, headers={"Referer": referer})
        assert answer["Location"] == "/login/?" + urlencode({"next": wanted})
    assert client.get("/shift/")["Location"] == "/login/?next=%2Fshift%2F"


@pytest.mark.parametrize("language", ["id", "en"])
def test_what_is_refused_or_missing_says_so_in_both_languages(language: str) -> None:
    said = {
        "id": ("Tidak boleh", "Tidak ditemukan", "Tidak ada yang dilakukan"),
        "en": ("Not allowed", "Not found", "Nothing was done"),
    }[language]
    client = signed_in(an_account())
    client.cookies["django_language"] = language
    strict = Client(enforce_csrf_checks=True)
    strict.cookies.update(client.cookies)
    for words, answer, status in (
        (said[0], client.get("/figures/"), 403),
        (said[1], client.get("/no-such-page"), 404),
        (said[2], strict.post("/shift/begin"), 403),
    ):
        page = answer.content.decode()
        assert answer.status_code == status
        assert f'<html lang="{language}">' in page
        assert words in page


def test_a_mistake_of_the_site_is_said_without_its_database() -> None:
    with translation.override("id"):
        page = server_error(RequestFactory().get("/")).content.decode()
    assert "Kesalahan situs" in page
    assert "<nav" not in page


def test_a_browser_knows_who_is_signed_in_and_that_nobody_is_any_more() -> None:
    budi, siti = an_account(), an_account("siti")
    client = Client()

    def who() -> str | None:
        return client.cookies["kentongan_who"].value if "kentongan_who" in client.cookies else None

    assert sign_in(client, password="wrong") == 200
    assert who() is None
    for user in (budi, siti):
        assert sign_in(client, user.username) == 302
        assert who() == str(user.pk)
    client.cookies["sessionid"] = "of a session that has ended"
    assert not is_in(client)
    assert who() == str(siti.pk)
    assert sign_in(client) == 302
    client.post("/logout/")
    assert who() == "0"
    cookie = client.cookies["kentongan_who"]
    assert (cookie["samesite"], cookie["httponly"]) == ("Lax", "")
