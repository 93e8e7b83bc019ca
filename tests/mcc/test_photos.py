"""Photos of a site: small, upright, without what a camera wrote; and nothing else is kept."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from mcc.registers import photos
from mcc.registers.models import Post
from mcc.registers.photos import SIDE_PIXELS_MAX, Unusable, prepared
from tests.mcc.people_rig import an_account, signed_in

GPS_TAG, ORIENTATION_TAG = 0x8825, 0x0112


def a_photo(size: tuple[int, int] = (2_000, 1_000), form: str = "JPEG", **save: Any) -> io.BytesIO:
    out = io.BytesIO()
    image = Image.new("RGB", size, "white")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    image.save(out, form, **save)
    out.seek(0)
    return out


def test_a_photo_is_shrunk_turned_upright_and_stripped() -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6  # turn clockwise to see it upright
    exif.get_ifd(GPS_TAG)[2] = (7.0, 57.0, 4.0)
    kept = prepared(a_photo(exif=exif, comment=b"taken at home"))
    image = Image.open(kept)
    assert image.format == "JPEG"
    assert image.size == (SIDE_PIXELS_MAX // 2, SIDE_PIXELS_MAX)
    assert not image.getexif()
    assert "comment" not in image.info
    top = image.getpixel((100, 100))
    assert isinstance(top, tuple)
    assert top[0] > 200 > top[1]
    assert str(kept.name).endswith(".jpg")


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_other_kinds_become_jpeg(form: str) -> None:
    assert Image.open(prepared(a_photo((50, 50), form))).format == "JPEG"


@pytest.mark.parametrize(
    "content",
    [b"", b"<svg onload='alert(1)'/>", b"GIF89a" + bytes(20), a_photo().getvalue()[:2_000]],
)
def test_what_is_no_photo_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(Unusable):
        prepared(io.BytesIO(content))


def test_a_photo_over_a_bound_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "PHOTO_PIXELS_MAX", 100)
    with pytest.raises(Unusable, match="megapi"):
        prepared(a_photo((20, 20)))
    monkeypatch.setattr(photos, "PHOTO_BYTES_MAX", 100)
    with pytest.raises(Unusable, match="MB"):
        prepared(a_photo((200, 200)))


@pytest.mark.usefixtures("database", "quick_passwords")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_in_the_register_a_photo_replaces_the_one_before(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    desk = signed_in(an_account(role="technician"))
    fields = {"post_id": "mlg-klojen-1", "name": "Pos 1"}
    for content in (a_photo((20, 20)), a_photo((30, 30))):
        photo = SimpleUploadedFile("../../x.jpg", content.getvalue(), "image/jpeg")
        path = "add/" if not Post.objects.exists() else "mlg-klojen-1/change/"
        answer = desk.post(f"/admin/registers/post/{path}", fields | {"photo": photo})
        assert answer.status_code == 302, answer.content.decode()
    [kept] = tmp_path.rglob("*.jpg")
    assert Image.open(kept).size == (30, 30)
    assert Path(Post.objects.get().photo.path) == kept
    bad = SimpleUploadedFile("x.jpg", b"no photo")
    answer = desk.post("/admin/registers/post/mlg-klojen-1/change/", fields | {"photo": bad})
    assert answer.status_code == 200
    assert kept.exists()
