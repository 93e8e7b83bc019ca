"""The event queue at its bounds, between threads, and under a signal."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from process.events import EventQueue


def test_events_come_out_in_the_order_they_were_offered() -> None:
    queue = EventQueue(10, 0)
    for number in (1, 2, 3):
        assert queue.offer(number, droppable=True)
    assert [queue.take(0), queue.take(0), queue.take(0), queue.take(0)] == [1, 2, 3, None]


def test_droppable_events_leave_the_reserved_places_free() -> None:
    queue = EventQueue(3, 2)
    assert queue.offer("heartbeat", droppable=True)
    assert not queue.offer("heartbeat", droppable=True)
    assert queue.offer("edge", droppable=False)
    assert queue.offer("edge", droppable=False)
    assert (queue.depth, queue.dropped) == (3, 1)


def test_at_the_limit_even_an_edge_is_refused_and_counted() -> None:
    queue = EventQueue(1, 0)
    assert queue.offer("edge", droppable=False)
    assert not queue.offer("edge", droppable=False)
    assert (queue.take(0), queue.take(0), queue.dropped) == ("edge", None, 1)


def test_a_place_is_free_again_after_take() -> None:
    queue = EventQueue(1, 0)
    assert queue.offer(1, droppable=True)
    assert queue.take(None) == 1
    assert queue.offer(2, droppable=True)


def test_a_reserve_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="reserved=5"):
        EventQueue(5, 5)


def test_a_waiting_consumer_is_woken_by_an_offer() -> None:
    queue = EventQueue(10, 0)
    taken: list[object] = []
    consumer = threading.Thread(target=lambda: taken.append(queue.take(10)))
    consumer.start()
    queue.offer("edge", droppable=False)
    consumer.join(5)
    assert taken == ["edge"]


def test_many_producers_lose_nothing_and_never_exceed_the_limit() -> None:
    queue = EventQueue(50, 0)
    accepted: list[int] = []

    def produce() -> None:
        accepted.append(sum(queue.offer("e", droppable=True) for _ in range(1_000)))

    producers = [threading.Thread(target=produce) for _ in range(4)]
    for producer in producers:
        producer.start()
    taken = 0
    while any(producer.is_alive() for producer in producers):
        assert queue.depth <= 50
        taken += queue.take(0.001) is not None
    taken += queue.depth
    assert taken == sum(accepted)
    assert queue.dropped == 4_000 - taken


def test_a_signal_handler_may_offer_to_the_thread_that_waits() -> None:
    queue = EventQueue(10, 0)
    before = signal.signal(signal.SIGUSR1, lambda *_: queue.offer("stop", droppable=False))
    try:
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        began_s = time.monotonic()
        assert queue.take(10) == "stop"
        assert time.monotonic() - began_s < 5
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("timeout_s", [-1.0, 0.0])
def test_a_timeout_that_has_passed_does_not_wait(timeout_s: float) -> None:
    assert EventQueue(1, 0).take(timeout_s) is None


def test_a_timeout_longer_than_the_platform_can_wait_is_cut() -> None:
    queue = EventQueue(1, 0)
    queue.offer("edge", droppable=False)
    assert queue.take(1e30) == "edge"
