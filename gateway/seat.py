"""The one seat at a journal on PostgreSQL: whose session holds it is the gateway that writes.

A session-level advisory lock, which the server frees when the session ends, and nothing else does.
The server ends a session that says nothing for `SESSION_IDLE_MS`, whether its client was stopped,
its machine has lost power or the way between is cut. What a lock cannot show (a pooler that lends
the session to others, a session that ended and came back) the epoch does: every opening of the
journal writes a new one, and who reads another than his own has lost the seat.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

VERSION_MIN = 140_000  # the first with idle_session_timeout
CONNECT_TIMEOUT_S = 3
# Longer than a gateway between two proofs is ever silent (`lease.PROVE_EVERY_US`), many times over.
SESSION_IDLE_MS = 3_500
STATEMENT_TIMEOUT_MS = 30_000

# Advisory locks belong to one database, so the number need not name the gateway.
_KEY = (0x4B45, 0x4E54)
_HELD = """
SELECT EXISTS (
  SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
    AND classid = %s AND objid = %s AND objsubid = 2
) AND EXISTS (SELECT FROM meta WHERE key = 'epoch' AND value = %s)
"""
_ADVANCE = "UPDATE meta SET value = %s WHERE key = 'commits' AND value = %s"


class SeatTaken(Exception):
    """Another session holds the seat; ours of a moment ago perhaps, of which the server knows
    not yet that it is dead."""


class SeatLost(Exception):
    """Another gateway has opened the journal since: what this process has in memory is old."""


class NotDurable(Exception):
    """The server would report commits that a power cut can take back; the text says why."""


def connect_args() -> dict[str, Any]:
    """How libpq connects: within seconds, and noticing within seconds that the server is gone."""
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "tcp_user_timeout": SESSION_IDLE_MS,
        "application_name": "kentongan-gateway",
    }


def settle(cursor: Any) -> tuple[str, ...]:
    """Set up a new session by its DB-API cursor; the faults of the server that can be lived with.

    Raises:
        NotDurable: commits would not be synchronous, or the server is too old to see to it that a
            dead gateway's session ends.
    """
    cursor.execute("SELECT current_setting('server_version_num')::int")
    (version,) = cursor.fetchone()
    if version < VERSION_MIN:
        raise NotDurable(f"PostgreSQL {version // 10_000} is too old; 14 is the first that will do")
    for name, value in (
        ("idle_session_timeout", SESSION_IDLE_MS),
        ("idle_in_transaction_session_timeout", SESSION_IDLE_MS),
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        # The server's side of a connection whose other end is gone while it sends.
        ("tcp_user_timeout", SESSION_IDLE_MS),
    ):
        cursor.execute(f"SET {name} = {value}")
    # Whatever the server, the database or the role have as default. `on` also waits for the
    # replicas that synchronous_standby_names asks for.
    cursor.execute("SET synchronous_commit = on")
    cursor.execute("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
    synchronous, fsync = cursor.fetchone()
    if synchronous != "on":
        raise NotDurable(f"synchronous_commit is {synchronous} and cannot be set")
    return () if fsync == "on" else ("journal_not_durable",)


def take(connection: sa.Connection) -> None:
    """Take the seat for this session.

    Raises:
        SeatTaken: another session has it.
    """
    sql = "SELECT pg_try_advisory_lock(%s, %s)"
    if not connection.exec_driver_sql(sql, _KEY).scalar_one():
        raise SeatTaken("another gateway has the journal")


def is_held(connection: sa.Connection, epoch: str) -> bool:
    """Whether this session still holds the seat, and nobody has opened the journal since."""
    return bool(connection.exec_driver_sql(_HELD, (*_KEY, epoch)).scalar_one())


def advance(connection: sa.Connection, commits: int) -> None:
    """Begin a transaction that may write: count commit `commits` up by one, if it is the newest.

    The row stays locked until the end of the transaction, so that another gateway's opening waits
    for it; and one that came before it makes this fail. No statement that writes goes before it.

    Raises:
        SeatLost: it is not the newest: somebody else has committed.
    """
    moved = connection.exec_driver_sql(_ADVANCE, (str(commits + 1), str(commits))).rowcount
    if moved != 1:
        raise SeatLost("another gateway has taken over the journal")


def lasting(connection: sa.Connection) -> dict[str, str]:
    """What the journal says of itself; empty where there is none yet."""
    if connection.exec_driver_sql("SELECT to_regclass('meta')").scalar_one() is None:
        return {}
    rows = connection.exec_driver_sql("SELECT key, value FROM meta").all()
    return {row[0]: row[1] for row in rows}
