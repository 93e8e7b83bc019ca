"""A real database for each test that wants one: SQLite on a file, and PostgreSQL on a server."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.test import TransactionTestCase

from mcc.anev.figures import WEEK_MS
from mcc.cases.record import guard, unguard
from mcc.community import contents
from mcc.registers import malang
from mcc.settings import DatabaseSettings
from mcc.site.settings import database_of
from tests.mcc.city_year import WEEKS, Year
from tests.postgresql import PostgreSQL

_numbers = itertools.count(1)
_TEMPLATE = "template_mcc"


@pytest.fixture(scope="session", autouse=True)
def _a_record_that_tests_may_clear() -> Iterator[None]:
    """pytest-django empties every table after a test; the record refuses that."""
    clear = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]

    def cleared(case: TransactionTestCase) -> None:
        unguard(connection)
        clear(case)
        guard(connection)

    TransactionTestCase._fixture_teardown = cleared  # type: ignore[attr-defined]
    yield
    TransactionTestCase._fixture_teardown = clear  # type: ignore[attr-defined]


class Switch:
    """Lets Django's one connection lead to another database, here and in every new thread."""

    def __init__(self) -> None:
        self._before = connections.databases["default"]

    def to(self, settings: DatabaseSettings) -> None:
        self._set(database_of(settings))

    def back(self) -> None:
        self._set(self._before)

    def _set(self, database: dict[str, Any]) -> None:
        connections["default"].close()
        del connections["default"]
        connections.databases["default"] = database
        # What Django fills in for the settings' own databases.
        connections.settings = connections.configure_settings(connections.databases)


def _fill() -> None:
    call_command("migrate", verbosity=0)
    malang.load()
    contents.load()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Path:
    path = tmp_path_factory.mktemp("template") / "mcc.db"
    switch = Switch()
    with django_db_blocker.unblock():
        switch.to(DatabaseSettings(url=f"sqlite:///{path}"))
        _fill()
        switch.back()
    return path


@pytest.fixture(scope="session")
def _postgresql_template(postgresql: PostgreSQL, django_db_blocker: Any) -> PostgreSQL:
    postgresql.sql(f"CREATE DATABASE {_TEMPLATE}")
    switch = Switch()
    with django_db_blocker.unblock():
        switch.to(DatabaseSettings(url=postgresql.url(_TEMPLATE)))
        _fill()
        switch.back()
    return postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any
) -> Iterator[DatabaseSettings]:
    """A set-up database of its own, of either kind, that Django's models write to."""
    if request.param == "sqlite":
        path = tmp_path / "site.db"
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        settings = DatabaseSettings(url=f"sqlite:///{path}")
    else:
        server = request.getfixturevalue("_postgresql_template")
        name = f"mcc_{next(_numbers)}"
        server.sql(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        settings = DatabaseSettings(url=server.url(name))
    switch = Switch()
    with django_db_blocker.unblock():
        switch.to(settings)
        yield settings
        switch.back()


# The last full week of the generated year; two more days have passed since.
YEAR_ENDS_MS = 1_795_366_800_000  # Monday 23 November 2026, 00:00 WIB


@pytest.fixture(scope="session")
def _year_template(_sqlite_template: Path, django_db_blocker: Any) -> Path:
    path = _sqlite_template.with_name("year.db")
    shutil.copy(_sqlite_template, path)
    switch = Switch()
    with django_db_blocker.unblock():
        switch.to(DatabaseSettings(url=f"sqlite:///{path}"))
        Year(YEAR_ENDS_MS - WEEKS * WEEK_MS).fill()
        switch.back()
    return path


@pytest.fixture
def year(tmp_path: Path, _year_template: Path, django_db_blocker: Any) -> Iterator[Path]:
    """A database of its own in which a city has lived for a year (`city_year`)."""
    path = tmp_path / "year.db"
    shutil.copy(_year_template, path)
    switch = Switch()
    with django_db_blocker.unblock():
        switch.to(DatabaseSettings(url=f"sqlite:///{path}"))
        yield path
        switch.back()


@pytest.fixture
def quick_passwords(settings: Any) -> None:
    """Hash passwords in no time: how long it takes a guesser is Django's affair."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
