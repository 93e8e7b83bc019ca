"""`kentongan-device update`: a new firmware beside the old one, proved before it stays.

An update is a tar of three members: `manifest.json`, its Ed25519 signature, and the firmware, a tar
of the virtual environment whose SHA-256 stands in the manifest. It is unpacked beside what runs,
laid over /opt/kentongan by a bind mount, started, and kept only when the post comes up listening
and the gateway answers it. Whatever else happens (a crash, a hang, the power), the version before
runs again. Settings, identity and outbox are not part of it and stay where they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from device.openssl import Unavailable, openssl
from device.status import PostStatus
from process.files import PUBLIC_MODE, replace_file
from process.log import log
from process.status import read_status

UNIT = "kentongan-device.service"
UPDATE_BYTES_MAX = 134_217_728
UNPACKED_BYTES_MAX = 268_435_456
UNPACKED_FILES_MAX = 20_000
MANIFEST_BYTES_MAX = 4096
# Two heartbeats and a slow connection; then it must hold for a while.
PROOF_PATIENCE_S = 180.0
PROOF_HOLDS_S = 15.0
LOOK_EVERY_S = 1.0
COMMAND_PATIENCE_S = 120.0
FACTORY = "factory"

Version = Annotated[str, Meta(pattern=r"^[0-9][0-9A-Za-z.+-]{0,31}\Z", max_length=32)]


class UpdateRefused(Exception):
    """Nothing was changed; the text says why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. `python` and `machine` are those it was made for."""

    kentongan_update: Annotated[int, Meta(ge=1, le=1)] = 1
    version: Version
    python: Annotated[str, Meta(pattern=r"^3\.[0-9]{1,2}\Z", max_length=8)]
    machine: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,16}\Z", max_length=16)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", max_length=64)]


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Which firmware runs at a start; `trial` is one that has not proved itself."""

    current: str = FACTORY
    trial: str | None = None


class Host(Protocol):
    """What an update does to the machine under it."""

    def lay(self, firmware: Path) -> None:
        """Put a firmware where programs are started from."""

    def is_laid(self) -> bool:
        """Whether one that was installed is there, and not the card's own."""

    def restart(self) -> None:
        """Start the post anew."""

    def restarts(self) -> int:
        """How often the service manager has started it since."""

    def status(self) -> PostStatus | None:
        """What the post says of itself now."""

    def now_s(self) -> float:
        """Monotonic seconds."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


@dataclass(frozen=True)
class Store:
    """The firmwares on the data partition; `factory` is the one in the read-only root."""

    directory: Path
    factory: Path

    def installed(self) -> Installed:
        """Which one counts; the factory's where nothing can be read."""
        try:
            content = (self.directory / "installed.json").read_bytes()
            return msgspec.json.decode(content, type=Installed)
        except FileNotFoundError:
            return Installed()
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            log("firmware_state_unreadable", level="error", why=error)
            return Installed()

    def note(self, installed: Installed) -> None:
        """Replace the word on which one counts, as a whole."""
        content = msgspec.json.encode(installed) + b"\n"
        replace_file(self.directory / "installed.json", content, PUBLIC_MODE)

    def path(self, version: str) -> Path:
        """Where a version lies."""
        return self.factory if version == FACTORY else self.directory / version

    def forget_all_but(self, *versions: str) -> None:
        """Free the room of the others."""
        for path in self.directory.iterdir():
            if path.is_dir() and path.name not in versions:
                shutil.rmtree(path)


def at_start(store: Store, host: Host) -> str:
    """What a start does before anything else: lay the version that counts; its name.

    A trial that is still under way at a start was interrupted by the power: it proved nothing.
    """
    installed = store.installed()
    if installed.trial is not None:
        log("update_rolled_back", level="error", version=installed.trial, why="interrupted")
        installed = Installed(current=installed.current)
        with contextlib.suppress(OSError):  # a disk that takes no write: decided anew next time
            store.note(installed)
    current = installed.current
    if current != FACTORY and not (store.path(current) / "pyvenv.cfg").is_file():
        log("firmware_missing", level="error", version=current)
        current = FACTORY
    host.lay(store.path(current))
    log("firmware", version=current)
    return current


def update(store: Store, host: Host, file: Path, public_key: Path) -> str:
    """Install an update; its version, which runs and has proved itself.

    Raises:
        UpdateRefused: nothing was changed, or the version before runs again.
        OSError: the data partition failed; the version before runs.
    """
    manifest = _unpack(store, host, file, public_key)
    before = store.installed().current
    version = manifest.version
    store.note(Installed(current=before, trial=version))
    why: str | None
    try:
        why = _prove(store, host, version)
        if why is None:
            store.note(Installed(current=version))
    except UpdateRefused as error:
        why = str(error)
    except BaseException as error:  # also who asked and pressed Ctrl-C: nobody watches the trial
        _take_back(store, host, version, before, f"{type(error).__name__} {error}".strip())
        raise
    if why is not None:
        raise UpdateRefused(f"{version}: {why}; {_take_back(store, host, version, before, why)}")
    store.forget_all_but(version, before)
    log("updated", version=version, before=before)
    return version


