"""The link against a real broker, and against brokers and wires that fail it."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pytest

from process.core import LinkDown, LinkUp
from process.events import EventQueue
from process.link import (
    PAUSE_MAX_S,
    Link,
    LinkSettings,
    PublishRefused,
    Received,
    Subscription,
    TlsFiles,
    Will,
)
from process.session import IN_FLIGHT_MAX, PAYLOAD_BYTES_MAX, READ_BYTES_MAX
from process.settings import parse_mqtt_url
from tests.broker import Mosquitto, Wire, free_port
from tests.process.scripted_broker import ScriptedBroker

EVERYTHING = Subscription("t/#", live_only=True)
STORED = Subscription("t/#", live_only=False)
WAIT_S = 10.0
NOT_AUTHORISED = 0x87

Event = TypeVar("Event")


class Owner:
    """A link with its event queue, as a process has them. Ends the link at the end of the block."""

    def __init__(
        self,
        url: str,
        *subscriptions: Subscription,
        client_id: str = "owner",
        will: Callable[[str], Will | None] = lambda connection: None,
        queue_limit: int = 1_000,
        deliver: Callable[[object, bool], bool] | None = None,
        keepalive_s: int = 20,
        tls: TlsFiles | None = None,
        second_url: str | None = None,
        **options: Any,
    ) -> None:
        self.queue = EventQueue(queue_limit, 2)
        self.link = Link(
            "posts",
            LinkSettings(
                parse_mqtt_url(url),
                client_id,
                keepalive_s,
                tls,
                None if second_url is None else parse_mqtt_url(second_url),
            ),
            subscriptions=subscriptions,
            will=will,
            deliver=deliver or self.offer,
            pause_max_s=0.2,
            **options,
        )

    def offer(self, event: object, droppable: bool) -> bool:
        return self.queue.offer(event, droppable=droppable)

    def next(self, kind: type[Event]) -> Event:
        """The next event, which must be of this kind."""
        event = self.queue.take(WAIT_S)
        assert isinstance(event, kind), event
        return event

    def until(self, kind: type[Event]) -> Event:
        """The first event of this kind; others before it do not matter."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            event = self.queue.take(WAIT_S)
            if isinstance(event, kind):
                return event
        raise AssertionError(f"no {kind.__name__} within {WAIT_S} s")

    def __enter__(self) -> Owner:
        self.link.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.link.stop(2.0)


