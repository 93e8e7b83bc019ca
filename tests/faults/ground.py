"""The ground of the fault rows: real processes, each its own part, and the account at the end.

A row raises alarms under a fault, lets the fault end, and calls `settle`: every promised alarm is
in the journal and at the command centre exactly once, every call that was pressed is there at most
once, and the way back works too: resolved by the operator, sounded, lamp armed.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from demo.broker import dying_with_us
from demo.stage import START_S, Stage, until
from hardware.panel import PanelError
from mcc.store import Store
from protocol.messages import Command
from protocol.values import new_id, timestamp
from tests.broker import Mosquitto

# Three presses of 40 ms, over in 0.2 s.
HASTY = [[n * 40_000, n % 2] for n in range(6)]
# Three presses that make one more call must come this long after the last (contract: 2 s).
REPEAT_PAUSE_S = 2.1
SETTLE_S = 60.0
_OFFER = re.compile(r"Sending PUBLISH to mlg-gw1-posts .*/mlg-fault-rw\d+/alarms'")

Role = Literal["post", "gateway", "mcc"]
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """What came of one row of the fault table."""

    name: str
    raised: int
    journaled: int
    delivered: int
    duplicates: int
    kills: int = 0

    def __str__(self) -> str:
        """`row  raised / journaled / delivered / duplicates suppressed`."""
        counts = (self.raised, self.journaled, self.delivered, self.duplicates)
        killed = f"   {self.kills} kills" if self.kills else ""
        return f"{self.name:<66} " + " / ".join(f"{count:>4}" for count in counts) + killed


class Part(Stage):
    """One process in a directory of its own; `before` and `environment` change how it is run."""

    def __init__(self, role: Role, directory: Path, url: str, *, post_id: str = "none") -> None:
        """Write its settings; starts nothing."""
        directory.mkdir(exist_ok=True)
        super().__init__(directory, url, post_id=post_id)
        self.role: Role = role
        self.before: list[str] = []
        self.environment: dict[str, str] = {}
        self.module: str | None = None
        self.restarts = 0
        self.wanted = False
        self._command: tuple[str, ...] = ()

    @property
    def database(self) -> Path:
        """Its one SQLite file."""
        return {"post": self.outbox, "gateway": self.journal, "mcc": self.store}[self.role]

    def keep_in(self, directory: Path) -> None:
        """Let its database lie in another directory."""
        old, new = self.database, directory / self.database.name
        self.outbox, self.journal, self.store = (
            new if path == old else path for path in (self.outbox, self.journal, self.store)
        )
        for settings in self.directory.glob("*.toml"):
            settings.write_text(settings.read_text().replace(str(old), str(new)))

    def start(self) -> None:
        """Run it; a post until it listens."""
        self.wanted = True
        {"post": self.start_post, "gateway": self.start_gateway, "mcc": self.start_mcc}[self.role]()

    def start_out_of_order(self) -> None:
        """Run a post that cannot listen as it should, until its panel answers."""
        config = str(self.directory / "post.toml")
        self.wanted = True
        self.start_as("post", "device.cli", "run", "--config", config)
        until("the panel answers", self.status, START_S)

    def end(self, how: Literal["kill -9", "SIGTERM"] = "kill -9") -> None:
        """Take it away, until `start`."""
        self.wanted = False
        if how == "kill -9":
            self.kill(self.role)
        else:
            self.stop(self.role)

    def revive(self) -> None:
        """Start it again if it ended by itself, as its unit would; counted."""
        if self.wanted and not self.running(self.role):
            self.restarts += 1
            self._launch()

    def freeze(self) -> None:
        """SIGSTOP."""
        self._processes[self.role].send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._processes[self.role].send_signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.log_of(self.role)

    def log_or_screen(self) -> str:
        """The log, and what a command centre has shown."""
        screen = self.directory / "mcc.out"
        return self.log + (screen.read_text() if screen.exists() else "")

    def faults(self) -> list[str]:
        """The faults that the post itself names."""
        found: list[str] = self.status().get("faults", [])
        return found

    def _launch(self) -> None:
        self._processes[self.role] = subprocess.Popen(
            [*self.before, sys.executable, "-m", *self._command],
            stdin=subprocess.DEVNULL,
            stdout=self._open(f"{self.role}.out"),
            stderr=self._open(f"{self.role}.log"),
            cwd=self.directory,
            env={**self._environment(), **self.environment},
            preexec_fn=dying_with_us(),  # noqa: PLW1509 - it makes two system calls
        )

    def start_as(self, name: str, module: str, *arguments: str) -> None:
        """Start it as its settings here say; `name` is its role."""
        assert name == self.role, f"a {self.role} cannot be a {name}"
        runner = () if self.module is None else (self.module,)
        self._command = (*runner, module, *arguments)
        self._launch()


class Ground:
    """A gateway, a command centre and some posts on one broker."""

    def __init__(self, directory: Path, broker: Mosquitto) -> None:
        """Write the settings of gateway and command centre; starts nothing."""
        self.directory = directory
        self.broker = broker
        self.gateway = Part("gateway", directory / "gateway", broker.url)
        self.mcc = Part("mcc", directory / "mcc", broker.url)
        self.posts: list[Part] = []
        self.promised: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.kills = 0  # by `kill -9`, as the row itself counts them

    def __enter__(self) -> Ground:
        """The ground itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still runs."""
        for part in self.parts:
            if part.running(part.role):
                part.thaw()
            part.close()

    # --- the parts -------------------------------------------------------------------------

    def add_post(self, url: str | None = None) -> Part:
        """One more post, not started."""
        number = len(self.posts)
        post_id = f"mlg-fault-rw{number:02d}"
        post = Part("post", self.directory / f"p{number}", url or self.broker.url, post_id=post_id)
        self.posts.append(post)
        return post

    def start(self, posts: int = 0, timeout_s: float = 30) -> None:
        """Start all that is there, with so many posts at least, until every lamp is armed."""
        while len(self.posts) < posts:
            self.add_post()
        for part in self.parts:
            if not part.running(part.role):
                part.start()
        for post in self.posts:
            post.until_lamp("armed", timeout_s)

    @property
    def parts(self) -> list[Part]:
        """Every process."""
        return [self.gateway, self.mcc, *self.posts]

    # --- what is raised --------------------------------------------------------------------

    def press(self, post: Part) -> None:
        """Three presses; the post may die under the hand."""
        self.calls[post.post_id] += 1
        try:
            post.panel("edges", edges=HASTY)
        except PanelError:
            return

    def raise_alarm(self, post: Part, *, promised: bool = True, timeout_s: float = 10) -> str:
        """Three presses; the id of the alarm once the post holds it (and promises it)."""
        known = {one["id"] for one in post.status().get("alarms", [])}
        self.press(post)

        def raised() -> str | None:
            for one in post.status().get("alarms", []):
                if one["id"] not in known and (one["committed"] or not promised):
                    return str(one["id"])
            return None

        alarm_id = until(f"{post.post_id} has raised", raised, timeout_s)
        self.note(post)
        return alarm_id

    def note(self, *posts: Part) -> None:
        """Remember what these posts (all of them, without an argument) have promised."""
        for post in posts or self.posts:
            self.promised |= {
                one["id"] for one in post.status().get("alarms", []) if one["committed"]
            }

    # --- the account -----------------------------------------------------------------------

    def journaled(self) -> Counter[str]:
        """How often each alarm stands in the journal."""
        return _ids(self.gateway.journal)

    def delivered(self) -> dict[str, dict[str, Any]]:
        """The alarms in the command centre's store, by id."""
        return {one["alarm_id"]: one for one in _bodies(self.mcc.store)}

    def until_delivered(self, *alarm_ids: str, timeout_s: float = SETTLE_S) -> None:
        """Wait until these are at the command centre."""
        wanted = set(alarm_ids) or self.promised
        self.until("delivered", lambda: wanted <= set(self.delivered()), timeout_s)

    def settle(self, row: str, timeout_s: float = SETTLE_S, *, traces: bool = False) -> Row:
        """All faults are over: everything arrives, is resolved, and nothing is there twice.

        `traces`: exceptions were thrown on purpose, and may stand in the logs.
        """
        for part in self.parts:
            if not part.running(part.role):
                part.start()
        self.note()
        self.until_delivered(timeout_s=timeout_s)
        self.until("all is resolved and every lamp armed", self._resolve_and_look, timeout_s)
        return self._account(row, traces=traces)

    def _resolve_and_look(self) -> bool:
        self.note()
        self.resolve_open()
        statuses = [post.status() for post in self.posts]
        return all(one.get("lamp") == "armed" and not one["alarms"] for one in statuses)

    def resolve_open(self) -> None:
        """As an operator would: each open alarm, with what stands on the screen."""
        with Store(self.mcc.store) as store:
            sending = {(one.alarm_id, one.repeats) for one in store.sending()}
            for alarm in store.alarms(0):
                if (alarm.alarm_id, alarm.repeats) in sending:
                    continue
                command = Command(
                    command_id=new_id(),
                    action="resolve",
                    store_id=store.store_id,
                    at=timestamp(time.time_ns() // 1_000_000),
                    alarm_id=alarm.alarm_id,
                    operator="Siti",
                    outcome="test",
                    repeats=alarm.repeats,
                    kind=alarm.kind,
                )
                store.add(command)

    def resolved(self) -> bool:
        """Resolve what is open; is every post rid of its alarms?"""
        self.resolve_open()
        return all(post.status().get("alarms") == [] for post in self.posts)

    def _account(self, name: str, *, traces: bool) -> Row:
        journaled, delivered = self.journaled(), self.delivered()
        assert self.promised <= set(delivered)
        assert set(delivered) <= set(journaled)
        assert set(journaled.values()) <= {1}
        at_centre = Counter(alarm["post"] for alarm in delivered.values())
        for post, count in at_centre.items():
            assert count <= self.calls[post], f"{post}: {count} alarms, {self.calls[post]} calls"
        for part in self.parts:
            assert traces or "Traceback" not in part.log, part.log[-3000:]
        assert all(alarm["kind"] == "panic" for alarm in delivered.values())
        offers = len(_OFFER.findall(self.broker.log))
        again = max(0, offers - len(journaled))
        counts = (len(self.promised), len(journaled), len(delivered), again)
        return Row(name, *counts, kills=self.kills)

    def until(self, what: str, look: Callable[[], T | None], timeout_s: float = 20) -> T:
        """Like `until`; what ends by itself meanwhile is started again, as by its unit.

        Raises:
            NotSeen: naming what was waited for.
        """

        def look_and_revive() -> T | None:
            for part in self.parts:
                part.revive()
            seen = look()
            if not seen:
                time.sleep(0.05)
            return seen

        return until(what, look_and_revive, timeout_s)


def copy_database(path: Path, to: Path) -> None:
    """A consistent copy of an SQLite file in use."""
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(to)) as target,
    ):
        source.backup(target)


def put_back(copy: Path, path: Path) -> None:
    """The copy takes the file's place, as a person restoring it would do."""
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(copy, path)


def _bodies(database: Path) -> list[dict[str, Any]]:
    if not database.exists():
        return []
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
    except sqlite3.OperationalError:
        return []  # it was set aside in between
    try:
        rows = connection.execute("SELECT body FROM alarms").fetchall()
    except sqlite3.DatabaseError:
        return []  # it is just being made, or damaged and not yet set aside
    finally:
        connection.close()
    return [json.loads(body) for (body,) in rows]


def _ids(database: Path) -> Counter[str]:
    return Counter(body["alarm_id"] for body in _bodies(database))
