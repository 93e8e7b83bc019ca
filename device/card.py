"""The card at each start: takes a bundle from the boot partition, and lays what the post runs by.

`first_boot.py` decides. The root is read-only, so all that makes this card this post lies on the
data partition and is laid anew into memory at each start: settings, host name, network, who may
log in. One file, `standing.json`, says which identity counts; it is replaced as a whole, and only
after everything that it names is on the disk. Whatever fails, the post starts with what it has.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from device.first_boot import (
    REASON_FILE,
    Candidate,
    Code,
    Decision,
    Standing,
    Why,
    bundle_wrong,
    decide,
    is_candidate,
    pattern,
    reason_text,
    same,
)
from device.openssl import Unavailable, openssl, openssl_output
from device.settings import HardwareSettings, LampSettings, PostFile, StoreSettings
from process.bundle import (
    BUNDLE_BYTES_MAX,
    HERE,
    Bundle,
    BundleError,
    read_bundle,
)
from process.files import PUBLIC_MODE, SECRET_MODE, replace_file, sync_directory
from process.log import log
from process.network import NetworkFile, keyfiles
from process.settings import SettingsError, read_settings

USER = "kentongan"
NEEDED = ("ca.pem", "identity.pem", "post.toml")
KNOWN = (*NEEDED, "network.toml")
# Candidates beyond are not looked at: two different ones are too many already.
CANDIDATES_MAX = 8
# Where Linux, macOS and Windows keep what was deleted on a card.
BINS = (".trash", "$recycle.bin", "recycler")
# Chains of clusters without a name, as fsck.fat and Windows keep them.
FOUND = re.compile(r"fsck[0-9]{4}\.rec|found\.[0-9]{3}")
WIPING = ".wiping-"
# Outboxes of posts that this card was before.
SET_ASIDE_MAX = 4
MOUNT_TIMEOUT_S = 30.0
# The one back end that a card has: `mock` presses nothing, RPi.GPIO is not on it.
_CARD_PINS = "lgpio"
_NO_MODEMS = Why(
    "network.toml: [lte]: this card has no ModemManager, so it reaches nothing by that",
    "network.toml: [lte]: kartu ini tidak punya ModemManager, jadi tidak tersambung lewat itu",
)
# A card that cannot be a post starts anew so often, as a technician would try first.
RETRY_AFTER_S = 600
# Any other end of `card take` is a firmware that cannot do it.
EXIT_NO_POST = 3
EXIT_REBOOT = 70


class CardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What this start found, for the lamp: in memory, below `run`.

    `on_lamp`: whether a lamp may show the code, that is: there certainly is no post.
    """

    post: str | None
    code: Code | None
    why: str = ""
    on_lamp: bool = False
    lamp: LampSettings = LampSettings()
    hardware: HardwareSettings = HardwareSettings()


@dataclass(frozen=True)
class Places:
    """Where things lie on a card; below another root in a test."""

    root: Path = Path("/")

    @property
    def boot(self) -> Path:
        """The FAT partition, which a laptop can read."""
        return self.root / "boot/firmware"

    @property
    def card(self) -> Path:
        """Root's part of the data partition."""
        return self.root / "data/card"

    @property
    def state(self) -> Path:
        """The service's part of the data partition."""
        return self.root / "var/lib/kentongan"

    @property
    def settings(self) -> Path:
        """Where the service reads its settings."""
        return self.root / "etc/kentongan/post.toml"

    @property
    def run(self) -> Path:
        """This start's findings, in memory."""
        return self.root / "run/kentongan-card"

    @property
    def keyfiles(self) -> Path:
        """NetworkManager's connections, in memory."""
        return self.root / "run/NetworkManager/system-connections"

    @property
    def time(self) -> Path:
        """The time servers, in memory."""
        return self.root / "run/systemd/timesyncd.conf.d/kentongan.conf"

    @property
    def modems(self) -> Path:
        """The program that [lte] needs; a card made from Raspberry Pi OS has none."""
        return self.root / "usr/sbin/ModemManager"

    @property
    def is_running(self) -> bool:
        """Whether this is the machine itself."""
        return self.root == Path("/")


