"""The triggers that let nobody change or delete a line of the record (`mcc.cases.models.Entry`).

They hold for every program that opens the database, not only for this one. A migration that makes
the table anew has to call `guard` again; a test looks.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

_TABLE = "cases_entry"
_WORDS = "the record is only ever added to"
_SQLITE = tuple(
    f"CREATE TRIGGER {_TABLE}_no_{what} BEFORE {what} ON {_TABLE}"
    f" BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END"
    for what in ("update", "delete")
)
_POSTGRESQL = (
    f"CREATE FUNCTION {_TABLE}_refuse() RETURNS trigger LANGUAGE plpgsql AS"
    f" $$ BEGIN RAISE EXCEPTION '{_WORDS}'; END $$",
    f"CREATE TRIGGER {_TABLE}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {_TABLE}"
    f" FOR EACH STATEMENT EXECUTE FUNCTION {_TABLE}_refuse()",
)


def guard(connection: BaseDatabaseWrapper) -> None:
    """Put the triggers on the table."""
    _execute(connection, _SQLITE if connection.vendor == "sqlite" else _POSTGRESQL)


def unguard(connection: BaseDatabaseWrapper) -> None:
    """Take them off: for a migration that makes the table anew, and for tests that clear it."""
    if connection.vendor == "sqlite":
        drops = tuple(f"DROP TRIGGER IF EXISTS {_TABLE}_no_{what}" for what in ("update", "delete"))
    else:
        drops = (
            f"DROP TRIGGER IF EXISTS {_TABLE}_no_change ON {_TABLE}",
            f"DROP FUNCTION IF EXISTS {_TABLE}_refuse()",
        )
    _execute(connection, drops)


def _execute(connection: BaseDatabaseWrapper, statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
