"""`kentongan-gateway doctor`: every part of a gateway looked at in order.

It only looks. Beside a running gateway it opens nothing that a commit would wait for, leaves both
names at the brokers alone, and takes the gateway's own word from its status file. Without one it
connects as the gateway does and puts three questions to each broker, under a name that nobody has.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from gateway.core import MCC_LINK, POSTS_LINK
from gateway.journal import SCHEMA, JournalUnusable, file_of
from gateway.service import SOUNDS
from gateway.settings import GatewayFile, MccSettings, PostsSettings
from gateway.status import GatewayStatus
from hardware.buzzer import Buzzer
from hardware.clock import Now, SystemClock
from hardware.pins import Pins, PinsUnavailable, open_pins
from process import install
from process.database import (
    FILE_ERRORS,
    ForeignFile,
    found_corrupt,
    is_damage,
    read_only,
    require_ours,
)
from process.findings import Finding, found
from process.link import LinkSettings, PublishRefused, Received, Subscription, TlsFiles
from process.log import masked
from process.probes import (
    Session,
    SessionEnded,
    Unit,
    bounded,
    day,
    left,
    left_after,
    probe_disk,
    probe_identity,
    probe_network,
    probe_rights,
    probe_service,
    probe_settings,
)
from process.settings import parse_mqtt_url
from process.status import runtime_directory
from protocol.codec import Refused, decode_at, encode
from protocol.messages import Answer, Command, CommandAnswer, PostState
from protocol.topics import Topics
from protocol.values import new_id, timestamp

(UNIT,) = install.GATEWAY.units
RUNTIME_DIRECTORY = Path("/run/kentongan-gateway")
# The name in questions to a broker. It is nobody's: nobody subscribes to what is said to it.
NOBODY = "kentongan-doctor"
JOURNAL_S = 30.0
QUICK_CHECK_S = 20.0  # a journal of a million alarms takes longer; then the check is given up
CONNECT_S = 5
MQTT_S = 45.0
ECHO_S = 3.0
BEAT_S = 12  # a command centre beats every 10 s
SOUND_S = 3.0
CONTROL_S = 2.0
EXPIRY_S = 5
NAMES_SHOWN_MAX = 5
# Faults of a running gateway that a check of its own tells.
SEEN_ELSEWHERE = frozenset(
    (
        *("posts_link_down", "certificate_expiring", "ca_expiring", "crl_expiring"),
        *("register_unreadable", "control_unavailable"),
    )
)

OpenPins = Callable[[GatewayFile], Pins]


def examine(
    config: Path, *, quiet: bool = False, open_pins_of: OpenPins | None = None
) -> Iterator[Finding]:
    """Look at everything, in order; each finding as soon as it is known.

    `quiet` keeps the buzzer silent.
    """
    settings = probe_settings(config, GatewayFile)
    if isinstance(settings, list):
        yield from settings
        return
    try:
        journal = file_of(settings.journal.url)
    except JournalUnusable as error:
        yield found("settings", "settings_wrong", problem=f"[journal] url: {error}")
        return
    yield found("settings", "settings_ok", str(settings.gateway_id), file=str(config))
    with contextlib.ExitStack() as stack:
        standing = probe_service(
            UNIT,
            runtime_directory() or RUNTIME_DIRECTORY,
            GatewayStatus,
            store=journal,
            now_us=SystemClock().now().uptime_us,
            held=stack,
        )
        status = standing.status
        if status is not None and status.gateway != settings.gateway_id:
            why = f"it is {status.gateway}, the settings say {settings.gateway_id}"
            yield found("service", "service_unheard", unit=UNIT, why=why)
            status = None
        else:
            yield standing.finding
        yield from _reported(status)
        yield from _examine_machine(settings, journal, standing.unit, is_alone=not standing.is_busy)
        if settings.pins == "mock" and settings.buzzer.pin is not None:
            yield found("pins", "pins_mock")
        if standing.is_busy:
            yield left("buzzer", UNIT)
        else:
            opener = open_pins_of or (lambda settings: open_pins(settings.pins))
            yield from bounded("buzzer", lambda: probe_buzzer(settings, opener, quiet))
        for name in (POSTS_LINK, MCC_LINK):
            yield from _examine_link(settings, name, status, is_alone=not standing.is_busy)
        yield _control(settings, is_busy=standing.is_busy)


def _links(settings: GatewayFile) -> dict[str, PostsSettings | MccSettings]:
    return {POSTS_LINK: settings.posts, MCC_LINK: settings.mcc}


def _files(table: PostsSettings | MccSettings) -> TlsFiles:
    return TlsFiles(table.ca, table.certificate, table.key)


def _client(settings: GatewayFile, name: str) -> str:
    return f"{settings.gateway_id}-{name}"


def _reported(status: GatewayStatus | None) -> Iterator[Finding]:
    for fault in () if status is None else status.faults:
        if fault in ("journal_failing", "journal_hanging"):
            yield found("journal", "journal_not_writable", why=fault)
        elif fault not in SEEN_ELSEWHERE:
            yield found("service", "fault_reported", fault=fault)


def _examine_machine(
    settings: GatewayFile, journal: Path | None, unit: Unit | None, *, is_alone: bool
) -> Iterator[Finding]:
    now = SystemClock().now()
    for name in (POSTS_LINK, MCC_LINK):
        yield from bounded("identity", functools.partial(_identity, settings, name, now), name)
        files = _files(_links(settings)[name])
        named = [file for file in (files.ca, files.certificate, files.key) if file is not None]
        rights = functools.partial(probe_rights, "identity", unit, named, write=False, about=name)
        yield from bounded("identity", rights, name)
    yield from bounded("register", lambda: probe_register(settings.identities.directory, now))
    directory = settings.identities.directory
    yield from bounded("register", lambda: _register_rights(directory, unit))
    code = "clock_ok" if now.synchronised else "clock_unsynchronised"
    yield found("clock", code, at=timestamp(now.wall_ms))
    if journal is None:
        yield from bounded("journal", lambda: probe_server(settings.journal.url), "", JOURNAL_S)
        return
    yield from bounded("disk", lambda: probe_disk(journal.absolute().parent, write=is_alone))
    yield from bounded("journal", lambda: probe_journal(journal, is_alone=is_alone), "", JOURNAL_S)
    yield from bounded("journal", lambda: _journal_rights(journal, unit))


def _journal_rights(journal: Path, unit: Unit | None) -> list[Finding]:
    files = [str(journal)] if journal.exists() else []
    return probe_rights("journal", unit, files, write=True)


def _register_rights(directory: str | None, unit: Unit | None) -> list[Finding]:
    """The gateway signs renewals and writes the list of revoked certificates."""
    if directory is None:
        return []
    files = [str(Path(directory) / name) for name in ("ca.key", "register.db", "crl.pem")]
    return probe_rights("register", unit, files, write=True)


def _identity(settings: GatewayFile, name: str, now: Now) -> list[Finding]:
    table = _links(settings)[name]
    return probe_identity(
        parse_mqtt_url(table.url),
        _files(table),
        expected=_client(settings, name),
        wall_s=now.wall_ms / 1000,
        dated=now.synchronised,
        about=name,
    )


# --- the register ----------------------------------------------------------------------------


def probe_register(directory: str | None, now: Now) -> list[Finding]:
    """The authority and its register: can they be used, and what ends soon?"""
    if directory is None:
        return [found("register", "register_none")]
    from gateway.identities import (  # brings cryptography; a demo does without it
        CRL_WARN_DAYS,
        DAY_MS,
        Authority,
        IdentitiesError,
    )

    try:
        with Authority(Path(directory)) as authority:
            names = authority.standings(now.wall_ms)
            soon = authority.expiring(now.wall_ms)
            until_ms = authority.crl_until_ms()
            stale = [
                found("register", "broker_stale", directory=str(place.directory))
                for place in authority.brokers()
                if _lists_differ(authority.crl_file, place.directory / authority.crl_file.name)
            ]
    except IdentitiesError as error:
        return [found("register", "register_unusable", why=str(error))]
    if until_ms is None:
        return [found("register", "crl_missing"), *stale]
    until = day(until_ms / 1000)
    findings = list(stale)
    if now.synchronised:
        if now.wall_ms >= until_ms:
            findings.append(found("register", "crl_over", until=until))
        elif until_ms - now.wall_ms < CRL_WARN_DAYS * DAY_MS:
            findings.append(found("register", "crl_ends_soon", until=until))
        ending = soon.get("certificate_expiring", ())
        if ending:
            first = ", ".join(ending[:NAMES_SHOWN_MAX])
            findings.append(found("register", "identities_ending", count=len(ending), names=first))
    return findings or [found("register", "register_ok", names=len(names), until=until)]


def _lists_differ(ours: Path, theirs: Path) -> bool:
    try:
        return ours.read_bytes() != theirs.read_bytes()
    except OSError:
        return False  # a broker that is elsewhere, or another user's: nothing is known


# --- the journal -----------------------------------------------------------------------------


def probe_journal(path: Path, *, is_alone: bool) -> list[Finding]:
    """The journal's file. Its pages are checked, and the right to write, only when alone with it.

    (A check of every page would hold back the checkpoints of a gateway that works.)
    """
    if not path.exists():
        return [found("journal", "journal_new")]
    file = str(path)
    try:
        require_ours(path, ".seq", ".lock")
    except ForeignFile:
        return [found("journal", "store_foreign", file=file)]
    except OSError as error:
        return [found("journal", "store_unreadable", file=file, why=error.strerror or str(error))]
    uri = read_only(path)
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as reader:
            findings = _look_into(reader, file)
            if is_alone and not findings:
                _check_pages(reader)
        if found_corrupt(path):
            findings = [found("journal", "journal_damaged", why="a commit found it so")]
    except FILE_ERRORS as error:
        why = getattr(error, "strerror", None) or str(error)
        if is_damage(error):
            return [found("journal", "journal_damaged", why=why)]
        return [found("journal", "store_unreadable", file=file, why=why)]
    if findings:
        return findings
    if is_alone:
        try:
            _begin_to_write(path)
        except FILE_ERRORS as error:
            return [found("journal", "journal_not_writable", why=str(error))]
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as reader:
        (journal_id,) = reader.execute(
            "SELECT value FROM meta WHERE key = 'journal_id'"
        ).fetchone() or ("?",)
        (live,) = reader.execute("SELECT count(*) FROM alarms WHERE live").fetchone()
    findings = [found("journal", "journal_ok", journal_id=journal_id, live=live)]
    aside = len(list(path.parent.glob(f"{path.name}.damaged-*[0-9]")))
    if aside:
        findings.append(found("journal", "store_set_aside", file=file, count=aside))
    return findings


def _look_into(reader: sqlite3.Connection, file: str) -> list[Finding]:
    tables = {name for (name,) in reader.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return [found("journal", "journal_new")]
    if "alembic_version" in tables:
        row = reader.execute("SELECT version_num FROM alembic_version").fetchone()
        if row is not None and str(row[0]) > SCHEMA:
            return [found("journal", "store_newer", file=file)]
    return []


def _check_pages(reader: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError when a page is damaged; a check that takes long is given up."""
    timer = threading.Timer(QUICK_CHECK_S, reader.interrupt)
    timer.daemon = True
    timer.start()
    try:
        (verdict,) = reader.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            return
        raise
    finally:
        timer.cancel()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"malformed: {verdict}")


