"""Two gateways at one PostgreSQL journal: the active one is killed again and again under alarms."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.broker import Mosquitto
from tests.faults.ground import Row
from tests.gateway.pair_rig import Pair
from tests.postgresql import PostgreSQL

TAKE_OVER_S = 10.0
KILLS_AT_SCALE_1 = 3
# In minutes, and in hours: a kill, a take-over and a start take 6 s where nothing else runs.
KILLS_MAX, KILLS_SOAK_MAX, SCALE_SOAK = 12, 50, 100
ALARMS_PER_KILL = 200
# A post holds 16 unresolved alarms at most.
ALARMS_PER_POST = 10


def test_the_active_gateway_is_killed_under_alarms(
    broker: Mosquitto,
    postgresql: PostgreSQL,
    tmp_path: Path,
    scale: int,
    table: Callable[[Row], None],
) -> None:
    most = KILLS_SOAK_MAX if scale >= SCALE_SOAK else KILLS_MAX
    kills = min(most, KILLS_AT_SCALE_1 * scale)
    alarms = kills * ALARMS_PER_KILL if scale > 1 else 300
    chance, chance_of_calls = random.Random(f"pair {scale}"), random.Random(f"calls {scale}")
    postgresql.sql("CREATE DATABASE pair_of_faults")
    took_s: list[float] = []
    with Pair(tmp_path, broker, postgresql.url("pair_of_faults")) as pair:
        pair.until_spoken()
        over = threading.Event()

        def call() -> None:
            """So many over the whole of it, and nobody waits for a gateway."""
            for n in range(alarms):
                pair.town.call(f"mlg-pair-rw{n // ALARMS_PER_POST:04d}")
                over.wait(chance_of_calls.uniform(0, 2 * pace_s))

        # A kill, a take-over and a start of the other one take this long, or less.
        pace_s = kills * 10.0 / alarms
        calling = threading.Thread(target=call)
        calling.start()
        try:
            for kill in range(kills):
                active = pair.active(60)
                time.sleep(chance.uniform(0.0, 1.0))
                began_s = time.monotonic()
                active.end()
                took_s.append(pair.until_spoken(after_s=0.3) - began_s)
                active.start()
                if kill == kills // 2:
                    postgresql.stop()
                    time.sleep(1)
                    postgresql.start()
        finally:
            over.set()
            calling.join()
        pair.until_listed(300)
        town = pair.town
        assert len(town.listed) == alarms
        (in_journal,) = pair.rows("SELECT count(*) FROM alarms")
        once = pair.rows(
            "SELECT count(*), count(DISTINCT alarm_id) FROM history WHERE what = 'received'"
        )
        assert in_journal == (alarms,)
        assert once == [(alarms, alarms)]
        assert len(town.journals) == 1
        assert town.silent == set()
        assert "Traceback" not in pair.logs
    took_s.sort()
    listed_s = sorted(town.listed.values())
    print(  # noqa: T201
        f"taken over after {took_s[len(took_s) // 2]:.1f} s (median), {took_s[-1]:.1f} s (longest);"
        f" listed after {listed_s[len(listed_s) // 2] * 1000:.0f} ms (median),"
        f" {listed_s[-1]:.1f} s (longest)"
    )
    assert took_s[-1] < TAKE_OVER_S
    again = sum(town.shown.values()) - len(town.shown)
    row = f"kill -9 of the active one of two gateways, {kills} times"
    table(Row(row, alarms, alarms, len(town.shown), again, kills=kills))
