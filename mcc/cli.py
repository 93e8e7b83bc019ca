"""`kentongan-mcc`: the command centre on the command line.

Exit codes: 0 done, 1 refused, 2 the command or its circumstances are wrong, 3 no effect in time;
those of the site's commands stand in `mcc.site.commands`.
It words and waits; what an alarm is and what a command means is `mcc.core`'s.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mcc.site import commands as site
from process import install
from process.terminal import speaking

if TYPE_CHECKING:
    from mcc.alarms import AlarmRecord
    from mcc.core import Show
    from mcc.session import Session
    from mcc.store import LinkLock, Sent, Store
    from process.settings import Broker, TlsFiles
    from protocol.messages import Command
    from protocol.topics import Topics

WAIT_S = 10.0
POLL_S = 0.01
CLOSED_LISTED_MAX = 50
CANDIDATES_MAX = 10
DONE, REFUSED, WRONG, NO_EFFECT = 0, 1, 2, 3
OUTCOMES = ("real", "false", "test", "prank")

_ALLOWED = {
    "operator": "1 to 48 characters, no control characters",
    "unit": "1 to 48 characters, no control characters",
    "note": "up to 200 characters, no control characters",
    "minutes": "1 to 15",
    "post": "lower-case letters, digits and '-', such as mlg-lowokwaru-dinoyo-rw05",
}


class _Wrong(Exception):
    """The person at the keyboard has to change something; the text says what."""


@speaking("kentongan-mcc")
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do it."""
    options = _parser().parse_args(arguments)
    try:
        if options.command in ("install", "uninstall"):
            check = partial(_problems, is_here=options.root == Path("/"))
            return install.run(install.MCC, options, check)
        if options.command == "unpack":
            return _unpack(options)
        if options.command == "serve":
            return _serve(options)
        if options.command in site.COMMANDS:
            return site.run(options)
        return _do(options)
    except _Wrong as error:
        _say(str(error))
        return WRONG
    except ModuleNotFoundError as error:
        _say(f"{error.name} is not installed; install it with: pip install 'kentongan[mcc]'")
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kentongan-mcc",
        description="The command centre: see alarms, acknowledge, dispatch, resolve.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    watch = _command(commands, "watch", "show alarms as they come, ring, and hold the link")
    _json(watch)
    listing = _command(commands, "list", "show what the store holds, with or without a link")
    _json(listing)
    for name, what in (
        ("acknowledge", "say that you have seen an alarm"),
        ("dispatch", "say that a unit is on its way"),
        ("resolve", "close an alarm with its outcome"),
        ("panic", "turn a test into a panic alarm"),
    ):
        command = _command(commands, name, what)
        command.add_argument("id", metavar="ID", help="the alarm's id, or its unique beginning")
        _operator(command)
        if name == "dispatch":
            command.add_argument("--unit", required=True, help='such as "Polsek Klojen"')
        if name == "resolve":
            command.add_argument("--outcome", required=True, choices=OUTCOMES)
            command.add_argument("--note", help="up to 200 characters")
    for name, what in (
        ("open-test", "let a post practise for some minutes"),
        ("close-test", "end a post's test window"),
    ):
        command = _command(commands, name, what)
        command.add_argument("post", metavar="POST", help="the post's id")
        _operator(command)
        if name == "open-test":
            command.add_argument("--minutes", type=int, default=10, help="1 to 15 (10)")
    card = _command(commands, "card", "print the result card of an alarm: when it passed each hop")
    card.add_argument("id", metavar="ID", help="the alarm's id, or its unique beginning")
    card.add_argument("--config", type=Path, help="mcc.toml: of the site's database, not a store")
    _json(card)
    serve = commands.add_parser(
        "serve",
        help="serve the console to browsers",
        description="Serve the console to browsers until SIGTERM or Ctrl-C.",
    )
    serve.add_argument("--config", type=Path, required=True, help="the settings file, mcc.toml")
    site.add_commands(commands)
    install.add_commands(commands, install.MCC)
    unpack = commands.add_parser(
        "unpack",
        help="lay down the bundle of this console: certificate, key",
        description="Lay down a bundle's files.",
    )
    unpack.add_argument("bundle", type=Path, help="made by kentongan-gateway provision console")
    unpack.add_argument("--to", type=Path, required=True, help="the directory for its files")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    what: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.add_argument(
        "--store",
        type=Path,
        default=_default_store(),
        help="the command centre's SQLite file (%(default)s)",
    )
    parser.add_argument(
        "--url",
        default=os.environ.get("KENTONGAN_MCC_URL"),
        help="the broker, mqtt://host[:port] or mqtts://host[:port] (KENTONGAN_MCC_URL)",
    )
    for name, what in (
        ("ca", "the authority that broker certificates come from"),
        ("certificate", "this console's certificate, which names it"),
        ("key", "its key, if not in the same file"),
    ):
        variable = f"KENTONGAN_MCC_{name.upper()}"
        parser.add_argument(
            f"--{name}",
            type=Path,
            default=os.environ.get(variable),
            help=f"{what}, PEM ({variable})",
        )
    parser.add_argument(
        "--console",
        default=os.environ.get("KENTONGAN_MCC_CONSOLE") or "console",
        help="this console's name, that of its certificate (KENTONGAN_MCC_CONSOLE; %(default)s)",
    )
    parser.add_argument("--topic-root", default="kentongan/v1", help="(kentongan/v1)")
    return parser


