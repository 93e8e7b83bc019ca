"""`kentongan-device doctor`: each planted defect is found and named, and nothing else is done."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import tty
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from paho.mqtt.enums import CallbackAPIVersion

import device.cli
import device.doctor
import gateway.cli
import process.probes
from demo.stage import until
from device.doctor import UNIT, examine
from device.outbox import SCHEMA_VERSION, Outbox
from device.settings import PostFile
from device.status import PostStatus
from gateway.broker_config import refresh
from gateway.identities import Authority, Identity
from hardware.clock import uptime_us
from hardware.nmea import checksum
from hardware.panel import ask
from hardware.pins import MockPins, Pins
from process.findings import Finding, exit_code, found
from process.link import LinkSettings
from process.probes import (
    EVENTS_WAITING_MAX,
    Session,
    bounded,
    probe_disk,
    probe_identity,
    probe_service,
)
from process.settings import Broker, TlsFiles
from process.status import FRESH_US, StatusFile
from protocol.codec import decode_at, encode
from protocol.messages import Answer, Health, Presence
from protocol.topics import Topics
from protocol.values import timestamp
from tests.broker import Mosquitto
from tests.faults.machine import fill, remount, small_disk
from tests.security.city import HONEST, OPERATOR, City, foreign, wall_ms

ROOT = Path(__file__).parents[2]
POST = "mlg-test-rw01"
DAY = dt.timedelta(days=1)
PLAIN = """
post_id = "mlg-test-rw01"
[location]
lat = -7.9
lon = 112.6
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[hardware]
pins = "mock"
[store]
path = "{directory}/post.db"
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A person watches the lamp for seconds; a test does not. No service runs on this machine."""
    monkeypatch.setattr(device.doctor, "LAMP_TEST_S", 0.05)
    monkeypatch.setattr(device.doctor, "BUTTON_LOOK_S", 0.2)
    monkeypatch.setattr(process.probes, "TLS_WORD_S", 0.5)
    monkeypatch.setattr(process.probes, "DISK_SLOW_MS", 60_000)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setenv("KENTONGAN_CLOCK", "synchronised")


def written(directory: Path, text: str = PLAIN, more: str = "", **facts: object) -> Path:
    facts.setdefault("port", 1)
    path = directory / "post.toml"
    path.write_text(text.format(directory=directory, **facts) + more)
    return path


def look(config: Path, **options: Any) -> list[Finding]:
    return list(examine(config, quiet=True, gps_s=options.pop("gps_s", 0.5), **options))


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.code: finding.verdict for finding in findings}


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def bad(findings: list[Finding]) -> set[str]:
    """What is wrong; that a laptop has no real button is said each time."""
    wrong = {one.code for one in findings if one.verdict in ("warning", "failure")}
    return wrong - {"pins_mock"}


# What a post without broker and service is told in any case.
ALONE = {"service_stopped", "tcp_refused"}


def defects(findings: list[Finding]) -> set[str]:
    return bad(findings) - ALONE


# --- settings, clock, command line ---------------------------------------------------------------


def test_a_post_that_is_well_but_for_its_broker_has_no_other_defect(tmp_path: Path) -> None:
    findings = look(written(tmp_path))
    assert bad(findings) == ALONE
    assert exit_code(findings) == 2
    order = list(dict.fromkeys(one.check for one in findings))
    assert order == [
        *("settings", "service", "identity", "clock", "disk", "outbox", "pins", "button"),
        *("lamp", "buzzer", "gps", "dns", "tcp", "tls", "mqtt", "gateway", "mcc"),
    ]


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (PLAIN.replace("lat = -7.9", "lat = 97.9"), "lat"),
        (PLAIN.replace("pins =", "pens ="), "did you mean [hardware] pins"),
        (PLAIN.replace("[hardware]", "[hardware"), "line"),
        ("", "post_id"),
    ],
)
def test_wrong_settings_are_named_and_nothing_else_is_tried(
    tmp_path: Path, broken: str, word: str
) -> None:
    findings = look(written(tmp_path, broken))
    assert codes(findings) == {"settings_wrong"}
    assert any(word in one.means("id") for one in findings)


def test_a_clock_that_is_not_set_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KENTONGAN_CLOCK", "unsynchronised")
    assert defects(look(written(tmp_path))) == {"clock_unsynchronised"}


def doctor(config: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "device.cli", "doctor", "--config", str(config), *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env=os.environ | environment,
    )


def test_the_command_line_says_it_in_both_languages_and_as_json(tmp_path: Path) -> None:
    config = written(tmp_path)
    indonesian = doctor(config, "--quiet", LANG="id_ID.UTF-8", LC_ALL="")
    assert indonesian.returncode == 2
    assert indonesian.stderr == ""
    assert "GAGAL   TCP: 127.0.0.1:1 menolak" in indonesian.stdout
    assert "-> jalankan brokernya" in indonesian.stdout
    told = json.loads(doctor(config, "--quiet", "--lang", "en", "--json").stdout)
    assert told["exit"] == 2
    refused = next(one for one in told["findings"] if one["code"] == "tcp_refused")
    assert refused["facts"] == {"host": "127.0.0.1", "port": 1}
    assert refused["do"].startswith("start the broker")


def test_wrong_settings_meet_the_command_line_without_a_traceback(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        done = doctor(path, "--lang", "en")
        assert done.returncode == 2
        assert done.stdout.startswith("FAILURE settings: ")
        assert "Traceback" not in done.stdout + done.stderr


def test_a_probe_that_hangs_or_breaks_is_a_finding() -> None:
    answer = threading.Event()
    hanging = bounded("disk", lambda: [] if answer.wait() else [found("disk", "?")], "", 0.05)
    answer.set()
    assert codes(hanging) == {"probe_silent"}
    broken = bounded("disk", lambda: [Finding("disk", str(1 // 0))])
    assert codes(broken) == {"probe_broke"}
    assert "ZeroDivisionError" in broken[0].means("en")


def test_files_that_never_answer_hold_nothing_up_for_long(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO that nobody writes to is like a card that hangs."""
    monkeypatch.setattr(process.probes._within, "__defaults__", ("", 0.3))
    monkeypatch.setattr(process.probes.bounded, "__defaults__", ("", 0.3))
    config = identity(authority, tmp_path)
    (tmp_path / "run").mkdir()
    for path, check in (
        (tmp_path / "run" / "status.json", "service"),
        (tmp_path / "identity.pem", "identity"),
        (config, "settings"),
    ):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        findings = look(config)
        assert (check, "probe_silent") in {(one.check, one.code) for one in findings}


