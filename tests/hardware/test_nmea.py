"""Framing, claims, ranges and epochs of NMEA, without a port."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.gps import SentenceReader
from hardware.nmea import (
    SENTENCE_CHARACTERS_MAX,
    Framer,
    Position,
    accuracy_m,
    checksum,
    position,
    read_claim,
)

MALANG = ("0757.8612", "S", "11238.1234", "E")
MALANG_LAT, MALANG_LON = -(7 + 57.8612 / 60), 112 + 38.1234 / 60


def sentence(body: str) -> str:
    return f"${body}*{checksum(body)}"


def gga(time: str = "010203.00", quality: str = "1", hdop: str = "0.9", **change: str) -> str:
    place = [change.get(key, MALANG[n]) for n, key in enumerate(("lat", "ns", "lon", "ew"))]
    satellites = change.get("satellites", "08")
    rest = ["450.1", "M", "10.0", "M", change.get("age", ""), ""]
    return sentence(",".join(["GPGGA", time, *place, quality, satellites, hdop, *rest]))


def rmc(time: str = "010203.00", status: str = "A", mode: str | None = "A", **change: str) -> str:
    place = [change.get(key, MALANG[n]) for n, key in enumerate(("lat", "ns", "lon", "ew"))]
    modes = [] if mode is None else [mode]
    rest = ["0.1", "", change.get("date", "251126"), "", ""]
    return sentence(",".join(["GPRMC", time, status, *place, *rest, *modes]))


def read(*sentences: str) -> list[Position | None]:
    return SentenceReader().feed("".join(f"{s}\r\n" for s in sentences).encode("ascii"))


def fixes(*sentences: str) -> list[Position]:
    return [verdict for verdict in read(*sentences) if verdict is not None]


# -- framing


def test_a_sentence_split_anywhere_is_joined() -> None:
    whole = f"{gga()}\r\n".encode("ascii")
    for cut in range(len(whole)):
        framer = Framer()
        assert framer.feed(whole[:cut]) + framer.feed(whole[cut:]) == [gga()]


def test_a_sentence_without_its_end_is_closed_by_the_next() -> None:
    assert Framer().feed(f"{gga()}{rmc()}\n".encode("ascii")) == [gga(), rmc()]


@pytest.mark.parametrize("wrong", ["$GPGGA,1*zz", "$GPGGA,1*00", "$GPGGA,1", "$*", "$", "$1*"])
def test_a_wrong_or_missing_checksum_is_counted(wrong: str) -> None:
    framer = Framer()
    assert framer.feed(f"{wrong}\r\n{gga()}\r\n".encode("ascii")) == [gga()]
    assert framer.wrong_checksum == 1


def test_lower_case_hex_is_a_checksum() -> None:
    lower = gga()[:-2] + gga()[-2:].lower()
    assert Framer().feed(f"{lower}\r\n".encode("ascii")) == [lower]


def test_a_binary_byte_ends_the_sentence_and_the_next_one_is_read() -> None:
    framer = Framer()
    assert framer.feed(b"\xb5\x62\x01$GPGGA,\x00\x01" + f"{gga()}\r\n".encode()) == [gga()]
    assert framer.garbled == 1


def test_a_sentence_of_the_greatest_length_passes_and_one_longer_does_not() -> None:
    longest = sentence("P" * (SENTENCE_CHARACTERS_MAX - 4))
    assert len(longest) == SENTENCE_CHARACTERS_MAX
    framer = Framer()
    assert framer.feed(f"{longest}\r\n".encode()) == [longest]
    assert framer.feed(f"{sentence('P' * (SENTENCE_CHARACTERS_MAX - 3))}\r\n".encode()) == []
    assert framer.garbled == 1


def test_endless_bytes_without_a_line_end_are_not_kept() -> None:
    framer = Framer()
    framer.feed(b"$" + b"A" * 1_000_000)
    assert framer._held is None


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_bytes_make_the_reader_raise(portions: list[bytes]) -> None:
    reader = SentenceReader()
    for portion in portions:
        reader.feed(portion)


# -- claims and ranges


def test_a_gga_becomes_a_position_with_satellites_and_hdop() -> None:
    (fix,) = fixes(gga(), rmc())
    assert fix.lat == pytest.approx(MALANG_LAT, abs=2e-6)
    assert fix.lon == pytest.approx(MALANG_LON, abs=2e-6)
    assert (fix.satellites, fix.hdop) == (8, 0.9)
    assert accuracy_m(fix.hdop) == 4.5


def test_a_receiver_with_rmc_only_is_read_without_precision() -> None:
    (fix, _) = fixes(rmc("010203.00"), rmc("010204.00"), rmc("010205.00"))[:2]
    assert (fix.satellites, fix.hdop, accuracy_m(fix.hdop)) == (None, None, None)


def test_an_old_rmc_without_a_mode_is_read() -> None:
    assert len(fixes(gga(quality=""), rmc(mode=None))) == 1


@pytest.mark.parametrize("mode", ["N", "E", "M", "S", "X"])
def test_a_valid_rmc_in_a_mode_without_a_fix_is_none(mode: str) -> None:
    assert read(gga(quality=""), rmc(mode=mode)) == [None]
    assert read(gga(quality="1"), rmc(mode=mode)) == [None]


@pytest.mark.parametrize("quality", ["0", "6", "7", "8", "-1", "x", "11"])
def test_a_quality_that_is_not_measured_is_no_fix(quality: str) -> None:
    assert read(gga(quality=quality), rmc(status="A")) == [None]


def test_an_empty_quality_does_not_stick() -> None:
    one, two = ("010203.00", "010204.00")
    assert len(fixes(gga(one, quality=""), rmc(one, status="V"), gga(two), rmc(two))) == 1
    assert len(fixes(gga(one, quality=""), rmc(one), gga(two, quality=""), rmc(two))) == 2


def test_a_lost_fix_does_not_leave_its_place_behind() -> None:
    lost = rmc("010204.00", status="V")
    assert fixes(gga(), rmc(), gga("010204.00", quality="0"), lost)[1:] == []


@pytest.mark.parametrize(
    "change",
    [
        {"lat": "10040.0000"},
        {"lat": "9100.0000"},
        {"lat": "9000.0001"},
        {"lat": "4475.0000"},
        {"lat": "nan"},
        {"lat": ""},
        {"lat": "0000.0000", "lon": "00000.0000"},
        {"lon": "18100.0000"},
        {"lon": "1238.1234"},
        {"ns": "X"},
        {"ns": ""},
        {"ew": "w"},
    ],
)
def test_a_place_that_is_not_on_earth_is_no_fix(change: dict[str, str]) -> None:
    assert read(gga(**change), rmc(**change)) == [None]


@pytest.mark.parametrize("time", ["250203", "010260.5x", "", "016003", "1"])
def test_a_time_that_no_clock_shows_is_no_fix(time: str) -> None:
    assert fixes(gga(time), rmc(time), gga("010209"), rmc("010209"))[1:] == []


def test_a_month_thirteen_does_not_matter_because_no_date_is_read() -> None:
    assert len(fixes(gga(), rmc(date="991399"))) == 1


@pytest.mark.parametrize("hdop", ["99.99", "50.0", "nan", "inf", "-1", "0.0", ""])
def test_a_precision_out_of_range_is_unknown_and_the_place_counts(hdop: str) -> None:
    (fix,) = fixes(gga(hdop=hdop), rmc())
    assert fix.hdop is None


@pytest.mark.parametrize("satellites", ["-3", "1e2", "", "100"])
def test_a_number_of_satellites_out_of_range_is_unknown(satellites: str) -> None:
    (fix,) = fixes(gga(satellites=satellites), rmc())
    assert fix.satellites is None


def test_a_fractional_age_of_corrections_does_not_lose_the_fix() -> None:
    assert len(fixes(gga(quality="2", age="1.5"), rmc(mode="D"))) == 1


@pytest.mark.parametrize("body", ["GPGSV,1,1,00", "GPGGA", "GPGGA,1", "XXGGA,,", "GPRMCX,,", ","])
def test_other_sentences_claim_nothing(body: str) -> None:
    assert read_claim(sentence(body)) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 100.67])
def test_what_the_parser_gives_is_checked_again(bad: float) -> None:
    assert position(bad, 112.0, 8, 0.9) is None
    assert position(None, 112.0, 8, 0.9) is None
    checked = position(-8.0, 112.0, 1000, bad * 2)
    assert checked is not None
    assert (checked.satellites, checked.hdop) == (None, None)


# -- epochs


def test_two_sentences_of_one_instant_are_one_fix() -> None:
    times = [f"0102{s:02}.00" for s in range(10)]
    assert len(fixes(*[s for t in times for s in (rmc(t), gga(t))])) == 10


def test_a_receiver_with_gga_only_is_read_at_once_after_the_first() -> None:
    reader = SentenceReader()
    counts = [len(reader.feed(f"{gga(f'0102{s:02}')}\r\n".encode())) for s in range(4)]
    assert counts == [0, 2, 1, 1]


def test_epochs_without_a_time_do_not_wait_for_each_other() -> None:
    nothing = sentence("GPGGA,,,,,,0,,,,M,,M,,")
    void = sentence("GPRMC,,V,,,,,,,,,,N")
    assert read(nothing, void, nothing, void) == [None, None]


def test_twenty_thousand_fuzzed_sentences_give_the_valid_ones_and_nothing_else() -> None:
    chance = random.Random(20261125)
    stream = bytearray()
    valid: list[tuple[float, float]] = []
    for n in range(20_000):
        lat, lon = chance.uniform(-89.9, 89.9), chance.uniform(-179.9, 179.9)
        good = gga(f"{n // 3600:02}{n // 60 % 60:02}{n % 60:02}", **_place(lat, lon))
        if n % 10 == 0:
            stream += f"{good}\r\n".encode()
            valid.append((lat, lon))
        else:
            stream += _spoil(good, chance) + b"\r\n"
    reader, found, at = SentenceReader(), list[Position](), 0
    while at < len(stream):
        portion = chance.randint(1, 400)
        found += [v for v in reader.feed(bytes(stream[at : at + portion])) if v is not None]
        at += portion
    found += [v for v in reader.feed(f"{gga('235959')}\r\n".encode()) if v is not None][:-1]
    assert [f.lat for f in found] == pytest.approx([lat for lat, _ in valid], abs=1e-5)
    assert [f.lon for f in found] == pytest.approx([lon for _, lon in valid], abs=1e-5)
    assert all(-90 <= f.lat <= 90 and -180 <= f.lon <= 180 for f in found)


def _place(lat: float, lon: float) -> dict[str, str]:
    def text(degrees: float, width: int) -> str:
        whole = int(abs(degrees))
        return f"{whole:0{width}}{min((abs(degrees) - whole) * 60, 59.9999):07.4f}"

    return {
        "lat": text(lat, 2),
        "ns": "S" if lat < 0 else "N",
        "lon": text(lon, 3),
        "ew": "W" if lon < 0 else "E",
    }


def _spoil(good: str, chance: random.Random) -> bytes:
    """What arrives instead: never a sound sentence with a place."""
    raw = bytearray(good.encode())
    kind = chance.randrange(6)
    if kind == 0:  # one bit of the sentence is wrong
        raw[chance.randrange(1, len(raw) - 3)] ^= 1 << chance.randrange(7)
        return bytes(raw)
    if kind == 1:  # the end is missing
        return bytes(raw[: chance.randrange(1, len(raw) - 2)])
    if kind == 2:  # noise
        return bytes(chance.randrange(256) for _ in range(chance.randrange(150)))
    if kind == 3:  # a checksum that is not hex
        return bytes(raw[:-2]) + chance.choice([b"ZZ", b"-1", b"  ", b"0x"])
    if kind == 4:  # rightly checksummed nonsense in the fields that place it
        fields = good[1:-3].split(",")
        wrong = ["", "nan", "-1", "1e9", "99999.9", "X", "9999999999"]
        fields[chance.randrange(1, 6)] = chance.choice(wrong)
        return sentence(",".join(fields)).encode()
    # rightly checksummed, one field too many or too few
    fields = good[1:-3].split(",")
    return sentence(",".join(fields[:-1] if chance.random() < 0.5 else [*fields, ""])).encode()
