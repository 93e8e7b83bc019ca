"""Faults of the machine under a process: its clocks, its disk, its resolver, its network.

A `Machine` works a process that was started with its environment (see `shim.c`); a `Namespace` is a
network of its own in which iptables can cut. Needs gcc, iproute2, iptables and root; says so where
they are missing, and never skips.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import mmap
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal

_CONTROL = struct.Struct("=qiii")
_CLONE_NEWNET = 0x40000000  # sched.h
_numbers = itertools.count(1)


def need_root(what: str) -> None:
    """Fail the test clearly where the machine's own faults cannot be made.

    Raises:
        AssertionError: not root.
    """
    assert os.geteuid() == 0, f"{what} needs root: run the fault rows as root (sudo make test)"


def build_shim(directory: Path) -> Path:
    """Compile `shim.c`; the path of the library.

    Raises:
        AssertionError: there is no gcc, or it refuses.
    """
    compiler = shutil.which("gcc")
    assert compiler is not None, "the fault rows need gcc: apt-get install gcc libc6-dev"
    library = directory / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(
        [compiler, "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"],
        check=True,
    )
    return library


class Machine:
    """What the processes started with `environment` believe of clock, disk and resolver."""

    def __init__(self, shim: Path, directory: Path) -> None:
        """Everything is well at first."""
        path = directory / f"machine-{next(_numbers)}"
        path.write_bytes(bytes(_CONTROL.size))
        self.environment = {"LD_PRELOAD": str(shim), "KENTONGAN_FAULTS": str(path)}
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _CONTROL.size)

    def set(
        self,
        *,
        clock_offset_s: int = 0,
        sync_hangs: bool = False,
        disk: Literal["well", "read-only", "full", "broken"] = "well",
        names_fail: bool = False,
    ) -> None:
        """Bring these faults about, and end all others."""
        code = {"well": 0, "read-only": errno.EROFS, "full": errno.ENOSPC, "broken": errno.EIO}
        _CONTROL.pack_into(self._page, 0, clock_offset_s, sync_hangs, code[disk], names_fail)


@contextlib.contextmanager
def small_disk(path: Path, size_kib: int) -> Iterator[Path]:
    """A file system of its own at `path`, of `size_kib`, gone at the end."""
    need_root("a disk of its own")
    path.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(path)], check=True
    )
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def remount(path: Path, how: Literal["ro", "rw"]) -> None:
    """Make a small disk read-only or writable."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Take the last byte of a small disk; the file to delete to give it back."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))
        assert os.statvfs(disk).f_bfree == 0
    return filler


class Namespace:
    """`with Namespace() as net:`: a network of its own, which has a loopback and nothing else.

    `server` listens in there; whoever is run behind `before` reaches it, and nothing else. `cut`
    lets packets of a direction vanish without a word, which no proxy can do: neither side learns
    of it.
    """

    def __init__(self) -> None:
        """Make nothing yet."""
        self.name = f"kentongan-{os.getpid()}-{next(_numbers)}"

    @property
    def before(self) -> list[str]:
        """What to put before a command to run it in there."""
        return ["ip", "netns", "exec", self.name]

    def cut(self, direction: Literal["to the broker", "from the broker", "both"]) -> None:
        """From now on packets of this direction are dropped."""
        port = str(self.server.getsockname()[1])
        drop = [*self.before, "iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP"]
        if direction in ("to the broker", "both"):
            subprocess.run([*drop, "--dport", port], check=True)
        if direction in ("from the broker", "both"):
            subprocess.run([*drop, "--sport", port], check=True)

    def mend(self) -> None:
        """Packets pass again."""
        subprocess.run([*self.before, "iptables", "-F"], check=True)

    def __enter__(self) -> Namespace:
        need_root("a network namespace")
        for tool, package in (("ip", "iproute2"), ("iptables", "iptables")):
            assert shutil.which(tool), f"the fault rows need {tool}: apt-get install {package}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run([*self.before, "ip", "link", "set", "lo", "up"], check=True)
        # A socket belongs to the network in which it was made, whoever uses it then; and a thread
        # may go elsewhere by itself.
        with ThreadPoolExecutor(max_workers=1) as traveller:
            self.server = traveller.submit(_listen_in, Path("/run/netns", self.name)).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.close()
        subprocess.run(["ip", "netns", "del", self.name], check=True)


def _listen_in(network: Path) -> socket.socket:
    """Go to another network for good; a server on its loopback. For a thread that ends then."""
    with network.open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    return socket.create_server(("127.0.0.1", 0))
