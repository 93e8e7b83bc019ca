"""Kota Malang's districts and wards, and the units that answer for them, put into the registers.

The places are `malang.csv` beside this file. What is there already is left as people have made it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from mcc.registers.models import Kecamatan, Kelurahan, Unit

_FILE = Path(__file__).with_name("malang.csv")
_KECAMATAN_LEVELS = 3  # 35.73.01; a kelurahan has a fourth


@dataclass(frozen=True)
class Place:
    """A kecamatan or kelurahan: code, name and the centroid of its area (degrees)."""

    code: str
    name: str
    lat: float
    lon: float

    @property
    def is_kecamatan(self) -> bool:
        """Whether it is a district and not a ward."""
        return self.code.count(".") + 1 == _KECAMATAN_LEVELS

    @property
    def kecamatan(self) -> str:
        """The code of its district."""
        return ".".join(self.code.split(".")[:_KECAMATAN_LEVELS])


def places() -> list[Place]:
    """All of them, in the order of their codes."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        return [
            Place(row["code"], row["name"], float(row["lat"]), float(row["lon"]))
            for row in csv.DictReader(lines)
        ]


def load() -> None:
    """Put what is missing into the registers: kecamatan, kelurahan, five Polsek, the Polresta."""
    with transaction.atomic():
        for place in places():
            if place.is_kecamatan:
                kecamatan, _ = Kecamatan.objects.get_or_create(
                    code=place.code, defaults={"name": place.name}
                )
                _load_unit(f"polsek-{place.name.lower()}", f"Polsek {place.name}", kecamatan)
            else:
                Kelurahan.objects.get_or_create(
                    code=place.code,
                    defaults={
                        "name": place.name,
                        "kecamatan_id": place.kecamatan,
                        "lat": place.lat,
                        "lon": place.lon,
                    },
                )
        _load_unit("polresta", "Polresta Malang Kota", None)


def _load_unit(slug: str, name: str, kecamatan: Kecamatan | None) -> None:
    kind = Unit.Kind.POLRESTA if kecamatan is None else Unit.Kind.POLSEK
    taken = Unit.objects.filter(name=name) | Unit.objects.filter(slug=slug)
    if kecamatan is not None:
        taken |= Unit.objects.filter(kecamatan=kecamatan)
    if not taken.exists():
        Unit.objects.create(slug=slug, name=name, kind=kind, kecamatan=kecamatan)
