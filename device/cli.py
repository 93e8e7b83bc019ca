"""`kentongan-device`: run a post, check or examine it, install it, work the panel of a mock one.

Exit codes: 0 done, 1 it did not work, 2 the command or the settings are wrong; those of `doctor`
are its own (`process/doctor.py`).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from process import doctor, install
from process.terminal import speaking

if TYPE_CHECKING:
    from device.settings import PostFile

PANEL_VERBS = (
    *("press", "release", "press3", "cancel", "edges", "status"),
    *("wire", "tamper", "mains"),
)


@speaking("kentongan-device")
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do it."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "panel":
            return _panel(options)
        if options.command in ("install", "uninstall"):
            return install.run(install.DEVICE, options, _problems)
        if options.command == "unpack":
            return _unpack(options)
        if options.command == "card":
            from device.card import Card, Places, blink

            if options.verb == "firmware":
                return _lay_firmware()
            return Card(Places()).start() if options.verb == "take" else blink(Places())
        if options.command == "update":
            return _update(options)
        if options.command == "doctor":
            from device.doctor import examine

            return doctor.run(options, examine(options.config, quiet=options.quiet))
        return _run_or_check(options)
    except ModuleNotFoundError as error:
        _say(f"{error.name} is not installed; install it with: pip install 'kentongan[device]'")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kentongan-device", description="The firmware of a post: button, lamp, buzzer, alarm."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in (
        ("run", "be the post"),
        ("check", "validate the settings and print what would run"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--config", required=True, type=Path, help="the settings, TOML")
    doctor.add_command(commands, "a post")
    install.add_commands(commands, install.DEVICE)
    unpack = commands.add_parser(
        "unpack",
        help="lay down the bundle of this post: settings, certificate, key",
        description="Lay down a bundle's files and check its settings.",
    )
    unpack.add_argument("bundle", type=Path, help="made by kentongan-gateway provision post")
    unpack.add_argument("--to", type=Path, required=True, help="the directory for its files")
    card = commands.add_parser(
        "card",
        help="what the units of the SD card run at each start",
        description="Take a bundle from the boot partition and lay what the post runs by;"
        " blink why there is no post yet.",
    )
    card.add_argument("verb", choices=("firmware", "take", "blink"))
    update = commands.add_parser(
        "update",
        help="install a signed firmware beside this one; keep it only if the post comes up",
        description="Verify an update, install it beside what runs, start it, and keep it only if"
        " the post comes up listening and answered; else the version before runs again.",
    )
    update.add_argument(
        "bundle", type=Path, help="the update's file; without one: what runs", nargs="?"
    )
    panel = commands.add_parser(
        "panel",
        help="work the button of a post with mock pins",
        description="Move the inputs of a post that runs with mock pins, and read lamp and buzzer:"
        " wire cut|short|ok, tamper open|close, mains lost|back.",
    )
    panel.add_argument("--socket", required=True, help="[hardware] panel_socket of the post")
    panel.add_argument("verb", choices=PANEL_VERBS)
    panel.add_argument(
        "argument",
        nargs="?",
        help="for edges: a file, lines of `t_us level`; what wire, lid or mains do",
    )
    return parser


def _problems(path: Path) -> list[str]:
    """What is wrong with the settings, a line each."""
    from device.settings import PostFile
    from process.settings import SettingsError, read_settings

    try:
        read_settings(path, PostFile)
    except SettingsError as error:
        return error.problems
    return []


def _missing_around(settings: PostFile) -> list[str]:
    """What the settings name and this machine does not have, a line each."""
    from process.settings import unreadable_files, unusable_places, unusable_sockets

    tls = {f"[mqtt] {key}": getattr(settings.mqtt, key) for key in ("ca", "certificate", "key")}
    panel = {"[hardware] panel_socket": settings.hardware.panel_socket}
    made = {"[store] path": settings.store.path, **panel}
    return [*unreadable_files(tls), *unusable_places(made), *unusable_sockets(panel)]


def _unpack(options: argparse.Namespace) -> int:
    from process.bundle import BundleError, read_bundle, unpack

    try:
        for path in unpack(read_bundle(options.bundle, "post"), options.to):
            sys.stdout.write(f"wrote {path}\n")
    except BundleError as error:
        _say(str(error))
        return 2
    problems = _problems(options.to / "post.toml")
    for problem in problems:
        _say(problem)
    return 2 if problems else 0


def _run_or_check(options: argparse.Namespace) -> int:
    from device.settings import PostFile
    from process.settings import SettingsError, describe_settings, read_settings

    try:
        settings = read_settings(options.config, PostFile)
    except SettingsError as error:
        for problem in error.problems:
            _say(problem)
        return 2
    if options.command == "check":
        problems = _missing_around(settings)
        for problem in problems:
            _say(f"{options.config}: {problem}")
        if problems:
            return 2
        sys.stdout.write(describe_settings(settings) + "\n")
        return 0

    from device.outbox import OutboxRefused
    from device.service import run
    from hardware.panel import PanelError
    from hardware.pins import PinsUnavailable

    try:
        return run(settings)
    except (PinsUnavailable, PanelError, OutboxRefused) as error:
        _say(str(error))
        return 2


# Where a card keeps firmwares, and the key that it was made with.
_FIRMWARES, _FACTORY = Path("/data/firmware"), Path("/run/kentongan-firmware/factory")
_UPDATE_KEY = Path("/etc/kentongan-update.pub")


def _lay_firmware() -> int:
    from device.update import RunningHost, Store, UpdateRefused, at_start

    try:
        at_start(Store(_FIRMWARES, _FACTORY), RunningHost())
    except UpdateRefused as error:
        _say(str(error))
        return 1
    return 0


def _update(options: argparse.Namespace) -> int:
    from device.update import FACTORY, RunningHost, Store, UpdateRefused, update

    store = Store(_FIRMWARES, _FACTORY)
    if not _FACTORY.is_dir():
        _say("this is for a post on our card; elsewhere: pip install, then install again")
        return 2
    if options.bundle is None:
        sys.stdout.write(f"{store.installed().current if RunningHost().is_laid() else FACTORY}\n")
        return 0
    # Over SSH the one who asked may be gone before the proof is over, which needs nobody.
    for hung_up in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(hung_up, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        version = update(store, RunningHost(), options.bundle, _UPDATE_KEY)
    except UpdateRefused as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(f"{error.filename or _FIRMWARES}: {error.strerror or error}")
        return 1
    sys.stdout.write(f"{version} runs\n")
    return 0


def _panel(options: argparse.Namespace) -> int:
    from hardware.panel import ARGUMENTS, PanelError, ask, read_edges_file

    request: dict[str, object] = {"request": options.verb}
    try:
        if options.verb == "edges":
            if options.argument is None:
                _say("edges needs a file: lines of `t_us level`, level 1 = open, 0 = closed")
                return 2
            request["edges"] = read_edges_file(options.argument)
        elif options.verb in ARGUMENTS:
            if options.argument not in ARGUMENTS[options.verb]:
                _say(f"{options.verb} needs one of: {', '.join(ARGUMENTS[options.verb])}")
                return 2
            request["to"] = options.argument
        elif options.argument is not None:
            _say(f"{options.verb} takes no argument")
            return 2
        reply = ask(options.socket, request)
    except PanelError as error:
        _say(str(error))
        return 1
    if "error" in reply:
        _say(str(reply["error"]))
        return 1
    if options.verb == "status":
        sys.stdout.write(json.dumps(reply) + "\n")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"kentongan-device: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
