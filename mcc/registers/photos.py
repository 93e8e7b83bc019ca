"""A photo as it is kept: a small JPEG, upright, without what the camera wrote into it.

The file that was sent is never stored: only pixels that were read and written anew are.
"""

from __future__ import annotations

import io
import uuid
import warnings
from typing import IO

from django.core.files.base import ContentFile
from django.utils.translation import gettext as _
from PIL import Image, ImageOps

PHOTO_BYTES_MAX = 12 * 1024 * 1024
PHOTO_PIXELS_MAX = 60_000_000
# Large enough to find the gate at night, small enough for a phone in the street.
SIDE_PIXELS_MAX = 1_280
_QUALITY = 80
_FORMATS = ("JPEG", "PNG", "WEBP")


class Unusable(ValueError):
    """The photo cannot be used; the text says why, in the language of the request."""


def prepared(file: IO[bytes], side_pixels_max: int = SIDE_PIXELS_MAX) -> ContentFile[bytes]:
    """The photo that is to be kept, with a name of its own; no side is longer than that.

    Raises:
        Unusable: it is too large, or nothing that can be read as a photo.
    """
    file.seek(0)
    sent = file.read(PHOTO_BYTES_MAX + 1)
    if len(sent) > PHOTO_BYTES_MAX:
        raise Unusable(_("The photo has more than %(max)s MB.") % {"max": PHOTO_BYTES_MAX >> 20})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            kept = _redrawn(sent, side_pixels_max)
    except Unusable:
        raise
    # Decoders of damaged files raise what they like.
    except Exception:  # noqa: BLE001
        raise Unusable(_("This is no photo (JPEG, PNG or WebP) that can be read.")) from None
    return ContentFile(kept, name=f"{uuid.uuid4().hex}.jpg")


def _redrawn(sent: bytes, side_pixels_max: int) -> bytes:
    with Image.open(io.BytesIO(sent), formats=_FORMATS) as image:
        # Known from the header, before any pixel takes memory.
        if image.width * image.height > PHOTO_PIXELS_MAX:
            raise Unusable(
                _("The photo has more than %(max)s megapixels.")
                % {"max": PHOTO_PIXELS_MAX // 1_000_000}
            )
        image.draft("RGB", (side_pixels_max * 2, side_pixels_max * 2))
        # The orientation is in the metadata, which is left behind.
        upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((side_pixels_max, side_pixels_max))
        # Pillow would write a comment that it has read.
        upright.info.clear()
        out = io.BytesIO()
        upright.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