class Card:
    """One card. `start` is all that happens at a start."""

    def __init__(self, places: Places) -> None:
        """Take the places; touches nothing."""
        self._places = places
        self._lamp = LampSettings()
        self._hardware = HardwareSettings()

    def start(self) -> int:
        """Look, decide, carry out, lay; 0 when the post can run, `EXIT_NO_POST` when it cannot."""
        standing, failing = self._standing()
        candidates = self._look()
        decision = decide(candidates, standing)
        if decision.take is not None:
            try:
                standing = self._take(decision.take, standing, is_other=decision.is_other)
            except OSError as error:
                decision = _failed(error, self._places.card)
        elif decision.code == "no_bundle" and failing is not None:
            decision = Decision(code="card_failing", why=failing)
        is_laid = False
        if standing is not None:
            try:
                self._lay(standing)
                is_laid = True
            except (OSError, SettingsError) as error:
                decision = replace(_failed(error, self._places.card), wipe=decision.wipe)
        self._tell(decision, standing)
        status = CardStatus(
            post=None if standing is None else standing.post,
            code=decision.code,
            why="" if decision.why is None else decision.why.en,
            # What cannot be read may be a post on a wall, whose lamp has its four meanings and
            # dark is one of them; whoever lays a bundle there stands before it at a bench.
            on_lamp=standing is None and (failing is None or bool(candidates)),
            lamp=self._lamp,
            hardware=self._hardware,
        )
        self._places.run.mkdir(parents=True, exist_ok=True, mode=0o755)
        replace_file(self._places.run / "status.json", msgspec.json.encode(status), PUBLIC_MODE)
        return 0 if is_laid else EXIT_NO_POST

    # --- looking -----------------------------------------------------------------------------

    def _standing(self) -> tuple[Standing | None, Why | None]:
        """The identity that the card has, or why that cannot be known."""
        path = self._places.card / "standing.json"
        try:
            self._require_data()
            return msgspec.json.decode(path.read_bytes(), type=Standing), None
        except FileNotFoundError:
            return None, None
        except OSError as error:
            why = _said(error)
        except (msgspec.MsgspecError, ValueError):
            why = same(f"{path}: damaged")
        log("card_identity_unreadable", level="error", why=why.en)
        return None, why

    def _require_data(self) -> None:
        """Refuse to go on without the data partition: its mount point lies in memory.

        Raises:
            OSError: it is not there; an identity laid there would be gone with the power.
        """
        card, state = self._places.card, self._places.state
        try:
            is_there = card.stat().st_dev == state.stat().st_dev
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise OSError(None, "the data partition is not mounted", str(card))

    def _look(self) -> list[Candidate]:
        try:
            names = sorted(path.name for path in self._places.boot.iterdir())
        except OSError as error:
            log("boot_partition_unreadable", level="error", why=error)
            return []
        return [
            self._examine(self._places.boot / name)
            for name in [name for name in names if is_candidate(name)][:CANDIDATES_MAX]
        ]

    def _examine(self, path: Path) -> Candidate:
        """Read a file as a bundle and look at it as a whole."""
        digest = ""
        try:
            if path.is_dir():
                why = Why("a folder, not a file", "sebuah folder, bukan berkas")
                return Candidate(path.name, digest, wrong=("damaged", why))
            with path.open("rb") as file:
                digest = hashlib.sha256(file.read(BUNDLE_BYTES_MAX + 1)).hexdigest()
            bundle = read_bundle(path, "post")
            wrong = _unfit(bundle) or self._wrong_inside(bundle)
        except BundleError as error:
            said = str(error).removeprefix(f"{path}: ")
            return Candidate(path.name, digest, wrong=bundle_wrong(error.kind, said))
        except OSError as error:
            return Candidate(path.name, digest, wrong=("card_failing", _said(error)))
        except Exception as error:  # noqa: BLE001 - nothing that lies there makes a post deaf
            log("bundle_not_understood", level="error", file=path.name, why=error)
            return Candidate(path.name, digest, wrong=("damaged", same(type(error).__name__)))
        if wrong is not None:
            return Candidate(path.name, digest, wrong=wrong)
        return Candidate(path.name, digest, bundle)

    def _wrong_inside(self, bundle: Bundle) -> tuple[Code, Why] | None:
        with self._unpacked(bundle) as directory:
            try:
                settings = read_settings(directory / "post.toml", PostFile)
            except SettingsError as error:
                return "settings_wrong", same(_without(directory, "; ".join(error.problems)))
            problems = _not_for_a_card(settings, bundle, directory)
            chip = settings.hardware.chip
            is_chip_here = chip is None or (self._places.root / f"dev/gpiochip{chip}").exists()
            if not is_chip_here:
                problems.append(f"post.toml: [hardware] chip: there is no /dev/gpiochip{chip} here")
            # From here the wires are known, so that a code shows on the lamp that is fitted.
            elif settings.hardware.pins == _CARD_PINS:
                self._lamp, self._hardware = settings.lamp, settings.hardware
            if problems:
                return "settings_wrong", same("; ".join(problems))
            wrong = _certificate_wrong(directory, bundle.name)
            if wrong is not None:
                return "identity_wrong", wrong
            if "network.toml" in bundle.files:
                try:
                    network = read_settings(directory / "network.toml", NetworkFile)
                except SettingsError as error:
                    return "network_wrong", same(_without(directory, "; ".join(error.problems)))
                if network.lte is not None and not self._places.modems.exists():
                    return "network_wrong", _NO_MODEMS
        return None

    @contextlib.contextmanager
    def _unpacked(self, bundle: Bundle) -> Iterator[Path]:
        """The bundle's files in memory, for the programs that read files."""
        self._places.run.mkdir(parents=True, exist_ok=True, mode=0o755)
        with tempfile.TemporaryDirectory(dir=self._places.run) as name:
            directory = Path(name)
            for file, text in bundle.files.items():
                (directory / file).write_text(text.replace(HERE, name), encoding="utf-8")
            yield directory

    # --- carrying out ------------------------------------------------------------------------

    def _take(self, candidate: Candidate, was: Standing | None, *, is_other: bool) -> Standing:
        """Bring an identity onto the data partition; after a power cut anywhere, do it again."""
        bundle = candidate.bundle
        assert bundle is not None  # by decide()
        self._require_data()
        mine, theirs = self._directories(candidate.digest)
        mine.mkdir(parents=True, exist_ok=True, mode=0o700)
        theirs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._give(theirs)
        for name in ("ca.pem", "identity.pem"):
            replace_file(theirs / name, bundle.files[name].encode(), SECRET_MODE)
            self._give(theirs / name)
        settings = bundle.files["post.toml"].replace(HERE, str(theirs))
        replace_file(mine / "post.toml", settings.encode(), SECRET_MODE)
        network = bundle.files.get("network.toml", "")
        replace_file(mine / "network.toml", network.encode(), SECRET_MODE)
        for directory in (self._places.card, self._places.state):
            sync_directory(directory)
        if was is None:
            if not self._holds_calls_of(bundle.name):
                self._set_outbox_aside(f"unknown-{candidate.digest[:16]}")
        elif is_other:
            self._set_outbox_aside(f"{was.post}-{was.digest[:16]}")
        standing = Standing(post=bundle.name, digest=candidate.digest)
        content = msgspec.json.encode(standing) + b"\n"
        replace_file(self._places.card / "standing.json", content, SECRET_MODE)
        log("card_took_identity", post=bundle.name, file=candidate.file, other=is_other)
        return standing

    def _directories(self, digest: str) -> tuple[Path, Path]:
        """Root's and the service's directory of one identity."""
        name = f"identity-{digest[:16]}"
        return self._places.card / name, self._places.state / name

    def _holds_calls_of(self, post: str) -> bool:
        """Whether the calls of a card that has forgotten who it was are this post's own."""
        from device.outbox import look_into  # its libraries only where they are needed
        from process.database import FILE_ERRORS, NewerVersion

        path = self._places.state / "post.db"
        if not path.exists():
            return True
        try:
            return all(held.alarm.post == post for held in look_into(path))
        except (*FILE_ERRORS, NewerVersion) as error:
            log("outbox_not_readable", level="warning", path=path, why=error)
            return False

    def _set_outbox_aside(self, name: str) -> None:
        """Alarms of the post that it was go out under no other name; nor are they lost."""
        kept = self._places.state / "set-aside"
        if kept.is_symlink():  # the service's own directory: root goes where it leads to nowhere
            kept.unlink()
        kept.mkdir(exist_ok=True, mode=0o700)
        self._give(kept)
        # The same two bundles put on by turns: each time is another outbox.
        if (kept / f"{name}-post.db").exists():
            name = f"{name}-{secrets.token_hex(4)}"
        for path in sorted(self._places.state.glob("post.db*")):
            if not path.name.endswith(".lock"):
                path.replace(kept / f"{name}-{path.name}")
        sync_directory(kept)
        boxes = sorted(kept.glob("*-post.db"), key=lambda path: path.stat().st_mtime_ns)
        for box in boxes[:-SET_ASIDE_MAX]:
            for part in kept.glob(f"{box.name}*"):
                part.unlink()

    def _tell(self, decision: Decision, standing: Standing | None) -> None:
        """Wipe what was taken, write or remove the reason; a FAT that refuses is only logged."""
        boot = self._places.boot
        reason = boot / REASON_FILE
        text = b""
        if decision.code is not None:
            text = reason_text(decision, standing)
            why = "" if decision.why is None else decision.why.en
            log("card_code", level="warning", code=decision.code, where=decision.where, why=why)
        try:
            was = _start_of(reason, len(text) + 1)
        except OSError as error:
            log("boot_partition_unreadable", level="error", why=error)
            was = None
        half_wiped = _half_wiped(boot)
        if not decision.wipe and not half_wiped and text == was:
            return
        try:
            with self._writable_boot():
                # Keys before words, and none of them stands in the way of another.
                for path in (*half_wiped, *map(boot.joinpath, decision.wipe)):
                    _wipe_or_say(path, boot)
                if decision.wipe:
                    _wipe_left_overs(boot)
                if text:
                    _write_reason(reason, text)
                elif was != b"":
                    reason.unlink()
                sync_directory(boot)
        except OSError as error:
            log("boot_partition_not_written", level="error", why=error)

    @contextlib.contextmanager
    def _writable_boot(self) -> Iterator[None]:
        """The boot partition can be written only while something is written to it."""
        if not self._places.is_running:
            yield
            return
        _remount(self._places.boot, "rw")
        try:
            yield
        finally:
            _remount(self._places.boot, "ro")

    # --- laying ------------------------------------------------------------------------------

    def _lay(self, standing: Standing) -> None:
        """Put into memory what the post runs by.

        Raises:
            OSError: the data partition cannot be read, or memory is full.
            SettingsError: what was good when it was taken is so no more.
        """
        places = self._places
        mine, _ = self._directories(standing.digest)
        settings = (mine / "post.toml").read_bytes()
        places.settings.parent.mkdir(parents=True, exist_ok=True)
        replace_file(places.settings, settings, 0o640)
        if places.is_running:
            os.chown(places.settings, 0, pwd.getpwnam(USER).pw_gid)
        (mine / "network.toml").read_bytes()  # a disk that fails is not taken for a wrong file
        self._lay_network(read_settings(mine / "network.toml", NetworkFile))
        self._name_host(standing.post)
        self._forget_others(standing)

    def _lay_network(self, network: NetworkFile) -> None:
        places = self._places
        places.keyfiles.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, text in keyfiles(network).items():
            replace_file(places.keyfiles / name, text.encode(), SECRET_MODE)
        places.run.mkdir(parents=True, exist_ok=True, mode=0o755)
        if network.ssh is not None:
            keys = "".join(f"{key}\n" for key in network.ssh.keys)
            replace_file(places.run / "authorized_keys", keys.encode(), SECRET_MODE)
        if network.time is not None:
            places.time.parent.mkdir(parents=True, exist_ok=True)
            text = f"[Time]\nNTP={network.time.server}\n"
            replace_file(places.time, text.encode(), PUBLIC_MODE)

    def _name_host(self, post: str) -> None:
        name = post[:63].rstrip("-")
        path = self._places.root / "etc/hostname"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, f"{name}\n".encode(), PUBLIC_MODE)
        if self._places.is_running:
            socket.sethostname(name)

    def _forget_others(self, standing: Standing) -> None:
        """Keys of an identity that this card has no more."""
        keep = {path.name for path in self._directories(standing.digest)}
        for directory in (self._places.card, self._places.state):
            for path in directory.glob("identity-*"):
                if path.name not in keep:
                    if path.is_symlink():
                        path.unlink()
                    else:
                        shutil.rmtree(path)
                    log("identity_forgotten", path=path)

    def _give(self, path: Path) -> None:
        if self._places.is_running:
            user = pwd.getpwnam(USER)
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def wipe(path: Path) -> None:
    """Overwrite and remove a file. On flash that is no guarantee: the controller may keep copies.

    It loses its name first: after a power cut half of it would pass for a bundle that was copied
    badly. The next start wipes the rest.

    Raises:
        OSError: it could not be done.
    """
    path = path.rename(path.with_name(f"{WIPING}{secrets.token_hex(4)}"))
    sync_directory(path.parent)
    with path.open("r+b") as file:
        left = file.seek(0, os.SEEK_END)
        file.seek(0)
        while left > 0:
            left -= file.write(bytes(min(left, 65_536)))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def blink(places: Places) -> int:
    """Show the code of this start on the lamp until somebody switches off; the exit code, which is
    `EXIT_REBOOT` where another start may find the data partition, or what this one did not come to.
    """
    from hardware.lamp import Lamp
    from hardware.pins import PinsUnavailable, open_pins

    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        content = (places.run / "status.json").read_bytes()
        status = msgspec.json.decode(content, type=CardStatus)
    except (OSError, msgspec.MsgspecError) as error:
        # Nothing looked at the card at this start, or not to the end: a post may be on it.
        log("card_status_unreadable", level="error", why=error)
        return _wait_for_another_start(stops)
    if status.code is None or not status.on_lamp:
        return _wait_for_another_start(stops) if status.code == "card_failing" else 0
    try:
        pins = open_pins(status.hardware.pins, status.hardware.chip)
        lamp = Lamp(pins, status.lamp.red, status.lamp.green, status.lamp.blue)
    except PinsUnavailable as error:
        log("lamp_unavailable", level="error", code=status.code, why=error)
        return 1
    log("service_code", level="warning", code=status.code, why=status.why)
    lamp.show(pattern(status.code))
    code = 0
    if status.code == "card_failing":
        code = _wait_for_another_start(stops)
    else:
        signal.sigwait(stops)
    lamp.close()
    pins.close()
    return code