def _take_back(store: Store, host: Host, version: str, before: str, why: str) -> str:
    """Run the version before; in words, since when."""
    log("update_rolled_back", level="error", version=version, why=why)
    try:
        host.lay(store.path(before))
        host.restart()
    except UpdateRefused as error:
        log("update_runs_on", level="error", version=version, why=error, until="the next start")
        store.note(Installed(current=before))
        return f"{before} runs again from the next start"  # what still runs keeps its files
    store.note(Installed(current=before))
    store.forget_all_but(before)
    return f"{before} runs again"


def _prove(store: Store, host: Host, version: str) -> str | None:
    """Start it and look; None, or why it does not stay."""
    host.lay(store.path(version))
    host.restart()
    ends_s = host.now_s() + PROOF_PATIENCE_S
    good_since_s: float | None = None
    while host.now_s() < ends_s:
        if host.restarts() > 0:
            return "it ended by itself"
        status = host.status()
        is_good = status is not None and status.listening and status.gateway_answers
        now_s = host.now_s()
        if not is_good:
            good_since_s = None
        elif good_since_s is None:
            good_since_s = now_s
        elif now_s - good_since_s >= PROOF_HOLDS_S:
            return None
        host.wait(LOOK_EVERY_S)
    return f"not listening and answered within {PROOF_PATIENCE_S:.0f} s"


# --- reading -------------------------------------------------------------------------------------


def _unpack(store: Store, host: Host, file: Path, public_key: Path) -> Manifest:
    """Verify an update and unpack it beside the others, all of it on the disk."""
    store.directory.mkdir(parents=True, exist_ok=True)
    work = store.directory / ".new"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        _take_apart(file, work)
        manifest = _verified(work, public_key)
        target = store.path(manifest.version)
        runs = FACTORY if not host.is_laid() else store.installed().current
        if manifest.version in (runs, FACTORY):
            raise UpdateRefused(f"{manifest.version} runs already")
        shutil.rmtree(target, ignore_errors=True)
        venv = work / "venv"
        (venv / "bin").mkdir(parents=True)
        _extract(work / "firmware.tar", venv)
        if not (venv / "bin/kentongan-device").is_file():
            raise UpdateRefused(f"{file}: there is no firmware in it")
        os.sync()
        venv.rename(target)
        os.sync()
        return manifest
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _take_apart(file: Path, work: Path) -> None:
    try:
        if file.stat().st_size > UPDATE_BYTES_MAX:
            raise UpdateRefused(f"{file}: more than {UPDATE_BYTES_MAX >> 20} MiB")
        with tarfile.open(file, "r:") as tar:
            for name in ("manifest.json", "manifest.sig", "firmware.tar"):
                info = tar.getmember(name)
                # Nothing is signed yet: what says that it is larger than the file fills no disk.
                member = tar.extractfile(info) if info.isreg() and not info.issparse() else None
                if member is None or info.size > UPDATE_BYTES_MAX:
                    raise UpdateRefused(f"{file}: {name} is no file")
                with (work / name).open("wb") as to:
                    shutil.copyfileobj(member, to)
    except (KeyError, tarfile.TarError, EOFError):
        raise UpdateRefused(f"{file}: not a whole update; copy it again") from None
    except OSError as error:
        raise UpdateRefused(f"{error.filename or file}: {error.strerror or error}") from None


def _verified(work: Path, public_key: Path) -> Manifest:
    """The manifest, once its signature, its content and the firmware's sum are right."""
    if not public_key.is_file():
        raise UpdateRefused(f"{public_key} is missing: this card was made to take no updates")
    try:
        code, _, _ = openssl(
            *("pkeyutl", "-verify", "-pubin", "-inkey", str(public_key), "-rawin"),
            *("-in", str(work / "manifest.json"), "-sigfile", str(work / "manifest.sig")),
        )
    except Unavailable as error:
        raise UpdateRefused(str(error)) from None
    if code != 0:
        raise UpdateRefused("its signature is not of the key that this card was made with")
    with (work / "manifest.json").open("rb") as text:
        content = text.read(MANIFEST_BYTES_MAX + 1)
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise UpdateRefused(f"its manifest: {error}") from None
    with (work / "firmware.tar").open("rb") as firmware:
        if hashlib.file_digest(firmware, "sha256").hexdigest() != manifest.sha256:
            raise UpdateRefused("it was cut short or changed; copy it again")
    python = ".".join(platform.python_version_tuple()[:2])
    if (manifest.python, manifest.machine) != (python, platform.machine()):
        raise UpdateRefused(
            f"it is for Python {manifest.python} on {manifest.machine}, this is {python} on"
            f" {platform.machine()}"
        )
    return manifest


