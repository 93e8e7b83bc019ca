"""Lays our files over Debian, and makes the card's three partitions of it, without a mount."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from device.openssl import Unavailable
from device.update import Manifest, pack_update
from image.debian import (
    FIRMWARE,
    BuildError,
    clamp,
    clean,
    compile_python,
    debian,
    firmware,
    python_of,
    run,
    thin_modules,
)

HERE = Path(__file__).parent
_NAMESPACE = uuid.UUID("2c1d7a52-8a5e-4f0b-9a6a-6b617274752e")
MIB = 1024 * 1024
# A power of two in all, as a card in an emulator must be; smaller than the smallest card on sale.
BOOT_AT_MIB, BOOT_MIB = 4, 252
ROOT_MIB = 1280
TOTAL_MIB = 2048
DATA_MIB = TOTAL_MIB - BOOT_AT_MIB - BOOT_MIB - ROOT_MIB
_ENABLED = (
    "kentongan-firmware.service",
    "kentongan-card.service",
    "kentongan-code.service",
    "kentongan-device.service",
)
# Nobody logs in at a screen or a serial line, nothing changes by itself or waits for a network, and
# nothing takes time before the post listens that a post has no use for.
_MASKED = (
    *("getty@.service", "serial-getty@.service", "autovt@.service", "console-getty.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "NetworkManager-wait-online.service"),
    *("systemd-rfkill.service", "systemd-rfkill.socket", "systemd-firstboot.service"),
    *("systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-fsckd.socket"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *("systemd-pcrphase.service", "systemd-pcrphase-sysinit.service", "systemd-pstore.service"),
    *("systemd-sysusers.service", "systemd-remount-fs.service", "modprobe@.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
)
_MADE = (
    "boot/firmware", "data", "var/lib/kentongan", "var/log/journal", "var/lib/systemd/timesync",
    "etc/kentongan",
)  # fmt: skip


@dataclass(frozen=True)
class Built:
    """The card's image; its kernel and initrd once more, for a machine without a Pi's loader."""

    image: Path
    kernel: Path
    initrd: Path


def build(suite: str, out: Path, cache: Path, epoch: int, update_key: Path | None = None) -> Built:
    """The whole image, from nothing; `update_key` is the public key whose updates it takes.

    Raises:
        BuildError: with what failed.
    """
    if os.geteuid() != 0:
        raise BuildError("files of an image belong to root: run this as root")
    cache.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    work = out / f"{suite}.work"
    shutil.rmtree(work, ignore_errors=True)
    root, boot, data = work / "root", work / "boot", work / "data"
    for directory in (root, boot, data):
        directory.mkdir(parents=True)
    run(
        "tar",
        "--extract",
        "--numeric-owner",
        "--xattrs",
        "-C",
        root,
        "-f",
        debian(suite, cache, epoch),
    )
    thin_modules(root)
    firmware(root, cache, epoch)
    layers(root)
    if update_key is not None:
        shutil.copyfile(update_key, root / "etc/kentongan-update.pub")
    _initrd(root, epoch)
    compile_python(root)
    _fill_boot(root, boot)
    clean(root)
    for name in _MADE:
        (root / name).mkdir(parents=True, exist_ok=True)
    _fill_data(root, data)
    for directory in (root, boot, data):
        clamp(directory, epoch)
    built = Built(out / f"kentongan-{suite}.img", out / f"{suite}.vmlinuz", out / f"{suite}.initrd")
    shutil.copyfile(boot / "vmlinuz", built.kernel)
    shutil.copyfile(boot / "initrd.img", built.initrd)
    _partitions(work, built.image, epoch)
    shutil.rmtree(work)
    return built


def pack_firmware(suite: str, out: Path, cache: Path, epoch: int, key: Path) -> Path:
    """This state of the package as an update for cards of that Debian, signed with `key`.

    Raises:
        BuildError: with what failed.
    """
    work = out / f"{suite}.update-work"
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    root.mkdir(parents=True)
    tar = debian(suite, cache, epoch)
    run("tar", "--extract", "--numeric-owner", "-C", root, "-f", tar)
    firmware(root, cache, epoch)
    compile_python(root)
    version = metadata.version("kentongan")

    def manifest(digest: str) -> Manifest:
        return Manifest(version=version, python=python_of(root), machine="aarch64", sha256=digest)

    update = out / f"kentongan-{version}-{suite}.update"
    try:
        pack_update(root / FIRMWARE, manifest, key, update)
    except Unavailable as error:
        raise BuildError(str(error)) from None
    shutil.rmtree(work)
    return update


def layers(root: Path) -> None:
    """Our files, the programs' own `install`, and what is on and off."""
    shutil.copytree(HERE / "root", root, dirs_exist_ok=True)
    for path in (HERE / "root").rglob("*"):
        os.chown(root / path.relative_to(HERE / "root"), 0, 0)
    # As a technician does, in the card's own Python, on the card's root seen from inside it.
    install = f"/{FIRMWARE}/bin/kentongan-device install --root /mnt"
    script = f'mount --bind "$1" "$1/mnt"; chroot "$1" {install}'
    run("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", root)
    systemctl = ("systemctl", f"--root={root}", "--quiet")
    run(*systemctl, "enable", *_ENABLED)
    run(*systemctl, "mask", *_MASKED)


