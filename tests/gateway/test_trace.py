"""`kentongan-gateway trace` prints what the journal holds of one alarm, and says what it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.cli import main
from gateway.core import Commit, Put
from gateway.record import HistoryRow, history
from process.database import set_aside
from protocol.messages import Raised, Receipted, Step
from protocol.values import timestamp, wall_ms
from tests.gateway.rig import ALARM, some_id
from tests.gateway.test_journal import Room, record

OTHER = f"{ALARM[:8]}-ffff-4000-8000-00000000a1b2"


def settings(directory: Path, journal: Path) -> Path:
    config = directory / "gateway.toml"
    config.write_text(
        'gateway_id = "gw"\n[posts]\nurl = "mqtt://127.0.0.1"\n[mcc]\nurl = "mqtt://127.0.0.1"\n'
        f'[journal]\nurl = "sqlite:///{journal}"\n'
    )
    return config


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A gateway's settings; its journal is open, and holds a whole life and another alarm."""
    first = record()
    raised_ms = wall_ms(first.raised.at)
    room = Room(tmp_path)
    room.open()
    steps = msgspec.structs.replace(
        first.reached,
        delivered=Step(at=timestamp(raised_ms + 1_250), console="console"),
        acknowledged=Step(at=timestamp(raised_ms + 9_000), operator="Siti", console="console"),
    )
    answered = msgspec.structs.replace(
        first,
        state="acknowledged",
        reached=steps,
        repeats=1,
        last_repeat=Raised(at=timestamp(raised_ms + 4_000), known="computed"),
        answered_repeats=1,
        receipted=Receipted(store_id=some_id(7), content="0123456789abcdef"),
    )
    at = timestamp(raised_ms + 9_000)
    sounded = HistoryRow(ALARM, timestamp(raised_ms + 9_500), "sounded")
    rows = (*history(first, answered, at), sounded)
    room.commit(first, record(OTHER))
    room.event()
    room.journal.submit(Commit(9, (Put(answered, False, rows),)))
    room.event()
    yield settings(tmp_path, room.path)
    room.close()


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["trace", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_life_is_a_table_beside_the_running_gateway(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, ALARM, "--config", config)
    assert (code, err) == (0, "")
    head, table = out.split("\n\n")
    assert f"alarm    {ALARM}" in head
    assert "calls    2, 2 of them answered" in head
    assert f"receipt  store {some_id(7)}, content 0123456789abcdef" in head
    rows = [line.split() for line in table.splitlines()[1:]]
    assert [(row[0], *row[3:]) for row in rows] == [
        ("0.000", "raised", "(computed)"),
        ("1.000", "received"),
        ("1.250", "delivered", "console"),
        ("4.000", "repeats", "1"),  # its press; it was committed with the answer
        ("9.000", "acknowledged", "Siti"),
        ("9.000", "receipted", "0123456789abcdef", some_id(7)),
        ("9.500", "sounded"),
    ]


def test_the_same_as_an_object_by_the_beginning_of_an_id(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, ALARM[:13].upper(), "--config", config, "--json")
    life = json.loads(out)
    assert code == 0
    assert (life["alarm_id"], life["state"], life["repeats"]) == (ALARM, "acknowledged", 1)
    assert life["steps"][4] == {
        "at": life["steps"][4]["at"],
        "seconds": 9.0,
        "what": "acknowledged",
        "by": "Siti",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ffffffff", "no alarm in the journal has an id that begins with 'ffffffff'"),
        ("not-an-id!", "is no alarm's id nor the beginning of one"),
        ("%", "is no alarm's id nor the beginning of one"),
        ("", "is no alarm's id nor the beginning of one"),
        (ALARM[:8], f"several alarms' ids begin with '{ALARM[:8]}':"),
    ],
)
def test_what_names_no_alarm_or_several_is_said_in_words(
    config: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    code, out, err = said(capsys, text, "--config", config)
    assert (code, out) == (2, "")
    assert words in err


def test_an_alarm_of_a_journal_that_was_set_aside_is_found_there(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    new = Room(tmp_path, "new.db")
    new.open()
    new.close()
    aside = set_aside(tmp_path / "new.db")  # where the alarm was, before a new one was begun
    (tmp_path / "journal.db").rename(aside)
    Path(f"{tmp_path / 'journal.db'}-wal").rename(f"{aside}-wal")
    again = Room(tmp_path, "new.db")
    again.open()
    again.close()
    config = settings(tmp_path, tmp_path / "new.db")
    code, _, err = said(capsys, ALARM, "--config", config)
    assert code == 2
    assert f"--journal {aside}" in err
    assert said(capsys, ALARM, "--config", config, "--journal", aside)[0] == 0
    twice = ("--journal", aside, "--journal", tmp_path / "new.db")
    code, _, err = said(capsys, ALARM, "--config", config, *twice)
    assert code == 2
    assert "name one journal" in err


def test_no_journal_and_no_settings_are_said_in_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = settings(tmp_path, tmp_path / "none.db")
    code, _, err = said(capsys, ALARM, "--config", config)
    assert (code, "there is no journal yet" in err) == (2, True)
    code, _, err = said(capsys, ALARM, "--config", tmp_path / "none.toml")
    assert (code, "no such file" in err) == (2, True)
