"""A post with two brokers: it goes where it is heard, comes back by rule, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.stage import Stage, until
from gateway.brokers import Brokers
from gateway.core import FaultSeen
from process import link as link_module
from process.core import LinkDown, LinkUp
from process.link import RETURN_DOUBLINGS_MAX, RETURN_S, Link, LinkSettings
from process.settings import parse_mqtt_url
from tests.broker import Mosquitto, free_port
from tests.process.test_link import Owner

HASTY = [[n * 40_000, n % 2] for n in range(6)]


@pytest.fixture
def pair() -> Iterator[tuple[Mosquitto, Mosquitto]]:
    with Mosquitto() as first, Mosquitto() as second:
        yield first, second


def with_second(path: Path, table: str, url: str) -> None:
    path.write_text(path.read_text().replace(f"[{table}]\n", f'[{table}]\nsecond_url = "{url}"\n'))


def stage_with_two(
    tmp_path: Path, first: Mosquitto, second: Mosquitto, of_mcc: Mosquitto, **options: Any
) -> Stage:
    """Post and gateway know both brokers; the command centre is at a third."""
    stage = Stage(tmp_path, first.url, **options)
    with_second(tmp_path / "gateway.toml", "posts", second.url)
    with_second(tmp_path / "post.toml", "mqtt", second.url)
    gateway = (tmp_path / "gateway.toml").read_text()
    before, _, after = gateway.partition("[mcc]")
    after = after.replace(first.url, of_mcc.url)
    (tmp_path / "gateway.toml").write_text(f"{before}[mcc]{after}")
    stage.broker_url = of_mcc.url
    return stage


def test_a_call_goes_through_the_second_broker_when_the_first_is_killed(
    pair: tuple[Mosquitto, Mosquitto], tmp_path: Path
) -> None:
    first, second = pair
    with Mosquitto() as of_mcc:
        stage = stage_with_two(tmp_path, first, second, of_mcc)
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


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection counts as one that has held."""
    monkeypatch.setattr(link_module, "SETTLED_S", 0.0)


def test_a_broker_that_holds_us_where_nobody_hears_us_gives_way_to_the_other(
    pair: tuple[Mosquitto, Mosquitto], settled: None
) -> None:
    first, second = pair
    with Owner(first.url, second_url=second.url) as owner:
        for here, other in ((first, second), (second, first), (first, second)):
            owner.until(LinkUp)
            assert owner.link.broker.port == here.port
            owner.link.drop("heartbeats are not answered", deaf=True)
            assert owner.until(LinkDown).reason == "heartbeats are not answered"
            assert owner.link.broker.port == other.port


def test_a_connection_that_is_opened_anew_for_another_reason_stays_with_its_broker(
    pair: tuple[Mosquitto, Mosquitto], settled: None
) -> None:
    first, second = pair
    with Owner(first.url, second_url=second.url) as owner:
        owner.until(LinkUp)
        owner.link.drop("a new certificate")
        owner.until(LinkDown)
        owner.until(LinkUp)
        assert owner.link.broker.port == first.port


def test_a_first_broker_at_which_nobody_hears_is_returned_to_ever_more_seldom(
    pair: tuple[Mosquitto, Mosquitto], settled: None
) -> None:
    first, second = pair
    with Owner(first.url, second_url=second.url) as owner:

        def goes_to(broker: Mosquitto, *, deaf: bool) -> float:
            owner.until(LinkUp)
            owner.link.drop("test", deaf=deaf)
            owner.until(LinkDown)
            assert owner.link.broker.port == broker.port
            return owner.link.return_s

        pauses_s = []
        for _ in range(RETURN_DOUBLINGS_MAX + 2):
            pauses_s.append(goes_to(second, deaf=True))
            goes_to(first, deaf=False)  # as when it is found to be back
        assert pauses_s == [RETURN_S * 2**n for n in (*range(RETURN_DOUBLINGS_MAX + 1), 4)]
        goes_to(first, deaf=False)  # this time it has held
        assert goes_to(second, deaf=True) == RETURN_S
        assert goes_to(first, deaf=True) == RETURN_S  # nobody at the other one either
        assert goes_to(second, deaf=True) == RETURN_S


# Such that four of them are longer than a connection needs to count as one that has held.
HEARTBEAT_S = 8


def test_a_call_goes_through_the_second_broker_when_the_gateway_cannot_reach_the_first(
    pair: tuple[Mosquitto, Mosquitto], tmp_path: Path
) -> None:
    first, second = pair
    with Mosquitto() as of_mcc:
        stage = stage_with_two(tmp_path, first, second, of_mcc, heartbeat_s=HEARTBEAT_S)
        settings = tmp_path / "gateway.toml"
        nowhere = f"mqtt://127.0.0.1:{free_port()}"
        settings.write_text(settings.read_text().replace(first.url, nowhere))
        try:
            stage.start_gateway()
            stage.start_mcc()
            stage.start_post()
            stage.panel("edges", edges=HASTY)
            shown = until("the call is shown", stage.shown, 4 * HEARTBEAT_S + 20)
            assert len(shown) == 1
            assert "Traceback" not in stage.log_of("gateway") + stage.log_of("post")
        finally:
            stage.close()


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