def _wait_for_another_start(stops: set[signal.Signals]) -> int:
    stopped = signal.sigtimedwait(stops, RETRY_AFTER_S)
    return EXIT_REBOOT if stopped is None else 0


def _half_wiped(boot: Path) -> list[Path]:
    """What a power cut left in the middle of being wiped."""
    try:
        return sorted(path for path in boot.iterdir() if path.name.startswith(WIPING))
    except OSError:
        return []  # said where bundles are looked for


def _wipe_left_overs(boot: Path) -> None:
    """What a laptop calls deleted, and what was left of a copy that broke off: keys lie in both."""
    try:
        for place in sorted(boot.iterdir()):
            name = place.name.lower()
            if name.startswith(BINS):
                for path in sorted(place.rglob("*")):
                    if ".kentongan" in path.name.lower() and path.is_file():
                        _wipe_or_say(path, boot)
            elif FOUND.fullmatch(name):
                for path in sorted(place.iterdir()) if place.is_dir() else [place]:
                    _wipe_or_say(path, boot)
    except OSError as error:
        log("boot_partition_not_written", level="error", why=error)


def _wipe_or_say(path: Path, boot: Path) -> None:
    try:
        wipe(path)
        log("bundle_wiped", file=path.relative_to(boot))
    except OSError as error:
        log("bundle_not_wiped", level="error", file=path.relative_to(boot), why=error)