def _default_store() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state) / "kentongan" / "kentongan-mcc.db"


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def _login_name() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None  # neither the environment nor the user database knows


def _operator(parser: argparse.ArgumentParser) -> None:
    user = _login_name()
    parser.add_argument("--operator", default=user, help=f"your name ({user or 'required'})")


def _say(text: str) -> None:
    sys.stderr.write(f"kentongan-mcc: {text}\n")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _problems(path: Path, *, is_here: bool) -> list[str]:
    """What is wrong with the settings, a line each; on this host, also what is not made yet."""
    from mcc.settings import MccFile
    from process.settings import SettingsError, read_settings

    try:
        settings = read_settings(path, MccFile)
    except SettingsError as error:
        return error.problems
    if is_here and not settings.secret_file.is_file():
        program = Path(sys.executable).absolute().parent / "kentongan-mcc"
        return [f"not set up yet: sudo -u {install.USER} {program} setup --config {path}"]
    return []


def _unpack(options: argparse.Namespace) -> int:
    from process.bundle import BundleError, read_bundle, unpack

    try:
        for path in unpack(read_bundle(options.bundle, "console"), options.to):
            _print(f"wrote {path}")
    except BundleError as error:
        raise _Wrong(str(error)) from None
    return DONE


def _serve(options: argparse.Namespace) -> int:
    from mcc.site.serve import CannotServe, serve
    from process.settings import SettingsError

    try:
        serve(options.config)
    except (SettingsError, CannotServe) as error:
        raise _Wrong(str(error)) from None
    return DONE


def _do(options: argparse.Namespace) -> int:
    from mcc.store import OutboxFull, Store, StoreUnavailable

    if options.command == "card" and options.config is not None:
        return _card(_find_in_site(options.config, options.id), as_json=options.json)
    try:
        path = options.store.expanduser()
    except RuntimeError as error:
        raise _Wrong(f"--store {options.store}: {error}") from None
    try:
        # What only reads a store, or names an alarm in it, makes none: a mistyped path would be
        # an empty command centre that looks well.
        if not path.exists() and (options.command in ("list", "card") or "id" in options):
            raise _Wrong(
                f"{path}: there is no store; --store names another, `kentongan-mcc watch` makes one"
            )
        if options.command == "list":
            with Store(path, replaces=False) as store:
                return _list(store, as_json=options.json)
        if options.command == "card":
            with Store(path, replaces=False) as store:
                return _card(_find(store, options.id), as_json=options.json)
        place = _place(options)
        with Store(path) as store:
            if options.command == "watch":
                return _watch(store, *place, as_json=options.json)
            return _send(store, options, *place)
    except (StoreUnavailable, OutboxFull) as error:
        raise _Wrong(str(error)) from None


def _place(options: argparse.Namespace) -> tuple[Broker | None, Topics, str, TlsFiles]:
    """Where to speak and as whom; everything checked."""
    import re

    from process.settings import IN_THE_CLEAR, TlsFiles, parse_mqtt_url, unreadable_files
    from protocol.topics import Topics
    from protocol.values import NAME_PATTERN

    if not re.match(NAME_PATTERN, options.console):
        raise _Wrong(f"--console {options.console!r}: allowed: lower-case letters, digits and '-'")
    try:
        topics = Topics(options.topic_root)
    except ValueError as error:
        raise _Wrong(f"--topic-root: {error}") from None
    try:
        broker = parse_mqtt_url(options.url) if options.url else None
    except ValueError as error:
        raise _Wrong(f"--url: {error}") from None
    if broker is not None and broker.in_the_clear:
        raise _Wrong(f"--url {broker.describe()}: {IN_THE_CLEAR}")
    files = {
        f"--{name}": None if path is None else str(path)
        for name, path in vars(options).items()
        if name in ("ca", "certificate", "key")
    }
    tls = TlsFiles(files["--ca"], files["--certificate"], files["--key"])
    if broker is not None and not broker.tls and tls != TlsFiles():
        raise _Wrong(f"{broker.describe()} is without TLS, but --ca or --certificate was given")
    if problems := unreadable_files(files):
        raise _Wrong("\n".join(problems))
    return broker, topics, options.console, tls


