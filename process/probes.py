"""What `doctor` looks at on every machine: service, identity, disk, and the way to a broker.

Each probe takes what it needs, looks once, and returns findings. Each is bounded in time, ends
nothing, and leaves nothing behind but a temporary file's place on the disk. Those that would take
something from a running service (its MQTT session, its serial line) are for their caller to leave
out; what is here can be asked beside one, `Session` excepted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import ipaddress
import os
import pwd
import queue
import re
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from process.core import LinkDown, LinkUp
from process.findings import Finding, found
from process.link import Link, LinkSettings, PublishRefused, Subscription, Will
from process.session import tls_context
from process.settings import Broker, SettingsError, TlsFiles, read_settings
from process.status import FRESH_US, NAME, ServiceStatus, read_status
from protocol.values import timestamp

# Each probe answers within its own bound; these are the ends of those that hang all the same.
PROBE_S = 15.0
DNS_S = 8.0
CONNECT_S = 5.0
# TLS 1.3 tells a client after the handshake that it was not accepted. Whoever says nothing within
# this time waits for our first word.
TLS_WORD_S = 1.0
MQTT_S = 12.0  # a link's own deadlines lie below
OPENSSL_S = 10.0
SYSTEMCTL_S = 5.0

DISK_SMALL_BYTES = 64 * 1024 * 1024
DISK_SLOW_MS = 1_000
DISK_PROBE_BYTES = 4_096
DAY_S = 86_400
IDENTITY_WARN_DAYS = 60
AUTHORITY_WARN_DAYS = 365
EVENTS_WAITING_MAX = 1_000
ADDRESSES_SHOWN_MAX = 4
DENIED_SHOWN_MAX = 8

_COMMON_NAME = re.compile(r"^\s*CN\s?=\s?(.+)$", re.MULTILINE)
_DATE = re.compile(r"^not(Before|After)=(.+)$", re.MULTILINE)
_OTHER_CA = frozenset((2, 18, 19, 20, 21, 7))  # X509_V_ERR_*: an issuer that we do not trust
_OTHER_NAME = frozenset((62, 64))  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
_NOT_YET, _EXPIRED = 9, 10
_THERE = ("active", "activating", "reloading", "deactivating")

Answer = TypeVar("Answer")
Model = TypeVar("Model", bound=msgspec.Struct)
StatusKind = TypeVar("StatusKind", bound=ServiceStatus)


def left(check: str, unit: str, about: str = "") -> Finding:
    """It is the running service's, and stays so."""
    return found(check, "left_to_service", about, unit=unit)


def left_after(check: str, after: str, about: str = "") -> Finding:
    """It stands behind a check that has failed."""
    return found(check, "left_after", about, after=after)


def bounded(
    check: str,
    probe: Callable[[], list[Finding]],
    about: str = "",
    timeout_s: float = PROBE_S,
) -> list[Finding]:
    """Run a probe, whatever it does: one that hangs or raises is a finding too."""
    answer = _within(check, probe, about, timeout_s)
    return [answer] if isinstance(answer, Finding) else answer


def _within(
    check: str, probe: Callable[[], Answer], about: str = "", timeout_s: float = PROBE_S
) -> Answer | Finding:
    """What a probe gives, on a thread of its own; the finding when it hangs or raises."""
    answers: queue.SimpleQueue[Answer | Finding] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(probe())
        except Exception as error:  # noqa: BLE001 - a person must never meet a traceback
            broke = f"{type(error).__name__}: {error}"
            answers.put(found(check, "probe_broke", about, error=broke))

    threading.Thread(target=run, name=f"probe-{check}", daemon=True).start()
    try:
        return answers.get(timeout=timeout_s)
    except queue.Empty:
        return found(check, "probe_silent", about, seconds=round(timeout_s))


def probe_settings(config: Path, model: type[Model]) -> Model | list[Finding]:
    """The settings, or what is wrong with them."""

    def read() -> Model | list[Finding]:
        try:
            return read_settings(config, model)
        except SettingsError as error:
            return [found("settings", "settings_wrong", problem=one) for one in error.problems]

    answer = _within("settings", read)
    return [answer] if isinstance(answer, Finding) else answer


