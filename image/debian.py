"""The Debian that a card stands on, and the firmware in its own virtual environment: a directory.

Everything arm64 runs by qemu-user, which must be registered (`binfmt_misc`); as little as possible
does. What was downloaded is kept below the cache and read again by the next build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("systemd-sysv", "systemd-timesyncd", "udev", "kmod", "dbus", "libnss-myhostname"),
    *("network-manager", "wpasupplicant", "modemmanager", "iproute2", "wireless-regdb"),
    *("python3", "openssl", "openssh-server", "initramfs-tools", "zstd"),
    *("e2fsprogs", "dosfstools"),
)
# Unpacked and not configured: their scripts make an initrd for each kernel, minutes of emulation,
# and look for a boot partition that there is not. `build` makes the one initrd.
UNPACKED = ("linux-image-arm64", "raspi-firmware", "firmware-brcm80211")
_LEFT_OUT = tuple(
    f"/usr/share/{what}/*" for what in ("doc", "man", "locale", "info", "bash-completion")
)
# What no post has: screens, cameras, racks of disks.
_MODULES_LEFT_OUT = (
    *("sound", "drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/scsi"),
    *("drivers/iio", "drivers/md", "drivers/nvme", "drivers/target", "drivers/ata"),
    *("drivers/staging", "drivers/net/ethernet/mellanox", "drivers/net/ethernet/intel"),
)
_UNPACK = """
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes --download-only --no-install-recommends \
  install UNPACKED
for deb in "$1"/var/cache/apt/archives/linux-image-[0-9]*.deb \
  "$1"/var/cache/apt/archives/raspi-firmware_*.deb \
  "$1"/var/cache/apt/archives/firmware-brcm80211_*.deb; do
  dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$1" \
    --exclude='./etc/*' --exclude='./usr/share/doc/*'
done
"""
FIRMWARE = "opt/kentongan"
# Sources: each wheel's own tag; PyPI serves all of them for these.
_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_28_aarch64", "manylinux_2_34_aarch64")
# lgpio has no wheel for later Pythons on PyPI; Adafruit builds the same sources for them.
_LGPIO = {"3.13": "adafruit-lgpio"}
_LEFT_OF_TREE = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build")
_DIRTY = (
    *("var/log", "var/cache", "var/lib/apt/lists", "run", "tmp"),
    *("var/lib/systemd/catalog",),
)
_EMPTY_FILES = ("etc/machine-id",)
_GONE = ("etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "etc/hostname", "etc/resolv.conf",
         "etc/*-", "boot/*", "initrd.img*", "vmlinuz*")  # fmt: skip


class BuildError(Exception):
    """The image cannot be built; the text says why and what to do."""


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """A command's output.

    Raises:
        BuildError: with the last of what it said.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
        )
    except FileNotFoundError:
        raise BuildError(f"{words[0]} is missing: make image-packages") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise BuildError(f"{' '.join(words)[:300]}: {said}")
    return done.stdout


def debian(suite: str, cache: Path, epoch: int) -> Path:
    """Debian without us, as a tar that is made once per suite and list of packages."""
    if not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        raise BuildError("arm64 programs do not run here: make image-packages")
    made_of = hashlib.sha256(
        repr((suite, PACKAGES, UNPACKED, _LEFT_OUT, _UNPACK, epoch)).encode()
    ).hexdigest()[:12]
    tar = cache / f"debian-{suite}-{made_of}.tar"
    if tar.exists():
        return tar
    downloaded = cache / f"packages-{suite}"
    downloaded.mkdir(parents=True, exist_ok=True)
    for old in downloaded.glob("linux-image-*.deb"):
        old.unlink()  # beside the newest it would be unpacked, too
    new = tar.with_suffix(".new")
    run(
        *("mmdebstrap", "--mode=root", "--architectures=arm64", "--variant=minbase"),
        *("--format=tar", "--components=main,non-free-firmware", f"--include={','.join(PACKAGES)}"),
        *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
        "--dpkgopt=force-unsafe-io",
        *("--skip=download/empty", "--skip=essential/unlink"),
        '--setup-hook=mkdir -p "$1"/var/cache/apt/archives/',
        f"--setup-hook=sync-in {downloaded} /var/cache/apt/archives/",
        # Keys that are there are not made, minutes of emulation; `clean` takes them away.
        '--setup-hook=mkdir -p "$1"/etc/ssh; for kind in rsa ecdsa ed25519; do'
        ' touch "$1/etc/ssh/ssh_host_${kind}_key" "$1/etc/ssh/ssh_host_${kind}_key.pub"; done',
        f"--customize-hook={_UNPACK.replace('UNPACKED', ' '.join(UNPACKED))}",
        f"--customize-hook=sync-out /var/cache/apt/archives {downloaded}",
        *(suite, new),
        env={"SOURCE_DATE_EPOCH": str(epoch)},
    )
    new.rename(tar)
    return tar


