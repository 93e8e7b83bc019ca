"""`kill -9` at random instants: what was shown as committed arrives once, the rest at most once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from demo.stage import Stage, until
from hardware.panel import PanelError
from tests.broker import Mosquitto

KILLS = 50
# Three presses of 40 ms; the third closing is 160 ms after the first.
HASTY = [[n * 40_000, n % 2] for n in range(6)]
THIRD_EDGE_S = 0.160


def press_in_background(stage: Stage) -> threading.Thread:
    """Three presses; the post may die under the hand."""

    def press() -> None:
        try:
            stage.panel("edges", edges=HASTY)
        except PanelError:
            return

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    return thread


def committed_of(stage: Stage) -> set[str]:
    """The ids that the post says are committed, or nothing when it is dead."""
    return {one["id"] for one in stage.status().get("alarms", []) if one["committed"]}


def test_fifty_kills_of_the_post_after_the_third_edge(broker: Mosquitto, tmp_path: Path) -> None:
    chance = random.Random(20260101)
    centre = Stage(tmp_path, broker.url)
    promised: set[str] = set()
    posts: list[Stage] = []
    try:
        centre.start_gateway()
        centre.start_mcc()
        for n in range(KILLS):
            directory = tmp_path / f"post-{n}"
            directory.mkdir()
            post = Stage(directory, broker.url, post_id=f"mlg-kill-rw{n:02d}")
            posts.append(post)
            post.start_post()
            began_s = time.monotonic()
            pressing = press_in_background(post)
            kill_at_s = began_s + THIRD_EDGE_S + chance.uniform(0.0, 0.060)
            while time.monotonic() < kill_at_s:
                if time.monotonic() > began_s + THIRD_EDGE_S:
                    promised |= committed_of(post)
            post.kill("post")
            pressing.join()
            # It comes back as itself and says what it has.
            post.start_post()
            promised |= committed_of(post)
            held = committed_of(post)
            until(
                "what it holds is at the command centre",
                lambda held=held: held <= set(centre.shown()) or None,  # type: ignore[misc]
                20,
            )
            post.close()
    finally:
        for post in posts:
            post.close()
        centre.close()
    shown = centre.shown()
    assert promised <= set(shown)
    per_post = Counter(alarm["post"] for alarm in shown.values())
    assert all(count == 1 for count in per_post.values())
    assert all(alarm["repeats"] == 0 for alarm in shown.values())
    # The instants were such that some died before the commit and some after.
    assert len(promised) >= KILLS // 4


@pytest.mark.parametrize("instant", ["before", "during", "after"])
@pytest.mark.parametrize("victim", ["gateway", "broker", "both"])
def test_gateway_and_broker_killed(
    stage: Stage, broker: Mosquitto, victim: str, instant: str
) -> None:
    def kill() -> None:
        if victim in ("gateway", "both"):
            stage.kill("gateway")
        if victim in ("broker", "both"):
            broker.kill()

    def bring_back() -> None:
        if victim in ("broker", "both"):
            broker.start()
        if victim in ("gateway", "both"):
            stage.start_gateway()

    if instant == "before":
        kill()
    pressing = press_in_background(stage)
    pressing.join()
    if instant == "during":
        kill()
    until("committed", lambda: committed_of(stage))
    (alarm_id,) = committed_of(stage)
    if instant == "after":
        until("delivered", lambda: stage.operator_sees(alarm_id, "delivered"))
        kill()
    bring_back()
    until("delivered", lambda: stage.operator_sees(alarm_id, "delivered"), 30)
    assert stage.mcc("acknowledge", alarm_id[:8], "--operator", "Siti").returncode == 0
    until("it sounds", lambda: stage.status()["acknowledgement_buzzes"] == 1)
    stage.until_lamp("answered")
    assert set(stage.shown()) == {alarm_id}
    assert stage.status()["acknowledgement_buzzes"] == 1
