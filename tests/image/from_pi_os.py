"""A card over Raspberry Pi OS: built by the same layers, booted, pressed.

Run by `make image-pi-os-test` (root). Raspberry Pi's own image is a stand-in here: Debian for arm64
with Debian's kernel under the names and in the partitions that Raspberry Pi OS has, and with what
it does by itself at a first boot. What that cannot show is in docs/image.md.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from image.__main__ import EPOCH
from image.build import BOOT_AT_MIB, HERE, MIB, PI_OS_LAYOUT, Built, build
from image.debian import ROOT, debian
from tests.broker import free_port
from tests.image.machine import Machine, boot_partition
from tests.image.office import Office
from tests.image.story import acknowledge, armed, listening, press_three
from tests.image.test_pi_os import lay

POST = "mlg-klojen-rw08"
CACHE = ROOT / "build/image/cache"


def stand_in(work: Path) -> Path:
    """An image in the shape of Raspberry Pi OS Lite (64-bit)."""
    root, boot = work / "theirs", work / "their-boot"
    root.mkdir()
    (boot / "overlays").mkdir(parents=True)
    tar = debian("bookworm", CACHE, EPOCH)
    subprocess.run(["tar", "-xf", tar, "--numeric-owner", "-C", root], check=True)
    (kernel,) = root.glob("boot/vmlinuz-*")
    shutil.copyfile(kernel, boot / "kernel8.img")
    for path in root.glob("usr/lib/raspi-firmware/*"):
        shutil.copyfile(path, boot / path.name)
    (boot / "config.txt").write_text("auto_initramfs=1\ndtoverlay=vc4-kms-v3d\n")
    (boot / "cmdline.txt").write_text("console=serial0,115200 root=PARTUUID=0-02 resize\n")
    (boot / "initramfs8").write_bytes(b"theirs")
    (boot / "overlays/disable-bt.dtbo").write_bytes(b"overlay")
    (root / "usr/sbin/ModemManager").unlink()
    (root / "etc/fstab").write_text("PARTUUID=0-02 / ext4 defaults,noatime 0 1\n")
    (root / "etc/init.d/resize2fs_once").write_text("#!/bin/sh\n")
    (root / "var/lib/NetworkManager").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/NetworkManager/NetworkManager.state").write_text("WirelessEnabled=false\n")
    with (root / "etc/shadow").open("a") as file:
        file.write("pi:$y$j9T$salt$hash:19000:0:99999:7:::\n")
    with (root / "etc/passwd").open("a") as file:
        file.write("pi:x:1000:1000::/home/pi:/bin/bash\n")
    image = lay(root, boot, work / "raspios.img", 512 * MIB, 1536 * MIB)
    shutil.rmtree(root)
    return image


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    work = tmp_path_factory.mktemp("pi-os")
    return build("", work / "out", CACHE, EPOCH, None, stand_in(work))


def debugfs(built: Built, command: str) -> str:
    at = (BOOT_AT_MIB + PI_OS_LAYOUT.boot) * MIB
    words = ["debugfs", "-R", command, f"{built.image}?offset={at}"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_the_card_has_raspberry_pi_s_boot_files_and_our_lines(built: Built) -> None:
    assert built.image.name == "kentongan-pi-os-bookworm.img"
    names = boot_partition(built.image, ("mdir", "-b", "-/", "::/"))
    for name in ("kernel8.img", "initramfs8", "start4.elf", "overlays/disable-bt.dtbo"):
        assert f"::/{name}" in names
    ours = {"config.txt": HERE / "pi-os/config.txt", "cmdline.txt": HERE / "boot/cmdline.txt"}
    for name, path in ours.items():
        assert boot_partition(built.image, ("mtype", f"::/{name}")) == path.read_text()


def test_the_card_has_our_mounts_and_none_of_their_first_boot(built: Built) -> None:
    assert "LABEL=kentongan-data /data" in debugfs(built, "cat /etc/fstab")
    assert "pi:*:" in debugfs(built, "cat /etc/shadow")
    assert "$y$" not in debugfs(built, "cat /etc/shadow")
    masked = debugfs(built, "ls -p /etc/systemd/system")
    assert "/userconfig.service/" in masked
    assert "resize2fs_once" not in debugfs(built, "ls -p /etc/init.d")
    assert "NetworkManager.state" not in debugfs(built, "ls -p /var/lib/NetworkManager")


def test_it_becomes_the_post_of_its_bundle_and_a_call_reaches_the_centre_and_back(
    built: Built, office: Office, tmp_path: Path
) -> None:
    boot_partition(built.image, ("mcopy", office.bundle(POST), "::/"))
    log = ROOT / "build/image/pi-os-bookworm-from_pi_os.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    machine = Machine(tmp_path, built.image, built.kernel, built.initrd, free_port(), log)
    try:
        machine.on()
        machine.until_said(f"event=card_took_identity .*post={POST}")
        listening(machine, POST)
        armed(machine)
        alarm_id = press_three(machine)
        machine.until("delivered", lambda: office.alarms().get(alarm_id) == "delivered", 60)
        acknowledge(office, machine, alarm_id)
    finally:
        machine.cut()
