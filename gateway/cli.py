"""`kentongan-gateway`: run a gateway, check or examine it, install it, see to identities.

Exit codes: 0 done, 2 the command, the settings or what they name cannot be used, 70 a part of the
process has died and it is to be started anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import lives, provisioning, trace, walk_test
from process import doctor, install
from process.terminal import speaking

if TYPE_CHECKING:
    from gateway.settings import GatewayFile


@speaking("kentongan-gateway")
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do it."""
    options = _parser().parse_args(arguments)
    try:
        if options.command in ("install", "uninstall"):
            return install.run(install.GATEWAY, options, _problems)
        if options.command in provisioning.COMMANDS:
            return provisioning.run(options)
        if options.command in lives.COMMANDS:
            return lives.run(options)
        if options.command in walk_test.COMMANDS:
            return walk_test.run(options)
        if options.command in trace.COMMANDS:
            return trace.run(options)
        if options.command == "doctor":
            from gateway.doctor import examine

            return doctor.run(options, examine(options.config, quiet=options.quiet))
        return _run_or_check(options)
    except ModuleNotFoundError as error:
        _say(f"{error.name} is not installed; install it with: pip install 'kentongan[gateway]'")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kentongan-gateway",
        description="Takes in the alarms of posts, keeps them, passes them to the command centre.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in (
        ("run", "be the gateway"),
        ("check", "validate the settings and print what would run"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--config", required=True, type=Path, help="the settings, TOML")
    doctor.add_command(commands, "a gateway")
    install.add_commands(commands, install.GATEWAY)
    provisioning.add_commands(commands)
    lives.add_commands(commands)
    walk_test.add_commands(commands)
    trace.add_commands(commands)
    return parser


def _problems(path: Path) -> list[str]:
    """What is wrong with the settings, a line each."""
    from gateway.settings import GatewayFile
    from process.settings import SettingsError, read_settings

    try:
        read_settings(path, GatewayFile)
    except SettingsError as error:
        return error.problems
    return []


def _missing_around(settings: GatewayFile) -> list[str]:
    """What the settings name and this machine does not have, a line each."""
    from gateway.journal import JournalUnusable, file_of
    from process.settings import unreadable_files, unusable_places, unusable_sockets

    tls = {
        f"[{name}] {key}": getattr(table, key)
        for name, table in (("posts", settings.posts), ("mcc", settings.mcc))
        for key in ("ca", "certificate", "key")
    }
    tls |= {f"[pair] {key}": getattr(settings.pair, key) for key in ("certificate", "key")}
    control = {"[control] socket": settings.control.socket}
    problems = [*unreadable_files(tls), *unusable_sockets(control)]
    try:
        journal = file_of(settings.journal.url)
    except JournalUnusable as error:
        return [*problems, f"[journal] url: {error}"]
    made = {"[journal] url": None if journal is None else str(journal), **control}
    return [*problems, *unusable_places(made)]


def _run_or_check(options: argparse.Namespace) -> int:
    from gateway.settings import GatewayFile
    from process.settings import SettingsError, describe_settings, read_settings

    try:
        settings = read_settings(options.config, GatewayFile)
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

    from gateway.journal import JournalUnusable
    from gateway.service import run
    from hardware.pins import PinsUnavailable

    unusable: tuple[type[Exception], ...] = (PinsUnavailable, JournalUnusable)
    if settings.identities.directory is not None:
        from gateway.identities import IdentitiesError

        unusable = (*unusable, IdentitiesError)
    try:
        return run(settings)
    except unusable as error:
        _say(str(error))
        return 2


def _say(text: str) -> None:
    sys.stderr.write(f"kentongan-gateway: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
