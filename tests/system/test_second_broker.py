"""A post with two brokers: it goes where it is heard, comes back by rule, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.stage import Stage, until
from gateway.brokers import Brokers
from gateway.core import FaultSeen
from process.core import LinkDown, LinkUp
from process.link import Link, LinkSettings
from process.settings import parse_mqtt_url
from tests.broker import Mosquitto
from tests.process.test_link import Owner

HASTY = [[n * 40_000, n % 2] for n in range(6)]


@pytest.fixture
def pair() -> Iterator[tuple[Mosquitto, Mosquitto]]:
    with Mosquitto() as first, Mosquitto() as second:
        yield first, second


def with_second(path: Path, table: str, url: str) -> None:
    path.write_text(path.read_text().replace(f"[{table}]\n", f'[{table}]\nsecond_url = "{url}"\n'))


def test_a_call_goes_through_the_second_broker_when_the_first_is_killed(
    pair: tuple[Mosquitto, Mosquitto], tmp_path: Path
) -> None:
    first, second = pair
    with Mosquitto() as of_mcc:
        stage = Stage(tmp_path, first.url)
        with_second(tmp_path / "gateway.toml", "posts", second.url)
        with_second(tmp_path / "post.toml", "mqtt", second.url)
        gateway = (tmp_path / "gateway.toml").read_text()
        before, _, after = gateway.partition("[mcc]")
        after = after.replace(first.url, of_mcc.url)
        (tmp_path / "gateway.toml").write_text(f"{before}[mcc]{after}")
        stage.broker_url = of_mcc.url
        try:
            stage.start_gateway()
            stage.start_mcc()
            stage.start_post()
            stage.until_lamp("armed")
            first.kill()
            began_s = time.monotonic()
            stage.panel("edges", edges=HASTY)
            shown = until("the call is shown", stage.shown, 20)
            assert time.monotonic() - began_s < 20
            assert len(shown) == 1
            first.start()
            until(
                "the gateway hears both", lambda: stage.log_of("gateway").count("link_up") >= 4, 20
            )
            assert "Traceback" not in stage.log_of("gateway") + stage.log_of("post")
        finally:
            stage.close()


def test_a_link_goes_to_the_second_broker_and_back_when_the_first_is_there_again(
    pair: tuple[Mosquitto, Mosquitto],
) -> None:
    first, second = pair
    may_leave = False
    with Owner(
        first.url, second_url=second.url, return_s=0.2, may_leave=lambda: may_leave
    ) as owner:
        owner.until(LinkUp)
        assert owner.link.broker.port == first.port
        first.kill()
        owner.until(LinkDown)
        owner.until(LinkUp)
        assert owner.link.broker.port == second.port
        first.start()
        time.sleep(0.5)
        assert owner.link.broker.port == second.port  # a call is on: it stays
        may_leave = True
        owner.until(LinkUp)
        assert owner.link.broker.port == first.port


def test_two_brokers_are_one_link_that_is_down_when_both_are() -> None:
    events: list[object] = []
    doors: list[Callable[[object, bool], bool]] = []
    nowhere = LinkSettings(parse_mqtt_url("mqtt://127.0.0.1:1"), "x", 20)

    def made(deliver: Callable[[object, bool], bool], number: int) -> Link:
        doors.append(deliver)
        return Link(
            "posts",
            nowhere,
            subscriptions=(),
            will=lambda _: None,
            deliver=deliver,
        )

    def take(event: object, _droppable: bool) -> bool:
        events.append(event)
        return True

    Brokers("posts", made, take)
    doors[0](LinkUp("posts", "a"), False)
    doors[1](LinkUp("posts", "b"), False)
    doors[0](LinkDown("posts", "a", "gone"), False)
    assert events == [
        LinkUp("posts", "a"),
        FaultSeen("posts_broker_lost", present=True),
        LinkUp("posts", "b"),
        FaultSeen("posts_broker_lost", present=False),
        FaultSeen("posts_broker_lost", present=True),
    ]
    events.clear()
    doors[1](LinkDown("posts", "b", "gone"), False)
    assert events == [
        LinkDown("posts", "b", "gone"),
        FaultSeen("posts_broker_lost", present=False),  # now it is the whole link that is lost
    ]
