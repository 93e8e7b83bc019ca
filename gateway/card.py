"""Looks up alarms in the journal for their cards and traces: reads only, beside a running gateway
or without one. It never writes, and takes no lock that a commit would wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from gateway.journal import JournalUnusable, file_of
from gateway.record import AlarmRecord, HistoryRow
from process.database import set_aside_before
from process.log import masked

CANDIDATES_MAX = 10
BUSY_TIMEOUT_S = 5.0

_BY_ID = sa.text("SELECT body FROM alarms WHERE alarm_id LIKE :like ORDER BY raised_ms LIMIT :most")
_OF_POST = sa.text(
    "SELECT body FROM alarms WHERE post = :post AND raised_ms >= :since_ms"
    " ORDER BY raised_ms DESC LIMIT 1"
)
_HISTORY = sa.text('SELECT at, what, "by" FROM history WHERE alarm_id = :alarm_id ORDER BY n')
_JOURNAL_ID = sa.text("SELECT value FROM meta WHERE key = 'journal_id'")
_LETTERS = frozenset("0123456789abcdef-")


class NotOne(Exception):
    """No alarm is meant, or several are; the text says which, and what to do."""


@dataclass(frozen=True)
class Life:
    """An alarm as it stands, and every transition of it in the order of its commit."""

    alarm: AlarmRecord
    history: tuple[HistoryRow, ...]
    journal_id: str


def alarm_like(url: str, text: str) -> AlarmRecord:
    """The one alarm whose id is this or begins so.

    Raises:
        NotOne: it is no such id, there is no such alarm, or there are several.
        JournalUnusable: the journal cannot be read.
    """
    beginning = text.strip().lower()
    if not beginning or not _LETTERS.issuperset(beginning):
        raise NotOne(
            f"{text!r} is no alarm's id nor the beginning of one: hexadecimal digits and '-',"
            " such as 5f2c91d0"
        )
    found = alarms_like(url, beginning)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotOne(
            f"no alarm in the journal has an id that begins with {text!r}{_elsewhere(url)}"
        )
    shown = [f"  {one.alarm_id}  {one.post} {one.raised.at}" for one in found[:CANDIDATES_MAX]]
    raise NotOne("\n".join([f"several alarms' ids begin with {text!r}:", *shown]))


def life_of(url: str, text: str) -> Life:
    """The life of the one alarm whose id is this or begins so.

    Raises:
        NotOne: as `alarm_like`.
        JournalUnusable: the journal cannot be read.
    """
    alarm = alarm_like(url, text)
    with _reading(url) as connection:
        rows = connection.execute(_HISTORY, {"alarm_id": alarm.alarm_id})
        history = tuple(HistoryRow(alarm.alarm_id, row.at, row.what, row.by) for row in rows)
        journal_id = connection.execute(_JOURNAL_ID).scalar_one()
    return Life(alarm, history, str(journal_id))


def _elsewhere(url: str) -> str:
    """Journals that were set aside beside this one, where it may be."""
    path = file_of(url)
    asides = [] if path is None else set_aside_before(path)
    if not asides:
        return ""
    names = "".join(f"\n  --journal {one}" for one in asides[-CANDIDATES_MAX:])
    return f"; a journal was set aside here, look there with:{names}"


def alarms_like(url: str, beginning: str) -> list[AlarmRecord]:
    """The alarms whose id begins so (hexadecimal digits and dashes), a few of them, oldest first.

    Raises:
        JournalUnusable: the journal cannot be read.
    """
    with _reading(url) as connection:
        found = connection.execute(_BY_ID, {"like": f"{beginning}%", "most": CANDIDATES_MAX + 1})
        return _records(found)


def latest_of(url: str, post: str, since_ms: int) -> AlarmRecord | None:
    """The post's latest alarm that was raised at or after `since_ms` (Unix ms).

    Raises:
        JournalUnusable: the journal cannot be read.
    """
    with _reading(url) as connection:
        found = _records(connection.execute(_OF_POST, {"post": post, "since_ms": since_ms}))
    return found[0] if found else None


@contextmanager
def _reading(url: str) -> Iterator[sa.Connection]:
    path = file_of(url)
    try:
        if path is None:
            engine = sa.create_engine(url, poolclass=NullPool)
        else:
            if not path.exists():
                raise JournalUnusable(
                    f"{path}: there is no journal yet; a running gateway makes it"
                )
            engine = sa.create_engine(
                f"sqlite:///file:{path}?mode=ro&uri=true",
                poolclass=NullPool,
                connect_args={"timeout": BUSY_TIMEOUT_S},
            )
        with engine.connect() as connection:
            yield connection
    except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
        why = getattr(error, "orig", None) or error
        raise JournalUnusable(f"the journal {masked(url)} cannot be read: {why}") from None


def _records(rows: sa.CursorResult[Any]) -> list[AlarmRecord]:
    try:
        return [msgspec.json.decode(row.body, type=AlarmRecord) for row in rows]
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise JournalUnusable(f"a row of the journal is damaged: {error}") from None