def _begin_to_write(path: Path) -> None:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None)
    ) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("ROLLBACK")


def probe_server(url: str) -> list[Finding]:
    """A journal on PostgreSQL: is it there, is it ours, may we write?"""
    try:
        engine = sa.create_engine(
            url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S}
        )
        with engine.connect() as connection:
            if "meta" not in sa.inspect(connection).get_table_names():
                return [found("journal", "journal_new")]
            may = connection.exec_driver_sql(
                "SELECT NOT pg_is_in_recovery() AND has_table_privilege('alarms', 'INSERT')"
                " AND has_table_privilege('alarms', 'UPDATE')"
            ).scalar_one()
            journal_id = connection.exec_driver_sql(
                "SELECT value FROM meta WHERE key = 'journal_id'"
            ).scalar()
            live = connection.exec_driver_sql("SELECT count(*) FROM alarms WHERE live").scalar_one()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        why = str(getattr(error, "orig", None) or error).partition("\n")[0]
        return [found("journal", "journal_unreachable", why=masked(why))]
    if not may:
        why = "a standby server, or no right to insert"
        return [found("journal", "journal_not_writable", why=why)]
    return [found("journal", "journal_ok", journal_id=str(journal_id), live=int(live))]


# --- buzzer ----------------------------------------------------------------------------------