def thin_modules(root: Path) -> None:
    """Without the drivers of what no post has."""
    for modules in (root / "usr/lib/modules").glob("*/kernel"):
        for name in _MODULES_LEFT_OUT:
            shutil.rmtree(modules / name, ignore_errors=True)


def python_of(root: Path) -> str:
    """The version of a root's Python, such as 3.11."""
    (python,) = root.glob("usr/bin/python3.[0-9]*[0-9]")
    return python.name.removeprefix("python")


def firmware(root: Path, cache: Path, epoch: int, into: str = FIRMWARE) -> None:
    """This package and what it needs, as a virtual environment that runs at /opt/kentongan."""
    version = python_of(root)
    wheels = cache / f"wheels-{version}"
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    tree = cache / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_OF_TREE))
    for old in wheels.glob("kentongan-*.whl"):
        old.unlink()
    stamp = {"SOURCE_DATE_EPOCH": str(epoch)}
    run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, tree, env=stamp)
    shutil.rmtree(tree)
    (wheel,) = wheels.glob("kentongan-*.whl")
    wanted = (f"{wheel}[device]", _LGPIO.get(version, "lgpio"))
    run(
        *(*pip, "download", "--only-binary", ":all:", "--implementation", "cp"),
        *(word for platform in _PLATFORMS for word in ("--platform", platform)),
        *("--python-version", version, "--find-links", wheels, "--dest", wheels),
        *("--constraint", ROOT / "constraints.txt", *wanted),
    )
    venv = root / into
    shutil.rmtree(venv, ignore_errors=True)
    site = venv / f"lib/python{version}/site-packages"
    site.mkdir(parents=True)
    run(
        *(*pip, "install", "--no-index", "--find-links", wheels, "--only-binary", ":all:"),
        *("--implementation", "cp", "--python-version", version, "--no-compile"),
        # It would ask this machine's Python; `download` has asked the card's.
        "--ignore-requires-python",
        *(word for platform in _PLATFORMS for word in ("--platform", platform)),
        *("--target", site, "--constraint", ROOT / "constraints.txt", *wanted),
    )
    shutil.rmtree(site / "bin", ignore_errors=True)
    # Where the wheel lay on this machine is no part of a card.
    for origin in site.glob("*.dist-info/direct_url.json"):
        origin.unlink()
        record = origin.with_name("RECORD")
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if "/direct_url.json," not in line))
    if (site / "share").exists():
        (site / "share").rename(venv / "share")
    # Neither rooms of a server nor installers: a post needs none of them.
    for name in ("mcc", "demo", "simulation", "benchmarks", "gateway"):
        shutil.rmtree(site / name, ignore_errors=True)
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to("/usr/bin/python3")
    (venv / "bin/python3").symlink_to("python")
    (venv / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    program = venv / "bin/kentongan-device"
    program.write_text(
        "#!/opt/kentongan/bin/python\nimport sys\nfrom device.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)


def compile_python(root: Path, where: str = FIRMWARE) -> None:
    """Byte code that is not compared with its source: nobody can write to either."""
    run(
        *("chroot", root, "/usr/bin/python3", "-m", "compileall", "-q"),
        *("--invalidation-mode", "unchecked-hash", f"/{where}"),
        env={"PYTHONHASHSEED": "0"},
    )


def clean(root: Path) -> None:
    """Take away what differs between two builds, or must not be the same on two cards."""
    for name in _DIRTY:
        for path in (root / name).glob("*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for pattern in _GONE:
        for path in root.glob(pattern):
            if not path.is_dir():
                path.unlink()
    for name in _EMPTY_FILES:
        (root / name).write_text("")


def clamp(root: Path, epoch: int) -> None:
    """No file is younger than the build says."""
    for path in (*root.rglob("*"), root):
        if path.lstat().st_mtime > epoch:
            os.utime(path, (epoch, epoch), follow_symlinks=False)