@contextmanager
def connected(url: str, *subscriptions: Subscription, **options: Any) -> Iterator[Owner]:
    with Owner(url, *subscriptions, **options) as owner:
        owner.next(LinkUp)
        yield owner


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto("set_tcp_nodelay true") as running:
        yield running


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until another thread has brought this about."""
    end_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end_s, "it never came about"
        time.sleep(0.002)


def forget(broker: Mosquitto, topic: str) -> None:
    """Clear a retained document."""
    with connected(broker.url, client_id="cleaner") as cleaner:
        assert cleaner.link.publish(topic, b"", retain=True)


# --- up, down, up again -----------------------------------------------------------------------


def test_what_one_link_publishes_another_receives(broker: Mosquitto) -> None:
    with (
        connected(broker.url, EVERYTHING, client_id="a") as receiver,
        connected(broker.url, client_id="b") as sender,
    ):
        assert sender.link.publish("t/1", b"help", expiry_s=5)
        received = receiver.next(Received)
        assert (received.link, received.topic, received.payload) == ("posts", "t/1", b"help")
        assert received.retained is False
        assert received.connection == receiver.link.connection


def test_a_killed_broker_is_found_again_with_all_subscriptions() -> None:
    with Mosquitto() as broker, connected(broker.url, EVERYTHING) as owner:
        first = owner.link.connection
        broker.kill()
        assert owner.next(LinkDown).connection == first
        broker.start()
        second = owner.until(LinkUp).connection
        assert second != first
        assert owner.link.publish("t/1", b"again")
        assert owner.next(Received).payload == b"again"


def test_a_broker_that_is_not_there_yet_is_reached_when_it_comes() -> None:
    broker = Mosquitto()
    with Owner(broker.url, EVERYTHING) as owner:
        assert "refused" in owner.next(LinkDown).reason
        assert owner.link.publish("t/1", b"too early") is False
        assert owner.link.counts.not_taken == 1
        with broker:
            owner.until(LinkUp)


def test_a_name_that_does_not_resolve_is_a_reason_and_no_end() -> None:
    with Owner("mqtt://no-such-host.invalid") as owner:
        first, second = owner.next(LinkDown), owner.next(LinkDown)
        assert "cannot connect" in first.reason
        assert first.connection != second.connection
        assert owner.link.alive()


def test_a_broker_that_refuses_us_is_named_as_the_reason() -> None:
    with Mosquitto("allow_anonymous false") as broker, Owner(broker.url) as owner:
        assert owner.next(LinkDown).reason == "refused by the broker: Not authorized"


def test_a_half_open_connection_is_noticed_by_the_keepalive(broker: Mosquitto) -> None:
    with Wire(broker.port) as wire:
        url = f"mqtt://127.0.0.1:{wire.port}"
        with connected(url, EVERYTHING, keepalive_s=1) as owner:
            wire.swallow = True
            assert "Keep alive" in owner.next(LinkDown).reason
            wire.swallow = False
            owner.until(LinkUp)


def test_a_clone_with_our_id_is_named(broker: Mosquitto) -> None:
    with Owner(broker.url, client_id="card") as first, Owner(broker.url, client_id="card"):
        reasons: list[str] = []
        while len(reasons) < 50 and "does another device use card?" not in "".join(reasons):
            reasons.append(first.until(LinkDown).reason)
        assert reasons[-1].startswith("kicked off 3 times")


def test_a_dropped_link_comes_back_as_another_connection(broker: Mosquitto) -> None:
    with connected(broker.url, EVERYTHING) as owner:
        before = owner.link.connection
        owner.link.drop("heartbeats are not answered")
        down = owner.next(LinkDown)
        assert (down.connection, down.reason) == (before, "heartbeats are not answered")
        assert owner.next(LinkUp).connection != before


class _Outcomes:
    """Sessions without a broker: each attempt ends as the script says, and waits take no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *script: tuple[float | None, bool]) -> None:
        """Each attempt: for how many seconds it was up (None: never), and if it broke silently."""
        self.waits_s: list[float] = []  # the pause after each attempt
        self.reasons: list[str] = []
        self.in_doubt: list[bool] = []
        self._script = list(script)
        outcomes = self

        class Session:
            def __init__(self, _link: Link, connection: str) -> None:
                self.connection = connection
                lasted_s, self.may_be_kicked = outcomes._script.pop(0)
                self.up_at_s = None if lasted_s is None else time.monotonic() - lasted_s

            def run(self) -> str:
                return "ended"

            def close(self) -> None:
                pass

        monkeypatch.setattr("process.session.Session", Session)
        monkeypatch.setattr("process.link.random.uniform", lambda low, high: high)
        settings = LinkSettings(parse_mqtt_url("mqtt://127.0.0.1"), "card", 20)
        self.link = Link(
            "posts", settings, subscriptions=(), will=lambda _: None, deliver=self._deliver
        )
        self.link._stopping = self  # type: ignore[assignment]
        self.link._run()

    def _deliver(self, event: object, droppable: bool) -> bool:
        assert isinstance(event, LinkDown)
        self.reasons.append(event.reason)
        self.in_doubt.append(event.is_in_doubt)
        return True

    def is_set(self) -> bool:
        return not self._script

    def wait(self, timeout: float) -> bool:
        self.waits_s.append(timeout)
        return self.is_set()


def test_pauses_grow_while_the_broker_is_away_and_never_beyond_eight_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = _Outcomes(monkeypatch, *[(None, False)] * 12)
    assert seen.waits_s[:5] == [0.5, 1, 2, 4, 8]
    assert set(seen.waits_s[5:]) == {PAUSE_MAX_S} == {8}


def test_after_a_connection_that_came_up_pauses_start_small_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = [(None, False)] * 6
    seen = _Outcomes(monkeypatch, *away, (1, True), (None, False), (None, False), (40, True), *away)
    assert seen.waits_s[6:9] == [0.5, 0.5, 1]
    assert seen.waits_s[9] == 0.5


def test_an_identity_that_is_taken_over_again_and_again_comes_back_ever_slower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = _Outcomes(monkeypatch, *[(0.1, True)] * 12)
    assert seen.waits_s[:4] == [0.5, 1.5, 2.5, 3.5]
    assert max(seen.waits_s) == PAUSE_MAX_S + 0.5
    assert seen.reasons[2] == "kicked off 3 times: does another device use card?"
    assert seen.in_doubt[:4] == [False, False, True, True]


