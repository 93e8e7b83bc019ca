"""`kentongan-gateway doctor`: each planted defect is found and named, and nothing else is done."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gateway.doctor
import process.probes
from demo.stage import until
from gateway.broker_config import refresh
from gateway.control import Control
from gateway.doctor import (
    NAMES_SHOWN_MAX,
    examine,
    probe_journal,
    probe_register,
    probe_server,
    probe_session,
)
from gateway.identities import Authority, Identity
from gateway.journal import Journal
from gateway.settings import GatewayFile
from hardware.clock import Now, SystemClock, uptime_us
from hardware.pins import MockPins
from process.findings import Finding, exit_code
from process.settings import read_settings
from protocol.codec import encode
from protocol.messages import Command
from protocol.topics import Topics
from protocol.values import new_id, timestamp
from tests.broker import Mosquitto
from tests.faults.machine import fill, remount, small_disk
from tests.postgresql import PostgreSQL
from tests.security.city import GATEWAY, OPERATOR, TECHNICIAN, City, Client, wall_ms

ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000
PLAIN = """
gateway_id = "mlg-test"
pins = "mock"
[posts]
url = "mqtt://127.0.0.1:{port}"
[mcc]
url = "mqtt://127.0.0.1:{port}"
[journal]
url = "sqlite:///{directory}/journal.db"
"""
# What a gateway without brokers and service is told in any case.
ALONE = {"service_stopped", "tcp_refused"}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No service runs on this machine; loopback answers at once or not at all."""
    monkeypatch.setattr(gateway.doctor, "ECHO_S", 1.0)
    monkeypatch.setattr(gateway.doctor, "BEAT_S", 1)
    monkeypatch.setattr(process.probes, "TLS_WORD_S", 0.5)
    monkeypatch.setattr(process.probes, "DISK_SLOW_MS", 60_000)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setenv("KENTONGAN_CLOCK", "synchronised")


def written(directory: Path, text: str = PLAIN, more: str = "", *, port: int = 1) -> Path:
    path = directory / "gateway.toml"
    path.write_text(text.format(directory=directory, port=port) + more)
    return path


def look(config: Path, **options: Any) -> list[Finding]:
    return list(examine(config, quiet=True, **options))


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def bad(findings: list[Finding]) -> set[str]:
    return {one.code for one in findings if one.verdict in ("warning", "failure")}


def defects(findings: list[Finding]) -> set[str]:
    return bad(findings) - ALONE


def begun(directory: Path) -> Path:
    """A journal as a gateway leaves it."""
    path = directory / "journal.db"
    journal = Journal(f"sqlite:///{path}", lambda _: None)
    journal.open()
    journal.close(5)
    return path


def test_a_gateway_that_is_well_but_for_its_brokers_has_no_other_defect(tmp_path: Path) -> None:
    begun(tmp_path)
    findings = look(written(tmp_path))
    assert bad(findings) == ALONE
    assert "journal_ok" in codes(findings)
    order = list(dict.fromkeys(one.check for one in findings))
    assert order == [
        *("settings", "service", "identity", "register", "clock", "disk", "journal", "buzzer"),
        *("dns", "tcp", "tls", "mqtt", "rules", "mcc", "control"),
    ]


def test_the_command_line_says_it_without_a_traceback(tmp_path: Path) -> None:
    config = written(tmp_path)
    command = [sys.executable, "-m", "gateway.cli", "doctor", "--config"]
    run = functools.partial(
        subprocess.run,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env=os.environ | {"LANG": "C", "LC_ALL": ""},
    )
    done = run([*command, str(config), "--quiet"])
    assert done.returncode == 2
    assert done.stderr == ""
    assert "GAGAL   TCP (posts): 127.0.0.1:1 menolak" in done.stdout
    told = json.loads(run([*command, str(config), "--json", "--lang", "en"]).stdout)
    assert (told["exit"], told["verdict"]) == (2, "failure")
    config.write_text(PLAIN.replace("gateway_id", "gateway").format(directory=tmp_path, port=1))
    done = run([*command, str(config), "--lang", "en"])
    assert done.returncode == 2
    assert "gateway: unknown key" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://user@:x/y", "postgresql+psycopg://kentongan:geheim@127.0.0.1:1/j"]
)
def test_a_journal_server_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, url: str
) -> None:
    text = PLAIN.replace("sqlite:///{directory}/journal.db", url)
    findings = look(written(tmp_path, text))
    assert defects(findings) in ({"journal_unreachable"}, {"settings_wrong"})
    assert "geheim" not in "".join(one.means("en") for one in findings)


def test_a_journal_on_a_server_is_looked_at_and_one_that_may_not_be_written_is_named() -> None:
    with PostgreSQL() as server:
        url = server.url("postgres")
        assert codes(probe_server(url)) == {"journal_new"}
        journal = Journal(url, lambda _: None)
        journal.open()
        journal.close(5)
        assert codes(probe_server(url)) == {"journal_ok"}
        server.sql("CREATE ROLE looker LOGIN")
        server.sql("GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO looker")
        as_looker = url.replace("//kentongan@", "//looker@")
        assert codes(probe_server(as_looker)) == {"journal_not_writable"}


