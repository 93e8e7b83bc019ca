"""Each way in which a post can no longer call is shown at the command centre, with its cause.

Within 20 s, at the strict setting: all at once, in real time. The default times are the matter of
the pure core (`tests/gateway/test_supervision.py`) and of the simulator.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from demo.receiver import Receiver
from demo.stage import Stage, until
from tests.broker import Mosquitto, Wire

STRICT_S = 20.0
CAUSES = {
    "cable": "silent",
    "frozen": "silent",
    "killed": "silent",
    "stuck": "button_stuck",
    "wire": "button_wire_cut",
    "gps": "gps_lost",
}


class Centre(Stage):
    """A gateway at its strict setting and a command centre's watch."""

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory, url)
        self._read = 0
        self._posts: dict[str, dict[str, Any]] = {}
        file = directory / "gateway.toml"
        file.write_text(file.read_text().replace("[posts]\n", "[posts]\nsilent_after_s = 20\n"))

    def posts(self) -> dict[str, dict[str, Any]]:
        """Every post as `watch` has shown it last."""
        with (self.directory / "mcc.out").open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                change = json.loads(line)
                if change["event"] == "post":
                    self._posts[change["post"]] = change
        return self._posts

    def wrong(self, name: str) -> set[str]:
        """What is shown to be wrong with a post."""
        shown = self.posts().get(f"mlg-{name}", {})
        silent = {"silent"} if shown.get("connection") == "silent" else set()
        return silent | set(shown.get("faults", ()))


def test_what_keeps_a_post_from_calling_is_shown_with_its_cause_within_twenty_seconds(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(Wire(broker.port))
        receiver = Receiver()
        directory = tmp_path / "centre"
        directory.mkdir()
        centre = Centre(directory, broker.url)
        stack.callback(centre.close)
        centre.start_gateway()
        centre.start_mcc()
        posts: dict[str, Stage] = {}
        for name in (*CAUSES, "well"):
            (tmp_path / name).mkdir()
            url = f"mqtt://127.0.0.1:{wire.port}" if name == "cable" else broker.url
            device = receiver.device if name == "gps" else None
            post = Stage(tmp_path / name, url, post_id=f"mlg-{name}", gps_device=device)
            if name == "wire":
                file = post.directory / "post.toml"
                file.write_text(file.read_text() + "[button]\nnc_pin = 5\n")
            posts[name] = post
            stack.callback(post.close)
            post.start_as(
                "post", "device.cli", "run", "--config", str(post.directory / "post.toml")
            )
        for post in posts.values():
            post.until_lamp("armed", 60)
        until("all are well", lambda: not any(map(centre.wrong, posts)) or None, 40)

        os.kill(posts["frozen"].pid("post"), signal.SIGSTOP)
        stack.callback(os.kill, posts["frozen"].pid("post"), signal.SIGCONT)
        wire.swallow = True
        posts["killed"].kill("post")
        posts["stuck"].panel("press")
        posts["wire"].panel("wire", to="cut")
        receiver.close()
        began_s = time.monotonic()

        took_s: dict[str, float] = {}
        while len(took_s) < len(CAUSES) and time.monotonic() - began_s < STRICT_S + 5:
            for name, cause in CAUSES.items():
                if name not in took_s and cause in centre.wrong(name):
                    took_s[name] = time.monotonic() - began_s
            time.sleep(0.1)
        print({name: round(seconds, 1) for name, seconds in took_s.items()})  # noqa: T201
        assert took_s.keys() == CAUSES.keys()
        assert max(took_s.values()) <= STRICT_S, took_s
        assert centre.wrong("well") == set()
        assert "silent" not in set().union(
            *(centre.wrong(name) for name in ("stuck", "wire", "gps"))
        )
