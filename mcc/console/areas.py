"""The ground under the posts when nothing better is named: kecamatan, drawn from centroids.

Each kelurahan gets what lies nearer to its centroid than to any other (a Voronoi cell, cut off
`REACH_M` away); those of one kecamatan are shown as one. It is a picture to find one's way by:
which unit answers for a post never follows from it (`mcc.registers.area`).
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from mcc.registers.malang import Place, places

REACH_M = 1_700.0
_METRES_A_DEGREE = 111_320.0
_CORNERS = 24
_DECIMALS = 5

_Point = tuple[float, float]  # metres east and north of the first centroid


@dataclass(frozen=True)
class _Corner:
    """A corner of a cell, and what lies beyond the edge that begins here: a centroid's number."""

    at: _Point
    beyond: int | None


@functools.lru_cache(maxsize=1)
def areas_of_kecamatan() -> dict[str, Any]:
    """GeoJSON: the area of each kecamatan, the lines between them, the names of all places."""
    every = places()
    wards = [one for one in every if not one.is_kecamatan]
    origin = wards[0]
    points = [_metres(one, origin) for one in wards]
    features = []
    fills: dict[str, list[list[list[list[float]]]]] = defaultdict(list)
    for n, ward in enumerate(wards):
        cell = _cell(n, points)
        ring = [_degrees(corner.at, origin) for corner in cell]
        fills[ward.kecamatan].append([[*ring, ring[0]]])
        features += [
            {
                "type": "Feature",
                "properties": {"border": True},
                "geometry": {"type": "LineString", "coordinates": line},
            }
            for line in _borders(cell, wards, n, origin)
        ]
    districts = [
        _feature(one, {"type": "MultiPolygon", "coordinates": fills[one.code]})
        for one in every
        if one.is_kecamatan
    ]
    features += [
        _feature(ward, {"type": "Point", "coordinates": [ward.lon, ward.lat]}) for ward in wards
    ]
    return {
        "type": "FeatureCollection",
        "approximate": True,
        "features": [*districts, *features],
    }


def _feature(place: Place, geometry: dict[str, Any]) -> dict[str, Any]:
    # `lat` and `lon`: where the name is written.
    named = {"name": place.name, "lat": place.lat, "lon": place.lon, "ward": not place.is_kecamatan}
    return {"type": "Feature", "properties": named, "geometry": geometry}


def _cell(n: int, points: list[_Point]) -> list[_Corner]:
    """The cell of point `n`: a disc of `REACH_M`, cut by the bisector to every other point."""
    x, y = points[n]
    turns = [2 * math.pi * corner / _CORNERS for corner in range(_CORNERS)]
    cell = [
        _Corner((x + REACH_M * math.cos(turn), y + REACH_M * math.sin(turn)), None)
        for turn in turns
    ]
    for other, point in enumerate(points):
        if other != n and math.dist(point, points[n]) < 2 * REACH_M:
            cell = _cut(cell, points[n], point, other)
    return cell


def _cut(cell: list[_Corner], own: _Point, other: _Point, number: int) -> list[_Corner]:
    """What of a convex cell lies nearer to `own` than to `other` (Sutherland and Hodgman)."""
    east, north = other[0] - own[0], other[1] - own[1]
    half = (other[0] ** 2 + other[1] ** 2 - own[0] ** 2 - own[1] ** 2) / 2

    def beyond(point: _Point) -> float:
        return point[0] * east + point[1] * north - half

    kept: list[_Corner] = []
    for corner, following in zip(cell, [*cell[1:], cell[0]], strict=True):
        here, there = beyond(corner.at), beyond(following.at)
        if here <= 0:
            kept.append(corner)
        if (here <= 0) != (there <= 0):
            share = here / (here - there)
            at = (
                corner.at[0] + share * (following.at[0] - corner.at[0]),
                corner.at[1] + share * (following.at[1] - corner.at[1]),
            )
            # Leaving, the new edge runs along the bisector; coming back, along the old one.
            kept.append(_Corner(at, number if here <= 0 else corner.beyond))
    return kept


def _borders(
    cell: list[_Corner], wards: list[Place], n: int, origin: Place
) -> list[list[list[float]]]:
    """The edges of cell `n` beyond which no ward of the same kecamatan lies, joined up.

    An edge between two wards belongs to the first of them, so that it is drawn once.
    """
    lines: list[list[list[float]]] = []
    for corner, following in zip(cell, [*cell[1:], cell[0]], strict=True):
        beyond = corner.beyond
        if beyond is not None and (beyond < n or wards[beyond].kecamatan == wards[n].kecamatan):
            continue
        start, end = _degrees(corner.at, origin), _degrees(following.at, origin)
        if lines and lines[-1][-1] == start:
            lines[-1].append(end)
        else:
            lines.append([start, end])
    return lines


def _metres(place: Place, origin: Place) -> _Point:
    narrowing = math.cos(math.radians(origin.lat))
    return (
        (place.lon - origin.lon) * _METRES_A_DEGREE * narrowing,
        (place.lat - origin.lat) * _METRES_A_DEGREE,
    )


def _degrees(at: _Point, origin: Place) -> list[float]:
    narrowing = math.cos(math.radians(origin.lat))
    return [
        round(origin.lon + at[0] / (_METRES_A_DEGREE * narrowing), _DECIMALS),
        round(origin.lat + at[1] / _METRES_A_DEGREE, _DECIMALS),
    ]
