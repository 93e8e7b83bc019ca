"""A broker that forgets, remembers wrongly, drops, or forbids. A PUBACK is never a receipt."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from demo.stage import until
from tests.broker import Mosquitto
from tests.faults.ground import Ground, Row

ALARMS_TOPIC = "kentongan/v1/posts/%s/alarms"
KEEPS = "persistence true\nautosave_interval 0\n"


def test_a_broker_restarted_with_its_persistence_wiped(
    tmp_path: Path, table: Callable[[Row], None]
) -> None:
    with (
        Mosquitto(KEEPS, directory=_made(tmp_path / "broker")) as broker,
        Ground(tmp_path, broker) as ground,
    ):
        ground.start(2)
        # The gateway is away, so the broker alone has the calls when it forgets them.
        ground.gateway.end()
        for post in ground.posts:
            ground.raise_alarm(post)
            until("offered", lambda post=post: "event=alarm_offered" in post.log)  # type: ignore[misc]
        broker.kill()
        (broker.directory / "mosquitto.db").unlink(missing_ok=True)
        broker.start()
        ground.gateway.start()
        table(ground.settle("broker restarted, its persistence wiped"))


def test_a_broker_restarted_with_an_old_copy_of_its_persistence(
    tmp_path: Path, table: Callable[[Row], None]
) -> None:
    with (
        Mosquitto(KEEPS, directory=_made(tmp_path / "broker")) as broker,
        Ground(tmp_path, broker) as ground,
    ):
        ground.start(2)
        first = ground.raise_alarm(ground.posts[0])
        ground.until_delivered(first)
        saved = broker.directory / "mosquitto.db"
        broker.save()
        until("the broker has saved", lambda: saved.exists() or None)
        shutil.copyfile(saved, tmp_path / "old.db")
        ground.resolve_open()
        until("resolved", lambda: ground.posts[0].status().get("alarms") == [] or None)
        second = ground.raise_alarm(ground.posts[1])
        ground.until_delivered(second)
        broker.kill()
        shutil.copyfile(tmp_path / "old.db", saved)
        broker.start()
        row = ground.settle("broker restarted with an old copy of its persistence")
        assert row.delivered == 2
        assert ground.posts[0].status()["acknowledgement_buzzes"] == 1
        table(row)


def test_the_default_queue_limit_and_a_gateway_that_does_not_read(
    ground: Ground, broker: Mosquitto, table: Callable[[Row], None]
) -> None:
    ground.start(1)
    ground.gateway.freeze()
    # More than mosquitto's default max_queued_messages holds for one client, all PUBACKed.
    flood = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    flood.max_inflight_messages_set(100)
    flood.connect("127.0.0.1", broker.port)
    flood.loop_start()
    for n in range(3_000):
        flood.publish(ALARMS_TOPIC % f"flood-{n % 7}", b'{"v":1}' + b" " * 400, qos=1)
    dropped = "Outgoing messages are being dropped for client mlg-gw1-posts"
    until("the broker drops", lambda: dropped in broker.log)
    ground.raise_alarm(ground.posts[0])
    until("PUBACKed and dropped", lambda: "event=alarm_offered" in ground.posts[0].log)
    flood.disconnect()
    flood.loop_stop()
    ground.gateway.thaw()
    row = ground.settle("mosquitto's default queue limit, a gateway that does not read")
    assert row.delivered == 1
    table(row)


def test_a_broker_that_refuses_the_posts_alarms_by_its_acl(
    tmp_path: Path, table: Callable[[Row], None]
) -> None:
    acl = tmp_path / "acl"
    everything = "topic readwrite #\n"
    acl.write_text(everything)
    with (
        Mosquitto(f"acl_file {acl}\n", directory=_made(tmp_path / "broker")) as broker,
        Ground(tmp_path, broker) as ground,
    ):
        ground.start(1)
        (post,) = ground.posts
        acl.write_text(everything + "topic deny kentongan/v1/posts/+/alarms\n")
        broker.reload()
        ground.raise_alarm(post)
        until("the log names it", lambda: "event=publish_refused" in post.log)
        assert f"topic={ALARMS_TOPIC % post.post_id}" in post.log
        assert post.status()["lamp"] == "calling"
        acl.write_text(everything)
        broker.reload()
        table(ground.settle("a broker that refuses alarms by its ACL"))


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