# --- service ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing(Generic[StatusKind]):
    """How the service stands: is anything of it not to be touched, and its own last word."""

    finding: Finding
    is_busy: bool
    unit: Unit | None
    status: StatusKind | None = None


def probe_service(
    unit: str,
    directory: Path,
    kind: type[StatusKind],
    *,
    store: Path | None,
    now_us: int,
    held: contextlib.ExitStack,
) -> Standing[StatusKind]:
    """Ask the lock of the store, systemd, and the status file in `directory`.

    Whatever of them says that the service is there counts: what runs is not disturbed, and one
    that may be starting is not held up. Otherwise the store is ours until `held` is closed.
    """

    def look() -> Standing[StatusKind]:
        is_alone = held.enter_context(alone_with(store))
        standing = _standing(unit, directory, kind, is_alone=is_alone, now_us=now_us)
        if standing.is_busy:
            held.close()
        return standing

    answer = _within("service", look)
    # What cannot be looked at is not touched.
    return Standing(answer, True, None) if isinstance(answer, Finding) else answer


def _standing(
    unit: str, directory: Path, kind: type[StatusKind], *, is_alone: bool, now_us: int
) -> Standing[StatusKind]:
    systemd = ask_systemd(unit)
    state = "" if systemd is None else systemd.state
    status, why = None, ""
    try:
        status = read_status(directory, kind)
    except FileNotFoundError:
        why = f"{directory / NAME} is not there"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    age_us = 0 if status is None else now_us - status.uptime_us
    is_fresh = status is not None and 0 <= age_us <= FRESH_US
    is_busy = not is_alone or is_fresh or state.startswith(_THERE)
    if "auto-restart" in state or state.startswith("failed"):
        return Standing(
            found("service", "service_failing", unit=unit, state=state), is_busy, systemd
        )
    if not is_busy:
        return Standing(found("service", "service_stopped", unit=unit), is_busy, systemd)
    if is_fresh:
        return Standing(found("service", "service_running", unit=unit), is_busy, systemd, status)
    if status is not None:
        age_s = age_us // 1_000_000
        return Standing(found("service", "service_hangs", unit=unit, age_s=age_s), is_busy, systemd)
    return Standing(found("service", "service_unheard", unit=unit, why=why), is_busy, systemd)


