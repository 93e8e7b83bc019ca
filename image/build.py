"""Lays our files over Debian, and makes the card's three partitions of it, without a mount."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from device.first_boot import REASON_FILE, Decision, reason_text
from device.openssl import Unavailable, openssl
from device.update import Manifest, pack_update
from image import pi_os
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
_TIMES = ("atime", "ctime")
# A power of two in all, as a card in an emulator must be; smaller than the smallest card on sale.
BOOT_AT_MIB, BOOT_MIB = 4, 252
ROOT_MIB = 1280
TOTAL_MIB = 2048


@dataclass(frozen=True)
class Layout:
    """How large the partitions of a card are, in MiB; data takes what is left."""

    boot: int
    root: int
    total: int

    @property
    def data(self) -> int:
        """The last one's."""
        return self.total - BOOT_AT_MIB - self.boot - self.root


DEBIAN_LAYOUT = Layout(BOOT_MIB, ROOT_MIB, TOTAL_MIB)
DATA_MIB = DEBIAN_LAYOUT.data
# Raspberry Pi OS Lite brings compilers, headers and firmware for every radio.
PI_OS_LAYOUT = Layout(508, 2556, 4096)
_ENABLED = (
    "kentongan-firmware.service",
    "kentongan-card.service",
    "kentongan-code.service",
    "kentongan-device.service",
    "kentongan-reconnect.timer",
)
# Nobody logs in at a screen or a serial line, nothing changes by itself or waits for a network, and
# nothing takes time before the post listens that a post has no use for.
_MASKED = (
    *("getty@.service", "serial-getty@.service", "autovt@.service", "console-getty.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "NetworkManager-wait-online.service"),
    "NetworkManager-dispatcher.service",
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


def build(
    suite: str,
    out: Path,
    cache: Path,
    epoch: int,
    update_key: Path | None = None,
    from_pi_os: Path | None = None,
) -> Built:
    """The whole image, from nothing; `update_key` is the public key whose updates it takes.

    With `from_pi_os`, an image of Raspberry Pi OS Lite, over that: its Debian, its kernels and its
    boot firmware take the place of `suite`'s.

    Raises:
        BuildError: with what failed.
    """
    if os.geteuid() != 0:
        raise BuildError("files of an image belong to root: run this as root")
    os.umask(0o022)
    if update_key is not None:
        _require_public(update_key)
    cache.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    work = out / ("pi-os.work" if from_pi_os is not None else f"{suite}.work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    root, boot, data = work / "root", work / "boot", work / "data"
    if from_pi_os is None:
        base = _over_debian(suite, work, cache, epoch)
    else:
        base = _over_pi_os(from_pi_os, work)
    shutil.copyfile(HERE / "boot/cmdline.txt", boot / "cmdline.txt")
    # Says what to copy there before anything has run, and keeps room for what is to be said later.
    (boot / REASON_FILE).write_bytes(reason_text(Decision(code="no_bundle"), None))
    thin_modules(root)
    firmware(root, cache, epoch)
    layers(root, base.masked, base.enabled)
    if update_key is not None:
        shutil.copyfile(update_key, root / "etc/kentongan-update.pub")
    for _, initrd, modules in base.kernels:
        _initrd(root, epoch, modules, boot / initrd)
    compile_python(root)
    clean(root)
    for name in _MADE:
        (root / name).mkdir(parents=True, exist_ok=True)
    data.mkdir()
    _fill_data(root, data)
    for directory in (root, boot, data):
        clamp(directory, epoch)
    built = Built(*(out / name for name in base.files))
    kernel, initrd, _ = base.kernels[0]
    shutil.copyfile(boot / kernel, built.kernel)
    shutil.copyfile(boot / initrd, built.initrd)
    _partitions(work, built.image, epoch, base.layout)
    shutil.rmtree(work)
    return built


def _require_public(key: Path) -> None:
    """Refuse what is not the public half of a key that signs updates: it goes onto every card.

    Raises:
        BuildError: what it is not.
    """
    try:
        code, said, _ = openssl("pkey", "-pubin", "-in", str(key), "-noout", "-text")
        is_public = code == 0 and b"ED25519" in said and b"PRIVATE" not in key.read_bytes()
    except (Unavailable, OSError) as error:
        raise BuildError(f"{key}: {error}") from None
    if not is_public:
        raise BuildError(f"{key}: not a public Ed25519 key: openssl pkey -in KEY -pubout")


@dataclass(frozen=True)
class _Base:
    """What our layers are laid over: `work/root` and `work/boot`.

    `kernels`: file on the boot partition, its initrd's, name of its modules' directory.
    """

    name: str
    layout: Layout
    kernels: tuple[tuple[str, str, str], ...]
    masked: tuple[str, ...] = _MASKED
    enabled: tuple[str, ...] = _ENABLED

    @property
    def files(self) -> tuple[str, str, str]:
        """Names of what is built."""
        return f"kentongan-{self.name}.img", f"{self.name}.vmlinuz", f"{self.name}.initrd"


def _over_debian(suite: str, work: Path, cache: Path, epoch: int) -> _Base:
    root, boot = work / "root", work / "boot"
    root.mkdir()
    boot.mkdir()
    tar = debian(suite, cache, epoch)
    run("tar", "--extract", "--numeric-owner", "--xattrs", "-C", root, "-f", tar)
    _fill_boot(root, boot)
    (modules,) = (root / "usr/lib/modules").glob("*")
    return _Base(suite, DEBIAN_LAYOUT, (("vmlinuz", "initrd.img", modules.name),))


def _over_pi_os(image: Path, work: Path) -> _Base:
    found = pi_os.take_apart(image, work)
    shutil.copyfile(HERE / "pi-os/config.txt", found.boot / "config.txt")
    return _Base(
        f"pi-os-{found.suite}",
        PI_OS_LAYOUT,
        tuple((kernel, pi_os.initrd_of(kernel), modules) for kernel, modules in found.kernels),
        (*_MASKED, *pi_os.MASKED),
        (*_ENABLED, *pi_os.ENABLED),
    )


def pack_firmware(suite: str, out: Path, cache: Path, epoch: int, key: Path) -> Path:
    """This state of the package as an update for cards of that Debian, signed with `key`.

    Raises:
        BuildError: with what failed.
    """
    os.umask(0o022)
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


def layers(root: Path, masked: Sequence[str] = _MASKED, enabled: Sequence[str] = _ENABLED) -> None:
    """Our files, the programs' own `install`, and what is on and off."""
    shutil.copytree(HERE / "root", root, dirs_exist_ok=True)
    # Whose the checkout is and what others may do in it is no part of a card.
    root.chmod(0o755)
    for path in (HERE / "root").rglob("*"):
        laid = root / path.relative_to(HERE / "root")
        os.chown(laid, 0, 0)
        laid.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    # As a technician does, in the card's own Python, on the card's root seen from inside it.
    install = f"/{FIRMWARE}/bin/kentongan-device install --root /mnt"
    script = f'mount --bind "$1" "$1/mnt"; chroot "$1" {install}'
    run("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", root)
    systemctl = ("systemctl", f"--root={root}", "--quiet")
    run(*systemctl, "mask", *masked)
    run(*systemctl, "enable", *enabled)


def _initrd(root: Path, epoch: int, modules: str, into: Path) -> None:
    """What brings a kernel with these modules to the root."""
    script = (
        'mount -t proc proc "$1/proc"; depmod --basedir "$1" "$2";'
        ' chroot "$1" mkinitramfs -o /boot/kentongan-initrd "$2"'
    )
    run(
        *("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh"),
        *(root, modules),
        env={"SOURCE_DATE_EPOCH": str(epoch)},
    )
    shutil.move(root / "boot/kentongan-initrd", into)


def _fill_boot(root: Path, boot: Path) -> None:
    """What the Pi's own loader reads, and room for the bundle."""
    (kernel,) = root.glob("boot/vmlinuz-*")
    shutil.copyfile(kernel, boot / "vmlinuz")
    for pattern in (
        "usr/lib/raspi-firmware/*",
        "usr/lib/linux-image-*/broadcom/bcm2[78]*-rpi-*.dtb",
    ):
        found = [path for path in root.glob(pattern) if path.is_file()]
        if not found:
            raise BuildError(f"{pattern}: not in this Debian")
        for path in found:
            shutil.copyfile(path, boot / path.name)
    shutil.copyfile(HERE / "boot/config.txt", boot / "config.txt")


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


def _partitions(work: Path, image: Path, epoch: int, layout: Layout) -> None:
    for name, mib in (("boot", layout.boot), ("root", layout.root)):
        used = int(run("du", "--summarize", "--block-size=1M", work / name).split()[0])
        if used > mib * 15 // 16:  # what a file system needs for itself
            raise BuildError(f"{name} holds {used} MiB, which do not fit into its {mib} MiB")
    fat, root, data = work / "boot.fat", work / "root.ext4", work / "data.ext4"
    volume = f"{epoch & 0xFFFFFFFF:08x}"
    _blank(fat, layout.boot)
    run("mkfs.vfat", "--invariant", "-F", "32", "-n", "KENTONGAN", "-i", volume, fat)
    files = sorted((work / "boot").iterdir())
    run(
        "mcopy",
        "-s",
        "-m",
        "-i",
        fat,
        *files,
        "::",
        env={"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"},
    )
    for path, tree, label, mib in (
        (root, work / "root", "kentongan-root", layout.root),
        (data, work / "data", "kentongan-data", layout.data),
    ):
        _blank(path, mib)
        number = str(uuid.uuid5(_NAMESPACE, label))
        run(
            *("mke2fs", "-q", "-t", "ext4", "-L", label, "-U", number, "-m", "0", "-d", tree),
            *("-E", f"hash_seed={number},lazy_itable_init=0,lazy_journal_init=0", path),
            env={"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch)},
        )
        _same_times(path, epoch)
        run("e2fsck", "-f", "-n", path)
    _blank(image, layout.total)
    root_at = BOOT_AT_MIB + layout.boot
    table = "\n".join(
        (
            "label: dos",
            f"label-id: 0x{volume}",
            f"start={BOOT_AT_MIB}MiB, size={layout.boot}MiB, type=c, bootable",
            f"start={root_at}MiB, size={layout.root}MiB, type=83",
            f"start={root_at + layout.root}MiB, size={layout.data}MiB, type=83",
        )
    )
    (work / "table").write_text(table + "\n")
    run("sh", "-c", 'sfdisk --quiet "$1" < "$2"', "sh", image, work / "table")
    at = BOOT_AT_MIB
    for path, mib in ((fat, layout.boot), (root, layout.root), (data, layout.data)):
        run("dd", "conv=notrunc,sparse", "bs=1M", f"seek={at}", f"if={path}", f"of={image}")
        at += mib


def _same_times(system: Path, epoch: int) -> None:
    """When this machine made or read a file is no part of an ext4 that is made of it."""
    said = run("dumpe2fs", system)
    (count,) = re.findall(r"^Inode count: +([0-9]+)$", said, re.MULTILINE)
    free = set()
    for ranges in re.findall(r"^ +Free inodes: +([0-9].*)$", said, re.MULTILINE):
        for one in ranges.split(","):
            first, _, last = one.strip().partition("-")
            free |= set(range(int(first), int(last or first) + 1))
    # The root directory, and what follows the inodes that ext4 keeps for itself.
    used = [2, *(number for number in range(11, int(count) + 1) if number not in free)]
    script = system.with_suffix(".times")
    # Its last writing is one of those times, too.
    lines = [f"set_current_time @{epoch}"]
    lines += [f"set_inode_field <{number}> {what} @{epoch}" for number in used for what in _TIMES]
    script.write_text("\n".join(lines) + "\n")
    run("debugfs", "-w", "-f", script, system)
    script.unlink()


def _blank(path: Path, mib: int) -> None:
    with path.open("wb") as file:
        file.truncate(mib * MIB)
