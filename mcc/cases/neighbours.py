"""Which cases of other areas a unit sees: open ones that it was asked to help with, and near ones.

Near means: within the setting's distance of the own kecamatan as the map draws it. It only ever
adds to what is seen; who answers for a post follows from its registered kelurahan alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from django.conf import settings
from django.db import models

from mcc.alarms import AlarmRecord
from mcc.cases.models import Alarm, Entry
from mcc.registers.models import Kelurahan, Unit

# A ward: its kecamatan, the latitude and longitude of its centroid (degrees).
Ward = tuple[str, float, float]
_METRES_A_DEGREE = 111_320.0
_RECORD = msgspec.json.Decoder(AlarmRecord)


def is_asked(unit: Unit, alarm_id: str | None) -> bool:
    """Whether this unit was asked to help with an alarm that is open."""
    if alarm_id is None or not Alarm.objects.filter(alarm_id=alarm_id, is_open=True).exists():
        return False
    return _asked(unit).filter(alarm_id=alarm_id).exists()


def neighbouring_posts(unit: Unit) -> frozenset[str]:
    """The posts of other areas whose open alarms this unit sees."""
    if unit.kecamatan_id is None:
        return frozenset()
    rows = list(
        Alarm.objects.filter(is_open=True, kind="panic").values_list("alarm_id", "post", "body")
    )
    if not rows:
        return frozenset()
    asked = set(_asked(unit).values_list("alarm_id", flat=True))
    wards: list[Ward] = list(Kelurahan.objects.values_list("kecamatan_id", "lat", "lon"))
    near_m = settings.MCC.community.border_m
    found = set()
    for alarm_id, post, body in rows:
        place = _RECORD.decode(body).location
        if (
            alarm_id in asked
            or distance_m(place.lat, place.lon, wards, unit.kecamatan_id) <= near_m
        ):
            found.add(post)
    return frozenset(found)


def distance_m(lat: float, lon: float, wards: Sequence[Ward], kecamatan: str) -> float:
    """About how far it is from a place to a kecamatan (m); 0 inside, infinite when it has no ward.

    A ward is what lies nearer to its centroid than to any other; the way to its edge is counted
    from the nearest ward, along the line between the two centroids.
    """
    narrowing = math.cos(math.radians(lat))
    at = [
        (code, (x - lon) * _METRES_A_DEGREE * narrowing, (y - lat) * _METRES_A_DEGREE)
        for code, y, x in wards
    ]
    if not at:
        return math.inf
    _, near_x, near_y = min(at, key=lambda one: math.hypot(one[1], one[2]))
    near_square = near_x**2 + near_y**2
    ways = []
    for code, x, y in at:
        if code == kecamatan:
            apart = math.hypot(x - near_x, y - near_y)
            ways.append((x**2 + y**2 - near_square) / (2 * apart) if apart else 0.0)
    return min(ways, default=math.inf)


def _asked(unit: Unit) -> models.QuerySet[Entry]:
    return Entry.objects.filter(action="ask_assist", detail__unit=unit.slug)
