"""The image that ships, booted: a bundle, three presses as edges, an answer; then the power is cut.

Run by `make image-test` (root; after `make image`). The post is the image's own userspace under an
emulated board; broker, gateway and command centre are real processes on this machine, under mutual
TLS. KENTONGAN_IMAGE names another image, KENTONGAN_CUTS how often the power is cut.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from image.build import BOOT_AT_MIB, BOOT_MIB, MIB, ROOT_MIB
from tests.broker import free_port
from tests.image.machine import (
    BUTTON,
    BUZZER,
    GREEN,
    RED,
    Machine,
    boot_partition,
    copy_image,
    missing_programs,
    until,
)
from tests.security.city import OPERATOR, City

ROOT = Path(__file__).parents[2]
IMAGE = Path(os.environ.get("KENTONGAN_IMAGE", ROOT / "build/image/kentongan-bookworm.img"))
SUITE = IMAGE.stem.partition("-")[2]
CUTS = int(os.environ.get("KENTONGAN_CUTS", "20"))
POST = "mlg-klojen-rw07"
WIRING = f"""
[button]
pin = {BUTTON}
[lamp]
red = {RED}
green = {GREEN}
[buzzer]
pin = {BUZZER}
[hardware]
chip = 0
"""
GPS = 'source = "gps"\ndevice = "/dev/ttyS0"\n'


class Office:
    """Broker, gateway and an operator on this machine, and the bundle that they make."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = directory / "technician"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True
        )
        self.city = City(directory / "city-of-test")

    def bundle(self, name: str = POST) -> Path:
        """What a technician is handed."""
        wiring, network = self.directory / "wiring.toml", self.directory / "network.toml"
        wiring.write_text(WIRING)
        public = self.key.with_suffix(".pub").read_text().strip()
        network.write_text(f"[ssh]\nkeys = {json.dumps([public])}\n")
        out = self.directory / f"{name}.kentongan"
        url = f"mqtts://10.0.2.2:{self.city.posts_broker.port}"
        done = self.city.command(
            *("provision", "post", name, "--lat", "-7.98", "--lon", "112.63", "--name", "Pos 7"),
            *("--url", url, "--settings", str(wiring), "--network", str(network)),
            *("--out", str(out), "--config", str(self.city.config)),
        )
        assert done.returncode == 0, done.stderr
        return out

    def watch(self) -> None:
        """The command centre opens its eyes."""
        self.city.run("mcc", "mcc.cli", "watch", "--json", *self._options())

    def does(self, *arguments: str) -> None:
        """The operator does something."""
        done = subprocess.run(
            [sys.executable, "-m", "mcc.cli", *arguments, *self._options()],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=self.directory,
            env=self.city.environment(),
        )
        assert done.returncode == 0, done.stderr

    def _options(self) -> list[str]:
        city = self.city
        certificate = str(city.certificates[OPERATOR])
        store = str(self.directory / "mcc.db")
        options = ["--store", store, "--url", city.mcc_broker.url, "--console", OPERATOR]
        return [*options, "--ca", city.ca, "--certificate", certificate]

    def alarms(self) -> dict[str, str]:
        """Each alarm that the command centre has seen, with its latest state."""
        found = {}
        for line in self.city.log_of("mcc").splitlines():
            if line.startswith("{"):
                shown = json.loads(line)
                if shown.get("post") == POST and "alarm_id" in shown:
                    found[shown["alarm_id"]] = shown.get("state", "")
        return found


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One office for all of the story."""
    missing = missing_programs()
    assert not missing, f"{', '.join(missing)} missing: make image-packages"
    assert IMAGE.exists(), f"{IMAGE} is missing: make image"
    office = Office(tmp_path_factory.mktemp("office"))
    with office.city:
        office.watch()
        yield office


@pytest.fixture(scope="module")
def machine(office: Office, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A new card in a new board; still without a bundle."""
    work = tmp_path_factory.mktemp("board")
    image = copy_image(IMAGE, work / "card.img")
    kernel, initrd = IMAGE.with_name(f"{SUITE}.vmlinuz"), IMAGE.with_name(f"{SUITE}.initrd")
    machine = Machine(work, image, kernel, initrd, free_port())
    yield machine
    machine.off()


def root_digest(image: Path) -> str:
    """Of the root partition, bit for bit."""
    digest = hashlib.sha256()
    with image.open("rb") as file:
        file.seek((BOOT_AT_MIB + BOOT_MIB) * MIB)
        for _ in range(ROOT_MIB):
            digest.update(file.read(MIB))
    return digest.hexdigest()


def lamp_pulses_green(machine: Machine) -> bool:
    """Armed: green has gone on and off again lately, red has not."""
    since_s = time.monotonic() - 6
    seen = [(line, level) for at_s, line, level in machine.changes if at_s > since_s]
    return (GREEN, 1) in seen and (GREEN, 0) in seen and (RED, 1) not in seen


def press_three(machine: Machine) -> str:
    """Three presses as electrical edges with bounce; the alarm's id, as the post logs it."""
    before = len(re.findall(r"event=alarm_raised", machine.console))
    for _ in range(3):
        machine.press()
        time.sleep(0.25)
    machine.note("three presses, each with bounce at both ends")

    def look() -> str | None:
        raised = re.findall(r"event=alarm_raised alarm=([0-9a-f-]{36})", machine.console)
        return raised[-1] if len(raised) > before else None

    alarm_id = until("raised", look, 60, lambda: machine.console[-3000:])
    machine.note(f"hop post: raised {alarm_id}")
    return alarm_id


