"""One press through real processes and a real broker, and what must not happen on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema

from demo.stage import Stage, until
from protocol.topics import Topics
from tests.broker import Mosquitto

SCHEMA = Path(__file__).parents[2] / "docs" / "protocol" / "mcc-alarms.schema.json"
TOPICS = Topics()
# Longer than reconnect, offer and beat together: what would come again has come by then.
SETTLED_S = 4.0


@contextmanager
def subscriber(broker: Mosquitto, topic: str, out: Path) -> Iterator[None]:
    """mosquitto_sub, writing `topic payload` lines to a file."""
    with out.open("wb") as sink:
        process = subprocess.Popen(
            ["mosquitto_sub", "-V", "5", "-h", "127.0.0.1", "-p", str(broker.port), "-v"]
            + ["-q", "1", "-t", topic],
            stdout=sink,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def alarm_documents(out: Path) -> list[dict[str, object]]:
    """The alarm documents that mosquitto_sub has seen."""
    documents = []
    for line in out.read_text().splitlines():
        topic, _, payload = line.partition(" ")
        if "/mcc/alarms/" in topic and payload:
            documents.append(json.loads(payload))
    return documents


def raise_alarm(stage: Stage) -> str:
    """Three presses; the new alarm's id once the operator sees it."""
    known = set(stage.shown())
    stage.panel("press3")
    return until(
        "the operator sees a new alarm",
        lambda: next((one for one in stage.shown() if one not in known), None),
    )


def test_three_presses_are_one_schema_valid_alarm_and_its_acknowledgement_sounds_once(
    stage: Stage, broker: Mosquitto, tmp_path: Path
) -> None:
    out = tmp_path / "sub.out"
    with subscriber(broker, "kentongan/v1/mcc/#", out):
        alarm_id = raise_alarm(stage)
        until("delivered", lambda: stage.operator_sees(alarm_id, "delivered"))
        assert stage.status()["acknowledgement_buzzes"] == 0
        done = stage.mcc("acknowledge", alarm_id[:6], "--operator", "Siti")
        assert done.returncode == 0, done.stderr
        until("the buzzer", lambda: stage.status()["acknowledgement_buzzes"] == 1)
        stage.until_lamp("answered")
        until(
            "the acknowledged document",
            lambda: any(one["state"] == "acknowledged" for one in alarm_documents(out)),
        )
    documents = alarm_documents(out)
    assert {one["alarm_id"] for one in documents} == {alarm_id}
    schema = json.loads(SCHEMA.read_text())
    for document in documents:
        jsonschema.validate(document, schema)

    # Redelivery, reconnection and restarts do not sound it again.
    broker.kill()
    broker.start()
    stage.until_lamp("answered")
    stage.kill("gateway")
    stage.start_gateway()
    time.sleep(SETTLED_S)
    assert stage.status()["acknowledgement_buzzes"] == 1
    stage.kill("post")
    stage.start_post()
    time.sleep(SETTLED_S)
    assert stage.status()["acknowledgement_buzzes"] == 0  # counted since the process started
    assert stage.mcc("resolve", alarm_id[:6], "--outcome", "real").returncode == 0
    stage.until_lamp("armed")
    assert stage.status()["acknowledgement_buzzes"] == 0
    assert [one["alarm_id"] for one in stage.listed()] == [alarm_id]


def test_an_edges_file_with_bounce_is_three_presses(stage: Stage, tmp_path: Path) -> None:
    edges = []
    for press in range(3):
        base_us = press * 300_000
        for n in range(8):  # 8 ms of bounce at both ends
            edges += [f"{base_us + n * 1000} {n % 2}"]
        edges += [f"{base_us + 8000} 0"]
        for n in range(8):
            edges += [f"{base_us + 120_000 + n * 1000} {(n + 1) % 2}"]
        edges += [f"{base_us + 128_000} 1"]
    path = tmp_path / "bounce.edges"
    path.write_text("# three presses of a bouncing button\n" + "\n".join(edges) + "\n")
    command = [
        str(Path(sys.executable).with_name("kentongan-device")),
        "panel",
        "--socket",
        stage.panel_socket,
        "edges",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    until("one alarm", lambda: len(stage.status()["alarms"]) == 1)
    assert "button_worn" not in stage.status()["faults"]


def test_press3_takes_less_than_two_seconds(stage: Stage) -> None:
    began_s = time.monotonic()
    command = [
        str(Path(sys.executable).with_name("kentongan-device")),
        "panel",
        "--socket",
        stage.panel_socket,
        "press3",
    ]
    assert subprocess.run(command, check=False, timeout=20).returncode == 0
    assert time.monotonic() - began_s < 2.0


def test_a_cancel_request_is_seen_by_the_operator_and_closes_nothing(stage: Stage) -> None:
    alarm_id = raise_alarm(stage)
    stage.panel("cancel")
    until(
        "the request",
        lambda: stage.shown()[alarm_id].get("cancel_requested_at"),
    )
    assert stage.shown()[alarm_id]["state"] in ("received", "delivered")


def test_a_bad_message_is_counted_logged_with_its_topic_and_harms_nothing(
    stage: Stage, broker: Mosquitto
) -> None:
    topic = TOPICS.post(stage.post_id, "alarms")
    for payload in ("{}", "not json", '{"v":1,"post":"someone-else"}', "x" * 5000):
        subprocess.run(
            ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1"]
            + ["-t", topic, "-m", payload],
            check=True,
        )
    until("the refusals", lambda: stage.log_of("gateway").count("event=message_refused") >= 4)
    assert f"topic={topic}" in stage.log_of("gateway")
    assert "Traceback" not in stage.log_of("gateway")
    raise_alarm(stage)


def test_sigterm_ends_each_process_within_two_seconds(stage: Stage) -> None:
    raise_alarm(stage)
    for name in ("post", "gateway", "mcc"):
        assert stage.stop(name) < 2.0


def test_sigterm_ends_each_process_within_two_seconds_without_a_broker(
    stage: Stage, broker: Mosquitto
) -> None:
    broker.kill()
    time.sleep(1.0)
    for name in ("post", "gateway", "mcc"):
        assert stage.stop(name) < 2.0
