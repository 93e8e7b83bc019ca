"""`kentongan-gateway walk-test` and `card`: a technician's test of the whole way, and its result.

`walk-test` asks the running gateway for a test window, then only looks on: it presses nothing and
acknowledges nothing. What it prints comes from the journal, so it is what was committed.

Exit codes: 0 passed (or done), 1 not passed, 2 it cannot be done.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.record import AlarmRecord
    from gateway.settings import GatewayFile

COMMANDS = ("walk-test", "card")
DONE, NOT_PASSED, WRONG = 0, 1, 2
LOOK_S = 0.25
# After an answer the buzzer is heard of with the post's next word; after that it is not waited for.
SOUND_PATIENCE_S = 15.0
# A window that has ended may have a test on its way that was pressed in it.
LATE_S = 30.0


class _Wrong(Exception):
    """The person at the keyboard has to change something; the text says what."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommands of `COMMANDS`, for the parser of `kentongan-gateway`."""
    what = "open a post's test window, and follow the test to its result card"
    walk = commands.add_parser("walk-test", help=what, description=what[0].upper() + what[1:] + ".")
    walk.add_argument("post", metavar="POST", help="the post's id")
    walk.add_argument("--minutes", type=int, default=10, help="1 to 15 (10)")
    walk.add_argument("--technician", required=True, metavar="NAME", help="who tests")
    walk.add_argument("--close", action="store_true", help="end the window instead")
    walk.add_argument("--no-wait", action="store_true", help="open it and go")
    what = "print the result card of an alarm: when it passed each hop"
    card = commands.add_parser("card", help=what, description=what[0].upper() + what[1:] + ".")
    card.add_argument("id", metavar="ALARM_ID", help="the alarm's id, or its unique beginning")
    for command in (walk, card):
        command.add_argument("--config", required=True, type=Path, help="the settings, TOML")
        command.add_argument("--json", action="store_true", help="the card as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Do one of `COMMANDS`; the exit code."""
    from gateway.card import NotOne
    from gateway.control import ControlError
    from gateway.journal import JournalUnusable
    from gateway.settings import GatewayFile
    from process.settings import SettingsError, read_settings

    try:
        settings = read_settings(options.config, GatewayFile)
        if options.command == "card":
            return _card(settings, options)
        return _walk(settings, options)
    except SettingsError as error:
        for problem in error.problems:
            _say(problem)
    except (ControlError, JournalUnusable, NotOne, _Wrong) as error:
        _say(str(error))
    except KeyboardInterrupt:
        _say("no longer looking on; the window ends by itself, or with --close")
    return WRONG


def _card(settings: GatewayFile, options: argparse.Namespace) -> int:
    from gateway.card import alarm_like

    _print_card(alarm_like(settings.journal.url, options.id), as_json=options.json)
    return DONE


def _walk(settings: GatewayFile, options: argparse.Namespace) -> int:
    from gateway.control import CloseTest, OpenTest, ask_gateway
    from protocol.values import wall_ms

    if settings.control.socket is None:
        raise _Wrong("[control] socket is not set: it names where the running gateway listens")
    path = Path(settings.control.socket)
    _check(options)
    if options.close:
        ask_gateway(path, CloseTest(post=options.post, technician=options.technician))
        _tell("the test window is closed", options)
        return DONE
    began_ms = _wall_ms()
    reply = ask_gateway(
        path, OpenTest(post=options.post, technician=options.technician, minutes=options.minutes)
    )
    assert reply.until is not None
    _tell(f"test window of {options.post} open until {reply.until}", options)
    if reply.connection != "online":
        _tell(f"NOTE: the gateway does not hear this post now ({reply.connection})", options)
    if options.no_wait:
        return DONE
    _tell("press the red button three times, once; then somebody acknowledges it", options)
    alarm = _follow(settings.journal.url, options, began_ms, wall_ms(reply.until))
    if alarm is None:
        _say(f"the window is over and {options.post} has sent nothing")
        return NOT_PASSED
    _print_card(alarm, as_json=options.json)
    from process.card import has_passed

    return DONE if has_passed(alarm) else NOT_PASSED


def _follow(
    url: str,
    options: argparse.Namespace,
    began_ms: int,
    until_ms: int,
    *,
    wall_now_ms: Callable[[], int] | None = None,
) -> AlarmRecord | None:
    """Print each hop as it is committed; the alarm when all is seen or the time is over."""
    from gateway.card import latest_of
    from process.card import hops

    now_ms = wall_now_ms or _wall_ms
    said: set[str] = set()
    while True:
        alarm = latest_of(url, options.post, began_ms)
        for hop in hops(alarm) if alarm is not None else ():
            if hop.at is not None and hop.what not in said:
                said.add(hop.what)
                _tell(f"{hop.at[11:19]}  {hop.what}{f' by {hop.by}' if hop.by else ''}", options)
        if alarm is not None and _is_seen_through(alarm, now_ms()):
            return alarm
        if now_ms() >= until_ms + LATE_S * 1000:
            return alarm
        time.sleep(LOOK_S)


def _is_seen_through(alarm: AlarmRecord, now_ms: int) -> bool:
    from protocol.values import wall_ms

    if alarm.kind != "test":
        return True  # it is for an operator now, and no test
    if not alarm.answered:
        return False
    if alarm.sounded_at is not None or alarm.resolved:
        return True
    answer = alarm.reached.acknowledged or alarm.reached.dispatched
    return answer is not None and now_ms - wall_ms(answer.at) >= SOUND_PATIENCE_S * 1000


def _check(options: argparse.Namespace) -> None:
    import msgspec

    from gateway.control import Minutes
    from protocol.values import Label, PostId

    for name, kind in (("post", PostId), ("technician", Label), ("minutes", Minutes)):
        value = getattr(options, name)
        try:
            msgspec.convert(value, kind)
            str(value).encode()
        except (msgspec.ValidationError, UnicodeEncodeError):
            option = "POST" if name == "post" else f"--{name}"
            raise _Wrong(f"{option} {value!r}: allowed: {_ALLOWED[name]}") from None


_ALLOWED = {
    "post": "lower-case letters, digits and '-', such as mlg-lowokwaru-dinoyo-rw05",
    "technician": "1 to 48 characters, no control characters",
    "minutes": "1 to 15",
}


def _print_card(alarm: AlarmRecord, *, as_json: bool) -> None:
    from process.card import card_lines, card_object

    text = json.dumps(card_object(alarm), ensure_ascii=False) if as_json else None
    sys.stdout.write((text or "\n".join(card_lines(alarm))) + "\n")


def _tell(line: str, options: argparse.Namespace) -> None:
    """What goes on, for people: beside the card where that is for a program."""
    stream = sys.stderr if options.json else sys.stdout
    stream.write(line + "\n")
    stream.flush()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _say(text: str) -> None:
    sys.stderr.write(f"kentongan-gateway: {text}\n")