def _unfit(bundle: Bundle) -> tuple[Code, Why] | None:
    missing = ", ".join(name for name in NEEDED if name not in bundle.files)
    strange = ", ".join(name for name in bundle.files if name not in KNOWN)
    if missing:
        return "unfit", Why(f"{missing} is missing in it", f"{missing} tidak ada di dalamnya")
    if strange:
        return "unfit", Why(f"{strange} is not known here", f"{strange} tidak dikenal di sini")
    return None


def _not_for_a_card(settings: PostFile, bundle: Bundle, directory: Path) -> list[str]:
    """What is right in a settings file and would leave this card with a dead button, with calls
    in memory alone, or without its certificate.
    """
    problems = []
    if settings.post_id != bundle.name:
        problems.append(f"post.toml: post_id is {settings.post_id}, the bundle {bundle.name}")
    if settings.hardware.pins != _CARD_PINS:
        pins = settings.hardware.pins
        problems.append(f'post.toml: [hardware] pins is "{pins}", a card has "{_CARD_PINS}"')
    if settings.store != StoreSettings():
        problems.append("post.toml: [store] path: a card keeps its calls in its own place only")
    for key in ("ca", "certificate", "key"):
        path = getattr(settings.mqtt, key)
        if path not in [str(directory / name) for name in bundle.files]:
            found = "is missing" if path is None else f"{_without(directory, path)}: not in it"
            problems.append(f"post.toml: [mqtt] {key} {found}; a card has the bundle's own")
    return problems


