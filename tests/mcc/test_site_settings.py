"""config/mcc.toml is an example that says all settings; how Django is told of the database."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from mcc.settings import DatabaseSettings, MccFile
from mcc.site.settings import database_of
from process.settings import read_settings

EXAMPLE = Path(__file__).parents[2] / "config" / "mcc.toml"
_COMMENTED = re.compile(r"^#([a-z_]+ = )", re.MULTILINE)


def test_the_example_is_valid_as_it_is() -> None:
    assert read_settings(EXAMPLE, MccFile).mqtt.console == "console"


def test_the_example_names_every_key_and_no_other() -> None:
    written = tomllib.loads(_COMMENTED.sub(r"\1", EXAMPLE.read_text()))
    known = {one.encode_name: one for one in msgspec.structs.fields(MccFile)}
    assert written.keys() == known.keys()
    for name, field in known.items():
        if isinstance(written[name], dict):
            inner = {one.encode_name for one in msgspec.structs.fields(field.type)}
            assert written[name].keys() == inner, name


def test_sqlite_is_durable_and_its_writers_wait_for_each_other() -> None:
    described = database_of(DatabaseSettings(url="sqlite:////x/y.db"))
    assert described["NAME"] == "/x/y.db"
    assert described["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in described["OPTIONS"]["init_command"]
    assert "synchronous=FULL" in described["OPTIONS"]["init_command"]


def test_a_postgresql_url_is_taken_apart_with_its_escapes() -> None:
    url = "postgresql+psycopg://mcc:p%40ss%2Fword@db.example.org:5433/kentongan"
    described = database_of(DatabaseSettings(url=url))
    assert described["PASSWORD"] == "p@ss/word"
    assert (described["HOST"], described["PORT"]) == ("db.example.org", "5433")
    assert (described["NAME"], described["USER"]) == ("kentongan", "mcc")


@pytest.mark.parametrize(
    "url", ["sqlite:///:memory:", "sqlite://", "mysql://a/b", "postgresql://h"]
)
def test_a_database_that_keeps_nothing_or_is_unknown_is_refused(url: str, tmp_path: Path) -> None:
    path = tmp_path / "mcc.toml"
    path.write_text(f'[mqtt]\nurl = "mqtt://127.0.0.1"\n[database]\nurl = "{url}"\n')
    with pytest.raises(Exception, match=r"\[database\] url"):
        read_settings(path, MccFile)
