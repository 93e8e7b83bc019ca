"""Looks up alarms in the journal for their result cards: reads only, beside a running gateway or
without one. It never writes, and takes no lock that a commit would wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from gateway.journal import JournalUnusable, file_of
from gateway.record import AlarmRecord
from process.log import masked

CANDIDATES_MAX = 10
BUSY_TIMEOUT_S = 5.0

_BY_ID = sa.text("SELECT body FROM alarms WHERE alarm_id LIKE :like ORDER BY raised_ms LIMIT :most")
_OF_POST = sa.text(
    "SELECT body FROM alarms WHERE post = :post AND raised_ms >= :since_ms"
    " ORDER BY raised_ms DESC LIMIT 1"
)


def alarms_like(url: str, beginning: str) -> list[AlarmRecord]:
    """The alarms whose id begins so (hexadecimal digits and dashes), a few of them, oldest first.

    Raises:
        JournalUnusable: the journal cannot be read.
    """
    if not beginning or any(letter not in "0123456789abcdef-" for letter in beginning):
        return []
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