def _certificate_wrong(directory: Path, name: str) -> Why | None:
    """Why certificate, key, authority and name do not belong together; no date is asked, because
    the clock of a new card is not set.
    """
    ca, identity = directory / "ca.pem", directory / "identity.pem"
    try:
        # Without a word for a key that asks for one: nobody is there to type it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(identity, password="")
    except (ssl.SSLError, OSError):
        return Why(
            "identity.pem: no certificate with its own key, readable without a password",
            "identity.pem: bukan sertifikat dengan kuncinya sendiri yang terbaca tanpa kata sandi",
        )
    try:
        purpose = ("-purpose", "sslclient", "-no_check_time")
        code, _, _ = openssl("verify", "-CAfile", str(ca), *purpose, str(identity))
        if code != 0:
            return Why(
                "identity.pem: not a client's certificate of the authority in ca.pem",
                "identity.pem: bukan sertifikat klien dari otoritas di ca.pem",
            )
        shown = ("-noout", "-subject", "-nameopt", "RFC2253,sep_comma_plus")
        subject = openssl_output("x509", "-in", str(identity), *shown).decode("utf-8", "replace")
    except Unavailable as error:
        return same(str(error))
    names = [
        part.removeprefix("CN=")
        for part in subject.strip().removeprefix("subject=").split(",")
        if part.startswith("CN=")
    ]
    if names != [name]:
        whose = ", ".join(names)
        return Why(
            f"identity.pem: a certificate of {whose or 'nobody'}, not of {name}",
            f"identity.pem: sertifikat milik {whose or 'tidak seorang pun'}, bukan {name}",
        )
    return None


