"""The image that ships, booted: bundles, three presses as edges, an answer, a hang, a panic.

Run by `make image-test` (root; after `make image`), beside `cut.py`, `updated.py`, `wifi.py` and
`raspi.py`, where a card without a bundle starts. The post is the image's own userspace under an
emulated board; broker, gateway and command centre are real processes here, under mutual TLS.
KENTONGAN_IMAGE names another image, KENTONGAN_IDLE_S how long an idle post is watched.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from device.first_boot import CODES
from image.build import BOOT_AT_MIB, BOOT_MIB, DATA_MIB, MIB, ROOT_MIB
from process.bundle import pack, read_bundle
from tests.image.machine import BUTTON, GREEN, RED, Machine, boot_partition
from tests.image.office import Office
from tests.image.story import (
    acknowledge,
    armed,
    close_all,
    is_promised,
    listening,
    nmea,
    press_three,
    resolve,
    root_digest,
)

POST = "mlg-klojen-rw07"
IDLE_S = int(os.environ.get("KENTONGAN_IDLE_S", "60"))
# What may listen on a card, docs/image.md: SSH where the bundle names a key. No UDP port is open
# but the one that a DHCP client answers on.
DOCUMENTED = {"tcp 22"}
# The same post with an outbox that does not wait for the card.
CARELESS = (
    "file=$(echo /opt/kentongan/lib/python3*/site-packages/device/outbox.py);"
    " sed -i s/synchronous=FULL/synchronous=NORMAL/ $file; rm ${file%/*}/__pycache__/outbox.*;"
    " systemctl restart kentongan-device; grep -c synchronous=NORMAL $file"
)
# Hundredths of a second since the boot, times its threads have waited, and hundredths it has run.
WORKED = (
    "id=$(systemctl show -P MainPID kentongan-device); tr -d . < /proc/uptime | cut -d' ' -f1;"
    " cat /proc/$id/task/*/status | awk '/^voluntary/ {all += $2} END {print all}';"
    " awk '{print $14 + $15}' /proc/$id/stat"
)


@pytest.fixture(scope="module")
def handed(office: Office) -> Path:
    """The bundle of this post, as the technician is handed it."""
    return office.bundle(POST)


def test_a_bundle_that_cannot_be_this_posts_shows_its_code_and_opens_no_port(
    handed: Path, machine: Machine
) -> None:
    """The wires are known from the bundle's settings; its network is wrong: seven flashes."""
    bundle = read_bundle(handed, "post")
    files = {**bundle.files, "network.toml": '[ethernet]\naddress = "192.168.1.300/24"\n'}
    bad = machine.work / "bad.kentongan"
    bad.write_bytes(pack("post", POST, files))
    boot_partition(machine.image, ("mcopy", bad, "::/"))
    machine.on()
    machine.until_said("event=service_code .*code=network_wrong")
    flashes = machine.until("a code on the lamp", lambda: counted_flashes(machine), 60)
    machine.note(f"lamp: {flashes} flashes of both colours between two pauses")
    assert flashes == CODES.index("network_wrong") + 1
    machine.until_said(r"device \((?!lo)\w+\): Activation: successful")
    assert "event=listening" not in machine.console
    assert answering_ports(machine, [22]) == []
    machine.cut()
    said = boot_partition(machine.image, ("mtype", "::/KENTONGAN.txt"))
    assert "(network_wrong)" in said
    assert "192.168.1.300" in said
    boot_partition(machine.image, ("mdel", "::/bad.kentongan"))


def counted_flashes(machine: Machine) -> int | None:
    """How often both lines rose together between two pauses, once that has been seen whole."""
    rises = [at_s for at_s, line, level in machine.changes if (line, level) == (RED, 1)]
    greens = [at_s for at_s, line, level in machine.changes if (line, level) == (GREEN, 1)]
    pauses = [n for n in range(1, len(rises)) if rises[n] - rises[n - 1] > 1.8]
    if len(pauses) < 2 or len(greens) < pauses[1]:
        return None
    return pauses[1] - pauses[0]