# --- list and watch -----------------------------------------------------------------------------


def _list(store: Store, *, as_json: bool) -> int:
    from mcc.alarms import unanswered_repeats
    from mcc.core import AlarmShown, Show
    from mcc.screen import alarm_line, as_object

    alarms = store.alarms(CLOSED_LISTED_MAX)
    followed = {alarm.follows for alarm in alarms}
    sending = store.sending()
    for alarm in alarms:
        shown = AlarmShown(
            alarm,
            rings=False,
            sending=tuple(one.action for one in sending if one.alarm_id == alarm.alarm_id),
            late_repeats=unanswered_repeats(alarm, alarm.alarm_id in followed),
        )
        line = json.dumps(as_object(Show(shown)), ensure_ascii=False) if as_json else None
        _print(line or alarm_line(shown))
    if not alarms and not as_json:
        _say(f"no alarm in {store.path}; `kentongan-mcc watch` fills it")
    return DONE


def _card(alarm: AlarmRecord, *, as_json: bool) -> int:
    from process.card import card_lines, card_object

    if as_json:
        _print(json.dumps(card_object(alarm), ensure_ascii=False))
    else:
        for line in card_lines(alarm):
            _print(line)
    return DONE


def _watch(
    store: Store,
    broker: Broker | None,
    topics: Topics,
    console: str,
    tls: TlsFiles,
    *,
    as_json: bool,
) -> int:
    from mcc.screen import Screen
    from mcc.store import LinkLock
    from process.log import begin

    if broker is None:
        raise _Wrong(_no_broker())
    lock = LinkLock(store.path)
    if not lock.take():
        raise _Wrong(f"another process holds the link of {store.path}")
    begin("watch")
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    screen = Screen(as_json=as_json, colour=colour)

    def show(change: Show, at: str) -> None:
        line = screen.line(change, at)
        if line is not None:
            # A screen that cannot be written to holds up the loop and with it the beats: nobody
            # sees it, so nobody may be told that somebody does.
            _print(line)

    session = _session(store, broker, topics, console, tls, watching=True, show=show)
    broken = session.run()
    lock.give_back()
    if broken is not None:
        _say(broken)
        return REFUSED
    return DONE


def _session(
    store: Store,
    broker: Broker,
    topics: Topics,
    console: str,
    tls: TlsFiles,
    *,
    watching: bool,
    show: Callable[[Show, str], None],
) -> Session:
    from mcc.session import Session

    return Session(
        store,
        broker,
        console=console,
        topics=topics,
        watching=watching,
        show=show,
        tls=tls,
    )


def _no_broker() -> str:
    return "which broker? give --url mqtt://host or set KENTONGAN_MCC_URL"


# --- commands -----------------------------------------------------------------------------------


def _send(
    store: Store,
    options: argparse.Namespace,
    broker: Broker | None,
    topics: Topics,
    console: str,
    tls: TlsFiles,
) -> int:
    from mcc.store import LinkLock

    command = _build(store, options)
    lock = LinkLock(store.path)
    if lock.take() and broker is None:
        raise _Wrong(f"{_no_broker()} (nobody holds the link of {store.path})")
    store.add(command)
    try:
        reason = _wait(store, lock, command, broker, topics, console, tls)
    except KeyboardInterrupt:
        reason = "interrupted"
    lock.give_back()
    return _report(store, store.sent(command.command_id), reason)


def _wait(
    store: Store,
    lock: LinkLock,
    command: Command,
    broker: Broker | None,
    topics: Topics,
    console: str,
    tls: TlsFiles,
) -> str:
    """Wait for the outcome; hold the link while nobody else does. Returns what is in the way."""
    until_s = time.monotonic() + WAIT_S
    seen = -1
    while (left_s := until_s - time.monotonic()) > 0:
        if broker is not None and lock.take():
            session = _session(
                store, broker, topics, console, tls, watching=False, show=lambda _show, _at: None
            )
            session.run(command_id=command.command_id, seconds=left_s)
            return session.reason()
        version = store.data_version()
        if version != seen:
            seen = version
            sent = store.sent(command.command_id)
            if sent is not None and sent.state != "sending":
                return ""
        time.sleep(min(POLL_S, left_s))
    return store.reason()


