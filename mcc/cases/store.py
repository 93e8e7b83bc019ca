"""The site's database as the core's durable memory: what was heard, and what is to be sent.

The same door as `mcc.store.Store`, on the tables that the site reads: a commit that has returned
is on disk, and only after it does a receipt go out. Each commit is one `changes()`, so a screen
sees it at once. It decides nothing about alarms.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q

from mcc.alarms import AlarmRecord, Verdict, calls_again
from mcc.cases import faults
from mcc.cases.changes import CHANNEL, Changes, changes
from mcc.cases.models import Alarm, Command, GatewayDocument, PostDocument, Process, Selftest
from mcc.core import (
    ALARMS_MAX,
    COMMANDS_MAX,
    GATEWAYS_MAX,
    POSTS_MAX,
    Commit,
    GatewayShown,
    LinkShown,
    Memory,
    Show,
)
from mcc.store import (
    CLOSED_LOADED_MAX,
    CLOSED_STORED_MAX,
    PRUNE_EVERY_COMMITS,
    SETTLED_STORED_MAX,
    Sent,
    StoreUnavailable,
)
from process.log import log, masked
from process.restored import Sequence as Sidecar
from protocol.messages import Command as Message
from protocol.messages import MccGateway, MccPost
from protocol.values import new_id, wall_ms

PROCESS = "ingest"
# A listener whose server has vanished without a word hears nothing for ever: so often it is asked.
LOOK_S = 2.0

_ALARM = msgspec.json.Decoder(AlarmRecord)
_POST = msgspec.json.Decoder(MccPost)
_GATEWAY = msgspec.json.Decoder(MccGateway)
_COMMAND = msgspec.json.Decoder(Message)
_VERDICT = msgspec.json.Decoder(Verdict)
_T = TypeVar("_T")
_LINES = re.compile(r"\s+")


class NotSetUp(StoreUnavailable):
    """The database lacks tables, or some of their columns; `kentongan-mcc setup` makes them."""


class CaseOutbox:
    """The outbox on a connection of its own: Django's of this thread, or PostgreSQL's listener."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        self._heard = 0
        self._look_at_s = time.monotonic() + LOOK_S
        self._listener: Any = None
        with _answering():
            connection.ensure_connection()
            if connection.vendor == "postgresql":
                self._listener = connection.get_new_connection(
                    {**connection.get_connection_params(), "autocommit": True}
                )
                self._listener.execute(f"LISTEN {CHANNEL}")

    def data_version(self) -> int:
        """A number that changes with another connection's commit, and at a server every 2 s."""
        with _answering():
            if self._listener is not None:
                self._heard += sum(1 for _ in self._listener.notifies(timeout=0))
                if time.monotonic() >= self._look_at_s:
                    self._look_at_s = time.monotonic() + LOOK_S
                    self._listener.execute("SELECT 1")
                    self._heard += 1
                return self._heard
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA data_version")
                return int(cursor.fetchone()[0])

    def sending(self) -> tuple[Message, ...]:
        """The commands that no document and no refusal has ended, oldest first."""
        with _answering():
            return _sending()

    def sent(self, command_id: str) -> Sent | None:
        """One command and what became of it."""
        with _answering():
            row = Command.objects.filter(command_id=command_id).first()
        command = _read(_COMMAND, row.body) if row else None
        if row is None or command is None:
            return None
        verdict = _read(_VERDICT, row.verdict) if row.verdict else None
        return Sent(command, row.state, verdict)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close both connections."""
        if self._listener is not None:
            self._listener.close()
        connection.close()


class CaseStore:
    """The database, on the thread that hears the gateways.

    `anchor` is the SQLite file, or for PostgreSQL a path of this machine: beside it lies the
    number of the newest commit, by which an older copy of the database is known.
    """

    def __init__(self, anchor: Path) -> None:
        """Take nothing yet."""
        self._anchor = anchor
        self._sidecar: Sidecar | None = None
        self._unpruned = 0
        self._body: dict[str, Any] = {"link_up": False, "link_reason": "", "gateways": {}}
        self._untold = True

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        connection.close()
        if self._sidecar is not None:
            self._sidecar.close()
            self._sidecar = None

    def claim(self) -> str:
        """Make sure of the database; for the holder of the link. Returns the `store_id`.

        A database that is an older copy of itself gets a new one, so that the gateways tell it
        again what it has missed.

        Raises:
            NotSetUp: tables are missing.
            StoreUnavailable: it does not answer or cannot be written.
        """
        with _answering():
            require_set_up()
        if self._sidecar is not None:
            self._sidecar.close()
        self._sidecar = Sidecar.open(self._anchor)
        with _answering(), changes() as change:
            sequence = change.store.sequence
            if self._sidecar.is_behind(sequence, is_new=sequence == 0):
                change.store.store_id = new_id()
                log("store_restored", level="warning", sequence=sequence)
            change.note("store", "claimed")
            # Of a database that is older than the lives of faults, or was restored.
            ill = PostDocument.objects.filter(Q(connection="silent") | Q(body__contains='"faults"'))
            bodies = ill.values_list("body", flat=True)[:POSTS_MAX]
            faults.heard(_read_all(_POST, bodies), (), change)
            self._prune(change)
        self._sidecar.note(change.store.sequence)
        return change.store.store_id

    def corrupt(self) -> bool:
        """Never: this database holds more than can be heard again. It is restored by a person."""
        return False

    def outbox(self) -> CaseOutbox:
        """A connection of its own for another thread; call it there."""
        return CaseOutbox()

    def load(self) -> Memory:
        """Everything that is open, the newest of what is closed, and the commands under way.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        with _answering(), changes() as change:
            opened = _newest(True, ALARMS_MAX)
            closed = _newest(False, CLOSED_LOADED_MAX)
            posts = PostDocument.objects.values_list("body", flat=True)[:POSTS_MAX]
            gateways = GatewayDocument.objects.values_list("body", flat=True)[:GATEWAYS_MAX]
            return Memory(
                store_id=change.store.store_id,
                alarms=(*closed, *opened),
                posts=_read_all(_POST, posts),
                gateways=_read_all(_GATEWAY, gateways),
                commands=_sending(),
            )

    def commit(self, commit: Commit) -> tuple[AlarmRecord, ...]:
        """Put all of it on disk at once; returns the `fresh` alarms that were there already.

        Raises:
            StoreUnavailable: nothing of it is on disk.
        """
        with _answering(), changes() as change:
            existing = _write_alarms(commit, change)
            _write_documents(commit, change)
            _write_verdicts(commit, change)
            _write_selftests(commit, change)
            faults.heard(commit.posts, commit.gone_posts, change)
            if commit.gateways:
                self._live_gateways(change)
            if commit.reason is not None:
                change.store.reason = commit.reason[:300]
                change.note("store", "reason")
            if self._unpruned + 1 >= PRUNE_EVERY_COMMITS:
                self._prune(change)
            self._tell(change)
        self._unpruned += 1
        self._untold = False
        if self._sidecar is not None:
            self._sidecar.note(change.store.sequence)
        return existing

    # --- the process's own row ------------------------------------------------------------------

    def show(self, show: Show) -> None:
        """Remember what of the link and of gateways' lives has changed, for the next writing."""
        match show.change:
            case LinkShown(up, reason):
                self._body |= {"link_up": up, "link_reason": reason}
            case GatewayShown(gateway, liveness):
                self._body["gateways"][gateway] = liveness
            case _:
                return
        self._untold = True

    def pulse(self) -> None:
        """Beat. A database that does not answer just misses it."""
        try:
            with _answering():
                if self._untold:
                    with changes() as change:
                        self._tell(change)
                    self._untold = False
                _beat(self._body)
        except StoreUnavailable as error:
            log("pulse_missed", level="warning", why=str(error))

    def _tell(self, change: Changes) -> None:
        if self._untold:
            _beat(self._body)
            self._live_gateways(change)
            change.note("process", PROCESS)

    def _live_gateways(self, change: Changes) -> None:
        bodies = GatewayDocument.objects.values_list("body", flat=True)[:GATEWAYS_MAX]
        faults.heard_gateways(_read_all(_GATEWAY, bodies), self._body["gateways"], change)

    def _prune(self, change: Changes) -> None:
        self._unpruned = 0
        faults.prune()
        closed = Alarm.objects.filter(is_open=False)
        edge = closed.order_by("-raised_ms").values_list("raised_ms", flat=True)
        for raised_ms in edge[CLOSED_STORED_MAX : CLOSED_STORED_MAX + 1]:
            closed.filter(raised_ms__lte=raised_ms).delete()
            change.note("store", "pruned")
        settled = Command.objects.exclude(state=Command.State.SENDING)
        old = settled.order_by("-created_ms").values_list("created_ms", flat=True)
        for created_ms in old[SETTLED_STORED_MAX : SETTLED_STORED_MAX + 1]:
            settled.filter(created_ms__lte=created_ms).delete()


