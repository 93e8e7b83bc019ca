"""The approximate ground of the map."""

from __future__ import annotations

import itertools
import math

from mcc.console.areas import REACH_M, areas_of_kecamatan
from mcc.registers.malang import places

NAMES = ["Blimbing", "Kedungkandang", "Klojen", "Lowokwaru", "Sukun"]


def districts() -> dict[str, list[list[list[list[float]]]]]:
    return {
        one["properties"]["name"]: one["geometry"]["coordinates"]
        for one in areas_of_kecamatan()["features"]
        if one["geometry"]["type"] == "MultiPolygon"
    }


def inside(lon: float, lat: float, ring: list[list[float]]) -> bool:
    """Whether a ray from the point crosses the ring an odd number of times."""
    odd = False
    for (x1, y1), (x2, y2) in itertools.pairwise(ring):
        if (y1 > lat) != (y2 > lat) and lon < (x2 - x1) * (lat - y1) / (y2 - y1) + x1:
            odd = not odd
    return odd


def test_it_says_of_itself_that_it_is_approximate_and_names_five_kecamatan() -> None:
    assert areas_of_kecamatan()["approximate"] is True
    assert sorted(districts()) == NAMES


def test_each_kelurahan_lies_in_its_own_kecamatan_and_in_no_other() -> None:
    every = places()
    names = {one.code: one.name for one in every if one.is_kecamatan}
    areas = districts()
    for ward in every:
        if not ward.is_kecamatan:
            there = [
                name
                for name, polygons in areas.items()
                if any(inside(ward.lon, ward.lat, polygon[0]) for polygon in polygons)
            ]
            assert there == [names[ward.kecamatan]]


def test_every_ring_is_closed_and_no_point_is_farther_than_its_reach() -> None:
    wards = [one for one in places() if not one.is_kecamatan]
    for polygons in districts().values():
        for (ring,) in polygons:
            assert ring[0] == ring[-1]
            for lon, lat in ring:
                nearest_m = min(
                    math.hypot(
                        (lon - one.lon) * 111_320 * math.cos(math.radians(lat)),
                        (lat - one.lat) * 111_320,
                    )
                    for one in wards
                )
                assert nearest_m < REACH_M * 1.01