def test_with_its_bundle_it_becomes_the_post_and_three_presses_reach_the_centre_and_back(
    office: Office, handed: Path, machine: Machine
) -> None:
    deleted = private_keys_on_boot(machine)  # what a laptop deletes stays where it was
    boot_partition(machine.image, ("mcopy", handed, "::/"))
    assert private_keys_on_boot(machine) > deleted
    before = root_digest(machine.image)
    machine.on()
    machine.gps(nmea(-7.9666, 112.6326))
    machine.until_said(f"event=card_took_identity .*post={POST}")
    listening(machine, POST)
    machine.until_said("event=link_up")
    armed(machine)
    machine.note(f"lamp: armed (green pulses on line {GREEN})")
    status = "cat /run/kentongan-device/status.json"
    machine.until(
        "a fix", lambda: '"location":"gps"' in machine.ssh(office.key, status).stdout, 120
    )
    machine.note("the receiver on the serial port has a fix, says the post")

    alarm_id = press_three(machine)
    machine.until("calling", lambda: machine.levels.get(RED) == 1, 60)
    machine.note(f"lamp: calling (red flashes on line {RED})")
    machine.until("delivered", lambda: office.alarms().get(alarm_id) == "delivered", 60)
    acknowledge(office, machine, alarm_id)
    for hop in office.hops(alarm_id):
        machine.note(f"hop {hop}")
    place = office.place(alarm_id)
    machine.note(f"place at the centre: {msgspec.json.encode(place).decode()}")
    assert place["source"] == "gps"
    resolve(office, machine, alarm_id)
    armed(machine)

    _looks_as_it_should_inside(office, machine)
    _works_and_writes_little_while_idle(office, machine)
    outside = answering_ports(machine, [*range(1, 1025), 1883, 4433, 5353, 5355, 8080, 8883])
    machine.note(f"from outside, of 1,030 TCP ports: {outside} answer")
    assert {f"tcp {port}" for port in outside} == DOCUMENTED
    machine.cut()
    assert root_digest(machine.image) == before
    machine.note(f"root partition unchanged after start, story and cut: sha256 {before[:16]}...")
    said = boot_partition(machine.image, ("mdir", "-b", "::/"))
    assert "kentongan" not in said.lower().replace("kentongan.txt", "")
    assert private_keys_on_boot(machine) <= deleted


def private_keys_on_boot(machine: Machine) -> int:
    """How many lie anywhere on the boot partition, in files or where files were."""
    with machine.image.open("rb") as card:
        card.seek(BOOT_AT_MIB * MIB)
        return card.read(BOOT_MIB * MIB).count(b"-----BEGIN PRIVATE KEY-----")


def _looks_as_it_should_inside(office: Office, machine: Machine) -> None:
    """Ports, mounts, swap, watchdog, time to listening: asked by the key that the bundle named."""
    asked = (
        "ss -Hltun; echo ---; cat /proc/mounts /proc/swaps; echo ---;"
        " systemctl show -p ActiveEnterTimestampMonotonic -p ExecMainStartTimestampMonotonic"
        " kentongan-device; systemctl is-system-running; systemctl --failed --no-legend;"
        " systemd-analyze; systemd-analyze critical-chain --no-pager kentongan-device.service;"
        " hostname; cut -d: -f1,2 /etc/shadow | grep -v ':[*!]'; touch /lower/x /usr/x; true"
    )
    done = machine.ssh(office.key, asked)
    assert done.returncode == 0, done.stderr
    machine.note("asked over SSH:\n" + done.stdout + done.stderr)
    ports = {
        f"{line.split()[0]} {line.split()[4].rpartition(':')[2]}"
        for line in done.stdout.partition("---")[0].splitlines()
    }
    assert ports == DOCUMENTED
    assert "/dev/vda3 /data ext4 rw,nosuid,nodev,noatime" in done.stdout
    assert " / overlay " in done.stdout
    assert "/boot/firmware vfat ro," in done.stdout
    assert POST in done.stdout
    times = dict(re.findall(r"^(\w+TimestampMonotonic)=(\d+)$", done.stdout, re.MULTILINE))
    started_us, listens_us = (
        int(times[f"{name}TimestampMonotonic"]) for name in ("ExecMainStart", "ActiveEnter")
    )
    machine.note(
        f"kernel to listening {listens_us / 1e6:.1f} s; the unit's start to listening"
        f" {(listens_us - started_us) / 1e6:.1f} s, under emulation"
    )


