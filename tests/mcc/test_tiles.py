"""A map of pictures from one PMTiles file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from mcc.console.tiles import ZOOM_MAX, Tiles, TilesUnusable

PICTURE = b"\x89PNG\r\n\x1a\n and so on"


def made(path: Path, kind: TileType = TileType.PNG) -> Path:
    """A file with the one tile 13/6658/4279."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.write_tile(zxy_to_tileid(13, 6658, 4279), PICTURE)
        header = {
            "tile_type": kind,
            "tile_compression": Compression.NONE,
            "min_zoom": 13,
            "max_zoom": 13,
            "min_lon_e7": 1125000000,
            "min_lat_e7": -81000000,
            "max_lon_e7": 1127000000,
            "max_lat_e7": -79000000,
            "center_zoom": 13,
            "center_lon_e7": 1126000000,
            "center_lat_e7": -80000000,
        }
        writer.finalize(header, {})
    return path


def test_a_tile_is_there_and_another_one_is_not(tmp_path: Path) -> None:
    tiles = Tiles(made(tmp_path / "malang.pmtiles"))
    assert tiles.content_type == "image/png"
    assert tiles.picture(13, 6658, 4279) == PICTURE
    assert tiles.picture(13, 6659, 4279) is None


def test_a_tile_that_cannot_be_is_not_looked_for(tmp_path: Path) -> None:
    tiles = Tiles(made(tmp_path / "malang.pmtiles"))
    assert tiles.picture(ZOOM_MAX + 1, 0, 0) is None
    assert tiles.picture(2, 4, 0) is None


def test_vector_tiles_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(TilesUnusable, match="holds MVT tiles; needed: PNG, JPEG or WebP"):
        Tiles(made(tmp_path / "malang.pmtiles", TileType.MVT))


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 200, b"PMTiles\x02" + b"\x00" * 200])
def test_what_is_no_such_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "malang.pmtiles"
    path.write_bytes(content)
    with pytest.raises(TilesUnusable, match=r"malang\.pmtiles"):
        Tiles(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TilesUnusable, match=r"malang\.pmtiles"):
        Tiles(tmp_path / "malang.pmtiles")