@pytest.mark.parametrize("hostile", [b"", b"\x00" * 5_000, b"[" * 5_000, bytes(range(256)) * 40])
def test_no_content_of_any_file_brings_a_traceback(
    authority: Authority, tmp_path: Path, hostile: bytes
) -> None:
    config = identity(authority, tmp_path)
    (tmp_path / "run").mkdir()
    path = begun(tmp_path)
    for planted in (
        *(tmp_path / "run" / "status.json", authority.ca_file, tmp_path / "identity.pem"),
        *(path, Path(f"{path}-wal"), Path(f"{path}.lock"), config),
    ):
        planted.write_bytes(hostile)
        findings = look(config)
        assert findings
        assert not codes(findings) & {"probe_broke", "probe_silent"}


# --- identity ------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with Authority.create(tmp_path / "register", "Kentongan CA", wall_ms()) as authority:
        yield authority


def identity(
    authority: Authority, directory: Path, *, pem: str | None = None, mode: int = 0o600
) -> Path:
    """Settings of a post with TLS; its identity is `pem`, or a good one."""
    if pem is None:
        pem = authority.provision(Identity(POST, "post"), wall_ms()).whole
    file = directory / "identity.pem"
    file.write_text(pem)
    file.chmod(mode)
    return with_tls(directory, authority.ca_file, file)


def with_tls(
    directory: Path, ca: Path, file: Path, *, url: str = "mqtts://localhost:1", post: str = POST
) -> Path:
    text = PLAIN.replace('"mqtt://127.0.0.1:{port}"', f'"{url}"').replace(POST, post)
    tls = f'ca = "{ca}"\ncertificate = "{file}"\n'
    return written(directory, text.replace("[hardware]", f"{tls}[hardware]"))


def lasting(
    authority: Authority, days: float, *, since: float = -1, whose: Identity | None = None
) -> str:
    """An identity of the authority that begins and ends so many days from now."""
    whole = authority.provision(whose or Identity(POST, "post"), wall_ms()).whole
    was = x509.load_pem_x509_certificate(whole.encode())
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        was.issuer,
        was.subject,
        was.public_key(),
        x509.random_serial_number(),
        now + since * DAY,
        now + days * DAY,
        list(was.extensions),
    )
    new = builder.sign(authority._key, was.signature_hash_algorithm)  # type: ignore[arg-type]
    key = whole[whole.index("-----BEGIN PRIVATE") :]
    return new.public_bytes(serialization.Encoding.PEM).decode() + key


