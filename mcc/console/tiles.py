"""A map of pictures from one PMTiles file on this machine: no tile server, no network.

Only files of pictures (PNG, JPEG, WebP): the page draws no vector tiles.
"""

from __future__ import annotations

import functools
from pathlib import Path

from pmtiles.reader import MmapSource, Reader
from pmtiles.tile import MagicNumberNotFound, SpecVersionUnsupported, TileType

ZOOM_MAX = 24
_CONTENT = {
    TileType.PNG: "image/png",
    TileType.JPEG: "image/jpeg",
    TileType.WEBP: "image/webp",
}


class TilesUnusable(ValueError):
    """Why a file cannot lie under the map."""


class Tiles:
    """One open file."""

    def __init__(self, path: Path) -> None:
        """Open it; what the pages see from now on is this file, also when another replaces it.

        Raises:
            TilesUnusable: it cannot be read, is no PMTiles file, or holds no pictures.
        """
        try:
            with path.open("rb") as file:
                self._reader = Reader(MmapSource(file))
            kind = self._reader.header()["tile_type"]
        except (OSError, ValueError, IndexError, MagicNumberNotFound) as error:
            raise TilesUnusable(f"{path}: no PMTiles file that can be read: {error}") from None
        except SpecVersionUnsupported:
            raise TilesUnusable(f"{path}: PMTiles of another version than 3") from None
        if kind not in _CONTENT:
            raise TilesUnusable(f"{path}: holds {kind.name} tiles; needed: PNG, JPEG or WebP")
        self.content_type = _CONTENT[kind]

    def picture(self, z: int, x: int, y: int) -> bytes | None:
        """One tile's picture; None where the file has none."""
        if z > ZOOM_MAX or x >= 2**z or y >= 2**z:
            return None
        try:
            found: bytes | None = self._reader.get(z, x, y)
        except (ValueError, OverflowError, EOFError, IndexError, OSError):
            return None  # a directory that is damaged
        return found


@functools.lru_cache(maxsize=1)
def tiles_of(path: Path) -> Tiles:
    """The file of the settings, opened once.

    Raises:
        TilesUnusable: see `Tiles`.
    """
    return Tiles(path)
