"""The services under a real systemd, with mock pins: what their units promise.

Run by `make test-systemd` (root; the first run makes a Debian system, half a minute or more).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.systemd.host import Host, bare_system, with_package

DEVICE, GATEWAY, INGEST, SITE, ESCALATE = (
    f"kentongan-{name}.service"
    for name in ("device", "gateway", "mcc-ingest", "mcc-site", "mcc-escalate")
)
PANEL = "/run/kentongan-device/panel.sock"
CARD_UNITS = Path(__file__).parents[2] / "image/root/etc/systemd/system"
POST = f"""
post_id = "mlg-test-rw01"
[location]
lat = -7.9
lon = 112.6
[mqtt]
url = "mqtt://127.0.0.1:1883"
heartbeat_s = 5
[hardware]
pins = "mock"
panel_socket = "{PANEL}"
"""
GATEWAY_SETTINGS = """
gateway_id = "mlg-test"
pins = "mock"
[posts]
url = "mqtt://127.0.0.1:1883"
[mcc]
url = "mqtt://127.0.0.1:1883"
[journal]
url = "sqlite:////var/lib/kentongan/journal.db"
[buzzer]
pin = 24
[control]
socket = "/run/kentongan-gateway/control.sock"
"""
CENTRE_SETTINGS = """
[mqtt]
url = "mqtt://127.0.0.1:1883"
"""
# What an operator's click on the console does: the one door for what people do.
ACKNOWLEDGE = """
import sys
from pathlib import Path
from mcc.site import configure
configure(Path("/etc/kentongan/mcc.toml"))
from mcc.cases.actions import act
from mcc.people.models import User
siti = User.objects.create_user("siti", password=sys.argv[2], role="operator")
act(siti, "acknowledge", alarm_id=sys.argv[1], address="127.0.0.1", screen="test")
"""
# What a service may do, asked from inside its own sandbox; ExecStartPost= shares that.
PROBE = """
import json, os, socket
def may(what):
    try:
        what()
    except OSError as error:
        return error.strerror
    return "yes"
