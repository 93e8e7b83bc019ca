"""Links that are slow, broken off in the middle, or without names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from demo.stage import until
from tests.broker import Mosquitto, Wire
from tests.faults.ground import Ground, Part, Row
from tests.faults.machine import Machine


def test_a_wire_that_delays_trickles_and_truncates(
    ground: Ground, broker: Mosquitto, table: Callable[[Row], None]
) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(broker.port)) for _ in range(4)]
        slow, trickling, truncating, gateways = wires
        for wire in (slow, trickling, truncating):
            ground.add_post(f"mqtt://127.0.0.1:{wire.port}")
        gateway_url = f"mqtt://127.0.0.1:{gateways.port}"
        ground.gateway = Part("gateway", ground.directory / "gateway", gateway_url)
        ground.start()
        slow.delay_s = 0.5
        trickling.piece_bytes, trickling.delay_s = 1, 0.001
        # An offer has about 500 bytes: it breaks off in the middle, whatever comes before it.
        truncating.cut_after_bytes = 700
        truncating.cut()
        gateways.piece_bytes, gateways.delay_s = 64, 0.002
        ids = [ground.raise_alarm(post) for post in ground.posts]
        ground.until_delivered(*ids[:2])
        broken = ground.posts[2]
        until("it breaks off again and again", lambda: broken.log.count("connection lost") >= 2, 20)
        assert ids[2] not in ground.delivered()
        for wire in wires:
            wire.delay_s, wire.piece_bytes, wire.cut_after_bytes = 0.0, 65536, None
        row = ground.settle("a wire that delays, trickles, truncates")
        assert row.delivered == len(ids)
        table(row)


def test_a_name_that_does_not_resolve_until_later(
    ground: Ground, broker: Mosquitto, machine: Machine, table: Callable[[Row], None]
) -> None:
    post = ground.add_post(f"mqtt://localhost:{broker.port}")
    post.environment = machine.environment
    machine.set(names_fail=True)
    ground.gateway.start()
    ground.mcc.start()
    post.start()
    ground.raise_alarm(post)
    until("an attempt fails", lambda: post.log.count("event=link_attempt_failed") >= 2)
    assert "Temporary failure in name resolution" in post.log
    post.until_lamp("calling")
    machine.set()
    table(ground.settle("DNS fails, then resolves"))