def of_another_name(authority: Authority) -> str:
    return authority.provision(Identity("mlg-other-rw09", "post"), wall_ms()).whole


def with_another_key(authority: Authority) -> str:
    one, other = (authority.renew(POST, wall_ms()) for _ in range(2))
    return one.certificate + other.key


IDENTITIES: dict[str, Callable[[Authority], str]] = {
    "identity_ends_soon": lambda authority: lasting(authority, 30),
    "identity_expired": lambda authority: lasting(authority, -0.5, since=-3),
    "identity_not_yet": lambda authority: lasting(authority, 90, since=1),
    "identity_other_name": of_another_name,
    "identity_unreadable": lambda _: "no certificate",
    "identity_other_ca": lambda authority: foreign(POST, authority._certificate.subject),
}


@pytest.mark.parametrize("code", IDENTITIES)
def test_a_wrong_identity_is_named(code: str, authority: Authority, tmp_path: Path) -> None:
    config = identity(authority, tmp_path, pem=IDENTITIES[code](authority))
    assert defects(look(config)) == {code}


def test_a_key_of_another_certificate_is_named(authority: Authority, tmp_path: Path) -> None:
    authority.provision(Identity(POST, "post"), wall_ms())
    config = identity(authority, tmp_path, pem=with_another_key(authority))
    assert defects(look(config)) == {"key_mismatch"}


def test_a_good_identity_is_well(authority: Authority, tmp_path: Path) -> None:
    findings = look(identity(authority, tmp_path))
    assert defects(findings) == set()
    assert "identity_ok" in codes(findings)


def test_without_a_clock_dates_are_left_out(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KENTONGAN_CLOCK", "unsynchronised")
    findings = look(identity(authority, tmp_path, pem=lasting(authority, -0.5, since=-3)))
    assert defects(findings) == {"clock_unsynchronised"}
    assert "identity_undated" in codes(findings)


def test_a_key_that_others_can_read_is_named(authority: Authority, tmp_path: Path) -> None:
    findings = look(identity(authority, tmp_path, mode=0o644))
    assert defects(findings) == {"key_open"}
    # As `install` leaves it for root and the service.
    assert defects(look(identity(authority, tmp_path, mode=0o640))) == set()


def test_files_that_are_not_there_are_each_named(authority: Authority, tmp_path: Path) -> None:
    config = identity(authority, tmp_path)
    (tmp_path / "identity.pem").unlink()
    authority.ca_file.unlink()
    missing = [one for one in look(config) if one.code == "file_missing"]
    assert {one.facts["file"] for one in missing} == {
        str(tmp_path / "identity.pem"),
        str(tmp_path / "register" / "ca.pem"),
    }


def test_an_authority_that_ends_is_named(authority: Authority, tmp_path: Path) -> None:
    identity(authority, tmp_path)
    in_19_years_s = wall_ms() / 1000 + 19.5 * 365 * 86_400
    told = probe_identity(
        Broker("localhost", 1, tls=True),
        TlsFiles(str(authority.ca_file), str(tmp_path / "identity.pem")),
        expected=POST,
        wall_s=in_19_years_s,
        dated=True,
    )
    assert codes(told) == {"authority_ends_soon", "identity_expired"}


# --- disk and outbox -----------------------------------------------------------------------------


def test_a_disk_that_is_small_full_or_read_only_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 512) as disk:
        assert defects(look(written(tmp_path, PLAIN.replace("{directory}/", f"{disk}/")))) == {
            "disk_small"
        }
        filler = fill(disk)
        assert codes(probe_disk(disk, write=True)) == {"disk_full"}
        assert codes(probe_disk(disk, write=False)) == {"disk_full"}
        filler.unlink()
        remount(disk, "ro")
        assert codes(probe_disk(disk, write=True)) == {"disk_read_only"}


def test_a_disk_that_is_slow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.probes, "DISK_SLOW_MS", 0)
    assert defects(look(written(tmp_path))) == {"disk_slow"}


