"""Hostile bytes of a GPS receiver through framer, parser and ranges.

Sentences are spoilt before and after their checksum is made, because a checksum only says that
the line was quiet. Whatever comes out must be a place on Earth.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from hardware.gps import SentenceReader
from hardware.nmea import SENTENCE_CHARACTERS_MAX, checksum
from tests.fuzz.mutations import spoil_bytes

FIELDS = ("", "0", "-1", "nan", "inf", "1e9", "99999.9", "X", "9" * 30, "0757.8612", "11238.1234")
WORDS = ("GPGGA", "GNRMC", "GPGSV", "GLGSA", "GPGLL", "PUBX", "GPRMC,A", "", "GPGGA" * 9)


def run(seed: int, count: int) -> Counter[str]:
    """Send `count` sentences in portions that know nothing of lines.

    Raises:
        AssertionError: a place that is not on Earth came out, or more is held than one sentence.
    """
    chance = Random(seed)
    reader = SentenceReader()
    counts: Counter[str] = Counter()
    waiting = bytearray()
    for n in range(count):
        counts["sentences"] += 1
        waiting += _sentence(chance, n)
        while len(waiting) > 400 or (n == count - 1 and waiting):
            portion = chance.randint(1, 400)
            for verdict in reader.feed(bytes(waiting[:portion])):
                counts["no fix" if verdict is None else "fixes"] += 1
                if verdict is not None:
                    assert -90 <= verdict.lat <= 90, verdict
                    assert -180 <= verdict.lon <= 180, verdict
            del waiting[:portion]
            held = reader.framer._held
            assert held is None or len(held) <= SENTENCE_CHARACTERS_MAX
    counts["framed"] = reader.framer.sentences
    return counts


def _sentence(chance: Random, n: int) -> bytes:
    time = f"{n // 3600 % 24:02}{n // 60 % 60:02}{n % 60:02}.00"
    if chance.random() < 0.5:
        fields = ["GPGGA", time, "0757.8612", "S", "11238.1234", "E", "1", "08", "0.9"]
        fields += ["440.0", "M", "5.0", "M", "", ""]
    else:
        fields = ["GPRMC", time, "A", "0757.8612", "S", "11238.1234", "E", "0.1", "0.0"]
        fields += ["251126", "", "", "A"]
    throw = chance.random()
    if throw < 0.6:
        for _ in range(chance.randint(1, 3)):
            fields[chance.randrange(1, len(fields))] = chance.choice(FIELDS)
    elif throw < 0.7:
        fields[0] = chance.choice(WORDS)
    elif throw < 0.8:
        fields = fields[: chance.randrange(1, len(fields))] * chance.choice((1, 2))
    body = ",".join(fields)
    line = f"${body}*{checksum(body)}\r\n".encode("ascii")
    return spoil_bytes(line, chance) if chance.random() < 0.4 else line
