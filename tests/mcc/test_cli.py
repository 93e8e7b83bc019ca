"""`kentongan-mcc` as its own process against a real broker and a double of a gateway."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from mcc.alarms import record_of
from mcc.core import Commit
from mcc.store import LinkLock, Store
from tests.broker import Mosquitto, free_port
from tests.mcc.gateway_double import GatewayDouble
from tests.mcc.rig import POST, document, uid

REPOSITORY = Path(__file__).parents[2]
ONE, TWO = "aaaaaaaa-0000-4000-8000-000000000001", "aaaabbbb-0000-4000-8000-000000000002"


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KENTONGAN")}
    return kept | {"PYTHONPATH": str(REPOSITORY), "USER": "budi"} | more


def mcc(*arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mcc.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def outcome(*arguments: str, **more: str) -> tuple[int, str, str]:
    process = mcc(*arguments, **more)
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err, err
    return process.returncode, out, err


class Watch:
    """`kentongan-mcc watch --json`, read line by line."""

    def __init__(self, store: Path, url: str) -> None:
        self.process = mcc("watch", "--json", "--store", str(store), "--url", url)
        self.seen: list[dict[str, Any]] = []
        assert self.process.stdout is not None
        self._out = self.process.stdout
        os.set_blocking(self._out.fileno(), False)
        self._rest = ""

    def until(self, found: Callable[[dict[str, Any]], bool], seconds: float = 10) -> dict[str, Any]:
        """The first line from here on that is as wanted."""
        end = time.monotonic() + seconds
        while True:
            while "\n" in self._rest:
                line, _, self._rest = self._rest.partition("\n")
                self.seen.append(json.loads(line))
                if found(self.seen[-1]):
                    return self.seen[-1]
            left = end - time.monotonic()
            assert left > 0, self.seen
            if select.select([self._out], [], [], left)[0]:
                chunk = os.read(self._out.fileno(), 65536)
                assert chunk, f"watch has ended: {self._stderr()}"
                self._rest += chunk.decode()

    def alarm(self, state: str) -> dict[str, Any]:
        return self.until(lambda line: line["event"] == "alarm" and line["state"] == state)

    def up(self) -> Watch:
        self.until(lambda line: line["event"] == "link" and line["up"])
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=10)
        assert "Traceback" not in err, err
        return self.process.returncode

    def _stderr(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "mcc.db"


def holding(store: Path, *alarm_ids: str) -> None:
    with Store(store) as opened:
        for alarm_id in alarm_ids:
            opened.commit(Commit(alarms=(record_of(document(alarm_id=alarm_id)),)))


# --- watch ---


def test_watch_that_nobody_reads_ends_within_two_seconds(store: Path) -> None:
    holding(store, ONE)  # so that there is a line at once
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x")
    os.set_blocking(write, True)
    watch = subprocess.Popen(
        [sys.executable, "-m", "mcc.cli", "watch", "--json", "--store", str(store)],
        stdout=write,
        env=environment(KENTONGAN_MCC_URL=f"mqtt://127.0.0.1:{free_port()}"),
    )
    try:
        end_s = time.monotonic() + 10
        while not catches(watch.pid, signal.SIGTERM):
            assert time.monotonic() < end_s
            time.sleep(0.01)
        began_s = time.monotonic()
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(5) == 1
        assert time.monotonic() - began_s < 2
    finally:
        watch.kill()
        watch.wait()
        os.close(read)
        os.close(write)


def catches(process: int, number: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_watch_shows_an_alarm_receipts_it_and_beats(broker: Mosquitto, store: Path) -> None:
    with GatewayDouble(broker.port) as double, Watch(store, broker.url) as watch:
        watch.up()
        double.wait_for(lambda heard: any(one.action == "beat" for one in heard))
        double.say(document(alarm_id=ONE))
        shown = watch.alarm("received")
        assert (shown["alarm_id"], shown["rings"], shown["post"]) == (ONE, True, POST)
        double.wait_for(lambda heard: any(one.action == "receive" for one in heard))
        receipt = next(one for one in double.commands if one.action == "receive")
        with Store(store) as opened:
            assert receipt.store_id == opened.store_id
            assert [a.alarm_id for a in opened.load().alarms] == [ONE]
        assert watch.end() == 0


def test_watch_ends_within_two_seconds_of_sigterm_also_without_a_broker(
    broker: Mosquitto, store: Path
) -> None:
    with Watch(store, broker.url) as watch:
        watch.up()
        broker.kill()
        watch.until(lambda line: line["event"] == "link" and not line["up"])
        began_s = time.monotonic()
        assert watch.end() == 0
        assert time.monotonic() - began_s < 2


def test_watch_killed_in_the_middle_loses_nothing(broker: Mosquitto, store: Path) -> None:
    with GatewayDouble(broker.port) as double:
        with Watch(store, broker.url) as watch:
            watch.up()
            double.say(document(alarm_id=ONE))
            watch.alarm("received")
            watch.process.kill()
            watch.process.wait()
        double.say(document(alarm_id=TWO))
        with Watch(store, broker.url) as watch:
            first = watch.until(lambda line: line["event"] == "alarm" and line["alarm_id"] == ONE)
            second = watch.until(lambda line: line["event"] == "alarm" and line["alarm_id"] == TWO)
            assert (first["rings"], second["rings"]) == (True, True)
            double.wait_for(lambda heard: {ONE, TWO} <= {c.alarm_id for c in heard})
            assert watch.end() == 0


def test_a_broker_that_comes_back_empty_is_followed_and_commands_go_on(
    broker: Mosquitto, store: Path
) -> None:
    holding(store, ONE)
    with Watch(store, broker.url) as watch:
        watch.up()
        broker.kill()
        watch.until(lambda line: line["event"] == "link" and not line["up"])
        waiting = mcc("acknowledge", ONE, "--store", str(store), "--url", broker.url)
        watch.until(lambda line: line["event"] == "command" and line["state"] == "sending")
        broker.start()
        with GatewayDouble(broker.port) as double:
            double.say(document(alarm_id=ONE))
            out, err = waiting.communicate(timeout=20)
            assert (waiting.returncode, out) == (0, "done: acknowledge aaaaaaaa by budi\n"), err
            watch.alarm("acknowledged")


def test_only_one_watch_holds_the_link(broker: Mosquitto, store: Path) -> None:
    with Watch(store, broker.url) as watch:
        watch.up()
        code, _, err = outcome("watch", "--store", str(store), "--url", broker.url)
        assert code == 2
        assert "another process holds the link" in err


def test_a_hostile_message_is_logged_and_harms_nothing(broker: Mosquitto, store: Path) -> None:
    with GatewayDouble(broker.port) as double, Watch(store, broker.url) as watch:
        watch.up()
        topic = f"kentongan/v1/mcc/alarms/{ONE}"
        double._client.publish(topic, b'{"v":1,"post":"\x00', qos=1).wait_for_publish(5)
        double.say(document(alarm_id=TWO))
        assert watch.alarm("received")["alarm_id"] == TWO
        watch.process.terminate()
        _, err = watch.process.communicate(timeout=5)
        assert "event=message_refused" in err
        assert topic in err


def test_on_a_terminal_an_unanswered_alarm_blinks_red_and_rings(
    broker: Mosquitto, store: Path
) -> None:
    holding(store, ONE)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x18\0\xf0\0\0\0\0\0")
    process = subprocess.Popen(
        [sys.executable, "-m", "mcc.cli", "watch", "--store", str(store), "--url", broker.url],
        stdout=slave,
        stderr=subprocess.DEVNULL,
        env=environment(TERM="xterm"),
    )
    os.close(slave)
    try:
        seen = b""
        while b"\n" not in seen:
            seen += os.read(master, 4096)
        assert re.search(
            rb"\a\x1b\[1;5;31m\d\d:\d\d:\d\d ALARM NEW  aaaaaaaa  " + POST.encode(), seen
        )
    finally:
        process.terminate()
        assert process.wait(5) == 0
        os.close(master)


# --- commands ---


def test_commands_with_a_watch_running_take_an_alarm_to_its_end(
    broker: Mosquitto, store: Path
) -> None:
    with GatewayDouble(broker.port) as double, Watch(store, broker.url) as watch:
        watch.up()
        double.say(document(alarm_id=ONE, repeats=2))
        watch.alarm("received")
        began_s = time.monotonic()
        at = ("--store", str(store))
        assert outcome("acknowledge", "aaaaaaaa", *at, "--operator", "sari") == (
            0,
            "done: acknowledge aaaaaaaa by sari\n",
            "",
        )
        assert time.monotonic() - began_s < 2
        assert watch.alarm("acknowledged")["answered_repeats"] == 2
        assert outcome("dispatch", "aaaa", *at, "--unit", "Polsek Klojen")[0] == 0
        assert watch.alarm("dispatched")["unit"] == "Polsek Klojen"
        assert outcome("resolve", "a", *at, "--outcome", "false", "--note", "anak bermain")[0] == 0
        shown = watch.alarm("resolved")
        assert (shown["outcome"], shown["note"]) == ("false", "anak bermain")
        sent = [(c.action, c.repeats) for c in double.commands if c.operator]
        assert sent == [("acknowledge", 2), ("dispatch", 2), ("resolve", 2)]
        code, _, err = outcome("resolve", "a", *at, "--outcome", "real", "--operator", "eko")
        assert code == 1
        assert "refused: resolve aaaaaaaa by eko: already resolved as false by budi" in err


def test_a_command_without_a_watch_holds_the_link_itself_and_beats_not(
    broker: Mosquitto, store: Path
) -> None:
    holding(store, ONE)
    with GatewayDouble(broker.port) as double:
        double.say(document(alarm_id=ONE))
        code, out, err = outcome(
            "acknowledge", ONE, "--store", str(store), KENTONGAN_MCC_URL=broker.url
        )
        assert (code, out) == (0, "done: acknowledge aaaaaaaa by budi\n"), err
        assert "beat" not in {one.action for one in double.commands}
    code, out, _ = outcome("list", "--json", "--store", str(store))
    [line] = [json.loads(one) for one in out.splitlines()]
    assert (code, line["state"], line["sending"]) == (0, "acknowledged", [])
    assert LinkLock(store).take()


def test_two_commands_at_once_one_is_done_and_the_other_told_who_was_first(
    broker: Mosquitto, store: Path
) -> None:
    holding(store, ONE)
    with GatewayDouble(broker.port) as double:
        double.say(document(alarm_id=ONE))
        racers = [
            mcc("acknowledge", ONE, "--operator", who, "--store", str(store), "--url", broker.url)
            for who in ("sari", "eko")
        ]
        ends = [(*racer.communicate(timeout=20), racer.returncode) for racer in racers]
    codes = [code for _, _, code in ends]
    assert sorted(codes) == [0, 1], ends
    winner = ("sari", "eko")[codes.index(0)]
    assert f"already acknowledged by {winner}" in ends[codes.index(1)][1]


def test_panic_open_test_and_close_test_are_done_when_shown(broker: Mosquitto, store: Path) -> None:
    with GatewayDouble(broker.port) as double, Watch(store, broker.url) as watch:
        watch.up()
        double.say(document(alarm_id=ONE, kind="test"))
        assert watch.alarm("received")["rings"] is False
        at = ("--store", str(store))
        assert outcome("panic", "a", *at)[:2] == (0, "done: panic aaaaaaaa by budi\n")
        assert watch.until(lambda line: line.get("kind") == "panic")["rings"] is True
        assert outcome("open-test", POST, "--minutes", "5", *at)[0] == 0
        watch.until(lambda line: line["event"] == "post" and "test_window" in line)
        assert outcome("close-test", POST, *at)[0] == 0
        assert [c.minutes for c in double.commands if c.action == "open_test"] == [5]


@pytest.mark.parametrize("place", ["no broker", "no gateway"])
def test_without_effect_in_10_s_the_reason_is_told_and_the_command_goes_out_later(
    broker: Mosquitto, store: Path, place: str
) -> None:
    holding(store, ONE)
    if place == "no broker":
        broker.kill()
    began_s = time.monotonic()
    code, _, err = outcome("acknowledge", ONE, "--store", str(store), "--url", broker.url)
    assert 10 <= time.monotonic() - began_s < 30  # 10 s, and a start on a busy machine
    assert code == 3
    why = "not connected to the broker" if place == "no broker" else "no gateway is answering"
    assert why in err
    assert "stays in the outbox" in err
    if place == "no broker":
        broker.start()
    with GatewayDouble(broker.port) as double, Watch(store, broker.url) as watch:
        double.say(document(alarm_id=ONE))
        watch.alarm("acknowledged")
        assert watch.end() == 0


# --- a person's mistakes ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("acknowledge", "ffff"), "no alarm's id begins with 'ffff'"),
        (("acknowledge", "zzz"), "no alarm's id begins with 'zzz'"),
        (("acknowledge", ""), "no alarm's id begins with ''"),
        (("acknowledge", "aaaa"), "beginning of several alarms' ids"),
        (("acknowledge", ONE, "--url", "http://x"), "--url: it must begin with mqtt://"),
        (("acknowledge", ONE), "which broker?"),
        (("acknowledge", ONE, "--operator", "a\tb"), "--operator 'a\\tb': allowed"),
        (("acknowledge", ONE, "--operator", ""), "who are you?"),
        (("acknowledge", ONE, "--operator", "x" * 48), "which broker?"),
        (("acknowledge", ONE, "--operator", "x" * 49), "1 to 48 characters"),
        (("acknowledge", ONE, "--console", "A/B"), "--console 'A/B'"),
        (("acknowledge", ONE, "--topic-root", "#"), "--topic-root"),
        (("dispatch", ONE), "--unit"),
        (("dispatch", ONE, "--unit", "\udcff"), "--unit"),
        (("resolve", ONE, "--outcome", "perhaps"), "perhaps"),
        (("resolve", ONE, "--outcome", "real", "--note", "x" * 200), "which broker?"),
        (("resolve", ONE, "--outcome", "real", "--note", "x" * 201), "up to 200 characters"),
        (("open-test", "UP/DOWN"), "POST 'UP/DOWN'"),
        (("open-test", POST, "--minutes", "16"), "--minutes 16: allowed: 1 to 15"),
        (("close-test", POST, "--url", "mqtts://h", "--ca", "/nowhere/ca.pem"), "--ca = "),
        (("watch", "--url", "mqtts://h", "--certificate", "/nowhere"), "--certificate = "),
        (("watch",), "which broker?"),
        ((), "COMMAND"),
    ],
)
def test_a_mistake_is_answered_in_words_with_exit_2(
    store: Path, arguments: tuple[str, ...], said: str
) -> None:
    holding(store, ONE, TWO)
    more = ("--store", str(store)) if arguments else ()
    code, out, err = outcome(*arguments, *more)
    assert (code, out) == (2, "")
    assert said in err
    with Store(store) as opened:
        assert opened.sending() == ()


def test_an_ambiguous_beginning_lists_the_candidates(store: Path) -> None:
    holding(store, ONE, TWO)
    _, _, err = outcome("acknowledge", "aaaa", "--store", str(store))
    assert ONE in err
    assert TWO in err


def test_a_store_that_cannot_be_used_is_said_with_exit_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, _, err = outcome("list", "--store", str(tmp_path / "file" / "mcc.db"))
    assert code == 2
    assert "file" in err


def test_list_shows_open_and_closed_alarms_for_people(store: Path) -> None:
    with Store(store) as opened:
        opened.commit(
            Commit(
                alarms=(
                    record_of(document(1, "resolved", outcome="prank")),
                    record_of(document(alarm_id=ONE, repeats=1)),
                )
            )
        )
    code, out, _ = outcome("list", "--store", str(store))
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith(f"ALARM RESOLVED  {uid(1)[:8]}  {POST}")
    assert "resolved as prank by sari" in first
    assert second.startswith(f"ALARM NEW  {ONE[:8]}  {POST}")
    assert "called 2 times" in second


def test_the_default_store_lies_in_the_state_directory(tmp_path: Path) -> None:
    (tmp_path / "kentongan").mkdir()
    with Store(tmp_path / "kentongan" / "kentongan-mcc.db"):
        pass
    code, _, err = outcome("list", XDG_STATE_HOME=str(tmp_path))
    assert code == 0
    assert f"no alarm in {tmp_path}/kentongan/kentongan-mcc.db" in err


@pytest.mark.parametrize(
    "command", [["list"], ["card", "aaaa"], ["acknowledge", "aaaa", "--operator", "sari"]]
)
def test_a_mistyped_store_is_said_and_none_is_made(tmp_path: Path, command: list[str]) -> None:
    mistyped = tmp_path / "kentongan-mc.db"
    code, _, err = outcome(*command, "--store", str(mistyped))
    assert code == 2
    assert f"{mistyped}: there is no store" in err
    assert not mistyped.exists()


def test_a_missing_extra_is_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise ModuleNotFoundError(name='msgspec')\n")
    process = subprocess.run(
        [sys.executable, "-m", "mcc.cli", "list", "--store", str(store)],
        capture_output=True,
        text=True,
        env=environment() | {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr == (
        "kentongan-mcc: msgspec is not installed; install it with: pip install 'kentongan[mcc]'\n"
    )