def test_what_the_kernel_has_noted_of_a_file_system_is_said(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    block = tmp_path / "sys" / "dev" / "block"
    (tmp_path / "sys" / "fs" / "ext4" / "mmcblk0p2").mkdir(parents=True)
    (tmp_path / "sys" / "devices" / "mmcblk0p2").mkdir(parents=True)
    block.mkdir(parents=True)
    name = f"{os.major(number)}:{os.minor(number)}"
    (block / name).symlink_to(tmp_path / "sys" / "devices" / "mmcblk0p2")
    (tmp_path / "sys" / "fs" / "ext4" / "mmcblk0p2" / "errors_count").write_text("3\n")
    assert codes(probe_disk(tmp_path, write=True, sys=tmp_path / "sys")) == {"disk_errors"}


def begun(directory: Path) -> Path:
    """An outbox as a post leaves it."""
    path = directory / "post.db"
    outbox = Outbox(path, lambda _: None)
    outbox.open()
    outbox.close(5)
    return path


def test_an_outbox_that_is_damaged_newer_or_somebody_elses_is_named(tmp_path: Path) -> None:
    path = begun(tmp_path)
    config = written(tmp_path)
    assert defects(look(config)) == set()
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    assert defects(look(config)) == {"store_newer"}
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(len(whole) - 100))
    assert defects(look(config)) == {"outbox_damaged"}
    path.write_bytes(b"Dear diary, " * 500)
    assert defects(look(config)) == {"outbox_damaged"}
    Path(f"{path}.lock").unlink()
    assert defects(look(config)) == {"store_foreign"}


def test_looking_changes_nothing_on_the_disk(tmp_path: Path) -> None:
    begun(tmp_path)
    config = written(tmp_path)

    def files() -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in tmp_path.iterdir() if one.is_file()}

    before = files()
    look(config)
    assert files() == before


# --- pins, button, lamp, buzzer ------------------------------------------------------------------

EVERYTHING = "[button]\nnc_pin = 5\n[cancel]\npin = 25\n[tamper]\npin = 6\n[mains]\npin = 13\n"
AT_REST = {17: 1, 5: 0, 25: 1, 6: 0, 13: 0}


def wired(levels: dict[int, int]) -> Callable[[PostFile], Pins]:
    """Mock pins whose lines somebody holds: 1 open, 0 closed."""

    def opened(_: PostFile) -> Pins:
        pins = MockPins()
        with pins.driving() as drive:
            for number, level in levels.items():
                drive(number, level, 0.0)
        return pins

    return opened


@pytest.mark.parametrize(
    ("levels", "defect"),
    [
        ({}, set()),
        ({17: 0, 5: 1}, {"button_closed"}),
        ({5: 1}, {"button_cut"}),
        ({17: 0}, {"button_short"}),
        ({25: 0}, {"cancel_closed"}),
        ({6: 1}, {"lid_open"}),
        ({13: 1}, {"mains_lost"}),
    ],
)
def test_what_is_wrong_with_the_wires_is_named(
    tmp_path: Path, levels: dict[int, int], defect: set[str]
) -> None:
    config = written(tmp_path, more=EVERYTHING)
    assert defects(look(config, open_pins_of=wired(AT_REST | levels))) == defect


def test_a_button_without_a_second_contact_that_stays_closed_is_named(tmp_path: Path) -> None:
    assert defects(look(written(tmp_path), open_pins_of=wired({17: 0}))) == {"button_closed"}


def test_a_pin_that_another_has_and_a_board_without_pins_are_named(tmp_path: Path) -> None:
    pins = MockPins()
    pins.output(17, "fan of another program")
    findings = look(written(tmp_path), open_pins_of=lambda _: pins)
    assert defects(findings) == {"pins_unavailable"}
    said = next(one.means("en") for one in findings if one.code == "pins_unavailable")
    assert "fan of another program" in said
    text = PLAIN.replace('"mock"', '"lgpio"')
    assert defects(look(written(tmp_path, text))) == {"pins_unavailable"}


def test_lamp_and_buzzer_are_worked_and_quiet_keeps_the_buzzer_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.doctor, "ACKNOWLEDGED", ((20, 0),))
    written_pins: Counter[tuple[int, bool]] = Counter()

    def opened(_: PostFile) -> Pins:
        pins = MockPins()
        output = pins.output

        def counted(number: int, role: str) -> object:
            pin = output(number, role)
            change = pin._change_state

            def changed(value: bool) -> bool:
                written_pins[number, bool(value)] += 1
                return bool(change(value))

            monkeypatch.setattr(pin, "_change_state", changed)
            return pin

        monkeypatch.setattr(pins, "output", counted)
        return pins

    config = written(tmp_path)
    quiet = list(examine(config, quiet=True, open_pins_of=opened))
    assert "buzzer_quiet" in codes(quiet)
    assert written_pins[24, True] == 0
    assert written_pins[27, True] == 1  # red comes first
    loud = list(examine(config, open_pins_of=opened))
    assert "buzzer_sounded" in codes(loud)
    assert written_pins[24, True] == 1


