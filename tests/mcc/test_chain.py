"""The whole chain with the site's own process: mosquitto, gateway, mock post, ingest, database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connections

from demo.stage import Stage
from gateway.metrics import HOPS
from mcc.cases.actions import act
from mcc.cases.models import Alarm, Store
from mcc.cases.picture import alarm_picture, picture, post_picture
from mcc.people.models import User
from mcc.settings import DatabaseSettings
from tests.broker import Mosquitto, free_port
from tests.mcc.centre import Centre
from tests.mcc.test_actions import FROM, a_user
from tests.mcc.test_ingest import link_up, until
from tests.monitoring import dashboard_queries, exposed, metrics_in, rules, scrape
from tests.system.test_scenarios import copy_database, put_back

# Longer than reconnect, offer and beat together: what would come again has come by then.
SETTLED_S = 4.0


@dataclass
class Chain:
    """Everything, started, the lamp armed, and somebody at the desk."""

    stage: Stage
    centre: Centre
    broker: Mosquitto
    user: User
    ports: dict[str, int]

    def raise_alarm(self) -> Alarm:
        """Three presses; the row once it is delivered."""
        known = set(Alarm.objects.values_list("alarm_id", flat=True))
        self.stage.panel("press3")
        alarm = until("the alarm", lambda: Alarm.objects.exclude(alarm_id__in=known).first())
        self.until_state(alarm.alarm_id, "delivered")
        return alarm

    def until_state(self, alarm_id: str, state: str) -> None:
        until(
            state,
            lambda: Alarm.objects.filter(alarm_id=alarm_id, state=state).exists(),
            40,
        )

    def buzzes(self) -> int:
        return int(self.stage.status().get("acknowledgement_buzzes", 0))


@pytest.fixture
def chain(database: DatabaseSettings, tmp_path: Path) -> Iterator[Chain]:
    ports = {name: free_port() for name in ("gateway", "ingest")}
    listens = {name: f'[metrics]\nlisten = "127.0.0.1:{port}"\n' for name, port in ports.items()}
    with (
        Mosquitto() as broker,
        Centre(tmp_path, broker.url, database, more=listens["ingest"]) as centre,
    ):
        stage = Stage(tmp_path, broker.url)
        with (tmp_path / "gateway.toml").open("a") as settings:
            settings.write(listens["gateway"])
        try:
            stage.start_post()
            stage.start_gateway()
            centre.start()
            stage.until_lamp("armed", 60)
            yield Chain(stage, centre, broker, a_user("siti"), ports)
        finally:
            stage.close()


# What one `grep ALARM_ID` over all logs shows of a whole life, sorted: who, and what of it.
LIFE = (
    "post alarm_raised",
    "post alarm_committed",
    "post alarm_offered",
    "gateway alarm_received",
    "gateway alarm_committed",
    "gateway alarm_listed",
    "ingest alarm_received",
    "ingest alarm_committed",
    "ingest receipt_sent",
    "gateway alarm_delivered",
    "site acted action=acknowledge",
    "ingest command_sent action=acknowledge",
    "gateway alarm_acknowledged",
    "post alarm_state state=acknowledged",
    "post buzzer_sounds",
    "post buzzer_sounded",
    "gateway alarm_sounded",
    "site acted action=dispatch",
    "gateway alarm_dispatched",
    "site acted action=resolve",
    "ingest command_sent action=resolve",
    "gateway alarm_resolved",
    "post alarm_state state=resolved",
    "gateway alarm_unlisted",
    "post alarm_forgotten",
)


def life_in(logs: list[str], alarm_id: str) -> list[dict[str, str]]:
    """`grep -h ALARM_ID *.log | sort`, each line as its fields."""
    lines = [line for log in logs for line in log.splitlines() if alarm_id in line]
    return [dict(word.split("=", 1) for word in line.split()) for line in sorted(lines)]


def in_order(life: list[dict[str, str]]) -> list[str]:
    """The hops of `LIFE` that are there one after the other."""
    found: list[str] = []
    for line in life:
        if len(found) == len(LIFE):
            break
        part, event, *more = LIFE[len(found)].split()
        wanted = {"part": part, "event": event, **dict(word.split("=") for word in more)}
        if wanted.items() <= line.items():
            found.append(LIFE[len(found)])
    return found


def test_three_presses_an_answer_a_unit_and_an_end(
    chain: Chain, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("process.log._part", "site")
    alarm = chain.raise_alarm()
    shown = alarm_picture(alarm.alarm_id)
    assert shown is not None
    assert (shown["post"], shown["rings"], shown["is_late"]) == (chain.stage.post_id, 1, False)
    assert shown["location"]["lat"] == pytest.approx(-7.944)
    chain.stage.until_lamp("calling")
    act(chain.user, "acknowledge", alarm_id=alarm.alarm_id, repeats=0, kind="panic", **FROM)
    until("the buzzer", lambda: chain.buzzes() == 1)
    chain.stage.until_lamp("answered")
    until("the gateway knows", lambda: "alarm_sounded" in chain.stage.log_of("gateway"))
    act(chain.user, "dispatch", alarm_id=alarm.alarm_id, unit="polsek-lowokwaru", **FROM)
    chain.until_state(alarm.alarm_id, "dispatched")
    act(chain.user, "resolve", alarm_id=alarm.alarm_id, outcome="real", note="a thief", **FROM)
    chain.until_state(alarm.alarm_id, "resolved")
    chain.stage.until_lamp("armed")
    shown = alarm_picture(alarm.alarm_id)
    assert shown is not None
    assert (shown["unit"], shown["outcome"], shown["note"]) == (
        "Polsek Lowokwaru",
        "real",
        "a thief",
    )
    assert {name for name, step in shown["reached"].items() if step} == {
        "received",
        "delivered",
        "acknowledged",
        "dispatched",
        "resolved",
    }
    until("nothing is being sent", lambda: not picture()["alarms"][0]["sending"])

    parts = ("post", "gateway")
    until("it is over at the post", lambda: "alarm_forgotten" in chain.stage.log_of("post"))
    until("and at the gateway", lambda: "alarm_unlisted" in chain.stage.log_of("gateway"))
    logs = [*map(chain.stage.log_of, parts), chain.centre.log(), capfd.readouterr().err]
    life = life_in(logs, alarm.alarm_id)
    assert in_order(life) == list(LIFE)
    assert [line["by"] for line in life if line["event"] == "acted"] == ["siti"] * 3
    seen = [f"{line['part']} {line['event']}" for line in life]
    assert seen.index("gateway alarm_listed") < seen.index("post alarm_listed")
    # Each hop once, and nothing of it is personal: no place, no note of what was found.
    assert sum(line["event"] == "alarm_acknowledged" for line in life) == 1
    assert not any("thief" in log or "-7.94" in log for log in logs)

    # And every figure that the files for Grafana and Prometheus ask for is there.
    texts = {name: scrape(port) for name, port in chain.ports.items()}
    queries = (*dashboard_queries(), *(rule["expr"] for rule in rules()))
    asked = {name for query in queries for name in metrics_in(query)} - {"up"}
    assert asked - exposed(texts["gateway"]) - exposed(texts["ingest"]) == set()
    hop = 'kentongan_gateway_hop_seconds_count{hop="%s",kind="panic"} 1.0'
    for way in HOPS.values():
        assert hop % way in texts["gateway"]


def test_the_lamp_does_not_say_armed_while_nothing_hears_the_gateways(chain: Chain) -> None:
    chain.centre.kill()
    chain.stage.until_lamp("out_of_order", 90)
    chain.centre.start()
    chain.stage.until_lamp("armed", 60)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_practice_in_a_test_window_rings_nobody(chain: Chain) -> None:
    post = chain.stage.post_id
    until("the post is known", lambda: post_picture(post))
    act(chain.user, "open_test", post=post, minutes=5, **FROM)
    until("the window", lambda: picture()["test_windows"])
    alarm = chain.raise_alarm()
    alarm.refresh_from_db()
    assert (alarm.kind, alarm.rings) == ("test", 0)
    act(chain.user, "panic", alarm_id=alarm.alarm_id, **FROM)
    until("it rings", lambda: Alarm.objects.filter(kind="panic", rings=1).exists())


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_scenario_08_the_gateway_restored_after_an_acknowledgement(
    chain: Chain, tmp_path: Path
) -> None:
    alarm = chain.raise_alarm()
    before = tmp_path / "before.db"
    copy_database(chain.stage.journal, before)
    act(chain.user, "acknowledge", alarm_id=alarm.alarm_id, **FROM)
    until("it sounds", lambda: chain.buzzes() == 1)
    chain.until_state(alarm.alarm_id, "acknowledged")
    chain.stage.kill("gateway")
    chain.broker.kill()
    put_back(before, chain.stage.journal)
    chain.broker.start()
    chain.stage.start_gateway()
    until(
        "what the gateway lacks is sent again", lambda: "alarm_repaired" in chain.centre.log(), 40
    )
    said = "event=alarm_acknowledged"
    until("the gateway has it", lambda: chain.stage.log_of("gateway").count(said) == 2, 40)
    chain.stage.until_lamp("answered")
    time.sleep(SETTLED_S)
    assert chain.buzzes() == 1
    alarm.refresh_from_db()
    assert (alarm.state, alarm.rings) == ("acknowledged", 1)


def test_scenario_15_the_command_centre_restored_from_before_the_alarm(
    chain: Chain, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    done = chain.centre.run("backup", str(backup))
    assert done.returncode == 0, done.stderr
    before = Store.objects.get().store_id
    alarm = chain.raise_alarm()
    act(chain.user, "acknowledge", alarm_id=alarm.alarm_id, **FROM)
    until("it sounds", lambda: chain.buzzes() == 1)
    act(chain.user, "resolve", alarm_id=alarm.alarm_id, outcome="false", note="cat", **FROM)
    chain.until_state(alarm.alarm_id, "resolved")
    chain.stage.until_lamp("armed")
    assert chain.centre.stop() < 2.0
    # The broker forgets as well: nothing but the gateway's journal has it now.
    chain.broker.kill()
    connections["default"].close()
    done = chain.centre.run("restore", str(backup))
    assert done.returncode == 0, done.stderr
    assert not Alarm.objects.exists()
    chain.broker.start()
    chain.centre.start()
    until("connected", link_up)
    chain.until_state(alarm.alarm_id, "resolved")
    row = Alarm.objects.get()
    told = alarm_picture(row.alarm_id)
    assert told
    assert told["reached"]["acknowledged"]["operator"] == "siti"
    assert (told["outcome"], told["note"], row.rings) == ("false", "cat", 0)
    assert Store.objects.get().store_id != before
    chain.stage.until_lamp("armed", 40)
    time.sleep(SETTLED_S)
    assert chain.buzzes() == 1
