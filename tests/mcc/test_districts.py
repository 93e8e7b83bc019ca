"""Many districts at one broker and one command centre: none speaks for another."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gateway.broker_config import acl_text
from gateway.identities import Identity, Standing
from mcc.cases.actions import act
from mcc.cases.models import Alarm, PostDocument
from mcc.core import LINK, DocumentCleared, PostCleared
from mcc.settings import DatabaseSettings
from process.core import LinkUp, Publish
from protocol.codec import encode
from protocol.messages import Command
from protocol.topics import DEFAULT_ROOT, Topics
from protocol.values import new_id
from tests.broker import Mosquitto
from tests.gateway.rig import make_alarm
from tests.mcc.centre import REPOSITORY, Centre
from tests.mcc.rig import Desk, command, document, gateway, post, uid
from tests.mcc.test_actions import FROM, a_user

DISTRICTS = ("mlg-gw1", "sby-gw1")
WAIT_S = 30.0


# --- the command centre's decisions --------------------------------------------------------------


def desk() -> Desk:
    one = Desk(topics=Topics(district="+"))
    one.send(LinkUp(LINK, "c1"))
    for name in DISTRICTS:
        one.hear(msgspec.structs.replace(gateway(), gateway=name), district=name)
    return one


def topics_of(one: Desk, action: str) -> set[str]:
    sent = [each for each in one.effects if isinstance(each, Publish)]
    return {
        each.topic
        for each in sent
        if isinstance(each.message, Command) and each.message.action == action
    }


def test_beats_go_to_every_gateway_and_a_command_to_the_one_that_has_the_alarm() -> None:
    one = desk()
    one.run(11)
    beats = {f"kentongan/v1/{name}/mcc/commands/console" for name in DISTRICTS}
    assert topics_of(one, "beat") == beats
    one.hear(document(1, gateway="sby-gw1", post="sby-rw01"), district="sby-gw1")
    one.type(command(1, "acknowledge"))
    for action in ("receive", "acknowledge"):
        assert topics_of(one, action) == {"kentongan/v1/sby-gw1/mcc/commands/console"}


def test_a_district_neither_takes_over_nor_clears_what_is_anothers() -> None:
    one = desk()
    theirs = post(post="sby-rw01", gateway="sby-gw1")
    one.hear(theirs, district="sby-gw1")
    one.hear(document(1, gateway="sby-gw1", post="sby-rw01"), district="sby-gw1")
    one.forget()
    one.hear(post(post="sby-rw01", gateway="mlg-gw1"), district="mlg-gw1")
    resolved = document(1, "resolved", gateway="mlg-gw1", post="sby-rw01")
    one.hear(resolved, district="mlg-gw1")
    one.hear(document(2, gateway="mlg-gw1", post="sby-rw01"), district="mlg-gw1")
    assert one.logs() == ["speaks_for_another"] * 3
    assert one.alarm(1).state != "resolved"
    assert one.core.alarm(uid(2)) is None
    one.send(PostCleared("sby-rw01", "mlg-gw1"))
    one.send(DocumentCleared(uid(1), "mlg-gw1"))
    assert "post_retired" not in one.logs()
    # Its own gateway gives it up: then it may be another's.
    one.send(PostCleared("sby-rw01", "sby-gw1"))
    one.forget()
    one.hear(post(post="sby-rw01", gateway="mlg-gw1"), district="mlg-gw1")
    assert one.logs() == []


def test_a_machine_of_a_pair_is_no_gateway_that_answers() -> None:
    one = Desk()
    one.send(LinkUp(LINK, "c1"))
    member = msgspec.structs.replace(gateway(), gateway="mlg-a", pair_of="mlg", standing_by=True)
    one.hear(member)
    assert one.core.reason() == "no gateway is answering"
    one.hear(gateway())
    assert one.core.reason() == ""


# --- two real gateways, one broker that holds each to its own, one ingest ------------------------

SETTINGS = """
gateway_id = "{name}"
[posts]
url = "{posts}"
[mcc]
url = "mqtt://{name}-mcc:x@127.0.0.1:{port}"
districts = true
[journal]
url = "sqlite:///{directory}/{name}.db"
"""


def until(what: str, look: Callable[[], object]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


def acl() -> str:
    names = [Identity(f"{name}-mcc", "gateway") for name in DISTRICTS]
    console = Identity("console", "console", console_role="operator")
    standings = [Standing(one, "01", 2**53, 0) for one in (*names, console)]
    return acl_text(standings, frozenset(("districts",)), DEFAULT_ROOT)


@pytest.fixture
def nation(tmp_path: Path) -> Iterator[Mosquitto]:
    """The broker of the command centre, with the access list that `broker-config` writes."""
    (tmp_path / "acl").write_text(acl())
    # By user name here; with TLS the name is the certificate's (tests/security).
    with Mosquitto(f"acl_file {tmp_path / 'acl'}\nallow_anonymous true\n") as broker:
        yield broker


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_two_districts_report_to_one_command_centre(
    nation: Mosquitto, database: DatabaseSettings, tmp_path: Path
) -> None:
    running: list[subprocess.Popen[bytes]] = []
    url = f"mqtt://console:x@127.0.0.1:{nation.port}"
    posts = [Mosquitto() for _ in DISTRICTS]
    try:
        for name, broker in zip(DISTRICTS, posts, strict=True):
            broker.start()
            config = tmp_path / f"{name}.toml"
            config.write_text(
                SETTINGS.format(name=name, posts=broker.url, port=nation.port, directory=tmp_path)
            )
            line = [sys.executable, "-m", "gateway.cli", "run", "--config", str(config)]
            with (tmp_path / f"{name}.log").open("wb") as log:
                running.append(subprocess.Popen(line, stderr=log, cwd=REPOSITORY))
        with Centre(tmp_path, url, database, mqtt="districts = true\n") as centre:
            centre.start()
            until("both listen", lambda: _listen(tmp_path))
            alarms = {name: new_id() for name in DISTRICTS}
            for name, broker in zip(DISTRICTS, posts, strict=True):
                _press(broker.port, f"{name}-rw01", alarms[name])
            until("both alarms", lambda: Alarm.objects.count() == 2)
            owners = dict(Alarm.objects.values_list("alarm_id", "gateway"))
            assert owners == {alarm_id: name for name, alarm_id in alarms.items()}
            until("both posts", lambda: PostDocument.objects.count() == 2)
            user = a_user()
            act(user, "acknowledge", alarm_id=alarms["sby-gw1"], repeats=0, kind="panic", **FROM)
            until(
                "it is acknowledged",
                lambda: Alarm.objects.get(alarm_id=alarms["sby-gw1"]).state == "acknowledged",
            )
            assert Alarm.objects.get(alarm_id=alarms["mlg-gw1"]).state == "delivered"
            # One district tries to speak for the other, as the broker and as the centre see it.
            _forge(nation.port, alarms["sby-gw1"])
            until("the broker refuses", lambda: "Denied PUBLISH from forger" in nation.log)
            heard = [
                one for one in nation.log.splitlines() if "Sending PUBLISH to mlg-gw1-mcc" in one
            ]
            assert heard
            assert not [one for one in heard if "/sby-gw1/mcc/commands" in one]
    finally:
        for process in running:
            process.kill()
            process.wait()
        for broker in posts:
            broker.stop()


def _listen(directory: Path) -> bool:
    logs = [(directory / f"{name}.log").read_text() for name in DISTRICTS]
    return all("link_up link=posts" in one and "link_up link=mcc" in one for one in logs)


def _press(port: int, name: str, alarm_id: str) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    alarm = make_alarm(1_000_000, alarm_id, post=name)
    client.publish(Topics().post(name, "alarms"), encode(alarm), qos=1).wait_for_publish(WAIT_S)
    client.disconnect()
    client.loop_stop()


def _forge(port: int, alarm_id: str) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="forger", protocol=mqtt.MQTTv5)
    client.username_pw_set("mlg-gw1-mcc", "x")
    client.connect("127.0.0.1", port)
    client.loop_start()
    topic = Topics(district="sby-gw1").mcc("alarms", alarm_id)
    client.publish(topic, b"", qos=1, retain=True).wait_for_publish(WAIT_S)
    client.disconnect()
    client.loop_stop()