# --- the journal ---------------------------------------------------------------------------------


def set_version(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute("UPDATE alembic_version SET version_num = '9999'")
        sql.commit()


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(len(content) - 100))


def lose_its_lock(path: Path) -> None:
    for beside in (".lock", ".seq"):
        Path(f"{path}{beside}").unlink(missing_ok=True)
    path.write_bytes(b"Dear diary, " * 500)


def note(path: Path) -> None:
    Path(f"{path}.corrupt").touch()


def leave_an_old_one(path: Path) -> None:
    Path(f"{path}.damaged-1").touch()


JOURNALS: dict[str, Callable[[Path], None]] = {
    "store_newer": set_version,
    "journal_damaged": damage,
    "store_foreign": lose_its_lock,
    "store_set_aside": leave_an_old_one,
}


@pytest.mark.parametrize("code", JOURNALS)
def test_what_is_wrong_with_the_journal_is_named(tmp_path: Path, code: str) -> None:
    JOURNALS[code](begun(tmp_path))
    assert defects(look(written(tmp_path))) == {code}


def test_a_commit_that_found_the_journal_damaged_is_believed(tmp_path: Path) -> None:
    note(begun(tmp_path))
    assert defects(look(written(tmp_path))) == {"journal_damaged"}


def test_a_journal_on_a_disk_that_takes_no_write_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024) as disk:
        path = begun(disk)
        remount(disk, "ro")
        assert codes(probe_journal(path, is_alone=True)) == {"journal_not_writable"}
        assert codes(probe_journal(path, is_alone=False)) == {"journal_ok"}


def test_a_full_disk_is_named_and_looking_leaves_nothing_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024) as disk:
        begun(disk)
        before = sorted(one.name for one in disk.iterdir())
        config = written(tmp_path, PLAIN.replace("{directory}", str(disk)))
        assert defects(look(config)) == {"disk_small"}
        assert sorted(one.name for one in disk.iterdir()) == before
        fill(disk)
        assert "disk_full" in defects(look(config))


# --- register, buzzer, control -------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with Authority.create(tmp_path / "register", "Kentongan CA", wall_ms()) as authority:
        yield authority


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (0, {"register_ok"}),
        (350, {"crl_ends_soon"}),
        (401, {"crl_over"}),
        (700, {"crl_over", "identities_ending"}),
    ],
)
def test_what_ends_in_the_register_is_named(
    authority: Authority, days: int, expected: set[str]
) -> None:
    authority.provision(Identity("mlg-test-rw01", "post"), wall_ms())
    now = Now(uptime_us(), wall_ms() + days * DAY_MS, True)
    assert codes(probe_register(str(authority.directory), now)) == expected


def test_of_many_that_end_the_first_are_named(authority: Authority) -> None:
    for number in range(NAMES_SHOWN_MAX + 2):
        authority.provision(Identity(f"mlg-test-rw{number:02}", "post"), wall_ms())
    now = Now(uptime_us(), wall_ms() + 700 * DAY_MS, True)
    (ending,) = [
        one
        for one in probe_register(str(authority.directory), now)
        if one.code == "identities_ending"
    ]
    assert ending.facts["count"] == NAMES_SHOWN_MAX + 2
    assert str(ending.facts["names"]).count(", ") == NAMES_SHOWN_MAX - 1


def test_a_register_that_is_not_there_or_without_its_list_is_named(
    authority: Authority, tmp_path: Path
) -> None:
    now = Now(uptime_us(), wall_ms(), True)
    assert codes(probe_register(str(tmp_path / "nowhere"), now)) == {"register_unusable"}
    authority.crl_file.write_text("not a list")
    assert codes(probe_register(str(authority.directory), now)) == {"crl_missing"}


def test_the_buzzer_is_sounded_or_said_to_be_kept_by_another(tmp_path: Path) -> None:
    config = written(tmp_path, more="[buzzer]\npin = 24\n")
    assert {"buzzer_quiet", "pins_mock"} <= codes(look(config))
    pins = MockPins()
    pins.output(24, "fan")
    told = look(config, open_pins_of=lambda _: pins)
    assert defects(told) == {"pins_unavailable", "pins_mock"}


# --- links ---------------------------------------------------------------------------------------


def test_a_broker_without_rules_and_a_centre_that_does_not_beat_are_named(tmp_path: Path) -> None:
    with Mosquitto() as broker:
        findings = look(written(tmp_path, port=broker.port))
    assert bad(findings) == {"service_stopped", "rules_open", "mcc_no_beat"}
    assert [one.about for one in findings if one.code == "rules_open"] == ["posts", "mcc"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("topic read #", "mqtt_not_allowed"),
        ("topic write #", "mqtt_not_heard"),
    ],
)
def test_rules_that_do_not_fit_are_named(tmp_path: Path, rules: str, expected: str) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"{rules}\n")
    with Mosquitto(f"acl_file {acl}") as broker:
        settings = read_settings(written(tmp_path, port=broker.port), GatewayFile)
        assert expected in codes(probe_session(settings, "posts"))


