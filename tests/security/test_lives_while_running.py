"""A running gateway takes what happens to a post, and the command centre reads it: real TLS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from protocol.codec import encode
from protocol.topics import Topics
from tests.security.city import (
    HONEST,
    OPERATOR,
    TECHNICIAN,
    THIEF,
    VIEWER,
    City,
    Client,
    until,
)
from tests.security.test_attacks import alarm, health

TOPICS = Topics()


class Wall:
    """What the command centre reads of a post, and the commands of the office."""

    def __init__(self, city: City, console: Client) -> None:
        self._city = city
        self._console = console

    def does(self, *words: str) -> None:
        done = self._city.command(*words, "--by", "Ani", "--config", str(self._city.config))
        assert done.returncode == 0, done.stderr

    def payload(self, post: str) -> bytes | None:
        """The latest document of a post; None before the first, empty when it was cleared."""
        topic = TOPICS.mcc("posts", post)
        return next((p for t, p in reversed(self._console.received) if t == topic), None)

    def until_shown(self, post: str, what: str, wanted: Any) -> None:
        def look() -> bool:
            payload = self.payload(post)
            return bool(payload) and json.loads(payload or b"{}").get(what) == wanted

        until(f"{post}: {what} is {wanted}", look)


def test_rename_move_maintain_and_retire_reach_a_running_gateway(tmp_path: Path) -> None:
    with City(tmp_path) as city, city.client(OPERATOR) as console, city.client(THIEF) as other:
        wall = Wall(city, console)
        console.subscribe(TOPICS.mcc("posts", "+"))
        with city.client(HONEST) as post:
            post.publish(TOPICS.post(HONEST, "health"), encode(health(HONEST)))
            wall.until_shown(HONEST, "connection", "online")

            wall.does("rename", HONEST, "--name", "Pos Baru")
            wall.until_shown(HONEST, "name", "Pos Baru")
            wall.does("move", HONEST, "--lat", "-7.951", "--lon", "112.625")
            wall.until_shown(HONEST, "place", {"lat": -7.951, "lon": 112.625})
            wall.does("maintain", HONEST, "--hours", "2", "--why", "kabel baru")
            until(
                "maintenance is shown",
                lambda: b'"kabel baru"' in (wall.payload(HONEST) or b""),
            )
            # A planned silence swallows nothing.
            offer = alarm(HONEST)
            post.publish(TOPICS.post(HONEST, "alarms"), encode(offer))
            line = f"event=alarm_committed alarm_id={offer.alarm_id}"
            until("the alarm is in the journal", lambda: line in city.log_of("gateway"))
            wall.does("maintain", HONEST, "--end")
            wall.until_shown(HONEST, "maintenance", None)

            wall.does("retire", HONEST, "--why", "gardu dibongkar")
            until("it is thrown out", lambda: post.ended)
            until("its document is cleared", lambda: wall.payload(HONEST) == b"")
        back = Client(
            city.ca, city.certificates[HONEST], port=city.posts_broker.port, client_id=HONEST
        ).connect()
        assert not back.accepted
        back.close()
        assert other.ended is None  # nobody else noticed
        assert "Traceback" not in city.log_of("gateway")


def test_a_technicians_own_console_opens_and_closes_a_window_and_a_viewers_does_not(
    tmp_path: Path,
) -> None:
    with City(tmp_path) as city, city.client(HONEST) as post:
        post.publish(TOPICS.post(HONEST, "health"), encode(health(HONEST)))
        post.subscribe(TOPICS.post(HONEST, "state"))

        def told(who: str, *words: str) -> subprocess.CompletedProcess[str]:
            tls = ("--ca", city.ca, "--certificate", str(city.certificates[who]))
            at = ("--url", city.mcc_broker.url, "--store", str(tmp_path / f"{who}.db"), *tls)
            return subprocess.run(
                [sys.executable, "-m", "mcc.cli", *words, "--console", who, *at],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
                env=city.environment(),
            )

        def window() -> object:
            documents = [json.loads(payload) for _, payload in post.received if payload]
            return documents[-1].get("test_window") if documents else None

        ani = ("--operator", "Ani")
        done = told(TECHNICIAN, "open-test", HONEST, "--minutes", "10", *ani)
        assert done.returncode == 0, done.stderr
        until("the post reads of it", window)
        done = told(VIEWER, "close-test", HONEST, *ani)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert window()
        done = told(TECHNICIAN, "close-test", HONEST, *ani)
        assert done.returncode == 0, done.stderr
        until("the post reads that it is over", lambda: window() is None)
