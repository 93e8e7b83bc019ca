"""Takes an image of Raspberry Pi OS Lite apart, for boards whose kernel Debian does not carry.

Without a mount: the FAT by mtools, the ext4 by debugfs. What comes out is a root and a boot
directory that `build` lays the same layers over as over Debian; what Raspberry Pi OS does by
itself at a first boot (a user, a larger root, swap, names on the network) is gone from them.
Which packages and units that is: pi-gen, with which Raspberry Pi makes those images.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from image.debian import BuildError, run

MIB = 1024 * 1024
# An image that unpacks to more is none of Raspberry Pi OS Lite, or a trap.
IMAGE_BYTES_MAX = 16 * 1024 * MIB
# A kernel's file on the boot partition, and how the name of its modules' directory ends.
KERNELS = (("kernel8.img", "-v8"), ("kernel_2712.img", "-2712"))
SUITES = ("bookworm", "trixie")
LATER = "https://www.raspberrypi.com/software/operating-systems: Raspberry Pi OS Lite (64-bit)"
# What a card needs of it; ModemManager is not in Raspberry Pi OS, and a bundle that asks for it is
# refused by the card.
NEEDED = {
    "usr/bin/python3": "python3",
    "usr/bin/openssl": "openssl",
    "usr/sbin/NetworkManager": "network-manager",
    "usr/sbin/sshd": "openssh-server",
    "usr/sbin/mkinitramfs": "initramfs-tools",
    "usr/lib/systemd/systemd-timesyncd": "systemd-timesyncd",
}
# What runs there by itself and has no place on a post: users and partitions at a first boot, swap,
# names and ports on the network, radios and firmware that change.
MASKED = (
    *("userconfig.service", "rpi-resize.service", "resize2fs_once.service", "sshswitch.service"),
    *("regenerate_ssh_host_keys.service", "raspi-config.service", "rpi-eeprom-update.service"),
    *("dphys-swapfile.service", "dev-zram0.swap", "systemd-zram-setup@.service"),
    *("rpi-setup-loop@.service", "fake-hwclock.service", "fake-hwclock-save.timer"),
    *("avahi-daemon.service", "avahi-daemon.socket", "rpcbind.service", "rpcbind.socket"),
    *("nfs-client.target", "bluetooth.service", "hciuart.service", "pigpiod.service"),
    *("rpi-usb-gadget.service", "udisks2.service", "triggerhappy.service", "triggerhappy.socket"),
    *("cloud-init.target", "cloud-init.service", "cloud-init-local.service"),
    *("cloud-init-main.service", "cloud-init-network.service", "cloud-config.service"),
    *("cloud-final.service", "keyboard-setup.service", "console-setup.service"),
    *("logrotate.timer", "man-db.timer", "fstrim.timer", "cron.service", "wayvnc.service"),
)
# What a card needs running and Raspberry Pi OS leaves off.
ENABLED = ("ssh.service", "NetworkManager.service", "systemd-timesyncd.service")
# Files that would bring any of it back, or that hold what only one card may have.
GONE = (
    *("etc/init.d/resize2fs_once", "etc/rc?.d/*resize2fs_once", "var/swap", "etc/netplan/*"),
    *("etc/NetworkManager/system-connections/*", "etc/wpa_supplicant/wpa_supplicant.conf"),
    # Wi-Fi is off there until a person names the country; on a card the kernel's line does.
    *("var/lib/NetworkManager/*.state", "etc/modprobe.d/rfkill_default.conf"),
    *("var/lib/systemd/rfkill/*", "etc/sudoers.d/010_*", "var/lib/cloud/*"),
)
_BOOT_GONE = (
    *("config.txt", "cmdline.txt", "initramfs*", "firstrun.sh", "custom.toml", "userconf*"),
    *("ssh", "ssh.txt", "wpa_supplicant.conf", "user-data", "meta-data", "network-config"),
    "issue.txt",
)
_FAT_TYPES, _LINUX_TYPE, _GPT_TYPE = (0x0B, 0x0C, 0x0E), 0x83, 0xEE
_SECTOR = 512
_AARCH64 = 183  # ELF's e_machine


@dataclass(frozen=True)
class PiOs:
    """What came out: two directories, which Debian it stands on, each kernel with its modules."""

    root: Path
    boot: Path
    suite: str
    kernels: tuple[tuple[str, str], ...]


def initrd_of(kernel: str) -> str:
    """The name by which the board's loader looks for a kernel's initrd (`auto_initramfs=1`)."""
    return kernel.replace("kernel", "initramfs", 1).removesuffix(".img")


def take_apart(image: Path, work: Path) -> PiOs:
    """An image, or one packed by xz, as two directories below `work`.

    Raises:
        BuildError: it is not one of Raspberry Pi OS (64-bit), or was cut short.
    """
    work.mkdir(parents=True, exist_ok=True)
    raw = _unpacked(image, work)
    (boot_at, _), (root_at, root_bytes) = _partitions_of(raw, image)
    boot, root = work / "boot", work / "root"
    for directory in (boot, root):
        directory.mkdir()
    _copy_boot(raw, boot_at, boot, image)
    _copy_root(raw, root_at, root_bytes, root, work, image)
    if raw != image:
        raw.unlink()
    suite = _suite_of(root, image)
    _require_arm64(root, image)
    missing = sorted(name for path, name in NEEDED.items() if not (root / path).exists())
    if missing:
        raise BuildError(
            f"{image}: {', '.join(missing)} is missing in it: not Raspberry Pi OS Lite as it is"
            " published; install it there first"
        )
    found = PiOs(root, boot, suite, tuple(_kernels_of(root, boot, image)))
    _calm(found)
    return found


def _unpacked(image: Path, work: Path) -> Path:
    """The image as it lies on a card; never more than the bound."""
    if not image.is_file():
        raise BuildError(f"{image}: there is no such file; {LATER}")
    if image.suffix == ".zip":
        raise BuildError(f"{image}: unzip it first, and name the .img that comes out")
    if image.suffix != ".xz":
        return image
    raw = work / "pi-os.img"
    try:
        with lzma.open(image) as packed, raw.open("wb") as file:
            while block := packed.read(MIB):
                if file.tell() + len(block) > IMAGE_BYTES_MAX:
                    raise BuildError(f"{image}: more than {IMAGE_BYTES_MAX // MIB} MiB in it")
                if block == bytes(len(block)):
                    file.seek(len(block), os.SEEK_CUR)  # a hole stays one
                else:
                    file.write(block)
            file.truncate()
    except EOFError:
        raise BuildError(f"{image}: cut short; download it again") from None
    except lzma.LZMAError as error:
        raise BuildError(f"{image}: not packed by xz, or damaged: {error}") from None
    return raw


def _partitions_of(raw: Path, image: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where boot and root lie in it, in bytes: (start, length) each."""
    size = raw.stat().st_size
    with raw.open("rb") as file:
        sector = file.read(_SECTOR)
        if len(sector) < _SECTOR or sector[510:] != b"\x55\xaa":
            raise BuildError(f"{image}: not an image of a card: it has no partition table; {LATER}")
        table = [struct.unpack_from("<B3xB3xII", sector, 446 + 16 * number) for number in (0, 1)]
        found = []
        for number, (_, kind, start, length) in enumerate(table, 1):
            if kind == _GPT_TYPE:
                raise BuildError(f"{image}: a GPT; Raspberry Pi OS has an MBR; {LATER}")
            at, count = start * _SECTOR, length * _SECTOR
            if kind and at + count > size:
                raise BuildError(
                    f"{image}: cut short: partition {number} ends at {(at + count) / MIB:.1f} MiB,"
                    f" the file at {size / MIB:.1f} MiB; download it again"
                )
            found.append((at, count))
        file.seek(found[0][0] + 510)
        if table[0][1] not in _FAT_TYPES or file.read(2) != b"\x55\xaa":
            raise BuildError(f"{image}: its first partition is no FAT; {LATER}")
        file.seek(found[1][0] + 1024 + 56)
        if table[1][1] != _LINUX_TYPE or file.read(2) != b"\x53\xef":
            raise BuildError(f"{image}: its second partition holds no ext4; {LATER}")
    return found[0], found[1]


