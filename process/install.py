"""`install` and `uninstall` of the three programs: units, user, limits and an example of settings.

Every step says what it did and may be repeated. It never starts a service whose settings do not
pass their check (an example that runs would speak as somebody else's post), and it never removes
settings or data unless `--purge` asks for it.
"""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from process.files import PUBLIC_MODE, replace_file

USER = "kentongan"
SETTINGS_DIRECTORY = "etc/kentongan"
STATE_DIRECTORY = "var/lib/kentongan"
UNITS_DIRECTORY = "etc/systemd/system"
# What ProtectHome= and PrivateTmp= hide from the services, programs included.
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
COMMAND_PATIENCE_S = 120.0

_UNIT_PROGRAMS = "/opt/kentongan/bin/"
_SYSUSERS = ("systemd/sysusers.conf", "etc/sysusers.d/kentongan.conf")
_PINS = ("systemd/gpio.rules", "etc/udev/rules.d/60-kentongan-gpio.rules")
_LOGS = ("systemd/journald.conf", "etc/systemd/journald.conf.d/50-kentongan.conf")
_WATCHDOG = ("systemd/watchdog.conf", "etc/systemd/system.conf.d/50-kentongan.conf")

Check = Callable[[Path], list[str]]


class InstallError(Exception):
    """It cannot be done; the text says why and what to do."""


@dataclass(frozen=True)
class Service:
    """What one program needs on its host: sources in the package, targets below the root.

    `units` are its processes. `files` may be shared: one goes when the last service that lists it
    goes.
    """

    name: str
    settings: str
    units: tuple[str, ...]
    files: tuple[tuple[str, str], ...]

    @property
    def program(self) -> str:
        """The console script."""
        return f"kentongan-{self.name}"


DEVICE = Service(
    "device", "post.toml", ("kentongan-device.service",), (_SYSUSERS, _PINS, _LOGS, _WATCHDOG)
)
GATEWAY = Service(
    "gateway", "gateway.toml", ("kentongan-gateway.service",), (_SYSUSERS, _PINS, _LOGS, _WATCHDOG)
)
# The host of a command centre is somebody's server: its logs and its watchdog stay as they are.
MCC = Service(
    "mcc",
    "mcc.toml",
    (
        "kentongan-mcc-ingest.service",
        "kentongan-mcc-site.service",
        "kentongan-mcc-escalate.service",
    ),
    (_SYSUSERS,),
)
SERVICES = (DEVICE, GATEWAY, MCC)


def add_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], service: Service
) -> None:
    """Put `install` and `uninstall` among a program's subcommands."""
    install = commands.add_parser(
        "install",
        help="lay units, user and limits on this host, and start",
        description=f"Lay {_names(service)} with user and limits on this host; start when"
        f" /{SETTINGS_DIRECTORY}/{service.settings} passes its check. May be repeated.",
    )
    uninstall = commands.add_parser(
        "uninstall",
        help="stop, and take away what install laid",
        description=f"Stop {_names(service)} and take away what install laid.",
    )
    uninstall.add_argument("--purge", action="store_true", help="settings and data too")
    for command in (install, uninstall):
        command.add_argument(
            "--root", type=Path, default=Path("/"), help="a system's root directory (/)"
        )


def run(service: Service, options: argparse.Namespace, check: Check) -> int:
    """Do what the command line asks; the exit code: 0 done, 2 something is to be put right first.

    `check` reads the settings at a path and returns their problems, a line each.
    """
    try:
        host = _Host(service, options.root)
        if options.command == "install":
            return host.install(check)
        host.uninstall(purge=options.purge)
    except InstallError as error:
        sys.stderr.write(f"{service.program}: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{service.program}: {error.filename or ''}: {error.strerror or error}\n")
        return 2
    return 0