@contextlib.contextmanager
def alone_with(store: Path | None) -> Iterator[bool]:
    """Whether no process has this store open; while inside, none that comes gets it.

    A store that this user may not look at counts as in use: what is not known is not disturbed.
    """
    if store is None:
        yield True
        return
    try:
        lock = os.open(f"{store}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True  # it was never used
        return
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


@dataclass(frozen=True)
class Unit:
    """What systemd says of a unit: `active (running)` and the like, and as whom it runs."""

    state: str
    user: str
    groups: tuple[str, ...]


def ask_systemd(unit: str) -> Unit | None:
    """None without systemd, or where it has no such unit."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return None
    wanted = "LoadState,ActiveState,SubState,User,SupplementaryGroups"
    command = [systemctl, "show", f"--property={wanted}", unit]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SYSTEMCTL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    if done.returncode != 0 or said.get("LoadState") != "loaded":
        return None
    state = f"{said.get('ActiveState', '?')} ({said.get('SubState', '?')})"
    return Unit(state, said.get("User", ""), tuple(said.get("SupplementaryGroups", "").split()))


def probe_rights(
    check: str, unit: Unit | None, files: Sequence[str], *, write: bool, about: str = ""
) -> list[Finding]:
    """Files that root, who asks, can read and the service's user cannot (or write, with `write`).

    Nothing for anybody but root: whoever else asks has met the same rights himself.
    """
    if unit is None or not unit.user or os.geteuid() != 0:
        return []
    try:
        user = pwd.getpwnam(unit.user)
        groups = [grp.getgrnam(name).gr_gid for name in unit.groups if _is_group(name)]
    except KeyError:
        return []
    groups += os.getgrouplist(unit.user, user.pw_gid)
    options = ("-r", "-w") if write else ("-r",)
    return [
        found(check, "denied", about, file=file, user=unit.user)
        for file in files
        for option in options
        if subprocess.run(
            ["test", option, file],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=groups,
            timeout=SYSTEMCTL_S,
            check=False,
        ).returncode
        != 0
    ][:DENIED_SHOWN_MAX]


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


# --- identity --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dates:
    since_s: float
    until_s: float


def probe_identity(
    broker: Broker, files: TlsFiles, *, expected: str, wall_s: float, dated: bool, about: str = ""
) -> list[Finding]:
    """The files of one link, as this user sees them.

    `expected` is the name that the certificate must have, `wall_s` Unix time; without `dated`
    nobody vouches for it and dates are not looked at.
    """

    def is_so(code: str, **facts: str | int | float) -> Finding:
        return found("identity", code, about, **facts)

    if not broker.tls:
        return [is_so("identity_not_needed")]
    if files.ca is None or files.certificate is None:
        return [is_so("identity_none")]
    named = (files.ca, files.certificate, files.key)
    missing = []
    for path in dict.fromkeys(path for path in named if path is not None):
        try:
            Path(path).open("rb").close()
        except OSError as error:
            missing.append(is_so("file_missing", file=path, why=error.strerror or str(error)))
    if missing:
        return missing
    key_file = files.key or files.certificate
    findings = []
    mode = stat.S_IMODE(Path(key_file).stat().st_mode)
    if mode & 0o037:
        findings.append(is_so("key_open", file=key_file, mode=f"{mode:03o}"))
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # With a password function nothing asks the person at the terminal for one.
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")
    except ssl.SSLError as error:
        code = "key_mismatch" if "MISMATCH" in str(error.reason) else "identity_unreadable"
        return [*findings, is_so(code, file=key_file)]
    try:
        ours, authority = _read_certificate(files.certificate), _read_certificate(files.ca)
        verified = _openssl(
            *("verify", "-CAfile", files.ca, "-purpose", "sslclient", "-no_check_time"),
            files.certificate,
        )
    except (OSError, subprocess.TimeoutExpired):
        return [*findings, is_so("openssl_missing")]
    except ValueError as error:
        return [*findings, is_so("identity_unreadable", file=str(error))]
    name, dates = ours
    if verified.returncode != 0:
        findings.append(is_so("identity_other_ca", name=name, ca=files.ca))
    if name != expected:
        findings.append(is_so("identity_other_name", name=name, expected=expected))
    bad = len(findings)
    if dated:
        codes = (
            *_date_codes(name, dates, wall_s),
            *_authority_codes(files.ca, authority[1], wall_s),
        )
        findings += [is_so(code, **facts) for code, facts in codes]
    if len(findings) == bad and not any(one.verdict == "failure" for one in findings):
        if dated:
            findings.append(is_so("identity_ok", name=name, until=day(dates.until_s)))
        else:
            findings.append(is_so("identity_undated", name=name))
    return findings


_Code = tuple[str, dict[str, str | int | float]]


def _date_codes(name: str, dates: _Dates, wall_s: float) -> Iterator[_Code]:
    until = day(dates.until_s)
    if wall_s >= dates.until_s:
        yield "identity_expired", {"name": name, "until": until}
    elif wall_s < dates.since_s:
        yield "identity_not_yet", {"name": name, "since": day(dates.since_s)}
    elif (days := int((dates.until_s - wall_s) // DAY_S)) < IDENTITY_WARN_DAYS:
        yield "identity_ends_soon", {"name": name, "until": until, "days": days}


def _authority_codes(ca: str, dates: _Dates, wall_s: float) -> Iterator[_Code]:
    until = day(dates.until_s)
    if wall_s >= dates.until_s:
        yield "authority_expired", {"ca": ca, "until": until}
    elif (days := int((dates.until_s - wall_s) // DAY_S)) < AUTHORITY_WARN_DAYS:
        yield "authority_ends_soon", {"ca": ca, "until": until, "days": days}


def _read_certificate(path: str) -> tuple[str, _Dates]:
    """Common name and dates of the first certificate in a file.

    Raises:
        ValueError: there is none; its text is the path.
        OSError: there is no openssl.
        subprocess.TimeoutExpired: it does not end.
    """
    done = _openssl(
        *("x509", "-in", path, "-noout", "-subject", "-startdate", "-enddate"),
        *("-nameopt", "sep_multiline,utf8"),
    )
    said = done.stdout.decode("utf-8", "replace")
    name, dates = _COMMON_NAME.search(said), dict(_DATE.findall(said))
    if done.returncode != 0 or name is None or dates.keys() != {"Before", "After"}:
        raise ValueError(path)
    since_s, until_s = (ssl.cert_time_to_seconds(dates[one]) for one in ("Before", "After"))
    return name[1].strip(), _Dates(since_s, until_s)


def _openssl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    # The program and no library: every Debian has it, and the firmware carries no cryptography.
    return subprocess.run(
        ["openssl", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=OPENSSL_S,
        check=False,
    )


def day(unix_s: float) -> str:
    """The day of a moment, UTC."""
    return timestamp(int(unix_s * 1000))[:10]


# --- disk ------------------------------------------------------------------------------------


def probe_disk(directory: Path, *, write: bool, sys: Path = Path("/sys")) -> list[Finding]:
    """The disk under a directory that may not be there yet; with `write`, one synced page.

    `sys` is where sysfs is mounted.
    """
    above = next(each for each in (directory, *directory.parents) if each.is_dir())
    findings = _kernel_errors(above, sys)
    try:
        room = os.statvfs(above)
    except OSError as error:
        return [*findings, _disk_error(above, error)]
    free_bytes = room.f_bavail * room.f_frsize
    if room.f_flag & os.ST_RDONLY:
        return [*findings, found("disk", "disk_read_only", directory=str(above))]
    write_ms = None
    if write:
        began_s = time.monotonic()
        try:
            _write_page(above)
        except OSError as error:
            return [*findings, _disk_error(above, error)]
        write_ms = round((time.monotonic() - began_s) * 1000)
    if free_bytes < DISK_PROBE_BYTES or (room.f_files and not room.f_favail):
        return [*findings, found("disk", "disk_full", directory=str(above))]
    free_mb = free_bytes // 1_000_000
    if free_bytes < DISK_SMALL_BYTES:
        findings.append(found("disk", "disk_small", free_mb=free_mb, directory=str(above)))
    if write_ms is not None and write_ms >= DISK_SLOW_MS:
        findings.append(found("disk", "disk_slow", write_ms=write_ms))
    if not findings and write_ms is not None:
        findings.append(found("disk", "disk_ok", free_mb=free_mb, write_ms=write_ms))
    elif not findings:
        findings.append(found("disk", "disk_looked_at", free_mb=free_mb))
    return findings


def _write_page(directory: Path) -> None:
    with tempfile.TemporaryFile(dir=directory, prefix=".doctor-") as file:
        file.write(bytes(DISK_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _disk_error(directory: Path, error: OSError) -> Finding:
    codes = {
        errno.ENOSPC: "disk_full",
        errno.EDQUOT: "disk_full",
        errno.EROFS: "disk_read_only",
        errno.EACCES: "disk_denied",
        errno.EPERM: "disk_denied",
    }
    code = codes.get(error.errno or 0)
    if code is not None:
        return found("disk", code, directory=str(directory))
    why = error.strerror or str(error)
    return found("disk", "disk_failing", directory=str(directory), why=why)


def _kernel_errors(directory: Path, sys: Path) -> list[Finding]:
    """What ext4 has counted since the last fsck, where it is ext4 and says so."""
    try:
        number = directory.stat().st_dev
        block = sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
        device = block.resolve().name
        count = int((sys / "fs" / "ext4" / device / "errors_count").read_text())
    except (OSError, ValueError):
        return []
    return [found("disk", "disk_errors", count=count, device=device)] if count else []


# --- the way to a broker ---------------------------------------------------------------------


def probe_network(
    broker: Broker, files: TlsFiles, *, dated: bool, about: str = ""
) -> Iterator[Finding]:
    """DNS, TCP and TLS, each as soon as it is known; what comes after a failure is left out.

    Nothing is said in MQTT, so a session that the service has goes on undisturbed.
    """
    steps: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("dns", lambda: _probe_dns(broker, about)),
        ("tcp", lambda: _probe_tcp(broker, about)),
        ("tls", lambda: _probe_tls(broker, files, dated, about)),
    )
    failed: str | None = None
    for check, probe in steps:
        if failed is not None:
            yield left_after(check, failed, about)
            continue
        findings = bounded(check, probe, about, DNS_S if check == "dns" else PROBE_S)
        if check == "dns" and any(one.code == "probe_silent" for one in findings):
            findings = [found("dns", "dns_silent", about, seconds=round(DNS_S))]
        yield from findings
        if any(one.verdict == "failure" for one in findings):
            failed = check


def _probe_dns(broker: Broker, about: str) -> list[Finding]:
    try:
        ipaddress.ip_address(broker.host.partition("%")[0])
    except ValueError:
        pass  # a name
    else:
        return [found("dns", "dns_number", about, host=broker.host)]
    try:
        places = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return [found("dns", "dns_failed", about, host=broker.host, why=why)]
    addresses = list(dict.fromkeys(str(place[4][0]) for place in places))[:ADDRESSES_SHOWN_MAX]
    return [found("dns", "dns_ok", about, host=broker.host, addresses=", ".join(addresses))]


def _probe_tcp(broker: Broker, about: str) -> list[Finding]:
    where: dict[str, str | int | float] = {"host": broker.host, "port": broker.port}
    try:
        socket.create_connection((broker.host, broker.port), CONNECT_S).close()
    except ConnectionRefusedError:
        return [found("tcp", "tcp_refused", about, **where)]
    except TimeoutError:
        return [found("tcp", "tcp_silent", about, **where, seconds=round(CONNECT_S))]
    except OSError as error:
        why = error.strerror or str(error)
        return [found("tcp", "tcp_unreachable", about, **where, why=why)]
    return [found("tcp", "tcp_ok", about, **where)]


def _probe_tls(broker: Broker, files: TlsFiles, dated: bool, about: str) -> list[Finding]:
    if not broker.tls:
        return [found("tls", "tls_none", about)]
    try:
        context = tls_context(files, dated=dated)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return [found("tls", "tls_files", about, why=why)]
    host, port = broker.host, broker.port
    try:
        with (
            socket.create_connection((host, port), CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            version = secured.version() or "TLS"
            refused = _refusal(secured)
    except ssl.SSLCertVerificationError as error:
        return [_untrusted(error, host, about)]
    except (ssl.SSLError, OSError) as error:
        return [_handshake_failed(error, host, port, about)]
    if refused is not None:
        return [found("tls", "tls_refused_ours", about, why=refused)]
    return [found("tls", "tls_ok" if dated else "tls_undated", about, version=version)]


def _refusal(secured: ssl.SSLSocket) -> str | None:
    """Why the broker does not take our certificate; None when it waits for our first word."""
    secured.settimeout(TLS_WORD_S)
    try:
        said = secured.recv(1)
    except TimeoutError:
        return None
    except ssl.SSLError as error:
        return _alert(error)
    except OSError as error:
        return error.strerror or str(error)
    return None if said else "it closed the connection"


def _untrusted(error: ssl.SSLCertVerificationError, host: str, about: str) -> Finding:
    if error.verify_code in _OTHER_NAME:
        return found("tls", "tls_name", about, host=host)
    if error.verify_code == _EXPIRED:
        return found("tls", "tls_expired", about)
    if error.verify_code == _NOT_YET:
        return found("tls", "tls_not_yet", about)
    if error.verify_code in _OTHER_CA:
        return found("tls", "tls_other_ca", about, why=error.verify_message)
    return found("tls", "tls_broken", about, why=error.verify_message)


def _handshake_failed(error: OSError, host: str, port: int, about: str) -> Finding:
    reason = str(getattr(error, "reason", None) or "")
    if "ALERT" in reason and "VERSION" not in reason and "HANDSHAKE" not in reason:
        # TLS 1.2 tells a client in the handshake that its certificate is not accepted.
        return found("tls", "tls_refused_ours", about, why=_alert(error))
    is_cut = isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError)
    if is_cut or reason in (
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "UNEXPECTED_EOF_WHILE_READING",
    ):
        return found("tls", "tls_plain", about, host=host, port=port)
    if isinstance(error, TimeoutError):
        reason = f"no answer within {CONNECT_S:.0f} s"
    return found("tls", "tls_broken", about, why=reason or error.strerror or str(error))


def _alert(error: OSError) -> str:
    """`certificate revoked` from `SSLV3_ALERT_CERTIFICATE_REVOKED`."""
    reason = str(getattr(error, "reason", None) or error)
    return reason.partition("ALERT_")[2].lower().replace("_", " ") or reason


# --- MQTT ------------------------------------------------------------------------------------


class SessionEnded(Exception):
    """The broker has put an end to it; `finding` says how."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.code)
        self.finding = finding


class Session:
    """One MQTT session under somebody's own name, on the same link as the service has.

    A broker lets a name be connected once: never while the service of that name runs.
    """

    def __init__(
        self,
        settings: LinkSettings,
        subscriptions: Sequence[Subscription],
        *,
        dated: bool,
        about: str = "",
    ) -> None:
        """Nothing is connected yet."""
        self.farewell: tuple[Will, ...] = ()  # said at the end
        self._about = about
        self._client = settings.client_id
        self._was_up = False
        self._events: queue.Queue[object] = queue.Queue(EVENTS_WAITING_MAX)
        self.link = Link(
            "doctor",
            settings,
            subscriptions=subscriptions,
            will=lambda _: None,
            deliver=self._deliver,
            synchronised=lambda: dated,
        )

    def __enter__(self) -> Session:
        self.link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.link.stop(1.0, self.farewell)

    def connected(self) -> Finding:
        """The first connection, or why there is none."""
        try:
            event = self.wait_for(lambda event: isinstance(event, LinkUp), MQTT_S)
        except SessionEnded as ended:
            return ended.finding
        if event is None:
            return found("mqtt", "mqtt_silent", self._about, seconds=round(MQTT_S))
        self._was_up = True
        return found("mqtt", "mqtt_ok", self._about, client=self._client)

    def wait_for(self, is_it: Callable[[object], bool], timeout_s: float) -> object | None:
        """The first event that is it; None when none came in time.

        Raises:
            SessionEnded: the connection is gone, or the broker has refused what we said.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            try:
                event = self._events.get(timeout=max(0.001, until_s - time.monotonic()))
            except queue.Empty:
                return None
            if is_it(event):
                return event
            match event:
                case LinkDown(_, _, reason):
                    raise SessionEnded(self._why_down(reason))
                case PublishRefused(_, topic, reason):
                    raise SessionEnded(self._not_allowed(f"publish {topic}", reason))

    def _deliver(self, event: object, _droppable: bool) -> bool:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            return False
        return True

    def _not_allowed(self, what: str, why: str) -> Finding:
        return found(
            "mqtt", "mqtt_not_allowed", self._about, client=self._client, what=what, why=why
        )

    def _why_down(self, reason: str) -> Finding:
        if reason.startswith("refused by the broker: "):
            why = reason.partition(": ")[2]
            return found("mqtt", "mqtt_refused", self._about, client=self._client, why=why)
        if reason.startswith("subscription to "):
            what, _, why = reason.partition(" refused: ")
            return self._not_allowed(what, why)
        if reason.startswith(("another client uses", "kicked off")):
            return found("mqtt", "mqtt_taken_over", self._about, client=self._client)
        if self._was_up:
            # mosquitto 2.0 says nothing more to one whose name another has connected with.
            return found("mqtt", "mqtt_cut", self._about, client=self._client)
        return found("mqtt", "mqtt_lost", self._about, why=reason)
