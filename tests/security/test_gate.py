"""The gateway's door: who may say what, and how fast."""

from __future__ import annotations

from typing import Any, get_args

import pytest

import gateway.gate
from gateway.gate import (
    CONSOLE_PACE,
    FLOODING_FOR_US,
    MAY,
    POST_PACE,
    SECOND_US,
    ConsoleRole,
    Gate,
    PostEntry,
    Register,
)
from protocol.messages import NEEDED, Action, Message
from protocol.topics import Address
from tests.protocol.specimens import EXAMPLES, command

REGISTER = Register(
    posts={"mlg-rw01": PostEntry(), "mlg-rw02": PostEntry()},
    consoles={"console": "operator", "teknisi": "technician", "layar": "viewer"},
    denied=frozenset(("mlg-rw02",)),
)
HEALTH = EXAMPLES["posts/health"][0]


def why(gate: Gate, address: Address, message: Message = HEALTH, now_us: int = 0) -> str | None:
    refused = gate.admit(address, message, now_us)
    return None if refused is None else refused.why


def health(post: str) -> Address:
    return Address("posts", "health", post)


def test_without_a_register_everyone_may_speak() -> None:
    gate = Gate()
    assert why(gate, health("mlg-anyone")) is None
    assert why(gate, Address("mcc", "commands", "anyone"), command("beat")) is None


@pytest.mark.parametrize("what", ["alarms", "presence", "health", "renewal"])
def test_a_post_must_be_registered_and_not_shut_out(what: str) -> None:
    gate = Gate(REGISTER)
    assert why(gate, Address("posts", what, "mlg-rw01")) is None
    assert why(gate, Address("posts", what, "mlg-rw02")) == "denied"
    assert why(gate, Address("posts", what, "mlg-rw03")) == "not_registered"


def test_documents_of_our_own_are_read_back_whomever_they_name() -> None:
    gate = Gate(REGISTER)
    for address in (
        Address("posts", "state", "mlg-rw03"),
        Address("mcc", "posts", "mlg-rw03"),
        Address("mcc", "alarms", "0b8f3c52-5f0e-4d1e-9a76-2f4f6d1f9a01"),
    ):
        assert why(gate, address) is None


TABLE = {
    # action: what an operator, a technician and a viewer may
    "beat": (True, True, False),
    "receive": (True, False, False),
    "acknowledge": (True, False, False),
    "dispatch": (True, False, False),
    "resolve": (True, False, False),
    "panic": (True, True, False),
    "open_test": (True, True, False),
    "close_test": (True, True, False),
}


@pytest.mark.parametrize("action", NEEDED)
def test_each_role_may_command_what_the_table_says(action: Action) -> None:
    gate = Gate(REGISTER)
    fields: dict[str, Any] = {"kind": "panic"} if "kind" in NEEDED[action] else {}
    for name, may in zip(("console", "teknisi", "layar"), TABLE[action], strict=True):
        address = Address("mcc", "commands", name)
        assert (why(gate, address, command(action, **fields)) is None) == may, name


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_a_technician_answers_tests(action: Action) -> None:
    address = Address("mcc", "commands", "teknisi")
    assert why(Gate(REGISTER), address, command(action, kind="test")) is None
    assert why(Gate(REGISTER), address, command(action, kind="selftest")) == "above_role"


def test_the_table_names_every_role_and_every_action() -> None:
    assert set(MAY) == set(get_args(ConsoleRole))
    assert set(TABLE) == set(get_args(Action))


def test_a_console_that_is_not_registered_is_refused() -> None:
    address = Address("mcc", "commands", "mlg-rw01")
    assert why(Gate(REGISTER), address, command("beat")) == "not_registered"


def test_a_flood_is_cut_at_the_pace_and_ends_when_it_ends() -> None:
    gate = Gate(REGISTER)
    heard = sum(why(gate, health("mlg-rw01")) is None for _ in range(5_000))
    assert heard == POST_PACE.burst
    assert gate.flooding(0) == {"mlg-rw01"}
    assert gate.counts["flood"] == 5_000 - heard
    # One second later: a second's worth.
    heard = sum(why(gate, health("mlg-rw01"), now_us=SECOND_US) is None for _ in range(1_000))
    assert heard == POST_PACE.per_second
    assert gate.flooding(SECOND_US + FLOODING_FOR_US - 1) == {"mlg-rw01"}
    assert gate.flooding(SECOND_US + FLOODING_FOR_US) == frozenset()


def test_one_posts_flood_costs_no_other_a_word() -> None:
    gate = Gate()
    for _ in range(5_000):
        gate.admit(health("mlg-rw02"), HEALTH, 0)
    assert why(gate, health("mlg-rw01")) is None


def test_a_post_that_calls_with_all_it_can_hold_is_no_flood() -> None:
    gate = Gate(REGISTER)
    # 20 alarms offered at connecting and then each every 2 s, with a heartbeat every 5 s: an hour.
    address = Address("posts", "alarms", "mlg-rw01")
    for second in range(3_600):
        for _ in range(20 if second % 2 == 0 else 1):
            assert why(gate, address, now_us=second * SECOND_US) is None


def test_a_restored_command_centre_may_receipt_thousands_in_a_row() -> None:
    gate = Gate(REGISTER)
    address = Address("mcc", "commands", "console")
    assert all(
        why(gate, address, command("receive")) is None for _ in range(int(CONSOLE_PACE.burst))
    )


def test_a_flood_of_refusals_is_told_ever_more_seldom_and_always_counted() -> None:
    gate = Gate(REGISTER)
    told = [
        refused.count
        for _ in range(1_000)
        if (refused := gate.admit(health("mlg-rw02"), HEALTH, 0)) is not None and refused.tell
    ]
    assert told == [2**n for n in range(10)]
    assert gate.counts["denied"] == 1_000


def test_senders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.gate, "SENDERS_MAX", 3)
    gate = Gate()
    for _ in range(500):
        gate.admit(health("mlg-rw01"), HEALTH, 0)
    for name in ("a", "b", "c"):
        assert why(gate, health(name)) is None  # the longest unheard gives way
    assert why(gate, health("mlg-rw01")) is None


def test_a_clock_that_stands_still_or_goes_back_earns_nothing() -> None:
    gate = Gate()
    for now_us in (SECOND_US, 0):
        for _ in range(400):
            gate.admit(health("a"), HEALTH, now_us)
    assert why(gate, health("a"), now_us=0) == "flood"