def test_a_new_card_without_a_bundle_says_so_and_opens_no_port(machine: Machine) -> None:
    machine.on()
    machine.until_said("event=card_code .*code=no_bundle")
    machine.until_said(r"Startup finished|Reached target.*[Mm]ulti-[Uu]ser")
    assert "event=listening" not in machine.console
    machine.cut()
    said = boot_partition(machine.image, ("mtype", "::/KENTONGAN.txt"))
    assert "kode 1 / code 1 (no_bundle)" in said


def test_with_its_bundle_it_becomes_the_post_and_three_presses_reach_the_centre_and_back(
    office: Office, machine: Machine
) -> None:
    bundle = office.bundle()
    boot_partition(machine.image, ("mcopy", bundle, "::/"))
    before = root_digest(machine.image)
    machine.on()
    machine.until_said(f"event=card_took_identity .*post={POST}")
    machine.until_said(f"event=listening .*post={POST}")
    machine.until_said("event=link_up")
    until("armed", lambda: lamp_pulses_green(machine), 120, lambda: machine.console[-3000:])
    machine.note("lamp: armed (green pulses on line 5)")

    alarm_id = press_three(machine)
    until("calling", lambda: (RED, 1) in [(n, v) for _, n, v in machine.changes[-40:]], 30)
    machine.note("lamp: calling (red flashes on line 4)")
    until("delivered", lambda: office.alarms().get(alarm_id) == "delivered", 60)
    machine.note(f"hop centre: delivered {alarm_id}")
    since_s = time.monotonic()
    office.does("acknowledge", alarm_id, "--operator", "Siti")
    until(
        "the buzzer sounds",
        lambda: [
            1
            for at, line, level in machine.changes
            if at > since_s and (line, level) == (BUZZER, 1)
        ],
        60,
    )
    machine.note(f"hop post: the buzzer sounds on line {BUZZER} for {alarm_id}")
    until("answered", lambda: machine.levels.get(GREEN) == 1 and machine.levels.get(RED) == 0, 60)
    office.does("resolve", alarm_id, "--outcome", "test")
    until("armed again", lambda: lamp_pulses_green(machine), 120)

    _looks_as_it_should_inside(office, machine)
    machine.cut()
    assert root_digest(machine.image) == before
    said = boot_partition(machine.image, ("mdir", "-b", "::/"))
    assert "kentongan" not in said.lower().replace("kentongan.txt", "")
    raw = machine.image.read_bytes()[BOOT_AT_MIB * MIB : (BOOT_AT_MIB + BOOT_MIB) * MIB]
    assert b"PRIVATE KEY" not in raw


def _looks_as_it_should_inside(office: Office, machine: Machine) -> None:
    """Ports, mounts, swap, watchdog, time to listening: asked by the key that the bundle named."""
    asked = (
        "ss -Hltunp; echo ---; cat /proc/mounts; echo ---; cat /proc/swaps; echo ---;"
        " systemctl show -p ActiveEnterTimestampMonotonic -p ExecMainStartTimestampMonotonic"
        " kentongan-device; systemctl is-system-running; systemctl --failed --no-legend;"
        " systemd-analyze; hostname; cat /etc/machine-id; grep root: /etc/shadow"
    )
    done = machine.ssh(office.key, asked)
    assert done.returncode == 0, done.stderr
    machine.note("asked over SSH:\n" + done.stdout)
    ports = {
        line.split()[4].rpartition(":")[2]
        for line in done.stdout.partition("---")[0].splitlines()
        if line.startswith("tcp")
    }
    assert ports == {"22"}
    assert "/dev/vda3 /data ext4 rw,nosuid,nodev,noatime" in done.stdout
    assert " / overlay " in done.stdout
    assert "/boot/firmware vfat ro," in done.stdout
    assert POST in done.stdout


def test_after_any_power_cut_it_listens_and_no_raised_call_is_lost(
    office: Office, machine: Machine
) -> None:
    random = Random(8)
    promised: set[str] = set()
    for number in range(1, CUTS + 2):
        machine.on(seed=number)
        if number <= CUTS and random.random() < 0.25:
            time.sleep(random.uniform(0, 30))
            machine.cut()
            machine.note(f"cut {number} of {CUTS}, while it started")
            continue
        machine.until_said(f"event=listening .*post={POST}")
        assert "event=card_code" not in machine.console
        assert not re.search(r"UNEXPECTED INCONSISTENCY|EXT4-fs error", machine.console)
        until(
            "all of them at the centre",
            lambda: promised <= set(office.alarms()),
            180,
            lambda: f"{promised - set(office.alarms())}\n{machine.console[-3000:]}",
        )
        for alarm_id, state in office.alarms().items():
            if state != "resolved":
                office.does("resolve", alarm_id, "--outcome", "test")
        until("nothing is open", lambda: set(office.alarms().values()) <= {"resolved"}, 120)
        until("armed", lambda: lamp_pulses_green(machine), 120, lambda: machine.console[-3000:])
        if number > CUTS:
            break
        alarm_id = press_three(machine)
        time.sleep(random.uniform(0, 3))
        if is_promised(machine, alarm_id):
            promised.add(alarm_id)
        machine.cut()
        machine.note(f"cut {number} of {CUTS}; the lamp has promised {len(promised)} calls so far")
    machine.note(f"{CUTS} cuts: every start listened, {len(promised)} calls promised, 0 lost")
    machine.cut()


def is_promised(machine: Machine, alarm_id: str) -> bool:
    """Whether the lamp has said *calling* for it, which it does only after the commit."""
    return "meaning=calling" in machine.console.partition(f"alarm_raised alarm={alarm_id}")[2]
