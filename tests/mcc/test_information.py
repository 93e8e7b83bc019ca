"""The information page: for everybody, in both languages, with what is doubtful marked."""

from __future__ import annotations

import pytest
from django.test import Client

from mcc.community import contents
from mcc.community.models import Section
from mcc.registers.models import Post, Unit
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST
from tests.mcc.test_actions import registered

pytestmark = [
    pytest.mark.usefixtures("database"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


def read(path: str = "/info/") -> str:
    answer = Client().get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_is_indonesian_first_and_english_by_its_address() -> None:
    assert "Tekan tombol merah" in read()
    assert "Press the red button" in read("/info/?lang=en")
    assert '<html lang="id">' in read("/info/?lang=xx")


def test_a_cache_may_keep_it_and_it_sets_no_cookie() -> None:
    client = Client()
    client.cookies["django_language"] = "en"
    answer = client.get("/info/")
    assert not answer.cookies
    assert "public" in answer["Cache-Control"]
    assert "Tekan tombol merah" in answer.content.decode()


def test_the_address_of_a_poster_names_the_polsek_and_nothing_private() -> None:
    registered()
    Post.objects.update(
        contacts="Pak Slamet 0812-345", notes="key under the mat", address="Jl. X 1"
    )
    Unit.objects.filter(slug="polsek-lowokwaru").update(phone="0341-222222")
    said = read(f"/info/post/{POST}")
    assert "Polsek Lowokwaru" in said
    assert 'href="tel:0341-222222"' in said
    assert not [one for one in ("Slamet", "0812", "key under", "Jl. X") if one in said]
    assert Client().get("/info/post/nowhere").status_code == 404


def test_every_kelurahan_finds_its_polsek() -> None:
    said = read()
    assert all(f"Polsek {name}" in said for name in ("Klojen", "Blimbing", "Sukun"))
    assert "Ketawanggede" in said


def test_the_law_is_named_with_article_and_date_and_marked_until_somebody_confirms_it() -> None:
    said = read()
    assert "UU 1/2023" in said
    assert "pasal 361" in said
    assert "pasal 28" in said
    assert "29 November 2026" in said
    every = Section.objects.count()
    assert said.count("belum dipastikan") == every
    Section.objects.filter(slug="law").update(verified_by="Kasi Hukum")
    again = read()
    assert again.count("belum dipastikan") == every - 1
    assert "Dipastikan oleh Kasi Hukum" in again


@pytest.mark.usefixtures("quick_passwords")
def test_a_text_that_has_become_another_one_is_confirmed_by_nobody_until_somebody_does() -> None:
    law = Section.objects.get(slug="law")
    law.text = "Satu\nDua"
    law.verified_by = "Kasi Hukum"
    law.save()
    client = signed_in(an_account("rini", "supervisor"))

    def save(**changed: str) -> str:
        fields = {field.name: getattr(law, field.name) for field in Section._meta.fields}
        fields |= {"as_of": law.as_of.isoformat(), "text": "Satu\r\nDua"} | changed
        answer = client.post("/admin/community/section/law/change/", fields, follow=True)
        assert answer.redirect_chain, answer.content.decode()
        law.refresh_from_db()
        return answer.content.decode()

    save(responsible="Kasi Humas", order="7")
    assert (law.responsible, law.verified_by) == ("Kasi Humas", "Kasi Hukum")
    assert "dipastikan lagi" in save(text_en="Another law")
    assert (law.text_en, law.verified_by) == ("Another law", "")
    save(verified_by="Kasi Hukum")
    assert law.verified_by == "Kasi Hukum"
    save(title="Hukum baru", verified_by="Kapolresta")
    assert (law.title, law.verified_by) == ("Hukum baru", "Kapolresta")


def test_what_the_office_has_changed_stays_through_an_update() -> None:
    Section.objects.filter(slug="law").update(text="<b>baru</b>")
    contents.load()
    assert "&lt;b&gt;baru&lt;/b&gt;" in read()