# --- GPS -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def receiver(said: bytes) -> Iterator[str]:
    """A pty on which a receiver has said this."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.write(master, said)
    try:
        yield os.ttyname(slave)
    finally:
        os.close(slave)
        os.close(master)


def sentence(body: str) -> bytes:
    return f"${body}*{checksum(body)}\r\n".encode()


def place(lat: str, lon: str) -> bytes:
    gga = f"GPGGA,010203.00,{lat},S,{lon},E,1,08,0.9,450.1,M,10.0,M,,"
    rmc = f"GPRMC,010203.00,A,{lat},S,{lon},E,0.1,,251126,,,A"
    return sentence(gga) + sentence(rmc)


SAID = {
    "gps_fix": place("0754.0000", "11236.0000"),
    "gps_far": place("0756.0000", "11236.0000"),
    "gps_no_fix": sentence("GPGGA,010203.00,,,,,0,00,99.9,,,,,,") * 3,
    "gps_garbage": bytes(range(128, 256)) * 4,
    "gps_silent": b"",
}


@pytest.mark.parametrize("code", SAID)
def test_what_a_receiver_says_is_named(tmp_path: Path, code: str) -> None:
    with receiver(SAID[code]) as path:
        text = PLAIN.replace("[mqtt]", f'source = "gps"\ndevice = "{path}"\n[mqtt]')
        findings = look(written(tmp_path, text))
    assert code in codes(findings)
    assert defects(findings) == ({code} if code != "gps_fix" else set())


def test_a_line_that_is_not_there_or_that_somebody_has_is_named(tmp_path: Path) -> None:
    with receiver(SAID["gps_fix"]) as path, Path(path).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for device_path in ("/dev/serial9", path):
            text = PLAIN.replace("[mqtt]", f'source = "gps"\ndevice = "{device_path}"\n[mqtt]')
            assert defects(look(written(tmp_path, text))) == {"gps_port"}


# --- the way to a broker -------------------------------------------------------------------------


def test_a_name_that_nobody_knows_is_named(authority: Authority, tmp_path: Path) -> None:
    identity(authority, tmp_path)
    url = "mqtts://tidak-ada.invalid:8883"
    config = with_tls(tmp_path, authority.ca_file, tmp_path / "identity.pem", url=url)
    findings = look(config)
    assert bad(findings) & {"dns_failed", "dns_silent"}
    assert {one.check for one in findings if one.code == "left_after"} == {
        *("tcp", "tls", "mqtt", "gateway", "mcc")
    }


def test_a_broker_that_speaks_plain_where_tls_is_expected_is_named(
    authority: Authority, tmp_path: Path
) -> None:
    identity(authority, tmp_path)
    with Mosquitto() as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        config = with_tls(tmp_path, authority.ca_file, tmp_path / "identity.pem", url=url)
        assert bad(look(config)) == {"service_stopped", "tls_plain"}


@contextlib.contextmanager
def speaking_tls(identity_file: Path) -> Iterator[int]:
    """A port that shakes hands with this identity, and says nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity_file)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with contextlib.suppress(ssl.SSLError), server.accept()[0] as plain:
                        context.wrap_socket(plain, server_side=True).recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    ("days", "since", "code"), [(-1, -30, "tls_expired"), (30, 1, "tls_not_yet")]
)
def test_a_broker_whose_certificate_is_over_is_named(
    authority: Authority, tmp_path: Path, days: int, since: int, code: str
) -> None:
    identity(authority, tmp_path)
    broker = Identity("broker", "broker", hosts=("localhost",))
    file = tmp_path / "broker.pem"
    file.write_text(lasting(authority, days, since=since, whose=broker))
    with speaking_tls(file) as port:
        url = f"mqtts://localhost:{port}"
        config = with_tls(tmp_path, authority.ca_file, tmp_path / "identity.pem", url=url)
        assert bad(look(config)) == {"service_stopped", code}


def test_a_host_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.probes, "CONNECT_S", 0.3)
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # a queue that is full: the kernel passes over whoever else knocks
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        findings = look(written(tmp_path, port=full.getsockname()[1]))
    assert bad(findings) == {"service_stopped", "tcp_silent"}