def _failed(error: OSError | SettingsError, place: Path) -> Decision:
    """What the technician is told when the card itself, or what lies on it, failed."""
    if isinstance(error, SettingsError):
        why = same("; ".join(error.problems))
        log("card_not_laid", level="error", why=why.en)
        return Decision(code="network_wrong", where=str(place), why=why)
    log("card_failing", level="error", why=error)
    return Decision(code="card_failing", why=_said(error))


def _said(error: OSError) -> Why:
    what = error.strerror or str(error)
    return same(f"{error.filename}: {what}" if error.filename else what)


def _start_of(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        return b""


def _write_reason(path: Path, text: bytes) -> None:
    """Put the text in its place; on a full FAT the old one makes room, being no longer true.

    Raises:
        OSError: it cannot be written.
    """
    try:
        replace_file(path, text, PUBLIC_MODE)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        path.unlink(missing_ok=True)
        replace_file(path, text, PUBLIC_MODE)


def _without(directory: Path, text: str) -> str:
    return text.replace(f"{directory}/", "")


def _remount(path: Path, how: str) -> None:
    try:
        done = subprocess.run(
            ["mount", "-o", f"remount,{how}", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=MOUNT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise OSError(None, "mount does not end", str(path)) from None
    if done.returncode != 0:
        raise OSError(None, done.stderr.strip() or "mount failed", str(path))
