"""`kentongan-mcc ingest` as its own process, on both databases, against a double of a gateway."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from django.db import connections

from mcc.cases.actions import act
from mcc.cases.models import Alarm, Command, PostDocument, Process, Store
from mcc.cases.picture import alarm_picture, picture
from mcc.settings import DatabaseSettings
from tests.broker import Mosquitto
from tests.mcc.centre import Centre
from tests.mcc.gateway_double import GatewayDouble
from tests.mcc.rig import POST, document, post, uid
from tests.mcc.test_actions import FROM, a_user
from tests.postgresql import PostgreSQL

STORM = 200
T = TypeVar("T")


def until(what: str, look: Callable[[], T | None], seconds: float = 20.0) -> T:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        seen = look()
        if seen:
            return seen
        time.sleep(0.01)
    raise AssertionError(f"{what}: not seen within {seconds} s")


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


@pytest.fixture
def centre(broker: Mosquitto, database: DatabaseSettings, tmp_path: Path) -> Iterator[Centre]:
    with Centre(tmp_path, broker.url, database) as made:
        yield made


def ingest_row() -> Process | None:
    return Process.objects.filter(name="ingest").first()


def link_up() -> bool:
    row = ingest_row()
    return row is not None and bool(row.body["link_up"])


def alarm(n: int) -> Alarm | None:
    return Alarm.objects.filter(alarm_id=uid(n)).first()


def test_what_a_gateway_says_is_in_the_database_before_it_is_receipted(
    centre: Centre, broker: Mosquitto
) -> None:
    centre.start()
    with GatewayDouble(broker.port) as double:
        double.say(document(1))
        double.say(post())
        double.wait_for(lambda heard: any(one.action == "receive" for one in heard))
        row = alarm(1)
        assert row is not None
        assert (row.state, row.is_open, row.rings, row.post) == ("received", True, 1, POST)
        [receipt] = [one for one in double.commands if one.action == "receive"]
        assert receipt.store_id == Store.objects.get().store_id
        until("the post", lambda: PostDocument.objects.filter(post=POST).exists())
        until(
            "the gateway lives",
            lambda: [one["liveness"] for one in picture()["gateways"]] == ["online"],
        )
        assert [one.action for one in double.commands].count("beat") >= 1


def test_what_an_operator_does_goes_out_at_once_and_shows_as_sending_until_reflected(
    centre: Centre, broker: Mosquitto
) -> None:
    centre.start()
    user = a_user()
    with GatewayDouble(broker.port) as double:
        double.say(document(1))
        until("the alarm", lambda: alarm(1))
        double.wait_for(lambda heard: any(one.action == "receive" for one in heard))
        double.deaf = True
        entry = act(user, "acknowledge", alarm_id=uid(1), repeats=0, kind="panic", **FROM)
        began_s = time.monotonic()
        double.wait_for(lambda heard: any(one.command_id == entry.command_id for one in heard))
        # Polling takes 20 ms; the rest is room for a machine that does other things too.
        assert time.monotonic() - began_s < 1.0
        shown = alarm_picture(uid(1))
        assert shown is not None
        assert [one["action"] for one in shown["sending"]] == ["acknowledge"]
        double.deaf = False
        until("it is acknowledged", lambda: getattr(alarm(1), "state", "") == "acknowledged")
        until("it is done", lambda: Command.objects.get().state == "done")
    shown = alarm_picture(uid(1))
    assert shown is not None
    assert shown["sending"] == []
    assert shown["reached"]["acknowledged"]["operator"] == "budi"


def test_a_command_that_another_console_was_faster_with_is_refused_and_says_who(
    centre: Centre, broker: Mosquitto
) -> None:
    centre.start()
    user = a_user()
    with GatewayDouble(broker.port) as double:
        double.say(document(1))
        until("the alarm", lambda: alarm(1))
        # The gateway has taken another console's answer, and its document is on its way.
        double.documents[uid(1)] = document(1, "acknowledged")
        act(user, "acknowledge", alarm_id=uid(1), **FROM)
        until("refused", lambda: Command.objects.get().state == "refused")
        double.say(document(1, "acknowledged"))
        until("shown", lambda: getattr(alarm(1), "is_answered", False))
    shown = alarm_picture(uid(1))
    assert shown is not None
    assert [one["first_operator"] for one in shown["refusals"]] == ["sari"]


def test_it_says_that_the_broker_is_away_and_comes_back(centre: Centre, broker: Mosquitto) -> None:
    centre.start()
    until("connected", link_up)
    first = ingest_row()
    assert first is not None
    until("it beats", lambda: getattr(ingest_row(), "beat", 0) > first.beat + 1)
    broker.kill()
    until("not connected", lambda: not link_up())
    row = ingest_row()
    assert row is not None
    assert row.body["link_reason"]
    assert "not connected to the broker" in until("why", lambda: Store.objects.get().reason)
    broker.start()
    until("connected again", link_up, 30)
    with GatewayDouble(broker.port) as double:
        double.say(document(1))
        until("the alarm", lambda: alarm(1))
        until("no reason left", lambda: Store.objects.get().reason == "" or None)


def test_sigterm_ends_it_within_two_seconds_with_and_without_a_broker(
    centre: Centre, broker: Mosquitto
) -> None:
    centre.start()
    until("connected", link_up)
    assert centre.stop() < 2.0
    broker.kill()
    row = ingest_row()
    assert row is not None
    centre.start()
    until("it beats", lambda: getattr(ingest_row(), "beat", 0) > row.beat + 1)
    assert centre.stop() < 2.0
    assert "Traceback" not in centre.log()


def test_killed_in_a_storm_it_misses_nothing_and_rings_nothing_twice(
    centre: Centre, broker: Mosquitto
) -> None:
    def stored() -> int:
        return Alarm.objects.count()

    centre.start()
    until("connected", link_up)
    with GatewayDouble(broker.port) as double:
        for n in range(1, STORM + 1):
            double.say(document(n))
            if n == STORM // 4:
                until("some are stored", lambda: stored() > 0)
                centre.kill()
            if n == STORM // 2:
                centre.start()
        until("more are stored", lambda: stored() > STORM // 2, 60)
        centre.kill()
        centre.start()
        until("all are stored", lambda: stored() == STORM, 60)
        until(
            "all are receipted",
            lambda: all(one.receipted is not None for one in double.documents.values()),
            60,
        )
        # What has been said once more, by a broker that keeps it, rings nothing again.
        assert set(Alarm.objects.values_list("rings", flat=True)) == {1}
    numbers = list(picture()["alarms"])
    assert len({one["alarm_id"] for one in numbers}) == STORM


def test_a_second_ingest_on_this_machine_refuses(centre: Centre) -> None:
    centre.start()
    until("connected", link_up)
    done = centre.run("ingest")
    assert done.returncode == 2
    assert b"another ingest holds" in done.stderr


def test_it_tells_systemd_that_it_is_ready_and_feeds_the_watchdog(
    centre: Centre, tmp_path: Path
) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)
        heard.settimeout(20)
        centre.start(NOTIFY_SOCKET=address)
        words = heard.recv(4096)
        assert words.startswith(b"READY=1")
        assert b"WATCHDOG=1" in heard.recv(4096)
        assert b"WATCHDOG=1" in heard.recv(4096)
        centre.stop()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_it_waits_for_a_server_that_is_away_and_survives_its_restart(
    centre: Centre, broker: Mosquitto, database: DatabaseSettings, postgresql: PostgreSQL
) -> None:
    connections["default"].close()
    postgresql.stop()
    try:
        centre.start()
        until("it says so", lambda: "event=database_away" in centre.log())
        assert centre.running()
    finally:
        postgresql.start()
    until("connected", link_up)
    with GatewayDouble(broker.port) as double:
        connections["default"].close()
        postgresql.stop()
        try:
            double.say(document(1))
            until("it says so", lambda: "event=commit_failed" in centre.log())
            assert not any(one.action == "receive" for one in double.commands)
        finally:
            postgresql.start()
        until("the alarm", lambda: alarm(1))
        double.wait_for(lambda heard: any(one.action == "receive" for one in heard))
        act(a_user(), "acknowledge", alarm_id=uid(1), **FROM)
        until("it is acknowledged", lambda: getattr(alarm(1), "state", "") == "acknowledged")
    assert centre.running()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_database_that_is_locked_for_long_costs_nothing(
    centre: Centre, broker: Mosquitto, database: DatabaseSettings
) -> None:
    centre.start()
    until("connected", link_up)
    assert database.file is not None
    holder = sqlite3.connect(database.file, isolation_level=None)
    with GatewayDouble(broker.port) as double:
        holder.execute("BEGIN IMMEDIATE")
        double.say(document(1))
        until("it says so", lambda: "locked" in centre.log())
        assert not any(one.action == "receive" for one in double.commands)
        holder.execute("ROLLBACK")
        holder.close()
        until("the alarm", lambda: alarm(1))
        double.wait_for(lambda heard: any(one.action == "receive" for one in heard))


def test_a_frozen_ingest_is_seen_by_its_beat(centre: Centre) -> None:
    centre.start()
    until("connected", link_up)
    process = centre._processes["ingest"]
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.1)
    seen = ingest_row()
    time.sleep(2.5)  # the pulse comes every 2 s
    again = ingest_row()
    os.kill(process.pid, signal.SIGCONT)
    assert seen is not None
    assert again is not None
    assert again.beat == seen.beat


# --- one that does not start --------------------------------------------------------------------


def refused(done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert "Traceback" not in said
    return said


def test_without_a_database_it_says_what_to_run(tmp_path: Path, broker: Mosquitto) -> None:
    with Centre(tmp_path, broker.url) as centre:
        assert "kentongan-mcc setup" in refused(centre.run("ingest"))
        assert not (tmp_path / "site.db").exists()


def test_with_a_database_of_an_older_version_it_says_what_to_run(
    centre: Centre,
) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'cases' AND name > '0002'")
    assert "kentongan-mcc setup" in refused(centre.run("ingest"))


def test_settings_that_are_wrong_are_named_with_line_and_key(tmp_path: Path) -> None:
    with Centre(tmp_path, "mqtt://10.0.0.1", more="[site]\nporrt = 1\n") as centre:
        for command in ("ingest", "check", "setup"):
            said = refused(centre.run(command))
            assert "did you mean [site] port?" in said
            assert "mqtts://" in said


def test_a_damaged_database_is_named_and_left_as_it_is(tmp_path: Path, broker: Mosquitto) -> None:
    rubbish = b"\x00rubbish" * 1000
    (tmp_path / "site.db").write_bytes(rubbish)
    (tmp_path / "mcc.secret").write_text("signs the sessions of a test: 0123456789abcdef")
    with Centre(tmp_path, broker.url) as centre:
        centre.start()
        until("it says so", lambda: "not a database" in centre.log())
        assert centre.running()
        assert (tmp_path / "site.db").read_bytes() == rubbish
