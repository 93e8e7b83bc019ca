"""An image of Raspberry Pi OS as an input: what is taken from it, what is refused; no emulation.

Raspberry Pi's own image is not here: a small one of its shape is made (its partitions and files as
pi-gen makes them). `from_pi_os.py` builds a card from a large one.
"""

from __future__ import annotations

import lzma
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from image import pi_os
from image.debian import BuildError
from image.pi_os import IMAGE_BYTES_MAX, NEEDED, take_apart

MIB = 1024 * 1024
BOOT_AT, BOOT_BYTES, ROOT_BYTES = 4 * MIB, 16 * MIB, 24 * MIB
ROOT_AT = BOOT_AT + BOOT_BYTES


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44)


def write(path: Path, content: bytes | str = b"", mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`root` and `boot` as Raspberry Pi OS Lite (64-bit) has them, of what matters here."""
    assert os.geteuid() == 0, "this test needs root: files of an image belong to somebody"
    tree = tmp_path_factory.mktemp("pi-os")
    root, boot = tree / "root", tree / "boot"
    for name in NEEDED:
        write(root / name, b"#!/bin/sh\n", 0o755)
    (root / "usr/bin/python3").unlink()
    write(root / "usr/bin/python3.11", elf(183), 0o755)
    (root / "usr/bin/python3").symlink_to("python3.11")
    write(root / "usr/bin/sudo", elf(183), 0o4755)
    write(root / "home/pi/a file with spaces", "x")
    os.chown(root / "home/pi", 1000, 1000)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    write(root / "etc/os-release", 'PRETTY_NAME="Debian"\nVERSION_CODENAME=bookworm\n')
    write(root / "etc/shadow", "root:*:19000:0:::::\npi:$y$j9T$salt$hash:19000:0:::::\n", 0o640)
    write(root / "etc/init.d/resize2fs_once", "#!/bin/sh\n", 0o755)
    (root / "etc/rc3.d").mkdir()
    (root / "etc/rc3.d/S01resize2fs_once").symlink_to("../init.d/resize2fs_once")
    write(root / "etc/sudoers.d/010_pi-nopasswd", "pi ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    write(root / "var/lib/NetworkManager/NetworkManager.state", "WirelessEnabled=false\n")
    for kernel in ("v8", "2712"):
        write(root / f"usr/lib/modules/6.12.47+rpt-rpi-{kernel}/modules.order")
    write(root / "usr/lib/modules/6.6.1+rpt-rpi-v6/modules.order")
    for name in ("kernel8.img", "kernel_2712.img", "start4.elf", "bcm2712-rpi-5-b.dtb"):
        write(boot / name, name)
    write(boot / "config.txt", "auto_initramfs=1\n")
    write(boot / "cmdline.txt", "console=serial0,115200 root=PARTUUID=0-02 resize\n")
    write(boot / "initramfs8", "theirs")
    write(boot / "overlays/disable-bt.dtbo", "overlay")
    write(boot / "user-data", "#cloud-config\n")
    return tree


def make(trees: Path, image: Path, change: Callable[[Path, Path], None] | None = None) -> Path:
    """A card of those trees; `change` is given root and boot before."""
    work = image.with_suffix(".trees")
    shutil.copytree(trees, work, symlinks=True)
    os.chown(work / "root/home/pi", 1000, 1000)
    if change is not None:
        change(work / "root", work / "boot")
    return lay(work / "root", work / "boot", image, BOOT_BYTES, ROOT_BYTES)


def lay(root: Path, boot: Path, image: Path, boot_bytes: int, root_bytes: int) -> Path:
    """An image with the two partitions of Raspberry Pi OS."""
    fat, ext4 = image.with_suffix(".fat"), image.with_suffix(".ext4")
    for path, size in ((fat, boot_bytes), (ext4, root_bytes)):
        with path.open("wb") as file:
            file.truncate(size)
    files = [str(path) for path in sorted(boot.iterdir())]
    subprocess.run(["mkfs.vfat", "-n", "bootfs", fat], check=True, capture_output=True)
    subprocess.run(["mcopy", "-s", "-i", fat, *files, "::"], check=True, capture_output=True)
    mke2fs = ("mke2fs", "-q", "-t", "ext4", "-L", "rootfs", "-d", str(root))
    subprocess.run([*mke2fs, ext4], check=True, capture_output=True)
    root_at = BOOT_AT + boot_bytes
    table = (
        f"label: dos\nstart={BOOT_AT // 512}, size={boot_bytes // 512}, type=c\n"
        f"start={root_at // 512}, size={root_bytes // 512}, type=83\n"
    )
    with image.open("wb") as file:
        file.truncate(root_at + root_bytes)
    subprocess.run(["sfdisk", "--quiet", image], input=table, text=True, check=True)
    for at, path in ((BOOT_AT, fat), (root_at, ext4)):
        dd = ("dd", "conv=notrunc,sparse", "bs=1M", f"seek={at // MIB}", f"if={path}")
        subprocess.run([*dd, f"of={image}"], check=True, capture_output=True)
        path.unlink()
    return image


@pytest.fixture(scope="module")
def good(trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(trees, tmp_path_factory.mktemp("card") / "raspios.img")


def test_what_comes_out_is_what_was_in_it_with_owners_and_marks(good: Path, tmp_path: Path) -> None:
    found = take_apart(good, tmp_path / "work")
    assert found.suite == "bookworm"
    assert found.kernels == (
        ("kernel8.img", "6.12.47+rpt-rpi-v8"),
        ("kernel_2712.img", "6.12.47+rpt-rpi-2712"),
    )
    assert (found.root / "usr/bin/python3").readlink() == Path("python3.11")
    assert (found.root / "usr/bin/sudo").stat().st_mode & 0o7777 == 0o4755
    assert (found.root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (found.root / "home/pi").stat().st_uid == 1000
    assert (found.root / "home/pi/a file with spaces").read_text() == "x"
    assert (found.boot / "overlays/disable-bt.dtbo").read_text() == "overlay"
    assert (found.boot / "kernel_2712.img").exists()
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["boot", "root"]


def test_nothing_of_its_own_first_boot_and_no_password_is_left(good: Path, tmp_path: Path) -> None:
    found = take_apart(good, tmp_path / "work")
    assert (found.root / "etc/shadow").read_text() == "root:*:19000:0:::::\npi:*:19000:0:::::\n"
    assert (found.root / "etc/shadow").stat().st_mode & 0o777 == 0o640
    assert not list(found.root.rglob("*resize2fs_once"))
    assert not list((found.root / "etc/sudoers.d").iterdir())
    assert not (found.root / "var/lib/NetworkManager/NetworkManager.state").exists()
    assert not (found.root / "usr/lib/modules/6.6.1+rpt-rpi-v6").exists()
    names = {path.name for path in found.boot.iterdir()}
    assert names.isdisjoint({"config.txt", "cmdline.txt", "initramfs8", "user-data"})


def test_one_that_is_packed_gives_the_same(good: Path, tmp_path: Path) -> None:
    packed = tmp_path / "raspios.img.xz"
    packed.write_bytes(lzma.compress(good.read_bytes(), preset=0))
    found = take_apart(packed, tmp_path / "work")
    assert found.suite == "bookworm"
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["boot", "root"]
    packed.write_bytes(packed.read_bytes()[:-5_000])
    with pytest.raises(BuildError, match=r"raspios\.img\.xz: cut short; download it again"):
        take_apart(packed, tmp_path / "again")
    packed.write_bytes(b"no xz at all")
    with pytest.raises(BuildError, match="not packed by xz, or damaged"):
        take_apart(packed, tmp_path / "more")


def cut(good: Path, image: Path) -> None:
    image.write_bytes(good.read_bytes()[: ROOT_AT + MIB])


def without_table(good: Path, image: Path) -> None:
    image.write_bytes(b"\x89PNG\r\n" + bytes(MIB))


def patched(*changes: tuple[int, bytes]) -> Callable[[Path, Path], None]:
    def make_it(good: Path, image: Path) -> None:
        shutil.copyfile(good, image)
        with image.open("r+b") as file:
            for at, content in changes:
                file.seek(at)
                file.write(content)

    return make_it


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda good, image: image.write_bytes(b""), "no partition table"),
        (without_table, "no partition table"),
        (cut, "cut short: partition 2 ends at 44.0 MiB, the file at 21.0 MiB"),
        (patched((446 + 4, b"\xee")), "a GPT; Raspberry Pi OS has an MBR"),
        (patched((446 + 4, b"\x83")), "its first partition is no FAT"),
        (patched((BOOT_AT + 510, b"\0\0")), "its first partition is no FAT"),
        (patched((446 + 16 + 4, b"\x82")), "its second partition holds no ext4"),
        (patched((ROOT_AT + 1080, b"\0\0")), "its second partition holds no ext4"),
        (patched((ROOT_AT + 1024 + 1024, b"\xff" * 64)), "its root is damaged"),
    ],
    ids=["empty", "a picture", "cut", "gpt", "no fat", "fat gone", "swap", "ext4 gone", "damaged"],
)
def test_what_is_no_image_of_it_is_refused_with_what_to_take(
    spoil: Callable[[Path, Path], object], says: str, good: Path, tmp_path: Path
) -> None:
    image = tmp_path / "wrong.img"
    spoil(good, image)
    with pytest.raises(BuildError, match=says) as refused:
        take_apart(image, tmp_path / "work")
    assert str(refused.value).startswith(str(image))


def test_a_file_that_is_not_there_or_a_zip_is_said(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"there is no such file; .*Lite \(64-bit\)"):
        take_apart(tmp_path / "none.img", tmp_path / "work")
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(BuildError, match="unzip it first"):
        take_apart(tmp_path / "x.zip", tmp_path / "work")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda root, boot: write(root / "usr/bin/python3.11", elf(40)),
            r"not for arm64 \(by python3.11\): take the 64-bit one",
        ),
        (
            lambda root, boot: write(root / "etc/os-release", "VERSION_CODENAME=bullseye\n"),
            "stands on Debian bullseye; it must be bookworm or trixie",
        ),
        (lambda root, boot: (root / "etc/os-release").unlink(), "no /etc/os-release"),
        (
            lambda root, boot: (root / "usr/sbin/NetworkManager").unlink(),
            "network-manager is missing in it",
        ),
        (
            lambda root, boot: [(boot / f"kernel{end}.img").unlink() for end in ("8", "_2712")],
            "no kernel8.img or kernel_2712.img",
        ),
        (lambda root, boot: (boot / "config.txt").unlink(), "with a config.txt"),
        (
            lambda root, boot: shutil.rmtree(root / "usr/lib/modules/6.12.47+rpt-rpi-2712"),
            r"0 directories .*2712 for kernel_2712.img",
        ),
    ],
    ids=["32 bit", "old", "no release", "no network", "no kernel", "no config", "no modules"],
)
def test_what_is_another_system_is_refused_with_what_is_missing(
    change: Callable[[Path, Path], None], says: str, trees: Path, tmp_path: Path
) -> None:
    image = make(trees, tmp_path / "other.img", change)
    with pytest.raises(BuildError, match=says):
        take_apart(image, tmp_path / "work")


def test_what_unpacks_to_more_than_any_card_needs_is_stopped(tmp_path: Path) -> None:
    packed = tmp_path / "trap.img.xz"
    with lzma.open(packed, "wb", preset=0) as file:
        for _ in range(40):
            file.write(bytes(MIB))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pi_os, "IMAGE_BYTES_MAX", 32 * MIB)
        with pytest.raises(BuildError, match="more than 32 MiB in it"):
            take_apart(packed, tmp_path / "work")
    assert IMAGE_BYTES_MAX > 32 * MIB
