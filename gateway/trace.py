"""`kentongan-gateway trace`: an alarm's whole life as the journal has it, a line a transition.

It reads beside a running gateway or without one, and writes nothing. What it shows is what was
committed; what other processes saw of the same alarm is in their logs, under the same id.

Exit codes: 0 shown, 2 it cannot be.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.card import Life
    from gateway.settings import GatewayFile

COMMANDS = ("trace",)
DONE, WRONG = 0, 2


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommand, for the parser of `kentongan-gateway`."""
    what = "print an alarm's life from the journal: each state, when, by whom, receipts, repeats"
    trace = commands.add_parser("trace", help=what, description=what[0].upper() + what[1:] + ".")
    trace.add_argument("id", metavar="ALARM_ID", help="the alarm's id, or its unique beginning")
    trace.add_argument("--config", required=True, type=Path, help="the settings, TOML")
    trace.add_argument(
        "--journal",
        action="append",
        metavar="FILE",
        help="another SQLite file than the one of the settings, such as one that was set aside",
    )
    trace.add_argument("--json", action="store_true", help="as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print it; the exit code."""
    from gateway.card import NotOne, life_of
    from gateway.journal import JournalUnusable
    from gateway.settings import GatewayFile
    from process.settings import SettingsError, read_settings

    try:
        url = _journal(read_settings(options.config, GatewayFile), options.journal or [])
        life = life_of(url, options.id)
    except SettingsError as error:
        for problem in error.problems:
            _say(problem)
        return WRONG
    except (NotOne, JournalUnusable) as error:
        _say(str(error))
        return WRONG
    if options.json:
        sys.stdout.write(json.dumps(life_object(life), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(life_lines(life)) + "\n")
    return DONE


def _journal(settings: GatewayFile, named: list[str]) -> str:
    from gateway.journal import JournalUnusable

    if len(named) > 1:
        raise JournalUnusable(
            f"--journal was given {len(named)} times: one alarm has one life, so name one journal"
        )
    return f"sqlite:///{Path(named[0]).absolute()}" if named else settings.journal.url


def life_lines(life: Life) -> list[str]:
    """For people: what the alarm is, then a line for each step with the seconds since the press."""
    alarm = life.alarm
    place = alarm.location
    ends = [alarm.state, *([f"outcome {alarm.outcome}"] if alarm.outcome else [])]
    lines = [
        f"alarm    {alarm.alarm_id}",
        f"post     {alarm.post}",
        f"kind     {alarm.kind}, {', '.join(ends)}",
        f"calls    {1 + alarm.repeats}{_answered(life)}",
        f"place    {place.lat:.5f}, {place.lon:.5f} ({place.source})",
        f"journal  {life.journal_id}",
        f"receipt  {_receipt(life)}",
    ]
    for name, value in (("follows", alarm.follows), ("unit", alarm.unit)):
        if value:
            lines.append(f"{name:9}{value}")
    lines += ["", f"{'seconds':>11}  {'when (UTC)':24}  {'what':30}  who"]
    for step in _steps(life):
        seconds = "-" if step["seconds"] is None else f"{step['seconds']:.3f}"
        when = step["at"][:-1].replace("T", " ")
        lines.append(f"{seconds:>11}  {when:24}  {step['what']:30}  {step['by'] or ''}".rstrip())
    if alarm.raised.known == "before":
        lines.append("raised some time before that: the post's clock was not set")
    return lines


def life_object(life: Life) -> dict[str, object]:
    """For programs."""
    alarm = life.alarm
    return {
        "alarm_id": alarm.alarm_id,
        "post": alarm.post,
        "kind": alarm.kind,
        "state": alarm.state,
        "outcome": alarm.outcome,
        "unit": alarm.unit,
        "follows": alarm.follows,
        "repeats": alarm.repeats,
        "answered_repeats": alarm.answered_repeats,
        "journal_id": life.journal_id,
        "receipted": _receipt(life) if alarm.receipted else None,
        "raised": {"at": alarm.raised.at, "known": alarm.raised.known},
        "steps": _steps(life),
    }


def _steps(life: Life) -> list[dict[str, Any]]:
    """The press first, then by time; what has one time in the order of its commit."""
    from protocol.values import wall_ms

    alarm = life.alarm
    raised_ms = wall_ms(alarm.raised.at) if alarm.raised.known != "before" else None
    rows: list[tuple[str, str, str | None]] = [
        (alarm.raised.at, f"raised ({alarm.raised.known})", None)
    ]
    history = [(row.at, row.what, row.by) for row in life.history]
    rows += sorted(history, key=lambda row: row[0])
    return [
        {
            "at": at,
            "seconds": None if raised_ms is None else (wall_ms(at) - raised_ms) / 1000,
            "what": what,
            "by": by,
        }
        for at, what, by in rows
    ]


def _answered(life: Life) -> str:
    answered = life.alarm.answered_repeats
    return "" if answered is None else f", {1 + answered} of them answered"


def _receipt(life: Life) -> str:
    receipted = life.alarm.receipted
    if receipted is None:
        return "none"
    void = "" if life.alarm.receipted_in == life.journal_id else " (void: of another journal)"
    return f"store {receipted.store_id}, content {receipted.content}{void}"


def _say(text: str) -> None:
    sys.stderr.write(f"kentongan-gateway: {text}\n")
