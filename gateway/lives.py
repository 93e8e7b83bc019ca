"""`kentongan-gateway rename`, `move`, `maintain`, `retire`, `life`: what happens to a post.

Each is one command and one record, written in the same transaction as the change. A running gateway
sees the register change within a second or so; without one, it sees it when it starts.

Exit codes: 0 done, 1 done in part (it says which part is not), 2 not done.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.identities import Authority
    from gateway.settings import GatewayFile

COMMANDS = ("rename", "move", "maintain", "retire", "life")
DONE, NOT_DONE = 0, 2


class _Wrong(Exception):
    """The person at the keyboard has to change something; the text says what."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommands of `COMMANDS`, for the parser of `kentongan-gateway`."""
    rename = _command(commands, "rename", "call a post by another name; its id stays")
    rename.add_argument("--name", required=True, help="such as 'Pos RW 05 Dinoyo'")

    move = _command(commands, "move", "write down the new survey of a post that hangs elsewhere")
    move.add_argument("--lat", type=float, required=True, help="WGS 84 degrees")
    move.add_argument("--lon", type=float, required=True)
    move.add_argument("--why", default="", help="up to 200 characters")

    maintain = _command(commands, "maintain", "plan a post's silence, until it ends by itself")
    ends = maintain.add_mutually_exclusive_group(required=True)
    ends.add_argument("--until", help="UTC, such as 2026-03-01T15:00Z; 72 hours from now at most")
    ends.add_argument("--hours", type=float, help="from now, 72 at most")
    ends.add_argument("--end", action="store_true", help="end it now")
    maintain.add_argument("--why", default="", help="up to 200 characters")

    retire = _command(commands, "retire", "take a post out of service for good")
    retire.add_argument("--why", default="", help="up to 200 characters")

    for command in (rename, move, maintain, retire):
        command.add_argument("--by", required=True, metavar="NAME", help="who does it")
    life = _command(commands, "life", "show what has happened to a post, or to any other name")
    life.add_argument("--json", action="store_true", help="one JSON object a line")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.add_argument("post", metavar="POST", help="the post's id")
    parser.add_argument("--config", required=True, type=Path, help="the gateway's settings, TOML")
    return parser


def run(options: argparse.Namespace) -> int:
    """Do one of `COMMANDS`; the exit code."""
    from gateway.identities import Authority, IdentitiesError
    from gateway.settings import GatewayFile
    from process.settings import SettingsError, read_settings

    try:
        _check(options)
        settings = read_settings(options.config, GatewayFile)
        if settings.identities.directory is None:
            raise _Wrong(
                f"{options.config}: [identities] directory is missing: it has the register"
            )
        with Authority(Path(settings.identities.directory)) as authority:
            return _do(authority, settings, options)
    except SettingsError as error:
        for problem in error.problems:
            _say(problem)
    except (IdentitiesError, _Wrong) as error:
        _say(str(error))
    return NOT_DONE


def _do(authority: Authority, settings: GatewayFile, options: argparse.Namespace) -> int:
    post, now_ms = options.post, _wall_ms()
    match options.command:
        case "rename":
            before = authority.rename(post, options.name, by=options.by, wall_ms=now_ms)
            _print(f"{post} is {options.name} now; it was {before or 'without a name'}")
        case "move":
            _move(authority, options, now_ms)
        case "maintain":
            _maintain(authority, options, now_ms)
        case "retire":
            return _retire(authority, settings, options, now_ms)
        case _:
            _life(authority, options)
    return DONE


def _move(authority: Authority, options: argparse.Namespace, now_ms: int) -> None:
    lat, lon = options.lat, options.lon
    authority.move(options.post, lat, lon, by=options.by, why=options.why, wall_ms=now_ms)
    _print(f"{options.post} hangs at {lat:.5f},{lon:.5f} now")
    _print("its alarms carry that place from here on, where it has no GPS fix of its own.")
    _print("Its own settings still have the old one (fault place_differs): on the post, in")
    _print("/etc/kentongan/post.toml under [location], then restart kentongan-device:")
    _print(f"lat = {lat!r}")
    _print(f"lon = {lon!r}")


def _maintain(authority: Authority, options: argparse.Namespace, now_ms: int) -> None:
    from protocol.values import timestamp

    if options.end:
        ended = authority.end_maintenance(options.post, by=options.by, wall_ms=now_ms)
        _print(f"{options.post}: maintenance {'ended' if ended else 'was over already'}")
        return
    until_ms = _until_ms(options, now_ms)
    authority.maintain(options.post, until_ms, by=options.by, why=options.why, wall_ms=now_ms)
    _print(f"{options.post} may be silent until {timestamp(until_ms)}; a press is an alarm all the")
    _print("same: for tests there is walk-test")


def _until_ms(options: argparse.Namespace, now_ms: int) -> int:
    hours: float | None = options.hours
    if hours is not None:
        return now_ms + round(hours * 3_600_000)
    # Digits are spelt out: a time in another zone, or without one, would be hours off.
    if not re.fullmatch(r"[0-9-]{10}T[0-9:]{5,8}Z", options.until):
        raise _Wrong(f"--until {options.until!r}: UTC, such as 2026-03-01T15:00Z")
    try:
        moment = datetime.fromisoformat(options.until.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError as error:
        raise _Wrong(f"--until {options.until!r}: {error}") from None
    return round(moment.timestamp() * 1000)


def _retire(
    authority: Authority, settings: GatewayFile, options: argparse.Namespace, now_ms: int
) -> int:
    from gateway.provisioning import bring_about, report

    identities = [
        one.identity
        for one in authority.standings(now_ms)
        if one.live and one.identity.name == options.post
    ]
    count = authority.retire(options.post, by=options.by, why=options.why, wall_ms=now_ms)
    _print(f"{options.post} is retired; certificates revoked: {count}. The register keeps it.")
    return report(bring_about(authority, settings, identities, put_out=True))


def _life(authority: Authority, options: argparse.Namespace) -> None:
    from protocol.values import timestamp

    for one in authority.life_of(options.post):
        at = timestamp(one.at_ms)
        if options.json:
            shown = {"at": at, "what": one.what, "by": one.by, "why": one.why}
            _print(json.dumps(shown, ensure_ascii=False))
            continue
        by = f"  by {one.by}" if one.by else ""
        why = f"  ({one.why})" if one.why else ""
        _print(f"{at[:19].replace('T', ' ')}Z  {one.what}{by}{why}")


def _check(options: argparse.Namespace) -> None:
    import msgspec

    from protocol.values import Label, Latitude, Longitude, Note

    for name, kind, allowed in (
        ("name", Label, "1 to 48 characters, no control characters"),
        ("by", Label, "1 to 48 characters, no control characters"),
        ("why", Note, "up to 200 characters, no control characters"),
        ("lat", Latitude, "-90 to 90 degrees"),
        ("lon", Longitude, "-180 to 180 degrees"),
    ):
        value = getattr(options, name, None)
        try:
            if value is not None:
                msgspec.convert(value, kind)
                json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (msgspec.ValidationError, ValueError):
            raise _Wrong(f"--{name} {value!r}: allowed: {allowed}") from None
    hours = getattr(options, "hours", None)
    if hours is not None and not 0 < hours <= 24 * 366:  # also what is no number
        raise _Wrong(f"--hours {hours}: more than 0, and 72 at most")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _say(text: str) -> None:
    sys.stderr.write(f"kentongan-gateway: {text}\n")