def probe_buzzer(settings: GatewayFile, opener: OpenPins, quiet: bool) -> list[Finding]:
    """The gateway's own buzzer, where one is fitted."""
    pin = settings.buzzer.pin
    if pin is None:
        return [found("buzzer", "buzzer_none")]
    pins = None
    try:
        pins = opener(settings)
        buzzer = Buzzer(pins, pin)
    except PinsUnavailable as error:
        if pins is not None:
            pins.close()
        return [
            found("pins", "pins_unavailable", why=str(error)),
            left_after("buzzer", "pins"),
        ]
    try:
        if settings.buzzer.silent:
            return [found("pins", "pins_ok", count=1), found("buzzer", "buzzer_silent")]
        if quiet:
            return [found("pins", "pins_ok", count=1), found("buzzer", "buzzer_quiet")]
        sounded = threading.Event()
        buzzer.sound(SOUNDS["acknowledged"], sounded.set)
        sounded.wait(SOUND_S)
        if buzzer.failures:
            return [found("buzzer", "buzzer_refused", count=buzzer.failures)]
        return [found("pins", "pins_ok", count=1), found("buzzer", "buzzer_tried")]
    finally:
        buzzer.close()
        pins.close()


# --- links -----------------------------------------------------------------------------------


def _examine_link(
    settings: GatewayFile, name: str, status: GatewayStatus | None, *, is_alone: bool
) -> Iterator[Finding]:
    table = _links(settings)[name]
    dated = SystemClock().now().synchronised
    behind = ("mqtt", "rules", "mcc") if name == MCC_LINK else ("mqtt", "rules")
    failed = None
    for finding in probe_network(parse_mqtt_url(table.url), _files(table), dated=dated, about=name):
        yield finding
        if finding.verdict == "failure":
            failed = finding.check
    if isinstance(table, PostsSettings) and table.second_url is not None:
        second = parse_mqtt_url(table.second_url)
        yield from probe_network(second, _files(table), dated=dated, about=f"{name} 2")
    if failed is not None:
        yield from (left_after(check, failed, name) for check in behind)
    elif is_alone:
        yield from bounded("mqtt", lambda: probe_session(settings, name), name, MQTT_S)
    else:
        yield from _what_the_service_hears(settings, name, status)


