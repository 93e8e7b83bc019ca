"""The daily self-test with the real cores of all three: what is planted is named rightly."""

from __future__ import annotations

import pytest

from mcc.alarms import RESPONDER
from protocol.messages import Alarm, Command, Selftest
from simulation.broker import Packet
from simulation.mutations import mutated
from simulation.timeline import Violation
from tests.simulation.script import POST, Script

WITHIN_S = 70 * 60.0


def an_hour_later(script: Script) -> Selftest:
    """What the command centre knows an hour later."""
    script.run_for(WITHIN_S)
    result = script.centre.disk.posts[POST].selftest
    assert result is not None
    return result


def faults(script: Script) -> set[str]:
    return set(script.centre.disk.posts[POST].faults)


def of_gateway(script: Script) -> set[str]:
    (gateway,) = script.centre.disk.gateways.values()
    return set(gateway.faults)


def test_a_sound_post_passes_hop_by_hop_and_nobody_sees_or_hears_it() -> None:
    script = Script()
    result = an_hour_later(script)
    assert (result.failed, result.circuit, result.lamp) == (None, "looped", "armed")
    assert result.proven_at == result.ended_at
    assert (script.alarms, script.sounds, script.lamp) == ([], 0, "armed")
    assert script.post.clicks == 0
    assert script.centre.disk.selftests[POST].alarm_id == result.alarm_id
    assert script.gateway.disk.rows == {}


def test_a_planted_dead_button_circuit_is_named() -> None:
    script = Script()
    script.post.is_cut = True
    script.checkers.planted[POST] = "circuit_dead"
    assert an_hour_later(script).failed == "circuit_dead"
    assert faults(script) == {"button_circuit_dead"}
    assert script.lamp == "out_of_order"
    script.post.is_cut = False
    del script.checkers.planted[POST]
    assert an_hour_later(script).failed is None
    assert faults(script) == set()
    assert script.lamp == "armed"


def test_a_planted_deaf_gateway_is_named() -> None:
    script = Script()
    script.drops = lambda packet: isinstance(packet.message, Alarm)
    script.checkers.planted[POST] = "gateway_deaf"
    assert an_hour_later(script).failed == "gateway_deaf"
    assert faults(script) == {"gateway_deaf"}


def is_answer(packet: Packet) -> bool:
    return isinstance(packet.message, Command) and packet.message.operator == RESPONDER


def test_a_planted_dead_responder_is_named_once_and_not_as_the_posts_fault() -> None:
    script = Script()
    script.drops = is_answer
    script.checkers.planted[POST] = "responder_dead"
    assert an_hour_later(script).failed == "responder_dead"
    assert faults(script) == set()
    assert of_gateway(script) == {"responder_dead"}
    del script.checkers.planted[POST]
    script.drops = lambda packet: False
    script.run_for(120)
    result = script.centre.disk.posts[POST].selftest
    assert result is not None
    assert result.failed is None
    assert of_gateway(script) == set()


def test_a_command_centre_that_receipts_nothing_is_named() -> None:
    script = Script()
    script.drops = lambda packet: (
        isinstance(packet.message, Command) and packet.message.action == "receive"
    )
    script.checkers.planted[POST] = "mcc_deaf"
    assert an_hour_later(script).failed == "mcc_deaf"


@pytest.mark.parametrize(
    "broken", ["take_selftests_for_calls", "answer_no_selftest", "show_selftests_as_calls"]
)
def test_what_breaks_self_tests_is_caught(broken: str) -> None:
    def run() -> None:
        script = Script()
        script.run_for(WITHIN_S)
        script.let_selftests_end()

    with mutated(broken), pytest.raises(Violation):
        run()
