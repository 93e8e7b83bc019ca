"""Updates on the image that ships: good and bad ones, and one that the power interrupts.

The card is the image with a public key of the test's own written into its root.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from device.update import Manifest, pack_update
from image.build import BOOT_AT_MIB, BOOT_MIB, MIB
from tests.image.machine import RED, Machine, boot_partition
from tests.image.office import Office
from tests.image.story import armed, close_all, listening, press_three, resolve

POST = "mlg-klojen-rw08"
UPDATE = "kentongan-device update"
PROGRAM = "/opt/kentongan/bin/"


@pytest.fixture(scope="module")
def updates(office: Office, machine: Machine) -> dict[str, str]:
    """The files, by what is wrong with them, as they lie on the boot partition."""
    work = machine.work
    root = f"{machine.image}?offset={(BOOT_AT_MIB + BOOT_MIB) * MIB}"
    keys = {}
    for name in ("office", "thief"):
        keys[name] = work / f"{name}.pem"
        _do("openssl", "genpkey", "-algorithm", "ed25519", "-out", keys[name])
    public = work / "public.pem"
    _do("openssl", "pkey", "-in", keys["office"], "-pubout", "-out", public)
    _do("debugfs", "-w", "-R", f"write {public} /etc/kentongan-update.pub", root)
    _do("debugfs", "-R", f"rdump /opt/kentongan {work}", root)
    venv = work / "kentongan"
    (site,) = venv.glob("lib/python3*/site-packages")
    python = site.parent.name.removeprefix("python")

    def pack(version: str, key: str = "office") -> Path:
        (metadata,) = site.glob("kentongan-*.dist-info/METADATA")
        text = re.sub(r"(?m)^Version: .*$", f"Version: {version}", metadata.read_text())
        metadata.write_text(text)
        out = work / f"{version}.upd"

        def manifest(digest: str) -> Manifest:
            return Manifest(version=version, python=python, machine="aarch64", sha256=digest)

        pack_update(venv, manifest, keys[key], out)
        return out

    made = {"good": pack("0.2.0"), "interrupted": pack("0.3.0"), "thief": pack("0.4.0", "thief")}
    cut = work / "0.5.0.upd"
    whole = made["interrupted"].read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    made["truncated"] = cut
    made["unsigned"] = work / "0.6.0.upd"
    with tarfile.open(made["interrupted"]) as source, tarfile.open(made["unsigned"], "w:") as to:
        for member in source:
            if member.name != "manifest.sig":
                to.addfile(member, source.extractfile(member))
    service = site / "device/service.py"
    service.write_text(service.read_text() + "\nraise SystemExit('this version crashes')\n")
    for compiled in service.parent.glob("__pycache__/service.*"):
        compiled.unlink()
    made["crashing"] = pack("0.7.0")
    boot_partition(machine.image, *(("mcopy", path, "::/") for path in made.values()))
    boot_partition(machine.image, ("mcopy", office.bundle(POST), "::/"))
    shutil.rmtree(venv)
    return {what: f"/boot/firmware/{path.name}" for what, path in made.items()}


def _do(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_update_stays_only_when_it_is_signed_whole_and_proves_itself(
    office: Office, machine: Machine, updates: dict[str, str]
) -> None:
    machine.on()
    listening(machine, POST)
    machine.until_said("event=link_up")
    armed(machine)

    def update(what: str) -> tuple[int, str]:
        done = machine.ssh(office.key, f"{PROGRAM}{UPDATE} {updates[what]}", within_s=600)
        said = (done.stdout + done.stderr).strip()
        machine.note(f"update, {what}: exit {done.returncode}: {said[-300:]}")
        return done.returncode, said

    for what, words in (
        ("thief", "signature is not of the key"),
        ("unsigned", "not a whole update"),
        ("truncated", "not a whole update"),
    ):
        code, said = update(what)
        assert code == 1
        assert words in said
    since = len(machine.console)
    assert "event=listening" not in machine.console[since:]
    code, said = update("crashing")
    assert (code, "factory runs again" in said) == (1, True)
    listening(machine, POST, since=since)
    assert _runs(office, machine) == "factory"

    # A call that is open stays open through an update; then another one can be raised.
    armed(machine)
    alarm_id = press_three(machine)
    machine.until("calling", lambda: machine.levels.get(RED) == 1, 60)
    machine.until("delivered", lambda: office.alarms().get(alarm_id) == "delivered", 60)
    since = len(machine.console)
    code, said = update("good")
    assert (code, "0.2.0 runs" in said) == (0, True)
    machine.until_said('event=listening .*firmware="kentongan 0.2.0"', since=since)
    resolve(office, machine, alarm_id)
    armed(machine)
    assert _runs(office, machine) == "0.2.0"
    machine.until("reported", lambda: "kentongan 0.2.0" in office.city.log_of("mcc"), 60)
    machine.note("the centre shows firmware kentongan 0.2.0")

    # The power goes while the next one is on trial: it proved nothing, the one before runs.
    _interrupted(office, machine, updates["interrupted"], lambda: _on_trial(machine, "0.3.0"))
    machine.on(seed=2)
    machine.until_said("event=update_rolled_back version=0.3.0 why=interrupted")
    machine.until_said('event=listening .*firmware="kentongan 0.2.0"')
    armed(machine)
    # And while it is being unpacked.
    before = _written(machine)
    _interrupted(
        office, machine, updates["interrupted"], lambda: _written(machine) > before + 4 * MIB
    )
    machine.on(seed=3)
    machine.until_said('event=listening .*firmware="kentongan 0.2.0"')
    machine.until_said("event=link_up")
    armed(machine)
    alarm_id = press_three(machine)
    machine.until("delivered", lambda: office.alarms().get(alarm_id) == "delivered", 60)
    assert _runs(office, machine) == "0.2.0"
    machine.cut()


def test_an_update_that_comes_up_no_more_gives_way_to_the_cards_own_firmware(
    office: Office, machine: Machine, updates: dict[str, str]
) -> None:
    """Part of a file is gone on a failing card, or a fault shows only at a start from power."""
    assert updates
    machine.on(seed=4)
    machine.until_said('event=listening .*firmware="kentongan 0.2.0"')
    machine.until_said("event=link_up")
    since = len(machine.console)
    _break(office, machine, "service", "systemctl kill --signal=KILL kentongan-device")
    machine.until_said("its own firmware, because the installed one does not come up", since=since)
    assert "0.2.0" not in machine.until_said("event=listening", since=since)
    machine.until_said("event=link_up", since=since)
    close_all(office, machine)
    assert _runs(office, machine) == "factory"

    # What takes the bundle at a start is proved by no trial.
    _break(office, machine, "card", "sync")
    machine.cut()
    machine.on(seed=5)
    assert "0.2.0" not in machine.until_said("event=listening")
    machine.until_said("event=link_up")
    close_all(office, machine)
    assert _runs(office, machine) == "factory"
    machine.cut()


def _break(office: Office, machine: Machine, module: str, then: str) -> None:
    file = f"/data/firmware/0.2.0/lib/python3*/site-packages/device/{module}.py"
    broken = f"file=$(echo {file}); rm ${{file%/*}}/__pycache__/{module}.*; echo 'raise 1' > $file"
    done = machine.ssh(office.key, f"{broken}; sync; {then}")
    assert done.returncode == 0, done.stderr


def _runs(office: Office, machine: Machine) -> str:
    done = machine.ssh(office.key, f"{PROGRAM}{UPDATE}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _interrupted(office: Office, machine: Machine, file: str, now: Callable[[], bool]) -> None:
    machine.ssh(office.key, f"{PROGRAM}{UPDATE} {file} >/dev/null 2>&1 &")
    machine.until("the instant", now, 300)
    machine.cut()


def _on_trial(machine: Machine, version: str) -> bool:
    return f'event=listening post={POST} firmware="kentongan {version}"' in machine.console


def _written(machine: Machine) -> int:
    """Bytes that have been on their way to the card since it was switched on."""
    assert machine.disk is not None
    return machine.disk.written_bytes