def require_set_up() -> None:
    """Make sure that every table is there.

    Raises:
        NotSetUp: some are not.
        django.db.Error: the database does not answer.
    """
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise NotSetUp("the database is not set up for this version: kentongan-mcc setup does it")


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what a database or its disk does into StoreUnavailable; the next try connects anew."""
    try:
        # The listener is PostgreSQL's own connection, whose errors Django does not wrap by itself.
        with connection.wrap_database_errors:
            yield
    except (Error, OSError, UnicodeDecodeError) as error:
        connection.close()
        raise StoreUnavailable(_in_words(error)) from None


def _in_words(error: Exception) -> str:
    return masked(_LINES.sub(" ", str(error)).strip())[:200] or type(error).__name__


def _beat(body: dict[str, Any]) -> None:
    row = Process.objects.filter(name=PROCESS).first() or Process(name=PROCESS)
    row.beat += 1
    row.at_ms = time.time_ns() // 1_000_000
    row.body = body
    row.save()


# --- rows ---------------------------------------------------------------------------------------


def _newest(is_open: bool, limit: int) -> list[AlarmRecord]:
    rows = Alarm.objects.filter(is_open=is_open).order_by("-raised_ms")
    bodies = list(rows.values_list("body", flat=True)[:limit])
    return _read_all(_ALARM, bodies[::-1])


def _sending() -> tuple[Message, ...]:
    rows = Command.objects.filter(state=Command.State.SENDING).order_by("created_ms")
    return tuple(_read_all(_COMMAND, rows.values_list("body", flat=True)[:COMMANDS_MAX]))


def _write_alarms(commit: Commit, change: Changes) -> tuple[AlarmRecord, ...]:
    ids = [alarm.alarm_id for alarm in commit.alarms]
    rows = Alarm.objects.in_bulk(ids)
    followed = set(Alarm.objects.filter(follows__in=ids).values_list("follows", flat=True))
    followed |= {alarm.follows for alarm in commit.alarms}
    existing: list[AlarmRecord] = []
    written: list[Alarm] = []
    for alarm in commit.alarms:
        row = rows.get(alarm.alarm_id)
        before = _read(_ALARM, row.body) if row else None
        if before is not None and alarm.alarm_id in commit.fresh:
            existing.append(before)
            continue
        calls = calls_again(before, alarm, alarm.alarm_id in followed)
        written.append(
            Alarm(
                alarm_id=alarm.alarm_id,
                post=alarm.post,
                gateway=alarm.gateway,
                is_open=alarm.is_open,
                is_answered=alarm.is_answered,
                kind=alarm.kind,
                state=alarm.state,
                outcome=alarm.outcome or "",
                raised_ms=wall_ms(alarm.raised.at),
                repeats=alarm.repeats,
                follows=alarm.follows,
                # Counted in the write that brings the call, so that no death loses or doubles it.
                rings=(row.rings if row else 0) + calls,
                heard_ms=row.heard_ms if row else change.at_ms,
                body=_text(alarm),
            )
        )
        change.note("alarm", alarm.alarm_id)
        if alarm.follows is not None:
            change.note("alarm", alarm.follows)
    _upsert(Alarm, "alarm_id", written)
    return tuple(existing)


def _write_documents(commit: Commit, change: Changes) -> None:
    posts = [
        PostDocument(post=one.post, gateway=one.gateway, connection=one.connection, body=_text(one))
        for one in commit.posts
    ]
    _upsert(PostDocument, "post", posts)
    PostDocument.objects.filter(post__in=commit.gone_posts).delete()
    for post in (*(one.post for one in posts), *commit.gone_posts):
        change.note("post", post)
    gateways = [GatewayDocument(gateway=one.gateway, body=_text(one)) for one in commit.gateways]
    _upsert(GatewayDocument, "gateway", gateways)
    for gateway in gateways:
        change.note("gateway", gateway.gateway)


def _write_selftests(commit: Commit, change: Changes) -> None:
    """One of each post; no screen shows them, so nothing is noted."""
    rows = {
        one.post: Selftest(
            post=one.post, alarm_id=one.alarm_id, heard_ms=change.at_ms, body=_text(one)
        )
        for one in commit.selftests
    }
    _upsert(Selftest, "post", list(rows.values()))
    if commit.gone_posts:
        Selftest.objects.filter(post__in=commit.gone_posts).delete()


def _write_verdicts(commit: Commit, change: Changes) -> None:
    verdicts = dict(commit.verdicts)
    for row in Command.objects.filter(command_id__in=list(verdicts)):
        verdict = verdicts[row.command_id]
        row.state = Command.State.REFUSED if verdict.refused else Command.State.DONE
        row.verdict = _text(verdict)
        row.settled_ms = change.at_ms
        row.save()
        if row.alarm_id is not None:
            change.note("alarm", row.alarm_id)
        elif row.post is not None:
            change.note("post", row.post)


def _upsert(model: Any, key: str, rows: Sequence[Any]) -> None:
    names = [field.name for field in model._meta.concrete_fields if field.name != key]
    model.objects.bulk_create(
        rows, batch_size=500, update_conflicts=True, unique_fields=[key], update_fields=names
    )


def _text(part: msgspec.Struct) -> str:
    return msgspec.json.encode(part).decode()


def _read(decoder: msgspec.json.Decoder[_T], body: str) -> _T | None:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # One row that cannot be read must not hide the others; documents bring its alarm again.
        log("row_unreadable", level="error", why=str(error))
        return None


def _read_all(decoder: msgspec.json.Decoder[_T], bodies: Any) -> list[_T]:
    return [one for body in bodies if (one := _read(decoder, body)) is not None]
