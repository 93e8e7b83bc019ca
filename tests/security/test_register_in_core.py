"""What the gateway's core makes of its register: names, places, silence, faults, floods."""

from __future__ import annotations

from gateway.core import FaultSeen, Flooding, Registered
from protocol.messages import MccGateway, MccPost, Place
from protocol.values import FAULTS_MAX
from tests.gateway.rig import GATEWAY, POST, TOPICS, Rig

PLACE = Place(lat=-7.944, lon=112.611)
NEVER_HEARD = "mlg-test-rw99"


def shown(rig: Rig, post: str = POST) -> MccPost:
    message = rig.retained[TOPICS.mcc("posts", post)]
    assert isinstance(message, MccPost)
    return message


def test_the_command_centre_reads_a_posts_name_and_place_from_the_register() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.send(Registered({POST: ("Pos RW 01", PLACE)}))
    assert (shown(rig).name, shown(rig).place) == ("Pos RW 01", PLACE)
    rig.send(Registered({POST: ("Pos RW 01 Baru", PLACE)}))
    assert shown(rig).name == "Pos RW 01 Baru"


def test_a_registered_post_that_was_never_heard_of_is_a_silence_that_is_seen() -> None:
    rig = Rig()
    rig.send(Registered({NEVER_HEARD: (None, None)}))
    assert shown(rig, NEVER_HEARD).connection == "unknown"
    rig.advance(91)
    assert shown(rig, NEVER_HEARD).connection == "silent"


def test_a_register_that_says_the_same_again_says_nothing_to_anybody() -> None:
    rig = Rig()
    rig.send(Registered({POST: ("Pos RW 01", PLACE)}))
    before = len(rig.effects)
    rig.send(Registered({POST: ("Pos RW 01", PLACE)}))
    assert rig.effects[before:] == []


def test_a_flooding_post_is_shown_as_such_until_it_ends_beside_its_own_faults() -> None:
    rig = Rig()
    faults = tuple(f"fault_{n}" for n in range(FAULTS_MAX))
    rig.heartbeat(faults=faults)
    rig.send(Flooding(frozenset((POST,))))
    assert shown(rig).faults[0] == "flooding"
    assert len(shown(rig).faults) == FAULTS_MAX
    rig.send(Flooding(frozenset()))
    assert shown(rig).faults == faults


def test_what_an_edge_finds_wrong_is_a_fault_of_the_gateway_until_it_is_over() -> None:
    rig = Rig()

    def faults() -> tuple[str, ...]:
        message = rig.retained[TOPICS.mcc("gateways", GATEWAY)]
        assert isinstance(message, MccGateway)
        return message.faults

    rig.send(FaultSeen("crl_expiring", present=True))
    assert "crl_expiring" in faults()
    rig.send(FaultSeen("crl_expiring", present=False))
    assert "crl_expiring" not in faults()