def _copy_boot(raw: Path, at: int, boot: Path, image: Path) -> None:
    run("mcopy", "-s", "-n", "-m", "-i", f"{raw}@@{at}", "::*", boot)
    kernels = [name for name, _ in KERNELS if (boot / name).is_file()]
    if not kernels or not (boot / "config.txt").is_file():
        what = " or ".join(name for name, _ in KERNELS)
        raise BuildError(
            f"{image}: no {what} with a config.txt on its boot partition: not Raspberry Pi OS"
            f" (64-bit); {LATER}"
        )


def _copy_root(raw: Path, at: int, size: int, root: Path, work: Path, image: Path) -> None:
    """By debugfs, which leaves out what marks a program as root's own: laid on again here."""
    part = work / "root.ext4"
    with raw.open("rb") as source, part.open("wb") as file:
        _copy_holes(source.fileno(), at, size, file.fileno())
    try:
        run("e2fsck", "-f", "-n", part)
    except BuildError:
        raise BuildError(
            f"{image}: its root is damaged, or is that of a card that was not shut down; {LATER}"
        ) from None
    said = run("debugfs", "-R", f'rdump / "{root}"', part, env={"DEBUGFS_PAGER": "cat"})
    if not (root / "etc").is_dir():
        raise BuildError(f"{image}: its root cannot be read: {said.strip()[-300:] or 'no /etc'}")
    for path, mode in _marked(part, work):
        if (root / path).is_symlink() or not (root / path).exists():
            raise BuildError(f"{image}: {path} could not be read; is it damaged?")
        (root / path).chmod(mode)
    part.unlink()