def test_a_broker_that_dies_again_and_again_is_no_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _Outcomes(monkeypatch, *[(5, True), (None, False)] * 6)
    assert set(seen.reasons) == {"ended"}
    assert not any(seen.in_doubt)


# --- subscriptions ----------------------------------------------------------------------------


def test_a_refused_subscription_is_no_connection() -> None:
    with (
        ScriptedBroker(subscribe_code=NOT_AUTHORISED) as broker,
        Owner(broker.url, EVERYTHING) as owner,
    ):
        reason = owner.next(LinkDown).reason
        assert reason == "subscription to t/# refused: Not authorized"
        assert owner.link.counts.connections == 0


def test_a_subscription_granted_with_less_than_asked_is_refused() -> None:
    with Mosquitto("max_qos 0") as broker, Owner(broker.url, EVERYTHING) as owner:
        assert owner.next(LinkDown).reason == "subscription to t/# refused: Granted QoS 0"


def test_a_live_topic_replays_nothing_and_shows_the_retained_flag(broker: Mosquitto) -> None:
    with connected(broker.url, client_id="forger") as forger:
        assert forger.link.publish("t/forged", b"old press", retain=True)
        with connected(broker.url, EVERYTHING) as owner:
            assert forger.link.publish("t/forged", b"new press", retain=True)
            received = owner.next(Received)
            assert (received.payload, received.retained) == (b"new press", True)
    forget(broker, "t/forged")


def test_a_stored_document_is_replayed_and_marked(broker: Mosquitto) -> None:
    with connected(broker.url, client_id="writer") as writer:
        assert writer.link.publish("t/state", b"one", retain=True)
        with connected(broker.url, STORED) as owner:
            replayed = owner.next(Received)
            assert (replayed.payload, replayed.retained) == (b"one", True)
            assert writer.link.publish("t/state", b"two", retain=True)
            live = owner.next(Received)
            assert (live.payload, live.retained) == (b"two", False)
    forget(broker, "t/state")


def test_no_local_hides_our_own_publishes_but_not_our_stored_documents(broker: Mosquitto) -> None:
    own = Subscription("t/#", live_only=False, no_local=True)
    with connected(broker.url, own, client_id="gateway") as gateway:
        assert gateway.link.publish("t/own", b"mine", retain=True)
        with connected(broker.url, client_id="other") as other:
            assert other.link.publish("t/theirs", b"theirs")
            assert gateway.next(Received).payload == b"theirs"
    with connected(broker.url, own, client_id="gateway") as gateway:
        assert gateway.next(Received).payload == b"mine"
    forget(broker, "t/own")


def test_a_missing_certificate_file_is_named_and_tried_again(tmp_path: Path) -> None:
    files = TlsFiles(ca=str(tmp_path / "ca.pem"))
    with Owner(f"mqtts://localhost:{free_port()}", tls=files) as owner:
        reason = f"cannot connect: {tmp_path}/ca.pem: No such file or directory"
        assert [owner.next(LinkDown).reason for _ in range(2)] == [reason, reason]


# --- publishing -------------------------------------------------------------------------------


def test_a_publish_that_may_not_be_is_told_and_the_link_stays() -> None:
    with Mosquitto() as plain:
        acl = plain.directory / "acl"
        acl.write_text("topic readwrite t/#\n")
        with (
            Mosquitto(f"acl_file {acl}") as broker,
            connected(broker.url, EVERYTHING) as owner,
        ):
            assert owner.link.publish("forbidden/1", b"x")
            assert owner.next(PublishRefused) == PublishRefused(
                "posts", "forbidden/1", "Not authorized"
            )
            assert owner.link.counts.refused_by_broker == 1
            assert owner.link.publish("t/1", b"x")
            assert owner.next(Received).topic == "t/1"


def test_a_publish_that_nobody_hears_is_nothing(broker: Mosquitto) -> None:
    with connected(broker.url, EVERYTHING) as owner:
        assert owner.link.publish("nobody/listens", b"x")
        assert owner.link.publish("t/1", b"x")
        assert owner.next(Received).topic == "t/1"
        assert owner.link.counts.refused_by_broker == 0


