"""`kentongan-gateway rename`, `move`, `maintain`, `retire`, `life`: one command, one record."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.identities import Authority, IdentitiesError, Identity

POST = "mlg-rw01"
WALL_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


class Office:
    """A register in a directory, and the commands that a person types."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.register = directory / "register"
        self.config = directory / "gateway.toml"
        self._capsys = capsys
        self.config.write_text(
            'gateway_id = "mlg-gw1"\n[posts]\nurl = "mqtt://localhost:1"\n'
            '[mcc]\nurl = "mqtt://localhost:1"\n[journal]\nurl = "sqlite:///journal.db"\n'
            f'[identities]\ndirectory = "{self.register}"\n'
        )
        self.does("ca", "init")
        place = ("--lat", "-7.98", "--lon", "112.63", "--name", "Pos Lama")
        self.does("provision", "post", POST, *place, "--url", "mqtts://broker.example")

    def types(self, *words: str) -> tuple[int, str, str]:
        code = main([*words, "--config", str(self.config)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def does(self, *words: str) -> str:
        code, out, err = self.types(*words)
        assert code == 0, err
        return out

    def life(self) -> list[dict[str, str | None]]:
        return [json.loads(line) for line in self.does("life", POST, "--json").splitlines()]

    def shown(self) -> dict[str, object]:
        found = [json.loads(line) for line in self.does("list", "--json").splitlines()]
        return dict(next(one for one in found if one["name"] == POST))


@pytest.fixture
def office(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Office:
    monkeypatch.chdir(tmp_path)
    return Office(tmp_path, capsys)


def test_a_rename_keeps_the_id_and_says_what_the_name_was(office: Office) -> None:
    said = office.does("rename", POST, "--name", "Pos Baru", "--by", "Ani")
    assert said == f"{POST} is Pos Baru now; it was Pos Lama\n"
    assert office.shown()["label"] == "Pos Baru"
    last = office.life()[-1]
    assert (last["what"], last["by"]) == ("renamed from Pos Lama to Pos Baru", "Ani")


def test_a_move_writes_down_the_new_survey_and_says_what_to_do_at_the_post(office: Office) -> None:
    place = ("--lat", "-7.951", "--lon", "112.625")
    said = office.does("move", POST, *place, "--by", "Ani", "--why", "pasar pindah")
    assert "\nlat = -7.951\nlon = 112.625\n" in said
    assert (office.shown()["lat"], office.shown()["lon"]) == (-7.951, 112.625)
    last = office.life()[-1]
    assert last["what"] == "moved from -7.98000,112.63000 to -7.95100,112.62500"
    assert (last["by"], last["why"]) == ("Ani", "pasar pindah")


def test_maintenance_is_in_the_register_until_it_is_ended(office: Office) -> None:
    said = office.does("maintain", POST, "--hours", "2", "--by", "Ani", "--why", "kabel baru")
    assert "a press is an alarm all the" in said
    with Authority(office.register) as authority:
        now_ms = _now_ms()
        planned = authority.register(now_ms).maintained[POST]
        assert (planned.by, planned.why) == ("Ani", "kabel baru")
        assert planned.until_ms - planned.from_ms == 2 * HOUR_MS
        assert authority.register(planned.until_ms + 1).maintained == {}
    assert office.does("maintain", POST, "--end", "--by", "Ani") == (f"{POST}: maintenance ended\n")
    assert "was over already" in office.does("maintain", POST, "--end", "--by", "Ani")
    with Authority(office.register) as authority:
        assert authority.register(now_ms).maintained == {}
    whats = [one["what"] or "" for one in office.life()]
    assert whats[-1] == "maintenance ended"
    assert whats[-2].startswith("maintenance until 2")
    assert len(whats) == 3  # provisioned, planned, ended: what changed nothing is no record


def test_an_end_in_utc_is_taken_as_it_stands(office: Office) -> None:
    ends = (datetime.now(UTC) + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%MZ")
    assert f"silent until {ends[:-1]}:00.000Z" in office.does(
        "maintain", POST, "--until", ends, "--by", "Ani"
    )


def test_a_retired_post_is_shut_out_kept_and_can_be_taken_up_anew(office: Office) -> None:
    code, out, err = office.types("retire", POST, "--by", "Ani", "--why", "gardu dibongkar")
    # No broker is here to throw it out: done in part, and which part is not.
    assert (code, "not done: " in err) == (1, True)
    assert "certificates revoked: 1" in out
    shown = office.shown()
    assert (shown["retired"], shown["serial"]) == (True, None)
    assert "RETIRED" in office.does("list")
    with Authority(office.register) as authority:
        register = authority.register(_now_ms())
        assert POST in register.retired
        assert POST in register.denied
        assert POST not in register.posts
    for words in (["rename", POST, "--name", "X"], ["retire", POST], ["maintain", POST, "--end"]):
        code, _, err = office.types(*words, "--by", "Ani")
        assert code == 2
        assert f"{POST} is retired; `provision post` takes the name up anew" in err
    place = ("--lat", "-7.98", "--lon", "112.63", "--url", "mqtts://broker.example")
    office.does("provision", "post", POST, *place)
    assert office.shown()["retired"] is False
    whats = [one["what"] for one in office.life()]
    assert whats == ["provisioned", "retired", "provisioned"]


def test_a_life_is_read_by_people_oldest_first(office: Office) -> None:
    office.does("rename", POST, "--name", "Pos Baru", "--by", "Ani")
    office.does("move", POST, "--lat", "-7.9", "--lon", "112.6", "--by", "Budi", "--why", "banjir")
    lines = office.does("life", POST).splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("Z  provisioned")
    assert lines[1].endswith("Z  renamed from Pos Lama to Pos Baru  by Ani")
    assert lines[2].endswith("  by Budi  (banjir)")


def test_what_happened_to_anybody_else_is_there_too(office: Office) -> None:
    office.does("provision", "console", "layar", "--may", "viewer")
    office.types("revoke", "layar")
    assert [line.split("Z  ")[1] for line in office.does("life", "layar").splitlines()] == [
        "provisioned",
        "revoked",
    ]


def test_a_change_and_its_record_are_one_transaction(tmp_path: Path) -> None:
    with Authority.create(tmp_path / "register", "CA", WALL_MS) as authority:
        authority.provision(Identity(POST, "post", label="Pos Lama"), WALL_MS)
        with sqlite3.connect(tmp_path / "register" / "register.db") as sql:
            sql.execute(
                "CREATE TRIGGER full BEFORE INSERT ON records"
                " BEGIN SELECT RAISE(ABORT, 'no space'); END"
            )
        for change in (
            lambda: authority.rename(POST, "Pos Baru", by="Ani", wall_ms=WALL_MS),
            lambda: authority.move(POST, 1.0, 1.0, by="Ani", why="", wall_ms=WALL_MS),
            lambda: authority.maintain(POST, WALL_MS + 1, by="Ani", why="", wall_ms=WALL_MS),
            lambda: authority.retire(POST, by="Ani", why="", wall_ms=WALL_MS),
            lambda: authority.revoke(POST, WALL_MS),
        ):
            with pytest.raises(IdentitiesError, match="no space"):
                change()
        (standing,) = authority.standings(WALL_MS)
        assert standing.live
        assert standing.identity.label == "Pos Lama"
        register = authority.register(WALL_MS)
        assert (register.maintained, register.retired) == ({}, frozenset())


def test_a_register_of_the_first_version_gets_what_it_lacks(tmp_path: Path) -> None:
    directory = tmp_path / "register"
    with Authority.create(directory, "CA", WALL_MS) as authority:
        authority.provision(Identity(POST, "post", label="Pos Lama"), WALL_MS)
    with sqlite3.connect(directory / "register.db") as sql:
        for table in ("records", "maintenance", "retired"):
            sql.execute(f"DROP TABLE {table}")
        sql.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
    with Authority(directory) as authority:
        authority.rename(POST, "Pos Baru", by="Ani", wall_ms=WALL_MS)
        assert [one.what for one in authority.life_of(POST)] == [
            "renamed from Pos Lama to Pos Baru"
        ]
    with Authority(directory) as authority:  # and once is enough
        assert len(authority.life_of(POST)) == 1


def test_a_register_of_a_newer_program_is_left_alone_and_that_is_said(tmp_path: Path) -> None:
    directory = tmp_path / "register"
    Authority.create(directory, "CA", WALL_MS).close()
    with sqlite3.connect(directory / "register.db") as sql:
        sql.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    with pytest.raises(IdentitiesError, match="version 99, made by a newer program"):
        Authority(directory)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rename", "nobody", "--name", "X", "--by", "A"], "is not in the register"),
        (["rename", POST, "--name", "", "--by", "A"], "--name ''"),
        (["rename", POST, "--name", "x" * 49, "--by", "A"], "1 to 48 characters"),
        (["rename", POST, "--name", "a\x1bb", "--by", "A"], "--name"),
        (["rename", POST, "--name", "X", "--by", "\udcff"], "--by"),
        (["move", POST, "--lat", "91", "--lon", "1", "--by", "A"], "--lat 91.0"),
        (["move", POST, "--lat", "1", "--lon", "nan", "--by", "A"], "--lon nan"),
        (["move", POST, "--lat", "1", "--lon=-inf", "--by", "A"], "--lon -inf"),
        (["move", POST, "--lat", "1", "--lon", "1", "--by", "A", "--why", "x" * 201], "--why"),
        (["maintain", POST, "--hours", "73", "--by", "A"], "within 72 hours"),
        (["maintain", POST, "--hours", "0", "--by", "A"], "more than 0"),
        (["maintain", POST, "--hours", "nan", "--by", "A"], "more than 0"),
        (["maintain", POST, "--hours", "1e300", "--by", "A"], "72 at most"),
        (["maintain", POST, "--until", "tomorrow", "--by", "A"], "--until 'tomorrow'"),
        (["maintain", POST, "--until", "2026-13-01T00:00Z", "--by", "A"], "--until"),
        (["maintain", POST, "--until", "2026-03-01T15:00", "--by", "A"], "UTC, such as"),
        (["maintain", POST, "--until", "2020-03-01T15:00Z", "--by", "A"], "within 72 hours"),
        (["retire", "mlg-gw1", "--by", "A"], "is not in the register"),
        (["life", "nobody"], "is not in the register"),
        (["life", "\udcff"], "is not in the register"),
        (["retire", "\udcff", "--by", "A"], "is not in the register"),
    ],
)
def test_a_mistake_is_said_in_a_line_and_changes_nothing(
    office: Office, words: list[str], says: str
) -> None:
    code, out, err = office.types(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.startswith("kentongan-gateway: ")
    assert "Traceback" not in err
    assert len(office.life()) == 1


def test_only_a_post_has_such_a_life(office: Office) -> None:
    office.does("provision", "console", "layar", "--may", "viewer")
    code, _, err = office.types("retire", "layar", "--by", "Ani")
    assert code == 2
    assert "layar is a console, not a post" in err


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
