"""`kentongan-mcc card --config`: the result card from the database that ingest and site share."""

from __future__ import annotations

import json
from pathlib import Path

from django.db import connections

from mcc.cases.store import CaseStore
from mcc.core import Commit
from mcc.settings import DatabaseSettings
from tests.mcc.centre import Centre
from tests.mcc.rig import uid
from tests.mcc.test_case_store import alarm
from tests.mcc.test_site_commands import NOBODY, said


def test_the_card_of_an_alarm_is_printed_from_the_sites_database(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    centre = Centre(tmp_path, NOBODY, database)
    CaseStore(tmp_path / "anchor").commit(Commit(alarms=(alarm(1), alarm(2))))
    connections["default"].close()
    card = said(centre.run("card", uid(1)), 0)
    assert f"alarm  {uid(1)}" in card
    assert card.splitlines()[-1] == "this is no test but a panic alarm"
    shown = json.loads(said(centre.run("card", uid(2), "--json"), 0))
    assert (shown["alarm_id"], shown["passed"]) == (uid(2), False)
    many = said(centre.run("card", uid(1)[:1]), 2)
    assert uid(1) in many
    assert uid(2) in many
    for nobody in ("ffffffff", "%", "", "nothing"):
        assert "no alarm's id begins with" in said(centre.run("card", nobody), 2)


def test_a_centre_that_is_not_set_up_is_said_in_a_line(tmp_path: Path) -> None:
    centre = Centre(tmp_path, NOBODY)
    assert "not set up yet" in said(centre.run("card", "a"), 2)
    centre.config.write_text("[mqtt]\n")
    assert "url" in said(centre.run("card", "a"), 2)
    # A database without tables.
    centre = Centre(tmp_path, NOBODY)
    (tmp_path / "site.db").write_bytes(b"")
    assert "the database: no such table" in said(centre.run("card", "a"), 2)
