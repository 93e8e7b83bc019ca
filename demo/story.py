"""The whole story without a person: each step with its milliseconds since the third press.

Every step looks for what a resident or an operator would see; a step that is missing ends the
story with its name.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from demo.broker import Broker
from demo.desk import Desk
from demo.stage import NotSeen, Stage, until

T = TypeVar("T")
OPERATOR = "Siti"
# Longer than the post's pause between offers and a reconnect together.
STEP_S = 12.0
QUIET_S = 1.5
FINGER_S = 0.1


class Story:
    """Tells the steps as they are seen."""

    def __init__(self, stage: Stage, broker: Broker, desk: Desk) -> None:
        """Take a stage on which nothing runs yet."""
        self._stage = stage
        self._broker = broker
        self._desk = desk
        self._pressed_s = time.monotonic()

    def _say(self, text: str) -> None:
        elapsed_ms = (time.monotonic() - self._pressed_s) * 1000
        sys.stdout.write(f"  {elapsed_ms:8.0f} ms  {text}\n")
        sys.stdout.flush()

    def _see(self, what: str, look: Callable[[], T | None]) -> T:
        seen = until(what, look, STEP_S)
        self._say(what)
        return seen

    def _lamp(self, meaning: str) -> None:
        self._stage.until_lamp(meaning, STEP_S)
        self._say(f"the lamp says: {meaning.replace('_', ' ')}")

    def _press3(self) -> str:
        """Three presses; the id of the new alarm."""
        known = {alarm["id"] for alarm in self._stage.status()["alarms"]}
        for _ in range(2):
            self._stage.panel("press")
            time.sleep(FINGER_S)
            self._stage.panel("release")
            time.sleep(FINGER_S)
        self._pressed_s = time.monotonic()
        self._stage.panel("press")

        def look() -> str | None:
            return next(
                (
                    alarm["id"]
                    for alarm in self._stage.status()["alarms"]
                    if alarm["id"] not in known and alarm["committed"]
                ),
                None,
            )

        alarm_id = until("the alarm is on disk", look, STEP_S)
        self._say(f"three presses; alarm {alarm_id[:8]} is on the post's disk")
        self._stage.panel("release")
        return alarm_id

    def _command(self, what: str, *arguments: str) -> None:
        done = self._stage.mcc(*arguments)
        if done.returncode != 0:
            raise NotSeen(f"{what}: kentongan-mcc {arguments[0]} said: {done.stderr.strip()}")
        self._say(what)

    def tell(self) -> None:
        """Play it from the start to the end.

        Raises:
            NotSeen: the step that is missing.
        """
        stage = self._stage
        sys.stdout.write(f"A post, a gateway and a command centre on {self._broker.name}\n")
        self._desk.prepare()
        self._broker.start()
        stage.start_gateway()
        stage.start_mcc()
        stage.start_post()
        self._desk.open()
        self._lamp("armed")
        self._see(self._desk.invitation(), self._desk.answers)
        self._see(
            "the GPS receiver has a fix", lambda: stage.status().get("location") == "gps" or None
        )

        sys.stdout.write("Someone presses the red button three times\n")
        first = self._press3()
        alarm = self._see(
            "the operator sees it", lambda: stage.operator_sees(first, "received", "delivered")
        )
        place = alarm["location"]
        self._say(f"at {place['lat']:.5f}, {place['lon']:.5f} ({place['source']})")
        self._lamp("calling")
        self._command(f"{OPERATOR} acknowledges", "acknowledge", first[:8], "--operator", OPERATOR)
        self._see("the buzzer sounds", lambda: stage.status().get("acknowledgement_buzzes") == 1)
        self._lamp("answered")

        sys.stdout.write("The broker is killed and forgets everything; the gateway is killed\n")
        self._broker.kill()
        stage.kill("gateway")
        self._broker.start()
        stage.start_gateway()
        self._command(
            "a unit is on its way",
            *("dispatch", first[:8], "--unit", "Polsek Lowokwaru", "--operator", OPERATOR),
        )
        self._command(
            "it is over", "resolve", first[:8], "--outcome", "real", "--operator", OPERATOR
        )
        self._lamp("armed")
        time.sleep(QUIET_S)
        if stage.status().get("acknowledgement_buzzes") != 1:
            raise NotSeen("the buzzer stays silent: it sounded more than once")
        self._say("the buzzer has sounded exactly once")

        sys.stdout.write("A press while the gateway is dead, and a power cut at the post\n")
        stage.kill("gateway")
        second = self._press3()
        stage.kill("post")
        self._say("the post is dead")
        stage.start_post()
        stage.start_gateway()
        self._see(
            "the operator sees it", lambda: stage.operator_sees(second, "received", "delivered")
        )
        self._command("it was a trial", "resolve", second[:8], "--outcome", "test")
        self._see("the buzzer sounds", lambda: stage.status().get("acknowledgement_buzzes") == 1)
        self._lamp("armed")
        if {first, second} != set(stage.shown()):
            raise NotSeen(f"exactly two alarms: the operator saw {len(stage.shown())}")
        self._say("two calls, two alarms, nothing twice")
        self._see(
            "the console has both, and how they ended",
            lambda: self._desk.resolved() == {first, second},
        )