def _copy_holes(source: int, at: int, size: int, target: int) -> None:
    os.ftruncate(target, size)
    where = at
    while where < at + size:
        try:
            start = os.lseek(source, where, os.SEEK_DATA)
        except OSError:
            return  # nothing but a hole is left
        if start >= at + size:
            return
        end = min(os.lseek(source, start, os.SEEK_HOLE), at + size)
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(target, start - at, os.SEEK_SET)
        left = end - start
        while left:
            left -= os.sendfile(target, source, None, left)
        where = end


def _marked(part: Path, work: Path) -> Iterator[tuple[str, int]]:
    """Files and directories that are set-user-id, set-group-id or sticky, with their modes."""
    line = re.compile(r"/(\d+)/(\d{6})/\d+/\d+/([^/]+)/\d*/")
    level, commands = {2: ""}, work / "debugfs"
    while level:
        commands.write_text("".join(f"ls -p <{inode}>\n" for inode in level))
        said = run("debugfs", "-f", commands, part, env={"DEBUGFS_PAGER": "cat"})
        below: dict[int, str] = {}
        directory = ""
        for text in said.splitlines():
            if asked := re.match(r"debugfs: ls -p <(\d+)>", text):
                directory = level[int(asked[1])]
            elif (entry := line.match(text)) and entry[3] not in (".", "..", "lost+found"):
                path, mode = f"{directory}{entry[3]}", int(entry[2], 8)
                kind = mode & 0o170000
                if kind == 0o040000:
                    below[int(entry[1])] = f"{path}/"
                if mode & 0o7000 and kind in (0o040000, 0o100000):
                    yield path, mode & 0o7777
        level = below
    commands.unlink()


def _suite_of(root: Path, image: Path) -> str:
    try:
        text = (root / "etc/os-release").read_text()
    except OSError:
        raise BuildError(f"{image}: no /etc/os-release in its root; {LATER}") from None
    suite = next(iter(re.findall(r"^VERSION_CODENAME=\"?(\w+)", text, re.MULTILINE)), "nothing")
    if suite not in SUITES:
        raise BuildError(f"{image}: stands on Debian {suite}; it must be {' or '.join(SUITES)}")
    return suite


def _require_arm64(root: Path, image: Path) -> None:
    (*_, python) = sorted(root.glob("usr/bin/python3*[0-9]")) or [root / "usr/bin/env"]
    try:
        head = python.read_bytes()[:20]
    except OSError:
        head = b""
    if head[:4] != b"\x7fELF" or struct.unpack_from("<H", head, 18)[0] != _AARCH64:
        raise BuildError(f"{image}: not for arm64 (by {python.name}): take the 64-bit one; {LATER}")


def _kernels_of(root: Path, boot: Path, image: Path) -> Iterator[tuple[str, str]]:
    modules = sorted(path.name for path in (root / "usr/lib/modules").glob("*") if path.is_dir())
    files = [(name, end) for name, end in KERNELS if (boot / name).is_file()]
    for name, end in files:
        mine = [one for one in modules if one.endswith(end)]
        if not mine and len(files) == len(modules) == 1:
            mine = modules
        if len(mine) != 1:
            raise BuildError(
                f"{image}: {len(mine)} directories /usr/lib/modules/…{end} for {name}, must be one"
            )
        yield name, mine[0]


def _calm(found: PiOs) -> None:
    """Take away what it would do by itself, and every password."""
    for directory, patterns in ((found.root, GONE), (found.boot, _BOOT_GONE)):
        for pattern in patterns:
            for path in directory.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    shadow = found.root / "etc/shadow"
    lines = [line.split(":") for line in shadow.read_text().splitlines()]
    shadow.write_text("".join(":".join([name, "*", *rest]) + "\n" for name, _, *rest in lines))
    kept = {modules for _, modules in found.kernels}
    for path in (found.root / "usr/lib/modules").iterdir():
        if path.name not in kept:
            shutil.rmtree(path)