def _what_the_service_hears(
    settings: GatewayFile, name: str, status: GatewayStatus | None
) -> Iterator[Finding]:
    is_up = None if status is None else status.links.get(name, False)
    if is_up is None:
        yield left("mqtt", UNIT, name)
    elif is_up:
        yield found("mqtt", "mqtt_ok", name, client=_client(settings, name))
    else:
        yield found("mqtt", "mqtt_down", name, unit=UNIT)
    yield left("rules", UNIT, name)
    if name != MCC_LINK:
        return
    if status is None:
        yield left("mcc", UNIT)
    elif not is_up:
        yield left_after("mcc", "mqtt")
    else:
        yield found("mcc", "mcc_answers" if status.mcc_answers else "mcc_silent")


def probe_session(settings: GatewayFile, name: str) -> list[Finding]:
    """Connect as the gateway's link does; may it write and read, and is anything refused?

    Never while the gateway runs: a broker lets a name be connected once.
    """
    table, topics = _links(settings)[name], settings.topics
    link = LinkSettings(
        broker=parse_mqtt_url(table.url),
        client_id=_client(settings, name),
        keepalive_s=table.keepalive_s,
        tls=_files(table),
    )
    heard = topics.post("+", "state") if name == POSTS_LINK else topics.mcc("commands", "+")
    subscriptions = (Subscription(heard, live_only=True),)
    dated = SystemClock().now().synchronised
    behind = ("rules", "mcc") if name == MCC_LINK else ("rules",)
    with Session(link, subscriptions, dated=dated, about=name) as session:
        connected = session.connected()
        if connected.verdict != "ok":
            return [connected, *(left_after(check, "mqtt", name) for check in behind)]
        try:
            if name == POSTS_LINK:
                if not _posts_broker_delivers(session, topics):
                    deaf = found("mqtt", "mqtt_not_heard", name, client=link.client_id)
                    return [deaf, left_after("rules", "mqtt", name)]
                return [connected, _refuses(session, topics, name)]
            _ask_mcc_broker(session, topics)
            beats = _beats(settings, session, topics)
            # Last: mosquitto 2.0.11 closes a connection that it has refused something.
            return [connected, _refuses(session, topics, name), *beats]
        except SessionEnded as ended:
            return [ended.finding, *(left_after(check, "mqtt", name) for check in behind)]


