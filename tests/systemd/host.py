"""A Debian host under a real systemd: made once, booted in half a second, thrown away afterwards.

The bare system lies in the user's cache; the package is installed over it once for all tests of a
run, and each test writes into a layer of its own. Nothing of the machine under it is changed. It
needs root (mounts) and the Debian packages mmdebstrap and systemd-container.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
PACKAGES = ("systemd-sysv", "python3-venv", "mosquitto")
PROGRAMS = Path("/opt/kentongan/bin")
BOOT_S = 30.0
LEFT_OUT = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build")


def bare_system() -> Path:
    """The cached system; made by mmdebstrap (half a minute) where there is none yet."""
    for tool in ("mmdebstrap", "systemd-nspawn"):
        assert shutil.which(tool), (
            f"{tool} is missing: apt-get install mmdebstrap systemd-container"
        )
    assert os.geteuid() == 0, "booting a system in a test needs root"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kentongan"
    cache.mkdir(parents=True, exist_ok=True)
    made_of = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    system = cache / f"system-{made_of}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not system.exists():
            # What builds that were killed have left; nothing that is still mounted is gone into.
            leftovers = map(str, cache.glob("new-*"))
            subprocess.run(("rm", "-rf", "--one-file-system", *leftovers), check=False)
            # In a directory of its own, with mounts that die with it, a build is in nobody's way.
            new = Path(tempfile.mkdtemp(prefix="new-", dir=cache))
            new.chmod(0o755)  # the root of a system, into which not only root may look
            _do(
                *_PRIVATE,
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(PACKAGES)}",
                *(f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "man")),
                SUITE,
                str(new),
            )
            new.rename(system)
    return system


def with_package(system: Path, work: Path) -> Path:
    """A layer over the system with this package in /opt/kentongan, as a technician installs it."""
    tree, wheels, layer = work / "tree", work / "wheels", work / "layer"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    _do(*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(tree))
    version = _do(
        "chroot", str(system), "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"
    ).strip()
    (wheel,) = wheels.glob("kentongan-*.whl")
    _do(
        *(*pip, "download", "--only-binary", ":all:", "--python-version", version),
        *("--constraint", str(ROOT / "constraints.txt"), "--dest", str(wheels)),
        *(f"{wheel}[device,gateway,mcc]", "lgpio"),
    )
    (layer / "wheels").mkdir(parents=True)
    for one in wheels.iterdir():
        shutil.copy(one, layer / "wheels")
    install = (
        "python3 -m venv /opt/kentongan && /opt/kentongan/bin/pip --quiet install --no-index"
        " --find-links /wheels 'kentongan[device,gateway,mcc]' lgpio"
    )
    merged, scratch = work / "merged", work / "scratch"
    script = 'mount -t overlay overlay -o "$1" "$2" && chroot "$2" sh -c "$3"'
    merged.mkdir()
    scratch.mkdir()
    layers = f"lowerdir={system},upperdir={layer},workdir={scratch}"
    _do(*_PRIVATE, "sh", "-ec", script, "sh", layers, str(merged), install)
    return layer


_PRIVATE = ("unshare", "--mount", "--propagation", "private")
# The clock may be asked (not set), and device lists are BPF programs that systemd loads.
_BOOT = """
mount -t tmpfs -o mode=755 tmpfs /run
mount -t overlay overlay -o "$1" "$2"
exec systemd-nspawn --quiet --boot --directory "$2" --register=no --keep-unit --console=pipe \
  --private-network --capability=CAP_BPF --system-call-filter='adjtimex clock_adjtime bpf'
"""


class Host:
    """One booted system without a network; `with Host(...) as host`."""

    def __init__(self, lower: tuple[Path, ...], work: Path) -> None:
        """Take the layers to stand on, topmost first, and an empty directory."""
        self._lower = lower
        self._work = work
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        for name in ("upper", "scratch", "merged"):
            (work / name).mkdir()

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.off()

    def boot(self) -> None:
        """Switch on, and wait until systemd has started what there is to start."""
        work = self._work
        layers = (
            f"lowerdir={':'.join(map(str, self._lower))},"
            f"upperdir={work / 'upper'},workdir={work / 'scratch'}"
        )
        with (work / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*_PRIVATE, "sh", "-ec", _BOOT, "sh", layers, str(work / "merged")],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        self.until(self._find_leader, BOOT_S)
        self.until(lambda: self.does("systemctl", "is-active", "basic.target"), BOOT_S)

    def off(self) -> None:
        """Pull the plug."""
        nspawn, self._nspawn = self._nspawn, None
        if nspawn is not None:
            if self._leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._leader, 9)
            try:
                nspawn.wait(10)
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait(10)
        self._leader = 0

    def file(self, path: str) -> Path:
        """A file of the system, to be read and written from outside."""
        return Path(f"/proc/{self._leader}/root") / path.lstrip("/")

    def run(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the system as root; its words and its exit code."""
        return subprocess.run(
            [
                "nsenter",
                "--all",
                f"--target={self._leader}",
                "env",
                "-i",
                f"PATH={_PATH}",
                *command,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )

    def does(self, *command: str) -> bool:
        """Whether a command succeeds."""
        return self.run(*command).returncode == 0

    def show(self, unit: str, name: str) -> str:
        """A property of a unit; of the manager when there is no unit."""
        units = (unit,) if unit else ()
        return self.run("systemctl", "show", "--property", name, "--value", *units).stdout.strip()

    def journal(self, unit: str) -> str:
        """All that a unit, and systemd about it, has said."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def until(self, holds: Callable[[], bool], within_s: float) -> None:
        """Wait for something that the system does by itself.

        Raises:
            AssertionError: it did not come to pass; the console and the journal are in the text.
        """
        ends_s = time.monotonic() + within_s
        while not holds():
            nspawn = self._nspawn
            gone = nspawn is None or nspawn.poll() is not None
            if gone or time.monotonic() > ends_s:
                console = (self._work / "console").read_text(errors="replace")[-2000:]
                said = "" if gone or not self._leader else self.run("journalctl", "-n80").stdout
                raise AssertionError(f"not within {within_s} s\n{console}\n{said}")
            time.sleep(0.05)

    def _find_leader(self) -> bool:
        """The system's PID 1 is the one descendant of nspawn that is 1 in its own namespace."""
        assert self._nspawn is not None
        for pid in _descendants(self._nspawn.pid):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = status.partition("NSpid:")[2].partition("\n")[0].split()
                if len(numbers) == 2 and numbers[1] == "1" and "Name:\tsystemd\n" in status:
                    self._leader = pid
                    return True
        return False


_PATH = f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"


def _descendants(pid: int) -> Iterator[int]:
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            stat = (path / "stat").read_text()
            parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])
    wanted = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in wanted} - wanted
        if not more:
            return
        yield from more
        wanted |= more


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
