"""The story by hand, on a terminal: keys press the button, answer, kill and restart.

It only reads keys and shows what each process says; the processes are those of the story.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator

from demo.broker import Broker
from demo.desk import Desk
from demo.stage import NotSeen, Stage, until
from hardware.panel import PanelError

KEYS = """\
  p press three times     1 press once          c hold the cancel key (3 s)
  a acknowledge           d dispatch            r resolve (real)         f resolve (false)
  b kill/restart broker   g kill/restart gateway
  q quit
"""
CONSOLE_S = 20.0
PRESS_S = 0.08  # a short one; below 10 ms it would be taken for chatter
RED, GREEN, YELLOW, PLAIN = "\033[1;31m", "\033[32m", "\033[33m", "\033[0m"
COLOURS = {"armed": GREEN, "answered": GREEN, "calling": RED, "out_of_order": YELLOW}


@contextlib.contextmanager
def _keys_one_by_one() -> Iterator[None]:
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal may have gone
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class Live:
    """Keys in, a line for each change out."""

    def __init__(self, stage: Stage, broker: Broker, desk: Desk) -> None:
        """Take a stage on which nothing runs yet."""
        self._stage = stage
        self._broker = broker
        self._desk = desk
        self._lines: dict[str, str] = {}

    def play(self) -> None:
        """Run until `q`."""
        sys.stdout.write(f"{self._broker.name}, gateway, post and command centre are starting\n")
        sys.stdout.write(KEYS)
        self._desk.prepare()
        self._broker.start()
        self._stage.start_gateway()
        self._stage.start_mcc()
        self._stage.start_post()
        self._desk.open()
        until("the console answers", self._desk.answers, CONSOLE_S)
        self._say(self._desk.invitation())
        with _keys_one_by_one():
            while True:
                self._show()
                if not select.select([sys.stdin], [], [], 0.2)[0]:
                    continue
                # Not sys.stdin: it would hold back what select cannot see.
                key = os.read(sys.stdin.fileno(), 1).decode(errors="replace")
                if key in ("q", ""):
                    return
                try:
                    self._do(key)
                except (NotSeen, PanelError, RuntimeError) as error:
                    self._say(f"{YELLOW}{error}{PLAIN}")

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stdout.flush()

    def _show(self) -> None:
        status = self._stage.status()
        lamp = str(status.get("lamp", "off"))
        self._tell("post", f"post: lamp {COLOURS.get(lamp, '')}{lamp.replace('_', ' ')}{PLAIN}")
        buzzes = status.get("acknowledgement_buzzes", 0)
        if buzzes:
            self._tell("buzzer", f"post: the buzzer has sounded for {buzzes} acknowledgement(s)")
        for alarm_id, alarm in self._stage.shown().items():
            answered = alarm["state"] in ("acknowledged", "dispatched", "resolved")
            calls = f", called {alarm['repeats'] + 1} times" if alarm["repeats"] else ""
            colour = GREEN if answered else RED
            text = f"command centre: {colour}{alarm['state']}{PLAIN} {alarm_id[:8]}{calls}"
            self._tell(alarm_id, text)

    def _tell(self, about: str, text: str) -> None:
        if self._lines.get(about) != text:
            self._lines[about] = text
            self._say(text)

    def _do(self, key: str) -> None:
        match key:
            case "p":
                self._later(lambda: self._stage.panel("press3"))
            case "1":
                self._later(self._press_once)
            case "c":
                self._later(lambda: self._stage.panel("cancel"))
            case "a":
                self._operator("acknowledge", below="acknowledged")
            case "d":
                self._operator("dispatch", "--unit", "Polsek Lowokwaru", below="dispatched")
            case "r":
                self._operator("resolve", "--outcome", "real", below="resolved")
            case "f":
                self._operator("resolve", "--outcome", "false", below="resolved")
            case "b" if self._broker.running:
                self._broker.kill()
                self._say("the broker is dead, with all it knew")
            case "b":
                self._broker.start()
                self._say("an empty broker is up")
            case "g" if self._stage.running("gateway"):
                self._stage.kill("gateway")
                self._say("the gateway is dead")
            case "g":
                self._stage.start_gateway()
                self._say("the gateway is up")
            case _:
                sys.stdout.write(KEYS)

    def _press_once(self) -> None:
        self._stage.panel("press")
        time.sleep(PRESS_S)
        self._stage.panel("release")

    def _operator(self, command: str, *more: str, below: str) -> None:
        ranks = ["received", "delivered", "acknowledged", "dispatched", "resolved"]
        waiting = [
            alarm_id
            for alarm_id, alarm in self._stage.shown().items()
            if ranks.index(alarm["state"]) < ranks.index(below)
        ]
        if not waiting:
            self._say("there is nothing to " + command)
            return

        def run() -> None:
            done = self._stage.mcc(command, waiting[-1], *more, "--operator", "Siti")
            self._say("command centre: " + (done.stdout + done.stderr).strip())

        self._later(run)

    def _later(self, what: Callable[[], object]) -> None:
        def run() -> None:
            try:
                what()
            except PanelError as error:
                self._say(f"{YELLOW}{error}{PLAIN}")

        threading.Thread(target=run, daemon=True).start()
