"""The part `growth`: a gateway's start with a long past, and what a post-year adds to a disk."""

from __future__ import annotations

import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import msgspec
import paho.mqtt.client as mqtt

from benchmarks.centre import NotMeasured
from benchmarks.firmware import PROOFS
from benchmarks.floor import client
from benchmarks.ground import with_broker
from benchmarks.kept import an_alarm
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome, table
from device.core import RING_EVENTS_MAX
from gateway.core import Commit, Committed, Put
from gateway.journal import Journal
from gateway.record import AlarmRecord, history, new_record
from hardware.clock import Now, uptime_us
from protocol.codec import encode
from protocol.messages import Alarm, Health, MccPost, Receipted, Step
from protocol.topics import Topics
from protocol.values import new_id, timestamp

GATEWAY = "growth-gw"
ROWS, OPEN = 1_000_000, 10_000
LIVES = 1_000  # alarms whose whole life is written, to see what one takes
SELFTESTS, CALLS = 365, 12  # of a post in a year: one a day, and a call a month
CALL_STATES = ("delivered", "acknowledged", "dispatched", "resolved")
SELFTEST_STATES = ("delivered", "resolved")
START_LIMIT_S = 30.0
WAIT_S = 60.0
ASK_EVERY_S = 0.05
# Only so that a million rows are made in seconds; the gateway opens the file in its own way.
MAKING = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000")
# A million ids that do not come in their order, as those of posts do not.
INSERT = """
WITH RECURSIVE one(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM one WHERE n < :rows)
INSERT INTO alarms (alarm_id, post, state, live, settled_at, raised_ms, body)
SELECT id, 'growth-' || (n % 1000), :state, :live, :settled, :raised_ms + n,
       replace(:body, :template, id)
FROM (SELECT n, printf('%08x-%04x-4000-8000-%012x', abs(random()) % 4294967296,
                       n % 65536, n + :first) AS id FROM one)
"""


def part(setting: Setting) -> Outcome:
    """The start, then the growth."""
    rows, open_ones = setting.sized(ROWS, 20_000), setting.sized(OPEN, 200)
    setting.say(f"{rows} rows are made")
    path = setting.directory / f"{GATEWAY}.db"
    size = _fill(path, rows, open_ones)
    setting.say("the gateway starts")
    ready_s, answered_s = _start(setting, open_ones)
    life_bytes, selftest_bytes, wire_rows = _life(setting.directory / "lives.db")
    start_rows = [
        (f"gateway with {rows:,} alarms in its journal ({size / 1e6:.0f} MB)", "seconds"),
        (
            f"  of them {open_ones:,} open, and as many posts with a fault: start to ready",
            f"{ready_s:.2f}",
        ),
        ("  start to the first answered heartbeat", f"{answered_s:.2f}"),
    ]
    growth_rows = [
        ("what stays on a disk", "bytes"),
        (f"gateway: an alarm's whole life, {wire_rows} rows of history", f"{life_bytes:.0f}"),
        ("gateway: a self-test's whole life, which ends with its rows", f"{selftest_bytes:.0f}"),
        (
            f"gateway: a post-year of {SELFTESTS} self-tests and {CALLS} calls",
            f"{life_bytes * CALLS + selftest_bytes * SELFTESTS:.0f}",
        ),
        (
            f"post: its outbox and the last {RING_EVENTS_MAX} events, at most",
            f"{_outbox(setting)}",
        ),
    ]
    return Outcome(
        text=f"{table(start_rows)}\n\n{table(growth_rows)}",
        goals=(
            Goal(
                what=f"gateway start to its first answer, {rows:,} rows",
                found=answered_s,
                limit=START_LIMIT_S,
                unit="s",
            ),
        ),
    )