from hardware.clock import kernel_says_synchronised
import lgpio
found = {
    "write /etc": may(lambda: open("/etc/kentongan/new", "w")),
    "write /usr": may(lambda: open("/usr/new", "w")),
    "write /opt": may(lambda: open("/opt/kentongan/new", "w")),
    "write state": may(lambda: open("/var/lib/kentongan/new", "w")),
    "write runtime": may(lambda: open(os.environ["LG_WD"] + "/new", "w")),
    "serial port": may(lambda: os.open("/dev/serial9", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)),
    "other device": may(lambda: os.open("/dev/other9", os.O_RDWR)),
    "packet socket": may(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "groups": sorted(os.getgroups()),
    "clock is read": kernel_says_synchronised() is not None,
    "set clock": may(lambda: __import__("time").clock_settime(0, 0)),
    "read /root": may(lambda: os.listdir("/root")),
    "user": os.getuid(),
}
open("/var/lib/kentongan/probe.json", "w").write(json.dumps(found))
"""


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The layers that every host stands on: this package, over a bare Debian."""
    bare = bare_system()
    return with_package(bare, tmp_path_factory.mktemp("package")), bare


@pytest.fixture
def host(system: tuple[Path, Path], tmp_path: Path) -> Iterator[Host]:
    """A new host without a network."""
    with Host(system, tmp_path) as host:
        yield host


def install(host: Host, name: str, file: str, settings: str) -> None:
    """Install as a technician does: lay, write the settings, install again."""
    host.file("/etc/kentongan").mkdir(exist_ok=True)
    host.file(f"/etc/kentongan/{file}").write_text(settings)
    done = host.run(f"kentongan-{name}", "install")
    assert done.returncode == 0, done.stderr + host.journal(f"kentongan-{name}.service")


def install_post(host: Host) -> None:
    install(host, "device", "post.toml", POST)


def amend(host: Host, unit: str, text: str) -> None:
    """A drop-in for one unit."""
    directory = host.file(f"/etc/systemd/system/{unit}.d")
    directory.mkdir(exist_ok=True)
    (directory / "test.conf").write_text(f"[Service]\n{text}\n")
    assert host.does("systemctl", "daemon-reload")


def panel(host: Host, verb: str) -> str:
    done = host.run("kentongan-device", "panel", "--socket", PANEL, verb)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_active(host: Host, unit: str) -> bool:
    return host.show(unit, "ActiveState") == "active"


def restarted(host: Host, times: int) -> bool:
    return host.show(DEVICE, "NRestarts") == str(times)


def test_a_post_listens_at_boot_while_network_and_time_never_come(host: Host) -> None:
    install_post(host)
    hung = host.file("/etc/systemd/system/hung.service")
    hung.write_text(
        "[Unit]\nBefore=network.target network-online.target time-sync.target\n"
        "Wants=network.target network-online.target time-sync.target\n"
        "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    assert host.does("systemctl", "enable", "hung.service")
    host.off()
    host.boot()
    host.until(lambda: is_active(host, DEVICE), 20)
    assert host.show("hung.service", "ActiveState") == "activating"
    assert host.show("network-online.target", "ActiveState") == "inactive"
    assert host.show("time-sync.target", "ActiveState") == "inactive"
    assert host.show(DEVICE, "StatusText").startswith("listening, lamp: ")
    panel(host, "press3")
    host.until(lambda: '"state": "raised"' in panel(host, "status"), 5)


def test_systemd_counts_a_post_as_started_only_when_it_listens(host: Host) -> None:
    # Pins that are not there: the process runs and ends, and is at no moment active.
    done = host.run("kentongan-device", "install")
    assert done.returncode == 0
    host.file("/etc/kentongan/post.toml").write_text(POST.partition("[hardware]")[0])
    done = host.run("kentongan-device", "install")
    assert done.returncode == 2
    assert "journalctl -u kentongan-device.service" in done.stderr
    host.until(lambda: int(host.show(DEVICE, "NRestarts")) >= 1, 15)
    assert host.show(DEVICE, "ActiveEnterTimestampMonotonic") == "0"
    assert "gpiochip" in host.journal(DEVICE)
    assert "Traceback" not in host.journal(DEVICE)


def test_a_hung_main_loop_is_killed_by_the_watchdog_and_the_post_listens_again(host: Host) -> None:
    install_post(host)
    amend(host, DEVICE, "WatchdogSec=5s")
    assert host.does("systemctl", "restart", DEVICE)
    before = host.show(DEVICE, "MainPID")
    assert host.does("systemctl", "kill", "--signal=STOP", DEVICE)
    host.until(lambda: host.show(DEVICE, "NRestarts") == "1", 30)
    host.until(lambda: is_active(host, DEVICE), 20)
    assert host.show(DEVICE, "MainPID") != before
    assert "Watchdog timeout" in host.journal(DEVICE)
    assert json.loads(panel(host, "status"))["listening"]


def test_a_post_that_feeds_its_watchdog_is_left_alone(host: Host) -> None:
    install_post(host)
    amend(host, DEVICE, "WatchdogSec=5s")
    assert host.does("systemctl", "restart", DEVICE)
    fed = host.show(DEVICE, "WatchdogTimestampMonotonic")
    host.until(
        lambda: int(host.show(DEVICE, "WatchdogTimestampMonotonic")) - int(fed) > 10_000_000, 20
    )
    assert host.show(DEVICE, "NRestarts") == "0"


def test_a_post_killed_ten_times_in_a_row_listens_again_each_time_and_keeps_its_alarm(
    host: Host,
) -> None:
    install_post(host)
    panel(host, "press3")
    host.until(lambda: '"committed": true' in panel(host, "status"), 5)
    for kills in range(1, 11):
        assert host.does("systemctl", "kill", "--signal=KILL", DEVICE)
        host.until(partial(restarted, host, kills), 10)
        host.until(lambda: is_active(host, DEVICE), 10)
    assert len(json.loads(panel(host, "status"))["alarms"]) == 1


@pytest.mark.parametrize("name", ["device", "gateway"])
def test_hardening_refuses_what_it_should_and_leaves_pins_and_serial(host: Host, name: str) -> None:
    file, settings = {
        "device": ("post.toml", POST),
        "gateway": ("gateway.toml", GATEWAY_SETTINGS),
    }[name]
    install(host, name, file, settings)
    # Open to everybody by their mode, so that the unit's own list of devices decides.
    for path, major, minor in (("/dev/serial9", "4", "64"), ("/dev/other9", "10", "237")):
        assert host.does("mknod", "--mode=666", path, "c", major, minor)
    host.file("/opt/probe.py").write_text(PROBE)
    amend(
        host, f"kentongan-{name}.service", "ExecStartPost=/opt/kentongan/bin/python /opt/probe.py"
    )
    started = host.run("systemctl", "restart", f"kentongan-{name}.service")
    assert started.returncode == 0, host.journal(f"kentongan-{name}.service")
    found = json.loads(host.file("/var/lib/kentongan/probe.json").read_text())
    groups = {
        line.split(":")[0]: int(line.split(":")[2])
        for line in host.file("/etc/group").read_text().splitlines()
    }
    for place in ("/etc", "/usr", "/opt"):
        assert found[f"write {place}"] == "Read-only file system"
    assert found["write state"] == found["write runtime"] == "yes"
    assert found["packet socket"] == "Address family not supported by protocol"
    assert found["set clock"] == "Operation not permitted"
    assert found["read /root"] == "Permission denied"
    assert found["user"] != 0
    assert found["clock is read"]
    assert groups["gpio"] in found["groups"]
    assert found["other device"] == "Operation not permitted"
    if name == "device":
        assert groups["dialout"] in found["groups"]
        assert found["serial port"] == "yes"
    else:
        assert found["serial port"] == "Operation not permitted"


def install_centre(host: Host) -> None:
    """As its administrator does: lay, write the settings, set up, install again."""
    host.file("/etc/kentongan").mkdir(exist_ok=True)
    host.file("/etc/kentongan/mcc.toml").write_text(CENTRE_SETTINGS)
    done = host.run("kentongan-mcc", "install")
    assert done.returncode == 2
    assert "not set up yet: sudo -u kentongan" in done.stderr
    setup = "kentongan-mcc setup --config /etc/kentongan/mcc.toml --administrator admin"
    done = as_service(host, "sh", "-c", f"echo kentongan-malam-1234 | {setup} --password-stdin")
    assert done.returncode == 0, done.stderr
    done = host.run("kentongan-mcc", "install")
    assert done.returncode == 0, done.stderr + host.journal(INGEST) + host.journal(SITE)


def as_service(host: Host, *command: str) -> subprocess.CompletedProcess[str]:
    return host.run("runuser", "-u", "kentongan", "--", *command)


def test_a_press_goes_through_all_hardened_services_and_the_answer_comes_back(host: Host) -> None:
    broker = "listener 1883 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
    host.file("/etc/mosquitto/conf.d/loopback.conf").write_text(broker)
    assert host.does("systemctl", "restart", "mosquitto.service")
    install(host, "gateway", "gateway.toml", GATEWAY_SETTINGS)
    install_centre(host)
    install_post(host)
    host.until(lambda: "armed" in host.show(DEVICE, "StatusText"), 60)
    page = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/').status)"
    done = host.run("/opt/kentongan/bin/python", "-c", page)
    assert done.stdout == "200\n", done.stderr + host.journal(SITE)
    # A technician at the gateway, whose socket only root and the service's own user may use.
    window = ("kentongan-gateway", "walk-test", "mlg-test-rw01", "--technician", "Ani", "--no-wait")
    done = host.run(*window, "--config", "/etc/kentongan/gateway.toml")
    assert done.returncode == 0, done.stderr
    assert "test window of mlg-test-rw01 open until" in done.stdout
    host.until(lambda: json.loads(panel(host, "status"))["practice_until"] is not None, 10)
    panel(host, "press3")
    alarm_id = json.loads(panel(host, "status"))["alarms"][0]["id"]
    host.until(lambda: '"state": "delivered"' in panel(host, "status"), 20)
    acknowledge = ("/opt/kentongan/bin/python", "-c", ACKNOWLEDGE, alarm_id, "kentongan-malam-1234")
    done = as_service(host, *acknowledge)
    assert done.returncode == 0, done.stderr
    host.until(lambda: "answered" in host.show(DEVICE, "StatusText"), 20)
    card = ("kentongan-gateway", "card", alarm_id, "--config", "/etc/kentongan/gateway.toml")
    host.until(lambda: host.run(*card).stdout.endswith("walk test passed\n"), 20)
    for unit in (DEVICE, GATEWAY, INGEST, SITE, ESCALATE):
        assert is_active(host, unit), host.journal(unit)
        assert host.show(unit, "NRestarts") == "0", host.journal(unit)
        assert "Traceback" not in host.journal(unit)


@pytest.mark.parametrize("unit", [INGEST, SITE, ESCALATE])
def test_a_centre_that_hangs_is_killed_and_started_anew(host: Host, unit: str) -> None:
    install_centre(host)
    amend(host, unit, "WatchdogSec=5s")
    assert host.does("systemctl", "restart", unit)
    host.until(lambda: is_active(host, unit), 30)
    assert host.does("systemctl", "kill", "--signal=STOP", unit)
    host.until(lambda: host.show(unit, "NRestarts") == "1", 30)
    host.until(lambda: is_active(host, unit), 30)
    assert "Watchdog timeout" in host.journal(unit)


def doctor(host: Host, name: str, file: str) -> dict[str, str]:
    """What `doctor` finds, code -> verdict, asked by root as a technician does."""
    config = f"/etc/kentongan/{file}"
    done = host.run(f"kentongan-{name}", "doctor", "--config", config, "--json", "--quiet")
    assert "Traceback" not in done.stdout + done.stderr
    return {one["code"]: one["verdict"] for one in json.loads(done.stdout)["findings"]}


def test_doctor_reads_what_hardened_services_say_and_asks_systemd(host: Host) -> None:
    assert host.does("systemctl", "restart", "mosquitto.service")
    install(host, "gateway", "gateway.toml", GATEWAY_SETTINGS)
    install_post(host)
    for name, file, unit in (("device", "post.toml", DEVICE), ("gateway", "gateway.toml", GATEWAY)):
        host.until(partial(host.file(f"/run/kentongan-{name}/status.json").exists), 20)
        before = host.show(unit, "MainPID")
        beside = doctor(host, name, file)
        assert beside["service_running"] == "ok"
        assert beside["left_to_service"] == "skipped"
        assert "denied" not in beside
        assert host.show(unit, "MainPID") == before
        assert host.does("systemctl", "stop", unit)
        alone = doctor(host, name, file)
        assert alone["service_stopped"] == "warning"
        assert alone["pins_ok"] == "ok"
        assert host.does("systemctl", "start", unit)
    # As a file that root has put there for somebody else: the service cannot write it.
    assert host.does("systemctl", "stop", DEVICE)
    assert host.does("chown", "root:root", "/var/lib/kentongan/post.db")
    assert host.does("chmod", "600", "/var/lib/kentongan/post.db")
    assert doctor(host, "device", "post.toml")["denied"] == "failure"


def test_install_may_be_repeated_and_leaves_a_running_post_alone(host: Host) -> None:
    first = host.run("kentongan-device", "install")
    assert first.returncode == 0
    assert "next: copy /etc/kentongan/post.toml.example" in first.stdout
    assert not is_active(host, DEVICE)
    install_post(host)
    running = host.show(DEVICE, "MainPID")
    assert running != "0"
    again = host.run("kentongan-device", "install")
    assert again.returncode == 0
    assert "wrote" not in again.stdout
    assert "runs already" in again.stdout
    assert host.show(DEVICE, "MainPID") == running


def test_install_arms_the_boards_watchdog_at_once(host: Host) -> None:
    assert host.does("kentongan-device", "install")
    assert host.show("", "RuntimeWatchdogUSec") == "15s"


def test_the_service_reads_settings_and_nobody_else_does(host: Host) -> None:
    install_post(host)
    for path in ("/etc/kentongan/post.toml", "/var/lib/kentongan/post.db"):
        seen = host.run("setpriv", "--reuid=nobody", "--clear-groups", "cat", path)
        assert "Permission denied" in seen.stderr


def test_uninstall_keeps_data_and_settings_until_purge(host: Host) -> None:
    install_post(host)
    assert host.does("kentongan-device", "uninstall")
    assert not is_active(host, DEVICE)
    assert host.show(DEVICE, "LoadState") == "not-found"
    assert host.file("/etc/kentongan/post.toml").exists()
    assert host.file("/var/lib/kentongan/post.db").exists()
    assert host.does("kentongan-device", "uninstall", "--purge")
    assert not host.file("/etc/kentongan").exists()
    assert not host.file("/var/lib/kentongan").exists()


def test_install_without_root_says_so(host: Host) -> None:
    done = host.run(
        "setpriv",
        "--reuid=nobody",
        "--clear-groups",
        "/opt/kentongan/bin/kentongan-device",
        "install",
    )
    assert done.returncode == 2
    assert "this needs root: sudo /opt/kentongan/bin/kentongan-device" in done.stderr


@pytest.mark.parametrize(("code", "starts_anew"), [(1, False), (70, True)])
def test_a_card_without_a_post_starts_anew_only_where_that_may_find_its_data(
    host: Host, code: int, starts_anew: bool
) -> None:
    install_post(host)  # makes the user
    host.file("/etc/kentongan/post.toml").unlink()
    unit = "kentongan-code.service"
    text = (CARD_UNITS / unit).read_text()
    host.file(f"/etc/systemd/system/{unit}").write_text(text)
    amend(host, unit, f"ExecStart=\nExecStart=/bin/sh -c 'exit {code}'\nRestartSec=100ms")
    is_up = host.file("/run/is-up")
    is_up.touch()
    assert host.does("systemctl", "start", unit)
    if starts_anew:
        host.until(lambda: not is_up.exists(), 60)
    else:
        host.until(lambda: int(host.show(unit, "NRestarts")) >= 2, 20)
        assert is_up.exists()
        assert host.does("systemctl", "is-active", "basic.target")