def test_a_receiver_without_receipts_is_not_waited_for(tmp_path: Path) -> None:
    with Mosquitto() as broker:
        text = PLAIN.replace("[journal]", "require_receipt = false\n[journal]")
        findings = look(written(tmp_path, text, port=broker.port))
    assert "mcc_no_receipts" in codes(findings)


def beat(console: Client, name: str) -> None:
    command = Command(
        command_id=new_id(), action="beat", store_id=new_id(), at=timestamp(wall_ms())
    )
    console.send(Topics().mcc("commands", name), encode(command))


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    (tmp_path / "city").mkdir()
    city = City(tmp_path / "city", two_brokers=True)
    try:
        for broker in city.brokers:
            broker.start()
        assert refresh(city.authority, wall_ms()) == []
        for link in ("posts", "mcc"):
            city.certificates[f"{GATEWAY}-{link}"].chmod(0o600)
        yield city
    finally:
        city.close()


def test_with_brokers_as_they_should_be_all_is_well_and_the_wrong_console_is_named(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.doctor, "BEAT_S", 5)
    settings = read_settings(city.config, GatewayFile)
    for name, expected in ((OPERATOR, "mcc_beats"), (TECHNICIAN, "mcc_other_beats")):
        with city.client(name, port=city.mcc_broker.port) as console, beating(console, name):
            told = probe_session(settings, "mcc")
        assert expected in codes(told)
        assert {"mqtt_ok", "rules_ok"} <= codes(told)
    findings = look(city.config)
    assert bad(findings) == {"service_stopped", "mcc_no_beat"}
    assert {"identity_ok", "register_ok", "tls_ok", "rules_ok"} <= codes(findings)


@contextlib.contextmanager
def beating(console: Client, name: str) -> Iterator[None]:
    """The console beats five times a second until the end."""
    import threading

    over = threading.Event()

    def beats() -> None:
        while not over.wait(0.2):
            beat(console, name)

    thread = threading.Thread(target=beats, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


def test_a_broker_with_an_old_list_and_a_link_with_the_others_identity_are_named(
    city: City,
) -> None:
    (city.posts_broker.directory / "crl.pem").write_text("an old one")
    text = city.config.read_text()
    mine, others = (str(city.certificates[f"{GATEWAY}-{link}"]) for link in ("posts", "mcc"))
    city.config.write_text(text.replace(mine, others, 1))
    findings = look(city.config)
    assert {"broker_stale", "identity_other_name"} <= bad(findings)


def test_beside_a_running_gateway_doctor_disturbs_nothing_and_tells_what_it_says(
    city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    control = tmp_path / "control.sock"
    city.config.write_text(city.config.read_text() + f'[control]\nsocket = "{control}"\n')
    city.start_gateway()
    until("a status of both links", lambda: both_up(run), 10)
    findings = look(city.config)
    assert bad(findings) == {"mcc_silent"}
    assert exit_code(findings) == 2
    assert {"service_running", "mqtt_ok", "control_ok", "journal_ok"} <= codes(findings)
    with city.client(OPERATOR, port=city.mcc_broker.port) as console:
        beat(console, OPERATOR)
        until("it answers", lambda: json.loads((run / "status.json").read_text())["mcc_answers"])
        assert bad(look(city.config)) == set()
    for broker, link in ((city.posts_broker, "posts"), (city.mcc_broker, "mcc")):
        assert broker.log.count(f" as {GATEWAY}-{link} (") == 1
    assert "event=link_down" not in city.log_of("gateway")
    control.unlink()
    assert "control_missing" in bad(look(city.config))
    city.mcc_broker.stop()
    until("one link is down", lambda: not both_up(run), 10)
    assert {"tcp_refused"} <= bad(look(city.config))


def both_up(run: Path) -> bool:
    file = run / "status.json"
    return file.exists() and all(json.loads(file.read_text())["links"].values())


def test_a_control_socket_hears_no_question_from_doctor(tmp_path: Path) -> None:
    events: list[object] = []
    path = tmp_path / "control.sock"
    control = Control(path, lambda event: not events.append(event))  # type: ignore[func-returns-value]
    try:
        settings = read_settings(
            written(tmp_path, more=f'[control]\nsocket = "{path}"\n'), GatewayFile
        )
        told = gateway.doctor._control(settings, is_busy=True)
        assert told.code == "control_ok"
        assert events == []
    finally:
        control.close(1)


def test_a_certificate_of_the_gateway_that_ends_soon_is_named(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_700_days_ms = wall_ms() + 700 * DAY_MS

    class Later(SystemClock):
        def now(self) -> Now:
            return Now(uptime_us(), in_700_days_ms, True)

    monkeypatch.setattr(gateway.doctor, "SystemClock", Later)
    findings = [one for one in look(city.config) if one.check == "identity"]
    assert bad(findings) == {"identity_ends_soon"}
    ends = dt.date.fromisoformat(str(findings[0].facts["until"]))
    assert abs((ends - dt.date.today()).days - 730) <= 1