def test_publishes_that_are_not_acknowledged_end_the_connection() -> None:
    with (
        ScriptedBroker(acknowledges=False) as broker,
        connected(broker.url, EVERYTHING, puback_deadline_s=0.1) as owner,
    ):
        assert owner.link.publish("t/1", b"x")
        assert owner.next(LinkDown).reason == "publishes are not acknowledged"
        owner.until(LinkUp)
        assert len(broker.published) == 1


def test_what_waits_to_be_sent_is_bounded_and_does_not_outlive_the_connection() -> None:
    with (
        ScriptedBroker(acknowledges=False) as broker,
        connected(broker.url, EVERYTHING, outbound_max=5) as owner,
    ):
        taken = 0
        while taken < IN_FLIGHT_MAX + 5:
            taken += owner.link.publish("t/1", b"stale")
        assert owner.link.publish("t/1", b"one too many") is False
        eventually(lambda: len(broker.published) == IN_FLIGHT_MAX)
        owner.link.drop("test")
        owner.until(LinkUp)
        assert owner.link.publish("t/1", b"fresh")
        eventually(lambda: len(broker.published) > IN_FLIGHT_MAX)
        assert broker.published[IN_FLIGHT_MAX].endswith(b"fresh")


# --- receiving --------------------------------------------------------------------------------


def test_a_manual_owner_holds_the_broker_back_until_it_acknowledges(broker: Mosquitto) -> None:
    with (
        connected(broker.url, EVERYTHING, client_id="slow", manual=True, receive_max=3) as owner,
        connected(broker.url, client_id="sender") as sender,
    ):
        for number in range(4):  # one more than may come unacknowledged
            assert sender.link.publish("t/1", b"%d" % number)
        held = [owner.next(Received) for _ in range(3)]
        assert owner.queue.take(0.05) is None
        owner.link.acknowledge(held[1].receipt)  # out of order
        assert owner.next(Received).payload == b"3"


def test_a_receipt_of_a_past_connection_is_ignored(broker: Mosquitto) -> None:
    with connected(broker.url, EVERYTHING, manual=True) as owner:
        assert owner.link.publish("t/1", b"x")
        old = owner.next(Received).receipt
        owner.link.drop("test")
        owner.next(LinkDown)
        owner.next(LinkUp)
        owner.link.acknowledge(old)
        owner.link.acknowledge(None)
        for number in range(3):
            assert owner.link.publish("t/1", b"%d" % number)
        assert [owner.next(Received).payload for _ in range(3)] == [b"0", b"1", b"2"]


def test_a_full_event_queue_holds_the_broker_back_and_loses_nothing(broker: Mosquitto) -> None:
    with (
        connected(broker.url, EVERYTHING, client_id="slow", queue_limit=4, receive_max=3) as owner,
        connected(broker.url, client_id="sender") as sender,
    ):
        for number in range(50):
            assert sender.link.publish("t/1", b"%d" % number)
        eventually(lambda: owner.link.counts.stalls == 1)
        numbers = [int(owner.next(Received).payload) for _ in range(50)]
        assert numbers == list(range(50))


def test_packets_that_came_in_one_read_all_arrive_in_their_order(broker: Mosquitto) -> None:
    with (
        connected(broker.url, EVERYTHING, client_id="reader") as owner,
        connected(broker.url, client_id="sender") as sender,
    ):
        payload = b"x" * 1_000
        count = 2 * READ_BYTES_MAX // len(payload)  # so that reads end within a packet too
        for number in range(count):
            assert sender.link.publish(f"t/{number}", payload)
        topics = [owner.next(Received).topic for _ in range(count)]
        assert topics == [f"t/{number}" for number in range(count)]


def test_an_oversize_message_is_counted_and_cut_off(
    broker: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        connected(broker.url, EVERYTHING, client_id="a") as owner,
        connected(broker.url, client_id="b") as sender,
    ):
        assert sender.link.publish("t/big", b"x" * (PAYLOAD_BYTES_MAX + 1))
        assert sender.link.publish("t/fits", b"x" * PAYLOAD_BYTES_MAX)
        assert owner.next(Received).topic == "t/fits"
        assert owner.link.counts.oversize == 1
        assert "event=message_oversize link=posts topic=t/big" in capsys.readouterr().err