def _works_and_writes_little_while_idle(office: Office, machine: Machine) -> None:
    def worked() -> list[int]:
        return [int(one) for one in machine.ssh(office.key, WORKED).stdout.split()]

    disk = machine.disk
    assert disk is not None
    first = worked()
    before, flushes = disk.written_bytes, disk.flushes
    time.sleep(IDLE_S)
    written = disk.written_bytes - before
    flushes = disk.flushes - flushes
    hundredths, waits, ran = (b - a for a, b in zip(first, worked(), strict=True))
    machine.note(
        f"idle for {IDLE_S} s: {written} bytes and {flushes} flushes reached the card,"
        f" {written * 3600 / IDLE_S / MIB:.2f} MiB an hour; the post's threads woke"
        f" {waits * 100 / hundredths:.0f} times a second and took {ran * 100 / hundredths:.0f} %"
        " of an emulated processor"
    )
    assert written * 3600 / IDLE_S < 64 * MIB  # the log of the start is among it
    assert waits * 100 / hundredths < 700  # left to itself, lgpio makes it 1,200


def answering_ports(machine: Machine, ports: list[int]) -> list[int]:
    """Which of the post's TCP ports somebody answers at, through the emulator's own router.

    It takes our connection before it asks the post, and ends it when the post refuses.
    """
    answering = []
    for first in range(0, len(ports), 64):
        batch = {}
        for port in ports[first : first + 64]:
            with socket.socket() as spare:
                spare.bind(("127.0.0.1", 0))
                here = spare.getsockname()[1]
            rule = f"tcp:127.0.0.1:{here}-:{port}"
            said = machine.qmp(
                "human-monitor-command", **{"command-line": f"hostfwd_add net {rule}"}
            )
            assert not said, said
            peer = socket.create_connection(("127.0.0.1", here), 10)
            peer.settimeout(10)
            batch[port] = peer, rule.partition("-")[0]
        for port, (peer, rule) in batch.items():
            try:
                is_open = peer.recv(1) != b""
            except TimeoutError:
                is_open = True
            except OSError:
                is_open = False
            peer.close()
            machine.qmp("human-monitor-command", **{"command-line": f"hostfwd_remove net {rule}"})
            if is_open:
                answering.append(port)
    return answering


def test_a_hung_loop_is_restarted_and_a_panicked_kernel_is_reset(
    office: Office, handed: Path, machine: Machine
) -> None:
    boot_partition(machine.image, ("mcopy", "-o", handed, "::/"))  # once more: it changes nothing
    machine.on()
    listening(machine, POST)
    machine.until_said("event=link_up")
    armed(machine)
    hung = len(machine.console)
    done = machine.ssh(office.key, "systemctl kill --signal=STOP kentongan-device.service")
    assert done.returncode == 0, done.stderr
    machine.note("the post's process is stopped: it hangs")
    machine.until_said("kentongan-device.service: Watchdog timeout", 120, hung)
    listening(machine, POST, since=hung)
    armed(machine)

    # Without the kernel's own restart after a panic, only the hardware's watchdog is left.
    panicked = len(machine.console)
    machine.ssh(
        office.key,
        "sysctl -q kernel.panic=0; (sleep 2; echo c > /proc/sysrq-trigger) >/dev/null 2>&1 &",
    )
    machine.until_said("Kernel panic", 60, panicked)

    def has_barked() -> bool:
        machine.qmp("query-status")
        return "WATCHDOG" in machine.events and "RESET" in machine.events

    machine.until("the hardware's watchdog resets the board", has_barked, 120)
    machine.line(BUTTON, 1)  # the emulated chip forgets what hangs on it; a wire does not
    machine.note("the hardware's watchdog has reset the board")
    listening(machine, POST, since=panicked)
    armed(machine)
    press_three(machine)
    machine.cut()


