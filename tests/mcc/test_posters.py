"""Posters, as a print shop gets them: rendered by PDFium, their codes read by ZXing."""

from __future__ import annotations

from typing import Any

import pypdfium2  # type: ignore[import-untyped]
import pytest
import zxingcpp
from PIL import Image

from mcc.community.models import Drill, DrillPost
from mcc.community.posters import POSTERS_MAX, Poster, posters_pdf
from mcc.registers.models import Post, Unit
from tests.mcc.people_rig import an_account, signed_in

DINOYO = "35.73.05.1004"
POINTS = {"A4": (595, 842), "A3": (842, 1191)}


def poster(n: int = 1, **fields: Any) -> Poster:
    usual: dict[str, Any] = {
        "post": f"mlg-lowokwaru-dinoyo-rw{n:02}",
        "name": f"Pos Dinoyo RW {n:02}",
        "place": "Dinoyo, Lowokwaru",
        "unit": "Polsek Lowokwaru",
        "phone": "0341-000000",
        "address": f"https://kentongan.example.org/info/post/mlg-lowokwaru-dinoyo-rw{n:02}",
        "practice": "05-12-2026",
    }
    return Poster(**(usual | fields))


def pages(content: bytes) -> list[pypdfium2.PdfPage]:
    return list(pypdfium2.PdfDocument(content))


def picture(page: pypdfium2.PdfPage, scale: float = 2) -> Image.Image:
    image: Image.Image = page.render(scale=scale).to_pil()
    return image


def codes(image: Image.Image) -> list[str]:
    return [one.text for one in zxingcpp.read_barcodes(image)]


@pytest.mark.parametrize("size", ["A4", "A3"])
def test_one_poster_has_its_size_its_words_and_a_code_that_can_be_read(size: Any) -> None:
    [page] = pages(posters_pdf([poster()], size))
    assert tuple(round(one) for one in page.get_size()) == POINTS[size]
    text = page.get_textpage().get_text_range()
    for words in ("Tekan 3 kali", "Pos Dinoyo RW 01", "Polsek Lowokwaru", "0341-000000", "110",
                  "05-12-2026", "berdenyut pelan", "berkedip cepat", "padam"):  # fmt: skip
        assert words.lower() in text.lower(), words
    assert codes(picture(page)) == [poster().address]


def test_it_is_black_and_white_and_nothing_leaves_the_paper() -> None:
    [page] = pages(posters_pdf([poster(name="Pos " + "Panjang " * 12)], "A4"))
    image = picture(page, 1).convert("RGB")
    spread = max(max(pixel) - min(pixel) for _, pixel in image.getcolors(1 << 20) or [])  # type: ignore[arg-type]
    assert spread == 0
    # Below the black band a margin of half an inch is white on both sides.
    for left in (0, 564):
        edge = image.crop((left, 110, left + 30, 842)).convert("L")
        assert edge.getextrema() == (255, 255)


def test_a_file_holds_a_page_for_each_each_with_its_own_code() -> None:
    found = pages(posters_pdf([poster(n) for n in range(1, 4)], "A4"))
    assert [codes(picture(page)) for page in found] == [[poster(n).address] for n in range(1, 4)]


def test_two_files_of_the_same_are_the_same() -> None:
    assert posters_pdf([poster()], "A4") == posters_pdf([poster()], "A4")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("database", "quick_passwords")
class TestPages:
    """The page that makes them, from the registers."""

    def test_a_kecamatan_in_one_file_with_the_polsek_and_the_next_practice_day(self) -> None:
        Unit.objects.filter(slug="polsek-lowokwaru").update(phone="0341-111111")
        for n in (5, 6):
            Post.objects.create(post_id=f"p-{n}", name=f"Pos {n}", kelurahan_id=DINOYO)
        Post.objects.create(post_id="elsewhere", name="Pos Kasin", kelurahan_id="35.73.02.1001")
        drill = Drill.objects.create(name="x", day="2199-05-01", planned_by=an_account())
        DrillPost.objects.create(drill=drill, post="p-6")
        client = signed_in(an_account("rini", "supervisor"))
        answer = client.get("/posters/file", {"kecamatan": "35.73.05", "size": "A3"})
        assert answer["Content-Type"] == "application/pdf"
        first, second = pages(answer.content)
        assert [codes(picture(one)) for one in (first, second)] == [
            ["http://testserver/info/post/p-5"],
            ["http://testserver/info/post/p-6"],
        ]
        assert "0341-111111" in second.get_textpage().get_text_range()
        assert "01-05-2199" in second.get_textpage().get_text_range()
        assert client.get("/posters/file", {"post": "nowhere"}).status_code == 404

    def test_a_poster_speaks_indonesian_whatever_its_printer_reads(self) -> None:
        Post.objects.create(post_id="p-1", name="Pos 1")
        client = signed_in(an_account("rini", "supervisor"))
        client.cookies["django_language"] = "en"
        assert "One poster" in client.get("/posters/").content.decode()
        [page] = pages(client.get("/posters/file", {"post": "p-1"}).content)
        text = page.get_textpage().get_text_range()
        assert "Tekan 3 kali" in text
        assert "Polsek Anda" in text

    def test_a_file_has_a_bound(self) -> None:
        rows = [
            Post(post_id=f"p-{n}", name="x", kelurahan_id=DINOYO) for n in range(POSTERS_MAX + 1)
        ]
        Post.objects.bulk_create(rows)
        client = signed_in(an_account("rini", "supervisor"))
        answer = client.get("/posters/file", {"kecamatan": "35.73.05"}, follow=True)
        assert str(POSTERS_MAX) in answer.content.decode()