def _extract(firmware: Path, to: Path) -> None:
    """Unpack within `to`, plain files alone, and no more than a firmware can be."""
    try:
        with tarfile.open(firmware, "r:") as tar:
            members = tar.getmembers()
            if len(members) > UNPACKED_FILES_MAX:
                raise UpdateRefused(f"more than {UNPACKED_FILES_MAX} files in it")
            if sum(member.size for member in members) > UNPACKED_BYTES_MAX:
                raise UpdateRefused(f"more than {UNPACKED_BYTES_MAX >> 20} MiB in it")
            for member in members:
                target = Path(os.path.normpath(to / member.name))
                source = tar.extractfile(member) if member.isfile() else None
                if not target.is_relative_to(to) or source is None:
                    raise UpdateRefused(f"{member.name!r} in it is no plain file below it")
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file)
                target.chmod(0o755 if member.mode & 0o100 else 0o644)
    except tarfile.TarError as error:
        raise UpdateRefused(f"it cannot be unpacked: {error}") from None
    for name in ("python", "python3"):
        (to / "bin" / name).symlink_to("/usr/bin/python3")


# --- the machine ---------------------------------------------------------------------------------


class RunningHost:
    """This machine: bind mounts, systemd, and the post's status file."""

    def __init__(self, place: Path = Path("/opt/kentongan")) -> None:
        """Take the place where programs are started from."""
        self._place = place

    def lay(self, firmware: Path) -> None:
        """Over the root's own: what still runs keeps its files, what starts finds the new ones.

        One at a time: what another is laid over can neither be removed nor be seen.
        """
        if firmware == self._place:
            return
        while self.is_laid():
            _do("umount", "--lazy", str(self._place))
        _do("mount", "--bind", "-o", "ro", str(firmware), str(self._place))

    def is_laid(self) -> bool:
        """Whether one that was installed runs; the card's own does where that did not come up."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return any(line.split()[4] == str(self._place) for line in mounts)

    def restart(self) -> None:
        """Stop and start, so that the count of restarts begins at none."""
        _do("systemctl", "stop", UNIT)
        _do("systemctl", "reset-failed", UNIT)
        _do("systemctl", "start", "--no-block", UNIT)

    def restarts(self) -> int:
        """systemd's own count."""
        said = _do("systemctl", "show", "--property=NRestarts", "--value", UNIT).strip()
        return int(said) if said.isdigit() else 0

    def status(self) -> PostStatus | None:
        """Of a post that turns; None of one that does not."""
        try:
            status = read_status(Path("/run/kentongan-device"), PostStatus)
        except (OSError, ValueError):
            return None
        age_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000 - status.uptime_us
        return status if age_us < 10_000_000 else None

    def now_s(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


def _do(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COMMAND_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise UpdateRefused(f"{' '.join(command)} does not end") from None
    except OSError as error:
        raise UpdateRefused(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise UpdateRefused(f"{' '.join(command)}: {done.stderr.strip()[:300]}")
    return done.stdout


# --- making one ----------------------------------------------------------------------------------


def pack_update(venv: Path, manifest: Callable[[str], Manifest], key: Path, out: Path) -> None:
    """Write an update of a virtual environment, signed with an Ed25519 key (PEM).

    `manifest` makes it from the firmware's SHA-256. Raises Unavailable when it cannot be signed.
    """
    work = out.with_name(f".{out.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        firmware = work / "firmware.tar"
        with tarfile.open(firmware, "w:") as tar:
            for path in sorted(venv.rglob("*")):
                if path.is_dir() or path.is_symlink():
                    continue  # made anew where it is unpacked
                tar.add(path, path.relative_to(venv).as_posix(), recursive=False, filter=_plain)
        digest = hashlib.sha256(firmware.read_bytes()).hexdigest()
        text = json.dumps(msgspec.to_builtins(manifest(digest)), sort_keys=True)
        (work / "manifest.json").write_text(text)
        code, _, said = openssl(
            *("pkeyutl", "-sign", "-inkey", str(key), "-rawin"),
            *("-in", str(work / "manifest.json"), "-out", str(work / "manifest.sig")),
        )
        if code != 0:
            raise Unavailable(f"{key}: no Ed25519 key that can sign" if said else "openssl failed")
        with tarfile.open(out, "w:") as tar:
            for name in ("manifest.json", "manifest.sig", "firmware.tar"):
                tar.add(work / name, name, filter=_plain)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, and of no time: the same firmware gives the same bytes."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    return member
