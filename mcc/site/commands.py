"""The commands of `kentongan-mcc` that take a settings file: the site's, as opposed to `watch`.

It words and waits. Exit codes: 0 done, 2 the settings or what they name cannot be used, 70 a part
of the process has died and it is to be started anew.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcc.settings import MccFile

DONE, WRONG, BROKEN = 0, 2, 70
_TRIES = 3
PASSWORD_BYTES_MAX = 1_024

COMMANDS = frozenset(
    ("ingest", "escalate", "check", "setup", "backup", "restore", "account", "forget")
)


class _Wrong(Exception):
    """The person at the keyboard has to change something; the text says what, a line each."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare them."""
    _command(commands, "ingest", "hear the gateways, keep what they say, send what operators do")
    _command(commands, "escalate", "tell people of calls that nobody answers")
    _command(commands, "check", "validate the settings and print what would run")
    setup = _command(
        commands, "setup", "make or update the database, the secret, the first account"
    )
    setup.add_argument("--administrator", metavar="NAME", help="the first administrator's name")
    setup.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    account = _command(commands, "account", "let somebody in again who cannot sign in")
    account.add_argument("name", metavar="NAME", help="the account's user name")
    account.add_argument(
        "--reset-code", action="store_true", help="forget the app for one-time codes (phone lost)"
    )
    account.add_argument(
        "--password-stdin",
        action="store_true",
        help="read a password from standard input, to be changed at the next signing in",
    )
    forget = _command(commands, "forget", "remove from old visits whom they were about ([visits])")
    forget.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    backup = _command(commands, "backup", "write the database to a new file, while all runs")
    backup.add_argument("target", type=Path, metavar="TARGET")
    restore = _command(commands, "restore", "put a backup in the place of the database")
    restore.add_argument("source", type=Path, metavar="SOURCE")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.add_argument("--config", required=True, type=Path, help="the settings, TOML")
    return parser


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks; the exit code."""
    os.umask(0o077)
    from mcc.settings import MccFile
    from process.settings import SettingsError, read_settings

    try:
        settings = read_settings(options.config, MccFile)
        match options.command:
            case "check":
                return _check(options.config, settings)
            case "escalate":
                return _escalate(options.config, settings)
            case "setup":
                return _setup(options, settings)
            case "account":
                return _account(options, settings)
            case "forget":
                return _forget(options, settings)
            case "backup" | "restore":
                return _backup_or_restore(options, settings)
            case _:
                return _ingest(options.config, settings)
    except SettingsError as error:
        return _wrong(error.problems)
    except _Wrong as error:
        return _wrong(str(error).splitlines())


def _wrong(problems: list[str]) -> int:
    for problem in problems:
        _say(problem)
    return WRONG


def _say(text: str) -> None:
    sys.stderr.write(f"kentongan-mcc: {text}\n")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# --- check --------------------------------------------------------------------------------------


def missing_around(settings: MccFile) -> list[str]:
    """What the settings name and this machine does not have, a line each."""
    from process.settings import unreadable_files, unusable_places

    read = {
        "[mqtt] ca": settings.mqtt.ca,
        "[mqtt] certificate": settings.mqtt.certificate,
        "[mqtt] key": settings.mqtt.key,
        "[site] certificate": settings.site.certificate,
        "[site] key": settings.site.key,
        "[map] pmtiles": settings.map.pmtiles,
        "[map] borders": settings.map.borders,
    }
    file = settings.database.file
    made = {
        "[database] url": None if file is None else str(file),
        "state_directory": str(settings.secret_file),
    }
    return [*unreadable_files(read), *unusable_places(made)]


def _check(config: Path, settings: MccFile) -> int:
    from process.settings import describe_settings

    problems = [f"{config}: {problem}" for problem in missing_around(settings)]
    if problems:
        return _wrong(problems)
    _print(describe_settings(settings))
    if not settings.secret_file.is_file():
        _say(f"not set up yet: kentongan-mcc setup --config {config}")
    return DONE


# --- ingest -------------------------------------------------------------------------------------


def configure(config: Path, settings: MccFile, part: str = "mcc") -> None:
    """Make Django and log ready for a process that serves; what is missing is said first.

    Raises:
        SettingsError: with a line for everything that is missing.
    """
    from mcc.site import configure as configure_django
    from process.log import begin
    from process.settings import SettingsError

    begin(part, settings.log.format)
    problems = [f"{config}: {problem}" for problem in missing_around(settings)]
    file = settings.database.file
    if not problems and (
        not settings.secret_file.is_file() or (file is not None and not file.is_file())
    ):
        problems = [f"not set up yet: kentongan-mcc setup --config {config}"]
    if problems:
        raise SettingsError(problems)
    configure_django(config)


def _ingest(config: Path, settings: MccFile) -> int:
    configure(config, settings, "ingest")
    from mcc.cases.ingest import AlreadyRuns, run
    from mcc.store import StoreUnavailable

    try:
        broken = run(settings)
    except (AlreadyRuns, StoreUnavailable) as error:
        raise _Wrong(str(error)) from None
    if broken is not None:
        _say(broken)
        return BROKEN
    return DONE


def _escalate(config: Path, settings: MccFile) -> int:
    configure(config, settings, "escalation")
    from mcc.escalation.worker import run

    run(settings)
    return DONE


# --- setup --------------------------------------------------------------------------------------


def _setup(options: argparse.Namespace, settings: MccFile) -> int:
    from mcc.site import configure as configure_django
    from mcc.site.setup import SetupError, has_administrator, make_places, make_tables

    problems = [f"{options.config}: {problem}" for problem in missing_around(settings)]
    if problems:
        return _wrong(problems)
    try:
        for made in make_places(settings):
            _print(f"made {made}")
        configure_django(options.config)
        make_tables()
        _print("the database is of this version; the registers of Kota Malang are in it")
        if has_administrator():
            if options.administrator or options.password_stdin:
                _say("there is an administrator already: further accounts are made on the site")
            return DONE
        _first_administrator(options)
    except SetupError as error:
        raise _Wrong(str(error)) from None
    return DONE


def _first_administrator(options: argparse.Namespace) -> None:
    from mcc.site.setup import SetupError, make_administrator

    asks = sys.stdin.isatty() and not options.password_stdin
    if not asks and not (options.administrator and options.password_stdin):
        raise SetupError(
            "there is no administrator yet: run this at a terminal, or give --administrator NAME"
            " and --password-stdin"
        )
    for tries_left in reversed(range(_TRIES if asks else 1)):
        name = options.administrator or input("The first administrator's user name: ").strip()
        password = _typed() if asks else _piped()
        try:
            if password is None:
                raise SetupError("the two are not the same")
            make_administrator(name, password)
        except SetupError as error:
            if not tries_left:
                raise
            for line in str(error).splitlines():
                _say(line)
            continue
        _print(f"made the administrator {name}")
        return


# --- account ------------------------------------------------------------------------------------


def _account(options: argparse.Namespace, settings: MccFile) -> int:
    if not (options.reset_code or options.password_stdin):
        raise _Wrong("nothing to do: give --reset-code, --password-stdin or both")
    configure(options.config, settings)
    from mcc.site.setup import SetupError, let_in

    password = _piped() if options.password_stdin else None
    try:
        for done in let_in(options.name, password=password, forget_app=options.reset_code):
            _print(f"{options.name}: {done}")
    except SetupError as error:
        raise _Wrong(str(error)) from None
    return DONE


# --- forget -------------------------------------------------------------------------------------


def _forget(options: argparse.Namespace, settings: MccFile) -> int:
    configure(options.config, settings)
    import datetime as dt
    import time

    from django.db import Error

    from mcc.visits.personal import DAY_MS, expired, forget

    days = settings.visits.keep_days
    now_ms = time.time_ns() // 1_000_000
    before_ms = now_ms - days * DAY_MS
    before = dt.datetime.fromtimestamp(before_ms / 1000, dt.UTC)
    older = f"visits before {before:%Y-%m-%d %H:%M} UTC ([visits] keep_days = {days})"
    try:
        if options.dry_run:
            _print(f"{expired(before_ms).count()} {older} still say whom they were about")
            return DONE
        gone = forget(now_ms, days)
    except (Error, OSError) as error:
        raise _Wrong(f"not all was removed: {' '.join(str(error).split())}") from None
    _print(
        f"{gone['visits']} {older}: removed names, telephones, addresses, findings and places;"
        f" {gone['pictures']} photos and signatures; the texts of {gone['follow_ups']} follow-ups"
    )
    _print(f"{gone['stray_files']} pictures that no visit names: removed")
    return DONE


# --- what is typed ------------------------------------------------------------------------------


def _typed() -> str | None:
    """The password, typed twice; None when the two differ."""
    password = getpass.getpass("Password (12 characters at least): ")
    return password if getpass.getpass("Once more: ") == password else None


def _piped() -> str:
    raw = sys.stdin.buffer.read(PASSWORD_BYTES_MAX + 1)
    if len(raw) > PASSWORD_BYTES_MAX:
        raise _Wrong(f"the password is longer than {PASSWORD_BYTES_MAX} bytes")
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise _Wrong("the password is not UTF-8") from None


# --- backup and restore -------------------------------------------------------------------------


def _backup_or_restore(options: argparse.Namespace, settings: MccFile) -> int:
    from mcc.site import configure as configure_django

    configure_django(options.config)
    from mcc.site.backup import BackupError, backup, restore

    try:
        if options.command == "backup":
            backup(settings, options.target)
            _print(f"wrote {options.target}")
        else:
            became = restore(settings, options.source)
            _print(f"restored {options.source}; {became}")
            _print(
                "next: kentongan-mcc setup brings it to this version; then start ingest and site"
            )
    except BackupError as error:
        raise _Wrong(str(error)) from None
    return DONE
