"""Times and ids as they stand in messages."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.values import Timestamp, Uuid, new_id, timestamp, wall_ms

LAST_MS = 4_102_444_799_999


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.integers(0, LAST_MS))
def test_a_time_reads_back_to_the_millisecond(at_ms: int) -> None:
    text = timestamp(at_ms)
    assert wall_ms(text) == at_ms
    assert msgspec.convert(text, Timestamp) == text
    # An oracle of another make: the standard library's own reader.
    assert round(datetime.fromisoformat(text).timestamp() * 1000) == at_ms


def test_times_are_written_in_utc() -> None:
    at = datetime(2024, 2, 29, 23, 59, 59, 7000, UTC)
    assert timestamp(round(at.timestamp() * 1000)) == "2024-02-29T23:59:59.007Z"


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (-1, "1970-01-01T00:00:00.000Z"),
        (-(2**63), "1970-01-01T00:00:00.000Z"),
        (LAST_MS + 1, "2099-12-31T23:59:59.999Z"),
        (2**80, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_a_mad_clock_is_written_at_the_bound(at_ms: int, text: str) -> None:
    assert timestamp(at_ms) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-02-31T00:00:00.000Z",
        "2025-02-29T00:00:00.000Z",
        "2025-04-31T00:00:00.000Z",
        "2025-13-01T00:00:00.000Z",
        "2025-00-01T00:00:00.000Z",
        "2025-01-00T00:00:00.000Z",
        "2025-01-32T00:00:00.000Z",
        "2025-01-01T24:00:00.000Z",
        "2025-01-01T00:60:00.000Z",
        "2025-01-01T00:00:60.000Z",
        "2025-01-01T00:00:00Z",
        "2025-01-01T00:00:00.00Z",
        "2025-01-01T00:00:00.0000Z",
        "2025-01-01T00:00:00.000",
        "2025-01-01T00:00:00.000z",
        "2025-01-01t00:00:00.000Z",
        "2025-01-01 00:00:00.000Z",
        "2025-01-01T00:00:00.000+00:00",
        "2025-01-01T00:00:00.000Z\n",
        " 2025-01-01T00:00:00.000Z",
        "20\u0662\u0665-01-01T00:00:00.000Z",
        "2025-01-01T00:00:00.\u0660\u0660\u0660Z",
        "1969-12-31T23:59:59.999Z",
        "2100-01-01T00:00:00.000Z",
        "0000-01-01T00:00:00.000Z",
    ],
)
def test_what_is_no_time_of_the_contract_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text differs by what is wrong
        wall_ms(text)


def test_a_leap_day_is_a_day() -> None:
    assert timestamp(wall_ms("2024-02-29T12:00:00.001Z")) == "2024-02-29T12:00:00.001Z"


def test_new_ids_are_of_the_contract_and_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(msgspec.convert(one, Uuid) == one for one in ids)