def _initrd(root: Path, epoch: int) -> None:
    (modules,) = (root / "usr/lib/modules").glob("*")
    script = (
        'mount -t proc proc "$1/proc"; depmod --basedir "$1" "$2";'
        ' chroot "$1" mkinitramfs -o /boot/kentongan-initrd "$2"'
    )
    run(
        *("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh"),
        *(root, modules.name),
        env={"SOURCE_DATE_EPOCH": str(epoch)},
    )


def _fill_boot(root: Path, boot: Path) -> None:
    """What the Pi's own loader reads, and room for the bundle."""
    (kernel,) = root.glob("boot/vmlinuz-*")
    shutil.copyfile(kernel, boot / "vmlinuz")
    (root / "boot/kentongan-initrd").rename(boot / "initrd.img")
    for pattern in (
        "usr/lib/raspi-firmware/*",
        "usr/lib/linux-image-*/broadcom/bcm2[78]*-rpi-*.dtb",
    ):
        found = [path for path in root.glob(pattern) if path.is_file()]
        if not found:
            raise BuildError(f"{pattern}: not in this Debian")
        for path in found:
            shutil.copyfile(path, boot / path.name)
    for path in (HERE / "boot").iterdir():
        shutil.copyfile(path, boot / path.name)


def _fill_data(root: Path, data: Path) -> None:
    """The data partition as a new card has it."""
    ids = {}
    for line in (root / "etc/passwd").read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        ids[name] = int(uid), int(gid)
    for name, owner, mode in (
        ("kentongan", "kentongan", 0o700),
        ("log", "root", 0o755),
        ("timesync", "systemd-timesync", 0o755),
        ("card", "root", 0o700),
        ("firmware", "root", 0o755),
    ):
        (data / name).mkdir(mode=mode)
        (data / name).chmod(mode)
        os.chown(data / name, *ids[owner])
    data.chmod(0o755)


def _partitions(work: Path, image: Path, epoch: int) -> None:
    fat, root, data = work / "boot.fat", work / "root.ext4", work / "data.ext4"
    volume = f"{epoch & 0xFFFFFFFF:08x}"
    _blank(fat, BOOT_MIB)
    run("mkfs.vfat", "--invariant", "-F", "32", "-n", "KENTONGAN", "-i", volume, fat)
    files = sorted((work / "boot").iterdir())
    run("mcopy", "-m", "-i", fat, *files, "::", env={"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"})
    for path, tree, label, mib in (
        (root, work / "root", "kentongan-root", ROOT_MIB),
        (data, work / "data", "kentongan-data", DATA_MIB),
    ):
        _blank(path, mib)
        number = str(uuid.uuid5(_NAMESPACE, label))
        run(
            *("mke2fs", "-q", "-t", "ext4", "-L", label, "-U", number, "-m", "0", "-d", tree),
            *("-E", f"hash_seed={number},lazy_itable_init=0,lazy_journal_init=0", path),
            env={"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch)},
        )
        run("e2fsck", "-f", "-n", path)
    _blank(image, TOTAL_MIB)
    table = "\n".join(
        (
            "label: dos",
            f"label-id: 0x{volume}",
            f"start={BOOT_AT_MIB}MiB, size={BOOT_MIB}MiB, type=c, bootable",
            f"start={BOOT_AT_MIB + BOOT_MIB}MiB, size={ROOT_MIB}MiB, type=83",
            f"start={BOOT_AT_MIB + BOOT_MIB + ROOT_MIB}MiB, size={DATA_MIB}MiB, type=83",
        )
    )
    (work / "table").write_text(table + "\n")
    run("sh", "-c", 'sfdisk --quiet "$1" < "$2"', "sh", image, work / "table")
    at = BOOT_AT_MIB
    for path, mib in ((fat, BOOT_MIB), (root, ROOT_MIB), (data, DATA_MIB)):
        run("dd", "conv=notrunc,sparse", "bs=1M", f"seek={at}", f"if={path}", f"of={image}")
        at += mib


def _blank(path: Path, mib: int) -> None:
    with path.open("wb") as file:
        file.truncate(mib * MIB)
