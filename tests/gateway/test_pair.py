"""Two machines that are one gateway: one speaks, the other takes over, and never both."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from demo.stage import until
from gateway.lease import SETTLE_US, SPEAK_US
from gateway.pair import (
    FOREIGN_US,
    KEPT_US,
    LISTEN_US,
    QUEUE_LIMIT,
    QUEUE_RESERVED,
    UNHEARD_US,
    Member,
    Sees,
    TakesOver,
)
from hardware.clock import Now
from process.core import Heard, LinkDown, LinkUp, Publish, Tick
from process.events import EventQueue
from protocol.messages import MccGateway
from protocol.topics import Topics
from protocol.values import timestamp
from tests.broker import Mosquitto
from tests.gateway.pair_rig import GATEWAY, NAMES, WAIT_S, Machine, Pair, Town
from tests.gateway.rig import WALL_MS, some_id
from tests.gateway.test_seat import HOLDER
from tests.monitoring import scrape
from tests.postgresql import PostgreSQL

# It is 10 s on a machine with nothing else to do (`make faults` holds it to that); the rest is room
# for one that runs all tests.
TAKE_OVER_S = 25.0


# --- what a member says --------------------------------------------------------------------------


def at(uptime_us: int) -> Now:
    return Now(uptime_us, WALL_MS, True)


def said(effects: Sequence[object]) -> list[MccGateway]:
    found = [one.message for one in effects if isinstance(one, Publish)]
    return [one for one in found if isinstance(one, MccGateway)]


def member() -> Member:
    one = Member(GATEWAY, NAMES[0], Topics().mcc("gateways", NAMES[0]), at(0))
    one.handle(LinkUp("pair", "c1"), at(0))
    return one


def heard(journal_id: str, *, retained: bool = False, online: bool = True) -> Heard:
    document = MccGateway(
        gateway=GATEWAY, online=online, at=timestamp(WALL_MS), journal_id=journal_id
    )
    address = Topics().parse(Topics().mcc("gateways", GATEWAY))
    return Heard("pair", "c1", address, document, retained=retained)


def test_a_member_says_that_it_stands_by_and_every_10_s_again_until_it_takes_over() -> None:
    one = Member(GATEWAY, NAMES[0], Topics().mcc("gateways", NAMES[0]), at(0))
    assert said(one.handle(Tick(), at(0))) == []
    (first,) = said(one.handle(LinkUp("pair", "c1"), at(0)))
    assert (first.gateway, first.pair_of, first.standing_by) == (NAMES[0], GATEWAY, True)
    assert said(one.handle(Tick(), at(9_999_999))) == []
    assert one.wake_at_us() == 10_000_000
    assert len(said(one.handle(Tick(), at(10_000_000)))) == 1
    (now,) = said(one.handle(TakesOver(some_id(1)), at(11_000_000)))
    assert (now.standing_by, now.journal_id) == (False, some_id(1))


def test_a_live_gateway_of_another_journal_is_a_fault_while_it_lives() -> None:
    one = member()
    one.handle(Sees(some_id(1)), at(1))
    assert said(one.handle(heard(some_id(2), retained=True), at(2))) == []  # proves nothing
    assert said(one.handle(heard(some_id(1)), at(3))) == []
    (split,) = said(one.handle(heard(some_id(2)), at(4)))
    assert split.faults == ("foreign_journal",)
    assert one.wake_at_us() == 10_000_004
    one.handle(Tick(), at(10_000_004))
    one.handle(Tick(), at(20_000_004))
    (over,) = said(one.handle(Tick(), at(4 + FOREIGN_US)))
    assert over.faults == ()


def test_an_active_gateway_sees_another_one_of_its_name_while_both_speak() -> None:
    one = member()
    one.handle(TakesOver(some_id(1)), at(0))
    (split,) = said(one.handle(heard(some_id(2)), at(1)))
    assert (split.standing_by, split.faults) == (False, ("foreign_journal",))
    # They kick each other off and speak in turns: its own word does not end it.
    assert said(one.handle(heard(some_id(1)), at(2))) == []
    (over,) = said(one.handle(Tick(), at(1 + FOREIGN_US)))
    assert over.faults == ()


def test_a_foreign_gateway_is_not_gone_while_we_cannot_hear() -> None:
    one = member()
    one.handle(TakesOver(some_id(1)), at(0))
    one.handle(heard(some_id(2)), at(1))
    one.handle(LinkDown("pair", "c1", "lost"), at(2))
    assert one.wake_at_us() is None
    one.handle(Tick(), at(10 * FOREIGN_US))
    assert one.faults == ("foreign_journal",)
    one.handle(LinkUp("pair", "c2"), at(10 * FOREIGN_US))
    one.handle(Tick(), at(11 * FOREIGN_US - 1))
    assert one.faults == ("foreign_journal",)
    (over,) = said(one.handle(Tick(), at(11 * FOREIGN_US)))
    assert over.faults == ()


def takes_at_us(one: Member, since_us: int, *, most_us: int = 60_000_000) -> int | None:
    """When it would take a seat that is free, looked at every half second."""
    for now_us in range(since_us, most_us, 500_000):
        one.handle(Sees(some_id(1), is_free=True), at(now_us))
        if one.may_take:
            return now_us
    return None


def test_who_stood_by_takes_the_seat_at_once_whoever_speaks() -> None:
    one = Member(GATEWAY, NAMES[0], Topics().mcc("gateways", NAMES[0]), at(0))
    one.handle(Sees(None), at(0))  # another one sits there, at a journal that it is just making
    assert one.may_take
    one.handle(LinkUp("pair", "c1"), at(1))
    one.handle(heard(some_id(2)), at(2))
    assert one.may_take


@pytest.mark.parametrize(
    "kept",
    [
        None,
        heard(some_id(2), retained=True, online=False),  # it said goodbye, or its will did
        heard(some_id(1), retained=True),  # of our journal: it was the gateway before
    ],
)
def test_a_lone_gateway_waits_only_for_what_the_broker_keeps(kept: Heard | None) -> None:
    one = member()
    if kept is not None:
        one.handle(kept, at(100_000))
    assert takes_at_us(one, 0) == KEPT_US


def test_a_broker_that_cannot_be_reached_holds_a_lone_gateway_up_for_three_seconds() -> None:
    one = Member(GATEWAY, NAMES[0], Topics().mcc("gateways", NAMES[0]), at(0))
    assert takes_at_us(one, 0) == UNHEARD_US


def test_a_server_that_cannot_be_reached_lets_nobody_decide() -> None:
    one = member()
    one.handle(Sees(None, "refused"), at(10_000_000))
    assert not one.may_take
    assert takes_at_us(one, 10_500_000) == 10_500_000  # it has listened for long enough by now


def test_a_free_seat_is_not_taken_while_a_gateway_of_another_journal_lives() -> None:
    one = member()
    one.handle(heard(some_id(2), retained=True), at(1))
    assert takes_at_us(one, 0) == LISTEN_US  # whoever that was, it is gone without a word
    other = member()
    other.handle(heard(some_id(2), retained=True), at(1))
    other.handle(heard(some_id(2)), at(9_000_000))
    assert takes_at_us(other, 0) == 9_000_000 + FOREIGN_US


def test_to_a_new_journal_without_an_id_every_gateway_is_foreign() -> None:
    one = member()
    one.handle(Sees(None, is_free=True), at(0))
    (split,) = said(one.handle(heard(some_id(2)), at(1)))
    assert (split.faults, split.journal_id) == (("foreign_journal",), None)
    assert not one.may_take


def test_a_journal_that_cannot_be_reached_is_a_fault_of_the_member() -> None:
    one = member()
    (down,) = said(one.handle(Sees(None, "refused"), at(1)))
    assert down.faults == ("journal_unreachable",)
    (up,) = said(one.handle(Sees(some_id(1)), at(2)))
    assert (up.faults, up.journal_id) == ((), some_id(1))


def test_a_member_that_hears_too_much_holds_the_broker_back() -> None:
    queue = EventQueue(QUEUE_LIMIT, QUEUE_RESERVED)
    room = QUEUE_LIMIT - QUEUE_RESERVED
    taken = [queue.offer(Sees(None), droppable=True) for _ in range(room + 1)]
    assert taken == [True] * room + [False]  # the link stops reading, and goes on later
    assert queue.offer(TakesOver(some_id(1)), droppable=False)


def test_who_takes_over_is_silent_for_longer_than_the_other_may_speak() -> None:
    assert SETTLE_US > SPEAK_US


# --- two real gateways, a real server and a real broker ------------------------------------------


@pytest.fixture
def pair(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[Pair]:
    name = f"pair_{os.getpid()}_{time.monotonic_ns()}"
    postgresql.sql(f"CREATE DATABASE {name}")
    with Mosquitto() as broker, Pair(tmp_path, broker, postgresql.url(name)) as both:
        yield both


def test_a_pair_loses_nothing_whatever_ends_the_active_one(
    pair: Pair, postgresql: PostgreSQL
) -> None:
    """One start, four ends: kill -9, the server ends its session, the server restarts, SIGSTOP."""
    pair.until_spoken()
    town = pair.town

    def calls(count: int) -> None:
        for n in range(count):
            town.call(f"mlg-pair-rw{n:02d}")

    calls(20)
    first = pair.active()
    # kill -9
    began_s = time.monotonic()
    first.end()
    calls(20)
    assert pair.until_spoken(after_s=0.3) - began_s < TAKE_OVER_S
    first.start()
    second = pair.active()
    assert second is not first
    # Its session is ended: the other one takes the seat, or it does so itself.
    postgresql.sql(HOLDER)
    calls(20)
    pair.until_listed()
    # The server restarts.
    postgresql.stop()
    calls(20)
    postgresql.start()
    pair.until_listed()
    # Stopped, and going on when the other one is the gateway.
    frozen = pair.active()
    began_s = time.monotonic()
    frozen.send(signal.SIGSTOP)
    calls(20)
    assert pair.until_spoken(after_s=0.3) - began_s < TAKE_OVER_S
    other = pair.other(frozen)
    pair.until_listed()
    before = other.log
    frozen.send(signal.SIGCONT)
    assert frozen.process is not None
    assert frozen.process.wait(TAKE_OVER_S) == 70
    assert "event=seat_lost" in frozen.log
    assert "event=link_down" not in other.log[len(before) :]  # it was not even kicked off
    frozen.start()
    assert pair.active() is other

    assert town.journals == {
        str(row[0]) for row in pair.rows("SELECT value FROM meta WHERE key = 'journal_id'")
    }
    assert pair.rows("SELECT count(*) FROM alarms") == [(100,)]
    assert pair.rows(
        "SELECT count(*), count(DISTINCT alarm_id) FROM history WHERE what = 'received'"
    ) == [(100, 100)]
    assert set(town.shown) == set(town.listed)
    assert town.silent == set()


@pytest.fixture
def split(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[tuple[Machine, Machine, Town]]:
    """Two machines of one pair whose settings name two databases."""
    with Mosquitto() as broker:
        machines = []
        for name in NAMES:
            database = f"{name.replace('-', '_')}_{os.getpid()}_{time.monotonic_ns()}"
            postgresql.sql(f"CREATE DATABASE {database}")
            machines.append(Machine(name, broker.url, postgresql.url(database), tmp_path))
        town = Town(broker.port)
        first, second = machines
        try:
            yield first, second, town
        finally:
            for machine in machines:
                machine.end()
            town.close()


def test_who_comes_to_another_database_than_the_gateways_stands_by_and_says_why(
    split: tuple[Machine, Machine, Town],
) -> None:
    first, second, town = split
    first.start()
    until("the first is the gateway", lambda: not town.spoke.empty() or None, WAIT_S)
    before = first.log
    second.start()
    until(
        "the second says it",
        lambda: town.members[second.name].faults if second.name in town.members else None,
        WAIT_S,
    )
    assert town.members[second.name].faults == ("foreign_journal",)
    assert town.members[second.name].standing_by
    assert "event=link_down" not in first.log[len(before) :]
    assert "takes_over" not in second.log
    assert "kentongan_gateway_standing_by 0.0" in scrape(first.metrics_port)
    until(
        "its metrics say so too",
        lambda: 'faults{fault="foreign_journal"} 1.0' in scrape(second.metrics_port) or None,
    )
    assert "kentongan_gateway_standing_by 1.0" in scrape(second.metrics_port)


def test_two_gateways_at_two_databases_both_say_so(split: tuple[Machine, Machine, Town]) -> None:
    first, second, town = split
    first.start()
    second.start()  # neither has said a word that the other one could hear before

    def both_say() -> bool:
        said = [town.members.get(one.name) for one in (first, second)]
        return all(
            one is not None and not one.standing_by and one.faults == ("foreign_journal",)
            for one in said
        )

    until("both say it", both_say, WAIT_S)
    journals = {town.members[one.name].journal_id for one in (first, second)}
    assert len(journals) == 2
    assert None not in journals
