"""A board without a board: `qemu-system-aarch64 -M virt` with the image's own kernel and userspace.

What hangs on the header is driven from outside: edges go into the machine's PL061 by QEMU's qtest
socket, what the post puts on its lines is read back there, sentences go into its serial port. The
device tree says what a Pi's says of itself: a board's revision and a serial number.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from tests.image.nbd import Disk

T = TypeVar("T")
# Of the PL061's eight lines; the third is the machine's power key.
BUTTON, RED, GREEN, BUZZER = 7, 4, 5, 6
REVISION = 0xA02082  # a Pi 3 B
SERIAL = "10000000c17a0001"
# An emulated processor leaks nothing between kernel and programs, and to keep them apart costs a
# third of all its time.
KERNEL_ARGUMENTS = (
    "mitigations=off kpti=off"
    " root=LABEL=kentongan-root ro rootwait fsck.repair=yes panic=10 console=ttyAMA0 quiet"
    " systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info"
)
BOOT_PATIENCE_S = 420.0


class PowerGone(Exception):
    """The board was switched off while it was looked at."""


class Wire:
    """A Unix socket that speaks in lines."""

    def __init__(self, path: Path) -> None:
        """Connect, as soon as there is somebody."""
        self._socket = socket.socket(socket.AF_UNIX)
        until(f"{path.name}", lambda: self._try(path), 60)
        self._file = self._socket.makefile("rb")

    def _try(self, path: Path) -> bool:
        try:
            self._socket.connect(str(path))
        except OSError:
            return False
        return True

    def send(self, text: str) -> None:
        """A line out."""
        self._socket.sendall(text.encode() + b"\n")

    def line(self) -> str:
        """The next line in; empty at the end, which a killed emulator may make a reset."""
        try:
            return self._file.readline().decode(errors="replace").strip()
        except ConnectionResetError:
            return ""

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Machine:
    """One board with one card; `on`, `cut`, `off`."""

    def __init__(
        self, work: Path, image: Path, kernel: Path, initrd: Path, ssh_port: int, log: Path
    ) -> None:
        """Take an image that is written to, a directory of its own, and the log's file."""
        self.name = log.stem
        self._log = log
        self.on_s = 0.0
        self.work = work
        self.image = image
        self.events: list[str] = []  # of the emulator, such as RESET and WATCHDOG
        self.levels: dict[int, int] = {}
        self.changes: list[tuple[float, int, int]] = []  # (monotonic s, line, level)
        self._kernel, self._initrd, self._ssh_port = kernel, initrd, ssh_port
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._cutting = threading.Lock()
        self._answers: list[str] = []
        self._heard = threading.Condition()
        self.disk: Disk | None = None
        self._gps: socket.socket | None = None

    # --- power -------------------------------------------------------------------------------

    def on(self, *, seed: int = 0, arguments: str = "") -> None:
        """Power on, with the button open."""
        self._starts += 1
        place = self.work / f"start-{self._starts}"
        place.mkdir()
        self._place = place
        self.disk = Disk(self.image, place / "disk", seed)
        self.levels, self.changes, self.events = {}, [], []
        base = self._base()
        tree = place / "board.dtb"
        _do(*base, "-M", f"virt,dumpdtb={tree}")
        _do("fdtput", "-c", tree, "/system")
        _do("fdtput", "-t", "x", tree, "/system", "linux,revision", hex(REVISION))
        _do("fdtput", "-t", "s", tree, "/", "serial-number", SERIAL)
        self._process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", *map(str, base)),
                *("-M", "virt", "-accel", "tcg,thread=multi", "-dtb", str(tree), "-S"),
                *("-kernel", str(self._kernel), "-initrd", str(self._initrd)),
                *("-append", f"{KERNEL_ARGUMENTS} {arguments}".strip()),
                *("-drive", f"if=none,id=card,format=raw,file=nbd+unix:///?socket={place}/disk"),
                *("-device", "virtio-blk-pci,drive=card"),
                *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self._ssh_port}-:22"),
                *("-device", "virtio-net-pci,netdev=net,romfile="),
                *("-device", "i6300esb", "-action", "watchdog=reset"),
                *("-object", "rng-random,filename=/dev/urandom,id=rng"),
                *("-device", "virtio-rng-pci,rng=rng"),
                *("-chardev", f"socket,id=gps,path={place}/gps,server=on,wait=off"),
                *("-device", "pci-serial,chardev=gps"),
                *("-chardev", f"file,id=console,path={place}/console"),
                *("-serial", "chardev:console"),
                *("-qtest", f"unix:{place}/qtest,server=on,wait=off", "-qtest-log", "none"),
                *("-qmp", f"unix:{place}/qmp,server=on,wait=off"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(place / "qemu").open("wb"),
        )
        self._qmp = Wire(place / "qmp")
        self._qmp.line()
        self.qmp("qmp_capabilities")
        chips = [
            one["name"]
            for one in self.qmp("qom-list", path="/machine/unattached")
            if one["type"] == "child<pl061>"
        ]
        self._chip = f"/machine/unattached/{chips[0]}"
        self._qtest = Wire(place / "qtest")
        threading.Thread(target=self._listen, args=(self._qtest,), daemon=True).start()
        self._ask(f"irq_intercept_out {self._chip}")
        self.line(BUTTON, 1)
        self.on_s = time.monotonic()
        self.qmp("cont")
        self.note("power on")

    def _base(self) -> tuple[str | Path, ...]:
        return (
            *("qemu-system-aarch64", "-nodefaults", "-display", "none", "-no-user-config"),
            *("-cpu", "cortex-a53", "-smp", "2", "-m", "1024"),
        )

    def cut(self) -> None:
        """The power goes, with all that the card had not yet written; once is enough."""
        with self._cutting:
            process, self._process = self._process, None
            if process is None:
                return
            assert self.disk is not None
            lost = self.disk.cut()
            process.kill()
            process.wait(30)
            self._qtest.close()
            self._qmp.close()
            self._hang_up_gps()
            self.note(f"power cut; {lost} blocks of 4 KiB were not yet on the card")

    @property
    def has_power(self) -> bool:
        """Whether it is on."""
        return self._process is not None

    # --- the header ---------------------------------------------------------------------------

    def line(self, number: int, level: int) -> None:
        """Put a level on an input: an edge, if it was another."""
        self._ask(f"set_irq_in {self._chip} unnamed-gpio-in {number} {level}")

    def press(self, *, held_s: float = 0.15, bounces: int = 3) -> None:
        """One press as a real contact makes it: it bounces for a few milliseconds at both ends."""
        for level in (0, 1):
            for _ in range(bounces):
                self.line(BUTTON, level)
                time.sleep(0.0004)
                self.line(BUTTON, 1 - level)
                time.sleep(0.0004)
            self.line(BUTTON, level)
            time.sleep(held_s)

    def _listen(self, wire: Wire) -> None:
        while text := wire.line():
            with self._heard:
                match text.split():
                    case ["IRQ", how, number]:
                        level = int(how == "raise")
                        self.levels[int(number)] = level
                        self.changes.append((time.monotonic(), int(number), level))
                    case _:
                        self._answers.append(text)
                self._heard.notify_all()

    def _ask(self, text: str) -> None:
        with self._heard:
            self._answers.clear()
            try:
                self._qtest.send(text)
            except OSError:
                raise PowerGone from None
            while not self._heard.wait_for(lambda: self._answers, 1):
                self._needs_power()
            assert self._answers[0].startswith("OK"), f"{text}: {self._answers[0]}"

    def link(self, how: str) -> None:
        """Pull the network's plug (`off`), or put it in (`on`)."""
        self.qmp("set_link", name="net", up=how == "on")

    def gps(self, sentences: Callable[[float], bytes]) -> None:
        """Let the receiver talk: what `sentences` makes of the wall clock, once a second."""
        self._hang_up_gps()
        wire = socket.socket(socket.AF_UNIX)
        wire.connect(str(self._place / "gps"))
        self._gps = wire

        def talk() -> None:
            with contextlib.suppress(OSError):
                while True:
                    wire.sendall(sentences(time.time()))
                    time.sleep(1)

        threading.Thread(target=talk, daemon=True).start()

    def _hang_up_gps(self) -> None:
        wire, self._gps = self._gps, None
        if wire is not None:
            wire.close()

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Ask the emulator; its answer."""
        try:
            self._qmp.send(json.dumps({"execute": command, "arguments": arguments}))
        except OSError:
            raise PowerGone from None
        while True:
            line = self._qmp.line()
            if not line:
                raise PowerGone
            answer = json.loads(line)
            if "event" in answer:
                self.events.append(answer["event"])
            if "error" in answer:
                raise AssertionError(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    # --- what it says ---------------------------------------------------------------------------

    @property
    def console(self) -> str:
        """Everything on the console since it was switched on, the log's lines among it."""
        path = self._place / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def until(
        self, what: str, look: Callable[[], T | None], within_s: float = 180, since: int = 0
    ) -> T:
        """`until`, as long as there is power.

        Raises:
            PowerGone: there is none any more.
        """

        def look_with_power() -> T | None:
            self._needs_power()
            return look()

        return until(what, look_with_power, within_s, lambda: self.console[since:][-6000:])

    def until_said(self, words: str, within_s: float = BOOT_PATIENCE_S, since: int = 0) -> str:
        """Wait for a line with these words (a regular expression); the line."""

        def look() -> str | None:
            found = re.search(rf"^.*{words}.*$", self.console[since:], re.MULTILINE)
            return None if found is None else found[0].strip()

        line = self.until(words, look, within_s, since)
        self.note(f"said: {line[:200]}")
        return line

    def _needs_power(self) -> None:
        process = self._process
        if process is None:
            raise PowerGone
        assert process.poll() is None, (self._place / "qemu").read_text()

    def note(self, what: str) -> None:
        """A line of the test's log: when, how long after power on."""
        after_s = time.monotonic() - self.on_s if self._process is not None else 0.0
        now_s = time.time()
        at = time.strftime("%H:%M:%S", time.gmtime(now_s)) + f".{int(now_s * 1000) % 1000:03d}"
        line = f"{at} {self.name} +{after_s:6.1f} s {what}"
        with self._log.open("a") as log:
            log.write(line + "\n")
        print(line, flush=True)  # noqa: T201  the log is what this test is for

    def ssh(
        self, key: Path, *command: str, within_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run something on the post, as whoever has the key may, once its SSH answers."""

        def answered() -> subprocess.CompletedProcess[str] | None:
            done = self._ssh(key, *command, within_s=within_s)
            # The emulator's router takes a connection that nobody on the post takes yet.
            nobody = done.returncode == 255 and "kex_exchange_identification" in done.stderr
            return None if nobody else done

        return self.until("SSH answers", answered, 60 + within_s)

    def _ssh(self, key: Path, *command: str, within_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("ssh", "-i", str(key), "-p", str(self._ssh_port), "-o", "BatchMode=yes"),
                *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
                *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60", "root@127.0.0.1"),
                *command,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
            stdin=subprocess.DEVNULL,
        )


def until(
    what: str,
    look: Callable[[], T | None],
    within_s: float,
    also: Callable[[], str] = lambda: "",
) -> T:
    """Wait for something that comes by itself.

    Raises:
        AssertionError: it did not.
    """
    ends_s = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < ends_s, f"not within {within_s} s: {what}\n{also()}"
        time.sleep(0.2)


def boot_partition(image: Path, *commands: Iterable[str | Path]) -> str:
    """What a laptop does with the card: mtools on its first partition."""
    from image.build import BOOT_AT_MIB, MIB

    said = ""
    for program, *words in commands:
        arguments = [str(word) for word in words]
        said += _do(program, "-i", f"{image}@@{BOOT_AT_MIB * MIB}", *arguments)
    return said


def copy_image(image: Path, to: Path) -> Path:
    """A card of its own for a test."""
    _do("cp", "--sparse=always", "--reflink=auto", image, to)
    return to


def missing_programs() -> list[str]:
    """What of the emulator is not installed."""
    programs = ("qemu-system-aarch64", "fdtput", "mcopy", "ssh", "ssh-keygen")
    return [program for program in programs if shutil.which(program) is None]


def _do(*command: str | Path | Iterable[str]) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MTOOLS_SKIP_CHECK": "1"},
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}{done.stdout}"
    return done.stdout
