"""Processes out of their senses: no descriptors, exceptions in callbacks, a wrong clock, a twin."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

from demo.stage import until
from tests.broker import Mosquitto, Wire
from tests.faults.ground import HASTY, Ground, Part, Row
from tests.faults.machine import Machine

THROWN = 3
LINK_CALLBACKS = [
    f"process.session:Session.{name}"
    for name in ("_on_connect", "_on_subscribe", "_on_message", "_on_publish", "_on_disconnect")
]
POST_CALLBACKS = [
    *LINK_CALLBACKS,
    "device.service:Service._from_link",
    "process.events:EventQueue.offer",
    "device.service:Service._perform",
    "device.core:Post.handle",
    "device.outbox:Outbox._write",
    "hardware.buzzer:Buzzer._play",
    "process.intake:Intake.read",
]
GATEWAY_CALLBACKS = [
    *LINK_CALLBACKS,
    "process.events:EventQueue.offer",
    "gateway.core:Gateway.handle",
    "gateway.journal:Journal._transact",
    "process.intake:Intake.read",
]
CENTRE_CALLBACKS = [
    *LINK_CALLBACKS,
    "process.events:EventQueue.offer",
    "mcc.core:Core.handle",
    "mcc.store:Store.commit",
    "process.intake:Intake.read",
]


def make_faulty(part: Part, *functions: str) -> list[Path]:
    """Let exceptions be thrown there; the files to write their number into, one each."""
    directory = part.directory / "left"
    directory.mkdir()
    for function in functions:
        (directory / function).write_text("0")
    part.environment = {"KENTONGAN_FAULTY": str(directory)}
    part.module = "tests.faults.faulty_process"
    return [directory / function for function in functions]


def test_exceptions_in_every_callback_of_a_post(
    ground: Ground, table: Callable[[Row], None]
) -> None:
    # A post of its own for each: one that starts itself anew is whole from then on.
    left = [make_faulty(ground.add_post(), function)[0] for function in POST_CALLBACKS]
    ground.start()
    for file in left:
        file.write_text(str(THROWN))

    def all_have_raised() -> bool:
        """Press where no alarm is held yet."""
        for post in ground.posts:
            if post.status().get("alarms") == []:
                ground.press(post)
        ground.note()
        return all(post.status().get("alarms") for post in ground.posts)

    ground.until("every post has raised", all_have_raised, 30)
    ground.until_delivered()
    # What only happens when a connection ends, or when a buzzer sounds.
    ground.broker.kill()
    ground.broker.start()
    row = ground.settle("exceptions in every callback of a post", traces=True)
    assert [file.name for file in left if file.read_text() == str(THROWN)] == []
    assert row.delivered >= len(left)
    table(row)


def heals(ground: Ground, part: Part, functions: list[str]) -> None:
    """Throw an exception in each function of the link, then in each other; alarms get through."""
    left = make_faulty(part, *functions)
    ground.start(1)
    (post,) = ground.posts
    for in_link in (True, False):
        files = [file for file in left if (file.name in LINK_CALLBACKS) is in_link]
        for file in files:
            file.write_text("1")
        if in_link:  # some are only called when a connection begins or ends
            ground.broker.kill()
            ground.broker.start()

        def all_have_raised(files: list[Path] = files) -> bool:
            return all(file.read_text() == "0" for file in files)

        ground.until_delivered(ground.raise_alarm(post))
        ground.until("resolved", ground.resolved)
        ground.until(f"{[file.name for file in files]} have raised", all_have_raised)


def test_exceptions_in_every_callback_of_the_gateway(
    ground: Ground, table: Callable[[Row], None]
) -> None:
    heals(ground, ground.gateway, GATEWAY_CALLBACKS)
    row = ground.settle("exceptions in every callback of the gateway", traces=True)
    assert row.delivered == 2
    table(row)


def test_exceptions_in_every_callback_of_the_command_centre(
    ground: Ground, table: Callable[[Row], None]
) -> None:
    heals(ground, ground.mcc, CENTRE_CALLBACKS)
    row = ground.settle("exceptions in every callback of the command centre", traces=True)
    assert row.delivered == 2
    table(row)


def take_descriptors(part: Part) -> Callable[[], object]:
    """From now on it can open nothing new; what is returned gives them back."""
    pid = part.pid(part.role)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    return lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_file_descriptors_exhausted_at_post_and_gateway(
    ground: Ground, broker: Mosquitto, table: Callable[[Row], None]
) -> None:
    with Wire(broker.port) as wire:
        url = f"mqtt://127.0.0.1:{wire.port}"
        post = ground.add_post(url)
        ground.gateway = Part("gateway", ground.directory / "gateway", url)
        ground.start()
        # The panel needs a descriptor: its request is there before the limit is.
        ground.calls[post.post_id] += 1
        later = [[1_500_000 + t_us, level] for t_us, level in HASTY]
        pressing = threading.Thread(target=lambda: post.panel("edges", edges=later))
        pressing.start()
        time.sleep(0.5)  # the hand is on its way; nothing tells when the post has taken it up
        give_back = [take_descriptors(part) for part in (post, ground.gateway)]
        wire.cut()
        pressing.join()
        until("lit", lambda: "event=lamp meaning=calling" in post.log)
        for part in (post, ground.gateway):
            until("it tries in vain", lambda part=part: "Too many open files" in part.log)  # type: ignore[misc]
        for give in give_back:
            give()
        row = ground.settle("file descriptors exhausted at post and gateway")
        assert row.delivered == 1
        table(row)


def test_clocks_set_back_and_forward(
    ground: Ground, shim: Path, tmp_path: Path, table: Callable[[Row], None]
) -> None:
    post = ground.add_post()
    machines = [Machine(shim, tmp_path) for _ in range(3)]
    for part, machine in zip((post, ground.gateway, ground.mcc), machines, strict=True):
        part.environment = machine.environment
    ground.start()
    to_1970_s = -int(time.time()) + 86_400
    hours_s = 3600
    steps = [
        (to_1970_s, 0, 0),
        (0, 9 * hours_s, -5 * hours_s),
        (10 * 366 * 24 * hours_s, to_1970_s, 24 * hours_s),
        (0, 0, 0),
    ]
    for offsets_s in steps:
        for machine, offset_s in zip(machines, offsets_s, strict=True):
            machine.set(clock_offset_s=offset_s)
        ground.until_delivered(ground.raise_alarm(post))
        assert post.status()["lamp"] == "calling"
        ground.until("resolved", ground.resolved)
        post.until_lamp("armed")
    row = ground.settle("clocks set back and forward at post, gateway, centre")
    assert row.delivered == len(steps)
    assert post.status()["acknowledgement_buzzes"] == len(steps)
    for part in (ground.gateway, ground.mcc):
        assert "presence=silent" not in part.log, "a step of the clock is no silence"
    table(row)


def test_two_posts_with_one_identity_are_named(
    ground: Ground, broker: Mosquitto, table: Callable[[Row], None]
) -> None:
    ground.start(1)
    (post,) = ground.posts
    twin = Part("post", ground.directory / "twin", broker.url, post_id=post.post_id)
    twin.start()
    named = f"does another device use {post.post_id}"
    until("it is named", lambda: named in post.log or named in twin.log, 40)
    # The command centre hears of it from one of them, while that one has the connection.
    until("it is a fault", lambda: "identity_in_doubt" in ground.mcc.log_or_screen(), 40)
    alarm_id = ground.raise_alarm(post)
    ground.until_delivered(alarm_id)
    twin.close()
    row = ground.settle("two posts with one identity (a cloned card)")
    assert row.delivered == 1
    table(row)