def _report(store: Store, sent: Sent | None, reason: str) -> int:
    from mcc.screen import command_text

    if sent is None:
        raise _Wrong(f"the command is no longer in {store.path}")
    text = command_text(sent.command)
    if sent.verdict is None:
        why = reason or "the gateway has not shown it yet"
        _say(
            f"no effect yet: {text}: {why}; it stays in the outbox and is sent again"
            " by whoever holds the link next"
        )
        return NO_EFFECT
    if sent.verdict.refused is None:
        _print(f"done: {text}")
        return DONE
    verdict = sent.verdict
    why = verdict.why or str(verdict.refused)
    if verdict.first_operator and verdict.first_operator not in why:
        why += f"; {verdict.first_operator} was first"
    _say(f"refused: {text}: {why}")
    return REFUSED


def _build(store: Store, options: argparse.Namespace) -> Command:
    """The command as the operator means it, with what the store shows at this moment."""
    from protocol.codec import Refused, decode, encode
    from protocol.messages import Command
    from protocol.values import new_id, timestamp

    if not options.operator:
        raise _Wrong("who are you? give --operator NAME")
    action = options.command.replace("-", "_")
    fields: dict[str, object] = {
        name: getattr(options, name)
        for name in ("operator", "unit", "outcome", "note", "minutes", "post")
        if getattr(options, name, None) is not None
    }
    if "id" in options:
        alarm = _find(store, options.id)
        fields["alarm_id"] = alarm.alarm_id
        if action != "panic":
            # An operator answers the calls that stood on the screen, no later ones.
            fields |= {"repeats": alarm.repeats, "kind": alarm.kind}
    try:
        command = Command(
            command_id=new_id(),
            action=action,
            store_id=store.store_id,
            at=timestamp(time.time_ns() // 1_000_000),
            **fields,  # type: ignore[arg-type]
        )
        return decode(Command, encode(command))
    except Refused as error:
        for name, value in fields.items():
            bad = isinstance(value, str) and not _is_unicode(value)
            if name in _ALLOWED and (bad or f"$.{name}`" in str(error)):
                option = "POST" if name == "post" else f"--{name}"
                raise _Wrong(f"{option} {value!r}: allowed: {_ALLOWED[name]}") from None
        raise _Wrong(str(error)) from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False  # bytes of the command line that are not UTF-8
    return True


def _find(store: Store, beginning: str) -> AlarmRecord:
    wanted = _beginning(beginning)
    found = store.alarms_like(wanted) if wanted else ()
    if len(found) == 1:
        return found[0]
    if found:
        said = f"{beginning!r} is the beginning of several alarms' ids:"
    else:
        found = tuple(one for one in store.alarms(0) if one.is_open)
        said = f"no alarm's id begins with {beginning!r}"
        said += "; open are:" if found else f"; none is open in {store.path}"
    lines = [f"  {one.alarm_id}  {_short(one)}" for one in found[-CANDIDATES_MAX:]]
    raise _Wrong("\n".join([said, *lines]))


def _beginning(typed: str) -> str:
    """The beginning of an id as ids are written; empty when it can be none."""
    wanted = typed.strip().lower()
    return wanted if all(letter in "0123456789abcdef-" for letter in wanted) else ""


def _find_in_site(config: Path, typed: str) -> AlarmRecord:
    """The same, in the database that ingest and site share."""
    import msgspec

    from mcc.alarms import AlarmRecord
    from mcc.settings import MccFile
    from mcc.site.commands import configure
    from process.settings import SettingsError, read_settings

    try:
        configure(config, read_settings(config, MccFile))
    except SettingsError as error:
        raise _Wrong("\n".join(error.problems)) from None
    from django.db import Error

    from mcc.cases.models import Alarm

    wanted = _beginning(typed)
    like = Alarm.objects.filter(alarm_id__startswith=wanted) if wanted else Alarm.objects.none()
    try:
        bodies = list(like.order_by("raised_ms").values_list("body", flat=True)[:CANDIDATES_MAX])
        found = [msgspec.json.decode(body, type=AlarmRecord) for body in bodies]
    except (Error, msgspec.MsgspecError, ValueError) as error:
        raise _Wrong(f"the database: {' '.join(str(error).split())}") from None
    if len(found) == 1:
        return found[0]
    said = f"{typed!r} is the beginning of several alarms' ids:" if found else ""
    lines = [f"  {one.alarm_id}  {_short(one)}" for one in found]
    raise _Wrong("\n".join([said or f"no alarm's id begins with {typed!r}", *lines]))


def _short(alarm: AlarmRecord) -> str:
    return f"{alarm.kind} {alarm.state} {alarm.post} {alarm.raised.at}"


if __name__ == "__main__":
    sys.exit(main())