def test_a_gateway_with_another_time_is_named(tmp_path: Path) -> None:
    topics = Topics()
    with Mosquitto() as broker:
        gateway_of_an_hour_ago = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)

        def answer(client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
            health = decode_at(topics.parse(message.topic), bytes(message.payload))
            assert isinstance(health, Health)
            said = Answer(
                post=POST,
                n=health.n,
                connection=health.connection,
                mcc_answers=True,
                at=timestamp(wall_ms() - 3_600_000),
            )
            client.publish(topics.post(POST, "answer"), encode(said), qos=1)

        gateway_of_an_hour_ago.on_message = answer
        gateway_of_an_hour_ago.connect("127.0.0.1", broker.port)
        gateway_of_an_hour_ago.subscribe(topics.post(POST, "health"), qos=1)
        gateway_of_an_hour_ago.loop_start()
        findings = look(written(tmp_path, port=broker.port))
        gateway_of_an_hour_ago.disconnect()
        gateway_of_an_hour_ago.loop_stop()
    assert bad(findings) == {"service_stopped", "clock_differs"}
    assert {"gateway_answers", "mcc_answers"} <= codes(findings)


def test_a_broker_that_hangs_is_named(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.probes, "CONNECT_S", 0.3)
    monkeypatch.setattr(process.probes, "MQTT_S", 0.3)
    identity(authority, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"mqtts://127.0.0.1:{port}"
        config = with_tls(tmp_path, authority.ca_file, tmp_path / "identity.pem", url=url)
        assert bad(look(config)) == {"service_stopped", "tls_broken"}
        assert bad(look(written(tmp_path, port=port))) == {"service_stopped", "mqtt_silent"}


def test_a_plain_broker_without_a_gateway_is_a_silent_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.doctor, "ANSWER_S", 0.5)
    with Mosquitto() as broker:
        findings = look(written(tmp_path, port=broker.port))
    assert bad(findings) == {"service_stopped", "gateway_silent"}
    assert "mqtt_ok" in codes(findings)


def test_a_broker_that_refuses_or_forbids_is_named(tmp_path: Path) -> None:
    with Mosquitto("allow_anonymous false") as broker:
        findings = look(written(tmp_path, port=broker.port))
        assert bad(findings) == {"service_stopped", "mqtt_refused"}
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    with Mosquitto(f"acl_file {acl}") as broker:
        findings = look(written(tmp_path, port=broker.port))
        assert bad(findings) == {"service_stopped", "mqtt_not_allowed"}
        said = next(one.means("en") for one in findings if one.code == "mqtt_not_allowed")
        assert f"posts/{POST}/health" in said


def test_what_a_broker_sends_to_doctor_is_bounded() -> None:
    link = LinkSettings(broker=Broker("127.0.0.1", 1, tls=False), client_id=POST, keepalive_s=5)
    session = Session(link, (), dated=True)
    taken = [session._deliver(n, True) for n in range(EVENTS_WAITING_MAX + 1)]
    assert taken.count(False) == 1  # not taken: the link stops reading, and the broker waits
    assert taken[-1] is False


# --- a city under TLS ----------------------------------------------------------------------------


class Town:
    """A city with the settings of its post."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.directory = city.directory / "post"
        self.directory.mkdir()
        self.panel = str(self.directory / "panel.sock")
        city.certificates[HONEST].chmod(0o600)

    def settings(self, *, host: str = "localhost", port: int | None = None) -> Path:
        port = port or self.city.posts_broker.port
        config = with_tls(
            self.directory,
            Path(self.city.ca),
            self.city.certificates[HONEST],
            url=f"mqtts://{host}:{port}",
            post=HONEST,
        )
        text = config.read_text()
        config.write_text(
            text.replace('"mock"', f'"mock"\npanel_socket = "{self.panel}"').replace(
                "[hardware]", "heartbeat_s = 5\n[hardware]"
            )
        )
        return config

    def watch(self) -> None:
        """The command centre beats."""
        city = self.city
        store, certificate = str(city.directory / "mcc.db"), str(city.certificates[OPERATOR])
        options = ["--store", store, "--url", city.mcc_broker.url, "--console", OPERATOR]
        options += ["--ca", city.ca, "--certificate", certificate]
        city.run("mcc", "mcc.cli", "watch", "--json", *options)
        until("the command centre beats", self._beats, 20)

    def _beats(self) -> bool:
        return "level=info event=mcc_answers" in self.city.log_of("gateway")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with City(tmp_path / "city-of-tests") as city:
        yield Town(city)


@pytest.fixture(autouse=True)
def _room_for_a_city(tmp_path: Path) -> None:
    (tmp_path / "city-of-tests").mkdir()


def test_the_whole_way_is_looked_at_and_the_command_centre_missed(town: Town) -> None:
    findings = look(town.settings())
    assert bad(findings) == {"service_stopped", "mcc_silent"}
    town.watch()
    findings = look(town.settings())
    assert bad(findings) == {"service_stopped"}
    assert {"tls_ok", "mqtt_ok", "gateway_answers", "mcc_answers"} <= codes(findings)
    assert exit_code(findings) == 1


def test_wrong_names_authorities_and_revoked_identities_are_named(town: Town) -> None:
    city = town.city
    assert bad(look(town.settings(host="127.0.0.2"))) == {"service_stopped", "tls_name"}

    (town.directory / "elsewhere").mkdir()
    with Authority.create(town.directory / "elsewhere", "Other CA", wall_ms()) as other:
        config = town.settings()
        config.write_text(config.read_text().replace(city.ca, str(other.ca_file)))
        assert bad(look(config)) == {"service_stopped", "identity_other_ca", "tls_other_ca"}

    # Denied by the list of access, not by its certificate: one that was made a moment ago.
    city.authority.revoke(HONEST, wall_ms())
    assert refresh(city.authority, wall_ms()) == []
    until(
        "the broker has read its lists",
        lambda: "tls_refused_ours" in codes(look(town.settings())),
        20,
    )
    file = city.certificates[HONEST]
    file.write_text(city.authority.passing(HONEST, wall_ms()).whole)
    findings = look(town.settings())
    assert "mqtt_not_allowed" in codes(findings)
    assert "tls_ok" in codes(findings)


def test_beside_a_running_post_doctor_disturbs_nothing_and_tells_what_it_says(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = town.directory / "run"
    run.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(run))
    town.watch()
    config = town.settings()
    config.write_text(config.read_text() + "[button]\nnc_pin = 5\n")
    post = town.city.run("post", "device.cli", "run", "--config", str(config))
    until("armed", lambda: said_by(town.panel).get("lamp") == "armed", 20)
    until("a status file that says so", lambda: '"armed"' in (run / "status.json").read_text(), 10)

    findings = look(config)
    assert bad(findings) == set()
    assert exit_code(findings) == 1  # its pins are a laptop's
    assert {"service_running", "tls_ok", "mqtt_ok", "gateway_served", "mcc_answers"} <= codes(
        findings
    )
    assert {one.check for one in findings if one.code == "left_to_service"} == {"lamp", "buzzer"}
    assert said_by(town.panel)["lamp"] == "armed"
    assert town.city.posts_broker.log.count(f" as {HONEST} (") == 1
    assert "event=link_down" not in town.city.log_of("post")

    ask(town.panel, {"request": "wire", "to": "cut"})
    until("the post says so", lambda: "button_wire_cut" in (run / "status.json").read_text(), 10)
    assert bad(look(config)) == {"button_cut"}
    ask(town.panel, {"request": "wire", "to": "ok"})

    post.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(process.probes, "FRESH_US", 500_000)
    until("its word is old", lambda: "service_hangs" in codes(look(config)), 10)
    monkeypatch.setattr(process.probes, "FRESH_US", FRESH_US)
    post.send_signal(signal.SIGCONT)
    town.city.stop(post)
    assert not (run / "status.json").exists()


def said_by(panel: str) -> dict[str, Any]:
    from hardware.panel import PanelError

    try:
        return ask(panel, {"request": "status"})
    except PanelError:
        return {}


def test_the_heartbeat_of_doctor_leaves_the_post_offline_as_it_was(town: Town) -> None:
    topic = Topics().post(HONEST, "presence")
    with town.city.client("mlg-gw2-posts") as other:
        other.subscribe(topic)
        look(town.settings())
        until("a presence", lambda: other.received)
        presence = decode_at(Topics().parse(topic), other.received[-1][1])
    assert isinstance(presence, Presence)
    assert not presence.online


# --- the service ---------------------------------------------------------------------------------


def status(post: str = POST, **change: Any) -> PostStatus:
    facts: dict[str, Any] = {
        "uptime_us": uptime_us(),
        "post": post,
        "lamp": "armed",
        "listening": True,
        "connected": True,
        "gateway_answers": True,
        "mcc_answers": True,
        "faults": (),
        "location": "surveyed",
        "held": 0,
    }
    return PostStatus(**(facts | change))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[StatusFile]:
    """A service that has its outbox open; what it says is the test's."""
    lock = Path(f"{begun(tmp_path)}.lock")
    (tmp_path / "run").mkdir()
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield StatusFile(tmp_path / "run")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, set()),
        ({"connected": False}, {"mqtt_down"}),
        ({"gateway_answers": False}, {"gateway_silent"}),
        ({"mcc_answers": False}, {"mcc_silent"}),
        ({"faults": ("button_stuck", "tamper")}, {"button_closed", "lid_open"}),
        ({"faults": ("button_wire_short", "mains_lost")}, {"button_short", "mains_lost"}),
        ({"faults": ("disk_failing", "button_worn")}, {"disk_failing", "button_worn"}),
        ({"faults": ("something_new",)}, {"fault_reported"}),
        ({"post": "mlg-other-rw09"}, {"service_unheard"}),
        ({"uptime_us": 0}, {"service_hangs"}),
    ],
)
def test_what_a_running_post_says_is_told(
    tmp_path: Path, running: StatusFile, said: dict[str, Any], expected: set[str]
) -> None:
    running.write(status(**said))
    findings = look(written(tmp_path))
    assert bad(findings) - {"tcp_refused"} == expected
    assert "pins_held" in codes(findings)


