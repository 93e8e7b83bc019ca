"""What mostly waits for a timeout to pass: half-open links, silence, frozen processes."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from demo.stage import until
from tests.broker import Mosquitto, Wire
from tests.faults.ground import Ground, Part, Role, Row
from tests.faults.machine import Machine, Namespace
from tests.process.scripted_broker import ScriptedBroker

Direction = Literal["to the broker", "from the broker", "both"]
DIRECTIONS: tuple[Direction, ...] = ("to the broker", "from the broker", "both")
LINK_DOWN_SHOWN = '"event": "link", "up": false'  # by a command centre
# Keepalive 5 s at post and gateway, 15 s at the centre, noticed after twice that; and the machine
# has much to do.
LOST_S = 60.0
# Longer than keepalives, PUBACK deadline and beats; at scale, than the watchdogs of threads too.
FROZEN_S = 32.0
FROZEN_LONG_S = 130.0


@contextlib.contextmanager
def in_namespaces(
    directory: Path, count: int
) -> Iterator[tuple[Ground, list[tuple[Namespace, str]]]]:
    """A ground, and so many networks of their own with the broker's address in each."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Mosquitto())
        nets = [stack.enter_context(Namespace()) for _ in range(count)]
        wires = [stack.enter_context(Wire(broker.port, net.server)) for net in nets]
        urls = [f"mqtt://127.0.0.1:{wire.port}" for wire in wires]
        ground = stack.enter_context(Ground(directory, broker))
        yield ground, list(zip(nets, urls, strict=True))


def lost(part: Part) -> Callable[[], bool]:
    """Has it noticed that its link is gone, once more than now?"""
    words = LINK_DOWN_SHOWN if part.role == "mcc" else "event=link_down"
    before = part.log_or_screen().count(words)
    return lambda: part.log_or_screen().count(words) > before


def test_half_open_links_of_posts_cut_by_iptables(
    tmp_path: Path, table: Callable[[Row], None]
) -> None:
    with in_namespaces(tmp_path, len(DIRECTIONS)) as (ground, nets):
        for net, url in nets:
            post = ground.add_post(url)
            post.before = net.before
        ground.start()
        noticed = [lost(post) for post in ground.posts]
        for (net, _), direction in zip(nets, DIRECTIONS, strict=True):
            net.cut(direction)
        for post in ground.posts:
            ground.raise_alarm(post)
        for post, has_noticed in zip(ground.posts, noticed, strict=True):
            until(f"{post.post_id} notices", has_noticed, LOST_S)
        for net, _ in nets:
            net.mend()
        row = ground.settle("half-open links of posts: each direction, both")
        assert row.raised == len(DIRECTIONS)
        table(row)


def test_half_open_links_of_gateway_and_command_centre_cut_by_iptables(
    tmp_path: Path, scale: int, table: Callable[[Row], None]
) -> None:
    roles: tuple[Role, Role] = ("gateway", "mcc")
    directions: tuple[Direction, ...] = ("both",) if scale == 1 else DIRECTIONS
    with contextlib.ExitStack() as stack:
        # A ground for each: they wait at the same time.
        cut: list[tuple[Direction, Ground, Namespace, Part]] = []
        for role, direction in itertools.product(roles, directions):
            # A short name: the path of the panel's socket has 107 bytes.
            directory = tmp_path / str(len(cut))
            directory.mkdir()
            ground, ((net, url),) = stack.enter_context(in_namespaces(directory, 1))
            part = Part(role, directory / role, url)
            part.before = net.before
            setattr(ground, role, part)
            ground.start(1)
            cut.append((direction, ground, net, part))
        noticed = [lost(part) for _, _, _, part in cut]
        for direction, ground, net, _ in cut:
            net.cut(direction)
            ground.raise_alarm(ground.posts[0])
        for (direction, ground, _, part), has_noticed in zip(cut, noticed, strict=True):
            until(f"the {part.role} notices ({direction})", has_noticed, LOST_S)
            if direction == "both":
                assert not (ground.promised & set(ground.delivered()))
        for direction, ground, net, part in cut:
            net.mend()
            table(ground.settle(f"half-open links of {part.role}: {direction}"))


def test_a_broker_that_pings_and_never_pubacks(
    ground: Ground, broker: Mosquitto, table: Callable[[Row], None]
) -> None:
    ground.gateway.start()
    ground.mcc.start()
    directory, name = ground.directory / "p0", "mlg-fault-rw00"
    with ScriptedBroker() as deaf:
        post = Part("post", directory, deaf.url, post_id=name)
        ground.posts.append(post)
        post.start()
        until("it speaks to that broker", lambda: deaf.published or None)
        given_up = lost(post)
        ground.raise_alarm(post)
        until("the connection is given up", given_up, LOST_S)
        post.end("SIGTERM")
    # Somebody mends the broker, which has another address here.
    ground.posts[0] = Part("post", directory, broker.url, post_id=name)
    table(ground.settle("a broker that pings and never PUBACKs"))


def test_an_fsync_that_hangs_at_the_command_centre(
    ground: Ground, machine: Machine, table: Callable[[Row], None]
) -> None:
    ground.mcc.environment = machine.environment
    ground.start(2)
    machine.set(sync_hangs=True)
    alarm_id = ground.raise_alarm(ground.posts[0])
    # It gives no receipts and no beats, and the other post's lamp says so.
    ground.posts[1].until_lamp("out_of_order", LOST_S)
    assert alarm_id not in ground.delivered()
    machine.set()
    table(ground.settle("fsync hangs at the command centre"))


def test_sigstop_for_longer_than_every_timeout(
    tmp_path: Path, scale: int, table: Callable[[Row], None]
) -> None:
    with contextlib.ExitStack() as stack:
        # A ground for each victim: they wait at the same time.
        grounds: dict[str, Ground] = {}
        for name in ("post", "gateway", "mcc", "broker"):
            (tmp_path / name).mkdir()
            running = stack.enter_context(Mosquitto())
            grounds[name] = stack.enter_context(Ground(tmp_path / name, running))
        for ground in grounds.values():
            ground.start(2)
        victims = [_victim(ground, name) for name, ground in grounds.items()]
        for ground, victim in zip(grounds.values(), victims, strict=True):
            ground.raise_alarm(ground.posts[0])
            victim.freeze()
            ground.raise_alarm(ground.posts[1])
        # This is the fault itself, not a wait for something that could be seen.
        time.sleep(FROZEN_S if scale == 1 else FROZEN_LONG_S)
        for victim in victims:
            victim.thaw()
        for name, ground in grounds.items():
            row = ground.settle(f"SIGSTOP of {name} for longer than every timeout")
            assert row.delivered == 2
            table(row)


def _victim(ground: Ground, name: str) -> Part | Mosquitto:
    parts = {"post": ground.posts[0], "gateway": ground.gateway, "mcc": ground.mcc}
    return parts.get(name, ground.broker)