def test_an_outbox_that_does_not_wait_for_the_card_loses_a_call(
    office: Office, handed: Path, machine: Machine
) -> None:
    """The control: with `synchronous=NORMAL` the same cut loses what the lamp had promised."""
    boot_partition(machine.image, ("mcopy", "-o", handed, "::/"))  # once more: it changes nothing
    machine.on(seed=99)
    listening(machine, POST)
    close_all(office, machine)
    since = len(machine.console)
    done = machine.ssh(office.key, CARELESS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
    listening(machine, POST, since=since)
    armed(machine)
    machine.link("off")
    alarm_id = press_three(machine)
    machine.until("promised", lambda: is_promised(machine, alarm_id), 60)
    machine.cut()

    machine.on(seed=100)
    listening(machine, POST)
    machine.until_said("event=link_up")
    armed(machine)
    assert alarm_id not in office.alarms()
    machine.note(f"control: with synchronous=NORMAL the promised call {alarm_id} is lost")
    machine.cut()


def test_a_card_whose_data_partition_is_broken_stays_dark_and_says_so_on_the_boot_partition(
    machine: Machine,
) -> None:
    """Beyond its own repair: of its file system only the name is left."""
    with machine.image.open("r+b") as card:
        card.seek((BOOT_AT_MIB + BOOT_MIB + ROOT_MIB) * MIB + 4096)
        card.write(bytes(DATA_MIB * MIB - 4096))
    machine.on()
    machine.until_said("event=card_code .*code=card_failing")
    time.sleep(20)  # longer than the longest pause of any pattern
    assert "event=listening" not in machine.console
    assert not [change for change in machine.changes if change[1] in (RED, GREEN) and change[2]]
    machine.note("lamp: dark, which is out of order")
    machine.cut()
    said = boot_partition(machine.image, ("mtype", "::/KENTONGAN.txt"))
    assert "kode 8 / code 8 (card_failing)" in said


def test_no_key_password_or_token_lies_in_the_image(image: Path, machine: Machine) -> None:
    known = published_keys(image)
    assert secrets_in(image, known) == []
    planted = b"-----BEGIN PRIVATE KEY-----\n" + b"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0w" * 3
    with machine.image.open("r+b") as card:
        for at, secret in ((300 * MIB, planted), (900 * MIB, b"root:$y$j9T$abcdefghijk:19000:0:")):
            card.seek(at)
            card.write(secret)
    found = secrets_in(machine.image, known)
    machine.note(f"no secret in the image; planted into a copy, found: {found}")
    assert {"key", "password"} <= {what for what, _ in found}


# A key with what follows its first line: programs that read keys hold that line alone.
SECRETS = {
    "key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{64}",
    "encrypted key": rb"Proc-Type: 4,ENCRYPTED\s+DEK-Info: [A-Z0-9-]+,[0-9A-F]{16}\s",
    "ssh key": rb"openssh-key-v1\x00\x00\x00\x00\x04none",
    "password": rb":\$(?:1|2[aby]|5|6|7|y|gy)\$[./A-Za-z0-9$=,]{8,}:\d*:",
    "token": rb"(?:(?<![A-Za-z0-9+/])AKIA[0-9A-Z]{16}(?![A-Za-z0-9+/=])"
    rb"|gh[pousr]_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20}"
    rb"|xox[abprs]-[A-Za-z0-9-]{20,}|eyJhbGciOi[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.)",
    "network password": rb"\n(?:psk|wpa_passphrase|password|passwd)"
    rb"\s*=\s*[^\s\"'(\[{<%$]{8,64}\n",
}


def published_keys(image: Path) -> bytes:
    """Keys that are no secret: GnuTLS tests itself with some that stand in its source."""
    root = f"{image}?offset={(BOOT_AT_MIB + BOOT_MIB) * MIB}"
    place = "/usr/lib/aarch64-linux-gnu"
    listed = subprocess.run(
        ("debugfs", "-R", f"ls -p {place}", root), capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"/(libgnutls\.so\.[0-9]+\.[0-9.]+)/", listed)
    return b"".join(
        subprocess.run(
            ("debugfs", "-R", f"cat {place}/{name}", root), capture_output=True, check=True
        ).stdout
        for name in names
    )


def secrets_in(image: Path, known: bytes) -> list[tuple[str, int]]:
    """Each kind of secret that is found, with the byte where it begins, but for what is known."""
    overlap, size = 65_536, 64 * MIB
    found = set()
    with image.open("rb") as card:
        at = 0
        while True:
            card.seek(at)
            block = card.read(size + overlap)
            if block.strip(b"\0"):
                for what, pattern in SECRETS.items():
                    found |= {
                        (what, at + one.start())
                        for one in re.finditer(pattern, block)
                        if one[0] not in known
                    }
            if len(block) < size + overlap:
                return sorted(found)
            at += size