def _posts_broker_delivers(session: Session, topics: Topics) -> bool:
    """Two documents for nobody: an answer must be taken, a state must come back to us."""
    at = timestamp(SystemClock().now().wall_ms)
    answer = Answer(post=NOBODY, n=0, connection=new_id(), mcc_answers=False, at=at)
    session.link.publish(topics.post(NOBODY, "answer"), encode(answer), expiry_s=EXPIRY_S)
    topic = topics.post(NOBODY, "state")
    session.link.publish(topic, encode(PostState(post=NOBODY, at=at)), expiry_s=EXPIRY_S)
    echo = session.wait_for(
        lambda event: isinstance(event, Received) and event.topic == topic, ECHO_S
    )
    return echo is not None


def _ask_mcc_broker(session: Session, topics: Topics) -> None:
    """One answer for nobody; what may be read there is shown by the beats that come."""
    answer = CommandAnswer(
        console=NOBODY, command_id=new_id(), refused="unknown", why="a question of doctor"
    )
    session.link.publish(topics.mcc("answers", NOBODY), encode(answer), expiry_s=EXPIRY_S)


def _refuses(session: Session, topics: Topics, name: str) -> Finding:
    """Nobody may write outside the contract: a broker that takes it has no access list."""
    topic = f"{topics.root}/doctor"
    session.link.publish(topic, b"{}", expiry_s=EXPIRY_S)
    try:
        refused = session.wait_for(
            lambda event: isinstance(event, PublishRefused) and event.topic == topic, ECHO_S
        )
    except SessionEnded:
        return found("rules", "rules_ok", name)  # some brokers refuse by hanging up
    return found("rules", "rules_ok" if refused else "rules_open", name)


def _beats(settings: GatewayFile, session: Session, topics: Topics) -> list[Finding]:
    receiver = settings.mcc.receiver
    if not settings.mcc.require_receipt:
        return [found("mcc", "mcc_no_receipts")]
    others: set[str] = set()
    until_s = time.monotonic() + BEAT_S
    while (left_s := until_s - time.monotonic()) > 0:
        event = session.wait_for(lambda event: _beating(event, topics) is not None, left_s)
        console = None if event is None else _beating(event, topics)
        if console == receiver:
            return [found("mcc", "mcc_beats", console=receiver)]
        if console is not None and len(others) < NAMES_SHOWN_MAX:
            others.add(console)
    if others:
        names = ", ".join(sorted(others))
        return [found("mcc", "mcc_other_beats", console=receiver, others=names)]
    return [found("mcc", "mcc_no_beat", console=receiver, seconds=BEAT_S)]


def _beating(event: object, topics: Topics) -> str | None:
    """The console whose beat this is."""
    if not isinstance(event, Received) or event.retained:
        return None
    try:
        address = topics.parse(event.topic)
        message = decode_at(address, event.payload)
    except (Refused, ValueError):
        return None
    is_beat = isinstance(message, Command) and message.action == "beat"
    return address.name if is_beat else None


# --- the control socket ----------------------------------------------------------------------


def _control(settings: GatewayFile, *, is_busy: bool) -> Finding:
    path = settings.control.socket
    if path is None:
        return found("control", "control_none")
    if not is_busy:
        return found("control", "control_not_yet")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONTROL_S)
            connection.connect(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return found("control", "control_missing", socket=path, why=why)
    return found("control", "control_ok", socket=path)