def test_a_broker_that_announces_an_endless_packet_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        with Owner(url, EVERYTHING) as owner:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(WAIT_S)
                connection.recv(1024)
                connection.sendall(b"\x30\xff\xff\xff\x7f" + bytes(1024))  # PUBLISH of 256 MiB
                down = owner.next(LinkDown)
                assert down.reason == "the broker sends a packet of over 65536 bytes"


def test_an_exception_of_the_owner_costs_one_connection_and_no_more(
    broker: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = EventQueue(100, 2)
    bombs = [LinkUp, Received, LinkDown]

    def deliver(event: object, droppable: bool) -> bool:
        if bombs and isinstance(event, bombs[0]):
            del bombs[0]
            raise RuntimeError("the owner is broken")
        return queue.offer(event, droppable=droppable)

    with Owner(broker.url, EVERYTHING, deliver=deliver) as owner:
        owner.queue = queue
        assert owner.next(LinkDown).reason == "RuntimeError: the owner is broken"
        owner.next(LinkUp)
        assert owner.link.publish("t/1", b"x")
        assert owner.next(LinkDown).reason == "RuntimeError: the owner is broken"
        assert owner.link.alive()
        owner.next(LinkUp)
        assert owner.link.publish("t/1", b"y")
        assert owner.next(Received).payload == b"y"
        assert bombs == []
    assert capsys.readouterr().err.count("level=error event=link_broke link=posts") == 3


def test_a_part_that_cannot_be_loaded_is_told_and_tried_again(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "process.session", None)
    with Owner(broker.url, EVERYTHING) as owner:
        until_s = time.monotonic() + WAIT_S
        while "link_broke" not in capsys.readouterr().err:
            assert owner.link.alive()
            assert time.monotonic() < until_s
            time.sleep(0.01)
        monkeypatch.undo()
        assert owner.next(LinkUp)


def test_an_exception_while_making_the_will_heals(broker: Mosquitto) -> None:
    bombs = [KeyError("no such field")]

    def will(connection: str) -> Will | None:
        if bombs:
            raise bombs.pop()
        return None

    with Owner(broker.url, will=will) as owner:
        assert "no such field" in owner.next(LinkDown).reason
        owner.next(LinkUp)


# --- leaving ----------------------------------------------------------------------------------


def presence(connection: str) -> Will:
    return Will("t/presence", connection.encode(), retain=True)


def test_a_broken_connection_fires_its_own_will(broker: Mosquitto) -> None:
    with (
        connected(broker.url, EVERYTHING, client_id="watcher") as watcher,
        connected(broker.url, will=presence, client_id="post") as post,
    ):
        first = post.link.connection
        assert first is not None
        post.link.drop("test")
        assert watcher.next(Received).payload == first.encode()
        post.until(LinkUp)
    forget(broker, "t/presence")


def test_a_link_that_is_stopped_says_farewell_and_fires_no_will(broker: Mosquitto) -> None:
    with connected(broker.url, EVERYTHING, client_id="watcher") as watcher:
        with connected(broker.url, will=presence, client_id="post") as post:
            assert post.link.stop(1.0, [Will("t/presence", b"offline", retain=False)])
            assert post.next(LinkDown).reason == "stopped"
            assert post.link.publish("t/1", b"late") is False
        assert watcher.next(Received).payload == b"offline"
        assert watcher.link.publish("t/marker", b"after")
        assert watcher.next(Received).topic == "t/marker"


def test_a_half_open_link_stops_within_a_second(broker: Mosquitto) -> None:
    with Wire(broker.port) as wire, connected(f"mqtt://127.0.0.1:{wire.port}") as owner:
        wire.swallow = True
        assert owner.link.publish("t/1", b"x")
        began_s = time.monotonic()
        assert owner.link.stop(1.0, [presence("x")])
        assert time.monotonic() - began_s < 1.0


def test_a_link_that_waits_for_its_next_attempt_stops_at_once() -> None:
    with Owner(f"mqtt://127.0.0.1:{free_port()}") as owner:
        owner.next(LinkDown)
        began_s = time.monotonic()
        assert owner.link.stop(1.0)
        assert time.monotonic() - began_s < 0.5


def test_a_link_is_alive_from_start_to_stop(broker: Mosquitto) -> None:
    owner = Owner(broker.url)
    assert not owner.link.alive()
    with owner:
        owner.next(LinkUp)
        assert owner.link.alive()
    assert not owner.link.alive()