def _now(add_us: int = 0) -> Now:
    return Now(uptime_us() + add_us, time.time_ns() // 1_000_000 + add_us // 1000, True)


def steps(record: AlarmRecord, states: Iterable[str]) -> Iterator[AlarmRecord]:
    """The life of an alarm as the journal sees it, from the first commit to the last."""
    yield record
    step = Step(
        at=record.reached.received.at, operator="operator-1", console="console", command_id=new_id()
    )
    reached = record.reached
    for state in states:
        receipt = Receipted(store_id=new_id(), content="0" * 16)
        reached = msgspec.structs.replace(reached, **{state: step})
        record = msgspec.structs.replace(record, state=state, reached=reached, receipted=receipt)
        yield record
    record = msgspec.structs.replace(
        record, outcome="test", listed=False, cleared=True, settled_at=step.at
    )
    yield record


def _fill(path: Path, rows: int, open_ones: int) -> int:
    """A journal with so many alarms that are over, and so many that are open; its size."""
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()
    journal = Journal(f"sqlite:///{path}", answers.put)
    journal.open()
    journal.close(WAIT_S)
    opened = new_record(an_alarm("growth-0"), _now(), None)
    over = list(steps(opened, CALL_STATES))[-1]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in MAKING:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        for record, count, first in ((over, rows - open_ones, 0), (opened, open_ones, rows)):
            connection.execute(
                INSERT,
                {
                    "rows": count,
                    "first": first,
                    "state": record.state,
                    "live": record.live,
                    "settled": record.settled_at,
                    "raised_ms": time.time_ns() // 1_000_000 - 2 * rows,
                    "body": msgspec.json.encode(record).decode(),
                    "template": record.alarm_id,
                },
            )
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")
    return path.stat().st_size


def _start(setting: Setting, faulty: int) -> tuple[float, float]:
    """Seconds from the start of the process to ready, and to an answered heartbeat."""
    topics = Topics()
    with ExitStack() as ending:
        ground = with_broker(setting.directory, setting.mosquitto, ending)
        answered = threading.Event()
        probe = client("growth-probe", ground.port)
        probe.on_connect = lambda one, *_: one.subscribe(topics.post("growth-1", "answer"), qos=1)
        subscribed = threading.Event()
        probe.on_subscribe = lambda *_: subscribed.set()

        def on_message(*_: object) -> None:
            answered.set()

        probe.on_message = on_message
        probe.loop_start()
        if not subscribed.wait(WAIT_S):
            raise NotMeasured("the broker did not take a subscription")
        _shown_before(probe, topics, faulty)
        settings = ground.write_gateway(GATEWAY)
        began_s = time.monotonic()
        ground.start(GATEWAY, "gateway.cli", "run", "--config", settings)
        n = 0
        ready_s = 0.0
        boot_id, connection = new_id(), new_id()
        while not answered.wait(ASK_EVERY_S):
            ground.look_whole()
            n += 1
            if not ready_s:
                log = (ground.directory / f"{GATEWAY}.log").read_text(errors="replace")
                ready_s = time.monotonic() - began_s if "event=gateway_ready" in log else 0.0
            if time.monotonic() - began_s > WAIT_S:
                raise NotMeasured(f"no heartbeat was answered within {WAIT_S:g} s")
            health = Health(
                post="growth-1",
                n=n,
                boot_id=boot_id,
                connection=connection,
                at=timestamp(time.time_ns() // 1_000_000),
                clock="synchronised",
                uptime_ms=n,
            )
            probe.publish(topics.post("growth-1", "health"), encode(health), qos=1)
        answered_s = time.monotonic() - began_s
        probe.disconnect()
        probe.loop_stop()
    return ready_s or answered_s, answered_s


def _shown_before(probe: mqtt.Client, topics: Topics, faulty: int) -> None:
    """What the broker kept of the posts that had an open fault."""
    for number in range(faulty):
        post = f"growth-{number}"
        shown = MccPost(
            post=post,
            gateway=GATEWAY,
            connection="online",
            at=timestamp(time.time_ns() // 1_000_000),
            faults=("button_stuck",),
        )
        sent = probe.publish(topics.mcc("posts", post), encode(shown), qos=1, retain=True)
    sent.wait_for_publish(WAIT_S)


def _life(path: Path) -> tuple[float, float, int]:
    """What a whole life leaves in the journal: bytes of a call's and a self-test's, history rows.

    A self-test leaves the journal when it is over (docs/adr/0012); its pages serve the next one.
    """
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()
    journal = Journal(f"sqlite:///{path}", answers.put)
    journal.open()
    empty_bytes, _ = _size(path)
    tokens = itertools.count(1)
    rng = Random(1)
    for number in range(LIVES):
        _live(journal, an_alarm(f"growth-{rng.randrange(100)}"), number, tokens, CALL_STATES)
    _wait(answers, next(tokens))
    calls_bytes, rows = _size(path)
    for number in range(LIVES):
        call = an_alarm(f"growth-{rng.randrange(100)}")
        alarm = msgspec.structs.replace(call, kind="selftest", presses_ms=(), circuit="looped")
        _live(journal, alarm, number, tokens, SELFTEST_STATES)
        _wait(answers, next(tokens))  # as the gateway: it goes when it is known to be over
        journal.submit(Commit(next(tokens), (), deletes=(alarm.alarm_id,)))
        _wait(answers, next(tokens))
    all_bytes, _ = _size(path)
    journal.close(WAIT_S)
    return (calls_bytes - empty_bytes) / LIVES, (all_bytes - calls_bytes) / LIVES, rows // LIVES


def _live(
    journal: Journal, alarm: Alarm, number: int, tokens: Iterator[int], states: Iterable[str]
) -> None:
    before: AlarmRecord | None = None
    for record in steps(new_record(alarm, _now(number), None), states):
        rows = history(before, record, timestamp(_now().wall_ms))
        journal.submit(Commit(next(tokens), (Put(record, before is None, rows),)))
        before = record


def _wait(answers: queue.SimpleQueue[object], upto: int) -> None:
    """Until all is written below this token."""
    token = 0
    while token < upto - 1:
        answer = answers.get(timeout=WAIT_S)
        if not isinstance(answer, Committed):
            raise NotMeasured(f"the journal could not be written: {answer}")
        token = max(answer.tokens)


def _size(path: Path) -> tuple[int, int]:
    """The journal's bytes as they stand after its log, and its rows of history."""
    with closing(sqlite3.connect(path)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        (rows,) = connection.execute("SELECT count(*) FROM history").fetchone()
    return pages * page_bytes, rows


def _outbox(setting: Setting) -> int:
    """The file of an outbox with every place of its ring taken, and 16 alarms."""
    from device.core import Commit as Write
    from device.core import RingEvent
    from device.held import Held
    from device.outbox import Outbox

    path = setting.directory / "full.db"
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()
    outbox = Outbox(path, answers.put)
    outbox.open()
    event = RingEvent(timestamp(time.time_ns() // 1_000_000), 1, "raised", new_id())
    held = tuple(Held(alarm=an_alarm("growth-0")) for _ in range(16))
    outbox.commit(Write(1, held, (), (event,) * RING_EVENTS_MAX))
    for write in range(2, PROOFS):
        outbox.commit(Write(write, held, (), (event,) * 30))
        answers.get(timeout=WAIT_S)
    outbox.close(WAIT_S)
    return sum(one.stat().st_size for one in path.parent.glob("full.db*"))