class _Host:
    """One host, running or below a directory, as this service sees it."""

    def __init__(self, service: Service, root: Path) -> None:
        self._service = service
        self._root = root.absolute()
        self._is_running = self._root == Path("/")
        if self._is_running and os.geteuid() != 0:
            raise InstallError(f"this needs root: sudo {_program(service)} ...")
        if not self._root.is_dir():
            raise InstallError(f"--root {root}: there is no such directory")
        for tool in ("systemctl", "systemd-sysusers"):
            if shutil.which(tool) is None:
                raise InstallError(f"{tool} is missing: this needs a host with systemd")
        if self._is_running and not Path("/run/systemd/system").is_dir():
            raise InstallError("systemd does not run here; for an image give --root DIRECTORY")
        self._settings = self._root / SETTINGS_DIRECTORY / service.settings

    # --- install ---------------------------------------------------------------------------

    def install(self, check: Check) -> int:
        service = self._service
        units = self._units()  # before anything is written: it may refuse
        changed = {
            target
            for source, target in service.files
            if self._lay(target, _source(source).read_bytes())
        }
        self._make_user(changed)
        anew = {
            unit
            for unit, text in units.items()
            if self._lay(f"{UNITS_DIRECTORY}/{unit}", text.encode())
        }
        self._make_state()
        self._lay_example()
        self._guard_settings()
        if self._is_running:
            self._apply(changed)
        if not self._settings.exists():
            self._say(
                f"next: copy {self._shown(self._settings)}.example to"
                f" {self._shown(self._settings)}, edit it, and run this again"
            )
            return 0
        problems = check(self._settings)
        example = _source(f"config/{service.settings}").read_bytes()
        # The example of a command centre names nobody: it is for one machine.
        if service is not MCC and self._settings.read_bytes() == example:
            problems = [f"{self._settings}: still the example: whose name and place are these?"]
        if problems:
            raise InstallError(
                "\n".join(["not started; put this right and run it again:", *problems])
            )
        for unit in service.units:
            self._start(unit, anew=unit in anew)
        return 0

    def _units(self) -> dict[str, str]:
        """Each unit with its text, for the place where the program is."""
        program = _program(self._service)
        if not program.exists():
            raise InstallError(
                f"{program} is missing: install the package into a virtual environment, such as"
                " /opt/kentongan, and run its own install"
            )
        if self._is_running:
            for place in (program, Path(sys.executable).resolve()):
                if _is_hidden(place):
                    raise InstallError(
                        f"{place}: services do not see {', '.join(HIDDEN)}; make the virtual"
                        " environment elsewhere, such as /opt/kentongan"
                    )
        directory = program.parent
        if not self._is_running and directory.is_relative_to(self._root):
            directory = Path("/") / directory.relative_to(self._root)
        if any(character.isspace() or character in "%$\"'\\" for character in str(directory)):
            raise InstallError(f"{directory}: a unit cannot name a directory with such letters")
        return {
            unit: _source(f"systemd/{unit}").read_text().replace(_UNIT_PROGRAMS, f"{directory}/")
            for unit in self._service.units
        }

    def _make_user(self, changed: set[str]) -> None:
        if os.geteuid() != 0:
            self._say(f"not root: user {USER} is made when {self._root} boots")
            return
        known = self._ids() is not None
        target = _SYSUSERS[1]
        if not known or target in changed:
            self._call("systemd-sysusers", *self._root_option(), Path(target).name)
        self._say(f"{'kept' if known else 'made'} user {USER}")

    def _make_state(self) -> None:
        """The directory that the service may write, before anything is put there for it."""
        ids, directory = self._ids(), self._root / STATE_DIRECTORY
        if ids is None or os.geteuid() != 0 or directory.exists():
            return
        directory.mkdir(parents=True)
        os.chown(directory, *ids)
        directory.chmod(0o700)
        self._say(f"made {self._shown(directory)}")

    def _lay_example(self) -> None:
        directory = self._settings.parent
        if not directory.is_dir():
            directory.mkdir(parents=True)
            self._say(f"made {self._shown(directory)}")
        example = _source(f"config/{self._service.settings}").read_bytes()
        self._lay(f"{SETTINGS_DIRECTORY}/{self._service.settings}.example", example)

    def _guard_settings(self) -> None:
        """Settings and keys: the service reads them, root changes them, nobody else sees them."""
        ids = self._ids()
        if ids is None or os.geteuid() != 0:
            return
        directory = self._settings.parent
        for path in (directory, *sorted(directory.iterdir())):
            was = path.lstat()
            if stat.S_ISDIR(was.st_mode) and path == directory:
                mode = 0o750
            elif stat.S_ISREG(was.st_mode):
                mode = 0o640
            else:
                continue
            if was.st_uid == ids[0]:
                continue  # the service's own, such as a key that only it may read
            if (was.st_gid, stat.S_IMODE(was.st_mode)) != (ids[1], mode):
                os.chown(path, 0, ids[1], follow_symlinks=False)
                path.chmod(mode)
                self._say(f"for {USER} and root only: {self._shown(path)}")

    def _apply(self, changed: set[str]) -> None:
        self._call("systemctl", "daemon-reload")  # reads system.conf.d anew, too
        if _LOGS[1] in changed:
            self._call("systemctl", "restart", "systemd-journald.service")
        if _PINS[1] in changed and not self._reload_udev():
            self._say("udev does not answer: the pins' group is set at the next boot")

    def _reload_udev(self) -> bool:
        commands = (("control", "--reload"), ("trigger", "--subsystem-match=gpio"))
        return shutil.which("udevadm") is not None and all(
            _run("udevadm", *command).returncode == 0 for command in commands
        )

    def _start(self, unit: str, *, anew: bool) -> None:
        self._call("systemctl", *self._root_option(), "enable", "--quiet", unit)
        self._say(f"enabled {unit}: it starts with the host")
        if not self._is_running:
            return
        active = _run("systemctl", "is-active", "--quiet", unit).returncode == 0
        if active and not anew:
            self._say(f"{unit} runs already; after an upgrade: systemctl restart {unit}")
            return
        try:
            self._call("systemctl", "restart", unit)
        except InstallError as error:
            raise InstallError(f"{error}; see: journalctl -u {unit}") from None
        self._say(f"started {unit}")

    # --- uninstall -------------------------------------------------------------------------

    def uninstall(self, *, purge: bool) -> None:
        for unit in self._service.units:
            path = self._root / UNITS_DIRECTORY / unit
            if not path.exists():
                continue
            now = ("--now",) if self._is_running else ()
            self._call("systemctl", *self._root_option(), "disable", "--quiet", *now, unit)
            path.unlink()
            self._say(f"stopped, disabled and removed {self._shown(path)}")
        others = [
            service
            for service in SERVICES
            if any((self._root / UNITS_DIRECTORY / unit).exists() for unit in service.units)
        ]
        needed = {target for service in others for _, target in service.files}
        for _, target in self._service.files:
            path = self._root / target
            if target not in needed and path.exists():
                path.unlink()
                self._say(f"removed {self._shown(path)}")
        example = self._settings.with_name(f"{self._settings.name}.example")
        if example.exists():
            example.unlink()
            self._say(f"removed {self._shown(example)}")
        if self._is_running:
            self._call("systemctl", "daemon-reload")
        if purge:
            self._purge(others)
        else:
            self._say(f"kept /{SETTINGS_DIRECTORY} and /{STATE_DIRECTORY} (--purge removes them)")

    def _purge(self, others: list[Service]) -> None:
        if self._settings.exists():
            self._settings.unlink()
            self._say(f"removed {self._shown(self._settings)}")
        if others:
            names = ", ".join(map(_names, others))
            self._say(f"kept /{SETTINGS_DIRECTORY} and /{STATE_DIRECTORY}: {names} still there")
            return
        for name in (SETTINGS_DIRECTORY, STATE_DIRECTORY):
            directory = self._root / name
            if directory.is_dir() and not directory.is_symlink():
                shutil.rmtree(directory)
                self._say(f"removed {self._shown(directory)}")
        self._say(f"kept user {USER}: its number must not go to somebody else")

    # --- both ------------------------------------------------------------------------------

    def _lay(self, target: str, content: bytes) -> bool:
        """Whether the file had to be written."""
        path = self._root / target
        if path.is_file() and path.read_bytes() == content:
            self._say(f"unchanged {self._shown(path)}")
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, PUBLIC_MODE)
        self._say(f"wrote {self._shown(path)}")
        return True

    def _ids(self) -> tuple[int, int] | None:
        """The service's user and group number on that host; None where it has none yet."""
        if self._is_running:
            try:
                return pwd.getpwnam(USER).pw_uid, grp.getgrnam(USER).gr_gid
            except KeyError:
                return None
        found = []
        for name in ("passwd", "group"):
            path = self._root / "etc" / name
            lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
            number = next((line.split(":")[2] for line in lines if line.startswith(f"{USER}:")), "")
            if not number.isdigit():
                return None
            found.append(int(number))
        return found[0], found[1]

    def _root_option(self) -> tuple[str, ...]:
        return () if self._is_running else (f"--root={self._root}",)

    def _shown(self, path: Path) -> str:
        return f"/{path.relative_to(self._root)}"

    def _call(self, *command: str) -> None:
        done = _run(*command)
        if done.returncode != 0:
            why = (done.stderr or done.stdout).strip().splitlines()
            raise InstallError(f"{' '.join(command)}: {why[0] if why else 'it failed'}")

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")


def _names(service: Service) -> str:
    return " and ".join(service.units)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COMMAND_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise InstallError(
            f"{' '.join(command)}: no end after {COMMAND_PATIENCE_S:.0f} s"
        ) from None


def _program(service: Service) -> Path:
    """The console script beside the interpreter that runs this."""
    return Path(sys.executable).absolute().parent / service.program


def _is_hidden(place: Path) -> bool:
    return any(place.is_relative_to(hidden) for hidden in HIDDEN)


def _source(name: str) -> Path:
    """A file of this package: in the source tree, or where an installed package keeps its data."""
    for top in (Path(__file__).parents[1], Path(sys.prefix) / "share" / "kentongan"):
        if (top / name).is_file():
            return top / name
    raise InstallError(f"{name} is missing from the installed package")
