"""The life of a fault at the command centre: pure, with time as an argument."""

from __future__ import annotations

from typing import Any

import pytest

from mcc.cases.lives import (
    GATEWAY_SILENT,
    HOUR_MS,
    SHELF_HOURS_MAX,
    SILENT,
    Life,
    Said,
    Standing,
    lived,
    said_of_gateway,
    said_of_post,
)
from protocol.messages import Maintenance, MccGateway, MccPost
from protocol.values import timestamp, wall_ms

AT = "2026-03-01T13:45:12.345Z"
NOW_MS = wall_ms(AT) + 60_000


def post(**fields: Any) -> MccPost:
    named: dict[str, Any] = {"post": "rw05", "gateway": "mlg", "connection": "online", "at": AT}
    return MccPost(**(named | fields))


def gateway(**fields: Any) -> MccGateway:
    named: dict[str, Any] = {"gateway": "mlg", "online": True, "at": AT}
    return MccGateway(**(named | fields))


def standing(*faults: str, since_ms: int = NOW_MS) -> Said:
    return Said({fault: Standing(since_ms) for fault in faults})


def test_a_fault_is_raised_when_it_stands_and_cleared_when_it_does_not() -> None:
    raised = lived({}, {}, standing("tamper"), NOW_MS)
    assert raised == {"tamper": Life("tamper", NOW_MS)}
    assert lived(raised, {}, standing("tamper"), NOW_MS + 5) == {}
    cleared = lived(raised, {}, standing(), NOW_MS + 9)
    assert cleared["tamper"].cleared_ms == NOW_MS + 9


def test_of_a_post_that_is_silent_the_silence_stands_and_what_it_said_last() -> None:
    said = said_of_post(post(connection="silent", faults=("gps_lost",), silent_with=AT))
    assert said.standing == {
        SILENT: Standing(wall_ms(AT), group=AT),
        "gps_lost": Standing(wall_ms(AT)),
    }


def test_a_post_that_is_unknown_is_neither_silent_nor_back() -> None:
    life = Life(SILENT, NOW_MS)
    assert lived({SILENT: life}, {}, said_of_post(post(connection="unknown")), NOW_MS) == {}
    planned = Maintenance(until=AT, by="Ani")
    said = said_of_post(post(connection="unknown", maintenance=planned))
    assert lived({SILENT: life}, {}, said, NOW_MS)[SILENT].cleared_ms == NOW_MS


def test_a_gateway_that_is_not_heard_is_one_fault_and_its_own_are_untold() -> None:
    open_ = {"journal_failing": Life("journal_failing", NOW_MS)}
    for liveness in ("silent", "offline"):
        changed = lived(open_, {}, said_of_gateway(gateway(), liveness, NOW_MS), NOW_MS)
        assert set(changed) == {GATEWAY_SILENT}
    both = open_ | changed
    back = lived(both, {}, said_of_gateway(gateway(), "online", NOW_MS), NOW_MS)
    assert {fault: life.cleared_ms for fault, life in back.items()} == dict.fromkeys(both, NOW_MS)


def test_while_we_hear_nothing_ourselves_no_gateway_is_accused_and_nothing_is_cleared() -> None:
    open_ = {"journal_failing": Life("journal_failing", NOW_MS)}
    assert lived(open_, {}, said_of_gateway(gateway(), "unknown", NOW_MS), NOW_MS) == {}


def test_the_last_will_of_a_gateway_clears_nothing() -> None:
    open_ = {"journal_failing": Life("journal_failing", NOW_MS)}
    will = gateway(online=False)
    assert lived(open_, {}, said_of_gateway(will, "online", NOW_MS), NOW_MS) == {}


def test_since_when_and_how_often_come_from_the_document() -> None:
    later = timestamp(NOW_MS)
    said = said_of_post(
        post(faults=("tamper", "gps_lost"), faults_since=(AT, later), faults_count=(4, 1))
    )
    assert said.standing["tamper"] == Standing(wall_ms(AT), 4)
    assert said.standing["gps_lost"] == Standing(NOW_MS)


def test_a_fault_that_has_begun_to_chatter_is_the_life_that_it_was() -> None:
    first = Life("mains_lost", 1000, cleared_ms=2000, acknowledged_ms=1500, acknowledged_by="Sari")
    again = lived({}, {"mains_lost": first}, Said({"mains_lost": Standing(1000, 3)}), 9000)
    assert again["mains_lost"] == Life(
        "mains_lost", 1000, 3, acknowledged_ms=1500, acknowledged_by="Sari"
    )


def test_a_fault_that_comes_again_is_a_new_life_that_nobody_has_seen() -> None:
    first = Life("tamper", 1000, cleared_ms=2000, acknowledged_ms=1500, acknowledged_by="Sari")
    again = lived({}, {"tamper": first}, standing("tamper", since_ms=5000), 5000)
    assert again["tamper"] == Life("tamper", 5000)


def test_the_first_who_has_seen_it_stays_named() -> None:
    life = Life("tamper", 1000).acknowledged("Sari", 2000)
    assert life.acknowledged("Budi", 3000) == life
    assert (life.acknowledged_by, life.acknowledged_ms) == ("Sari", 2000)


def test_a_shelf_ends_by_itself_and_outlasts_a_clearing() -> None:
    life = Life("mains_lost", 1000).shelved("Sari", "PLN memadamkan", 2, NOW_MS)
    end_ms = NOW_MS + 2 * HOUR_MS
    assert life.is_shelved(end_ms - 1)
    assert not life.is_shelved(end_ms)
    over = {"mains_lost": Life("mains_lost", 1000, cleared_ms=2000, shelved_until_ms=end_ms)}
    for now_ms, expected in ((end_ms - 1, end_ms), (end_ms, None)):
        said = standing("mains_lost", since_ms=now_ms)
        again = lived({}, over, said, now_ms)["mains_lost"]
        assert again.shelved_until_ms == expected
    assert not life.unshelved().is_shelved(NOW_MS)


@pytest.mark.parametrize(("hours", "why"), [(0, "x"), (SHELF_HOURS_MAX + 1, "x"), (1, " ")])
def test_no_shelf_is_without_end_or_reason(hours: int, why: str) -> None:
    with pytest.raises(ValueError, match="shelved"):
        Life("tamper", 1).shelved("Sari", why, hours, NOW_MS)
    assert Life("tamper", 1).shelved("Sari", "x", SHELF_HOURS_MAX, NOW_MS).is_shelved(NOW_MS)