def test_a_running_post_without_a_status_is_left_alone(tmp_path: Path, running: StatusFile) -> None:
    findings = look(written(tmp_path))
    assert bad(findings) - {"tcp_refused"} == {"service_unheard"}
    untouched = {one.check for one in findings if one.code == "left_to_service"}
    assert untouched == {"button", "lamp", "buzzer", "gps", "mqtt", "gateway", "mcc"}


def systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """A systemctl that knows our unit and says this of it."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<END\nLoadState=loaded\n{words}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("state", "code", "is_busy"),
    [
        ("ActiveState=activating\nSubState=auto-restart", "service_failing", True),
        ("ActiveState=failed\nSubState=failed", "service_failing", False),
        ("ActiveState=activating\nSubState=start", "service_unheard", True),
        ("ActiveState=active\nSubState=running", "service_unheard", True),
        ("ActiveState=inactive\nSubState=dead", "service_stopped", False),
    ],
)
def test_what_systemd_says_of_a_service_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, code: str, is_busy: bool
) -> None:
    systemd_says(tmp_path, monkeypatch, state)
    with contextlib.ExitStack() as held:
        standing = probe_service(
            UNIT, tmp_path, PostStatus, store=None, now_us=uptime_us(), held=held
        )
    assert (standing.finding.code, standing.is_busy) == (code, is_busy)


def test_files_that_the_services_user_may_not_use_are_named_to_root(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.geteuid() == 0, "this test needs root: it asks as another user"
    state = "ActiveState=inactive\nSubState=dead\nUser=nobody\nSupplementaryGroups=dialout none"
    systemd_says(tmp_path, monkeypatch, state)
    begun(tmp_path)
    config = identity(authority, tmp_path)
    denied = [one for one in look(config) if one.code == "denied"]
    identity_file, store = str(tmp_path / "identity.pem"), str(tmp_path / "post.db")
    assert {(one.check, one.facts["file"]) for one in denied} >= {
        ("identity", identity_file),
        ("outbox", store),
    }
    assert "nobody" in denied[0].means("id")


def test_another_device_with_our_name_is_named(tmp_path: Path) -> None:
    with Mosquitto() as broker:
        config = written(tmp_path, port=broker.port)
        seen: list[Finding] = []
        thread = threading.Thread(target=lambda: seen.extend(look(config)))
        thread.start()
        until("doctor is connected", lambda: f" as {POST} (" in broker.log, 20)
        until("its heartbeat", lambda: f"posts/{POST}/health" in broker.log, 20)
        clone = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=POST, protocol=mqtt.MQTTv5)
        clone.connect("127.0.0.1", broker.port)
        clone.loop_start()
        thread.join(60)
        clone.disconnect()
        clone.loop_stop()
    assert codes(seen) & {"mqtt_cut", "mqtt_taken_over"}  # as the broker says it


def test_a_post_that_starts_meanwhile_waits_for_doctor_and_not_the_other_way_round(
    tmp_path: Path,
) -> None:
    path = begun(tmp_path)
    looking = examine(written(tmp_path), quiet=True)
    next(one for one in looking if one.check == "clock")
    with Path(f"{path}.lock").open("rb") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    list(looking)
    with Path(f"{path}.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- pages ---------------------------------------------------------------------------------------

BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_pages_name_commands_that_exist_and_the_same_in_both_languages() -> None:
    indonesian, english = (
        BLOCK.findall((ROOT / "docs" / f"doctor.{language}.md").read_text(encoding="utf-8"))
        for language in ("id", "en")
    )
    assert indonesian == english
    parsers = {"kentongan-device": device.cli._parser, "kentongan-gateway": gateway.cli._parser}
    ours = [line.split() for block in english for line in block.splitlines() if "doctor" in line]
    assert len(ours) == 3
    for _, program, *arguments in ours:
        parsers[Path(program).name]().parse_args(arguments)
