"""The one way to change what screens show: a transaction that numbers what it has changed.

The row of `Store` is locked first, so writers come one after the other and the numbers of `Change`
have no gaps and come in the order of the commits. A reader that has seen number n has seen
everything up to n. It decides nothing about alarms.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from django.db import connection, transaction

from mcc.cases.models import Change, Store
from protocol.values import new_id

ChangeKind = Literal["alarm", "post", "gateway", "store", "process", "fault", "shift", "entry"]

# The feed's oldest lines go; a reader that is further behind takes the whole present state.
CHANGES_STORED_MAX = 10_000
_PRUNE_EVERY = 1_000
# The channel on which PostgreSQL tells that something was committed.
CHANNEL = "kentongan_changes"

_open = threading.local()


class Changes:
    """What one open transaction changes. Made by `changes()`."""

    def __init__(self, store: Store) -> None:
        """Take the locked row."""
        self.store = store
        self.at_ms = time.time_ns() // 1_000_000
        self._noted: dict[tuple[ChangeKind, str], None] = {}

    def note(self, kind: ChangeKind, key: str) -> None:
        """Say that what is shown under this key becomes another one; once is enough."""
        self._noted[kind, key] = None

    def write(self) -> None:
        """Put the lines into the feed and the numbers and reason into the row."""
        before = self.store.sequence
        lines = [
            Change(sequence=before + n, kind=kind, key=key, at_ms=self.at_ms)
            for n, (kind, key) in enumerate(self._noted, 1)
        ]
        if not lines:
            return
        Change.objects.bulk_create(lines, batch_size=500)
        self.store.sequence = before + len(lines)
        self.store.save()
        if self.store.sequence // _PRUNE_EVERY != before // _PRUNE_EVERY:
            oldest = self.store.sequence - CHANGES_STORED_MAX
            Change.objects.filter(sequence__lte=oldest).delete()
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(self.store.sequence)])


@contextmanager
def changes() -> Iterator[Changes]:
    """One transaction in which to change what is shown; an inner one joins the outer one.

    What is read inside is what the last writer left. It ends with everything on disk, or nothing.

    Raises:
        django.db.Error: nothing of it is on disk.
    """
    joined: Changes | None = getattr(_open, "changes", None)
    if joined is not None:
        yield joined
        return
    with transaction.atomic():
        one = Changes(_locked_store())
        _open.changes = one
        try:
            yield one
            one.write()
        finally:
            _open.changes = None


@contextmanager
def reading() -> Iterator[None]:
    """One consistent look at everything, which holds up no writer. Nothing is written inside.

    Raises:
        django.db.Error: the database does not answer.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    # `atomic` would begin IMMEDIATE, as the settings want it of writers: it takes the write lock.
    connection.ensure_connection()
    connection.connection.execute("BEGIN DEFERRED")
    try:
        yield
    finally:
        connection.connection.execute("ROLLBACK")


def _locked_store() -> Store:
    """The one row, made where it is missing, locked until the end of the transaction."""
    found = Store.objects.select_for_update().first()
    if found is not None:
        return found
    Store.objects.get_or_create(id=1, defaults={"store_id": new_id()})
    return Store.objects.select_for_update().get()
