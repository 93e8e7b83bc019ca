"""The traces that broke earlier drafts of the contract: the gateway's side of each."""

from __future__ import annotations

import msgspec
import pytest

from device.held import Held
from gateway.record import AlarmRecord
from process.core import Heard, Publish
from protocol.messages import Alarm, Answer, Health, MccAlarm, MccPost, PostState
from protocol.topics import Address
from tests.device.rig import Rig as PostRig
from tests.gateway.rig import ALARM, BOOT, POST, STORE, TOPICS, Rig, held, make_alarm, some_id

LATER = some_id(0xA2)
OTHER_STORE = some_id(0x5702)
NEW_JOURNAL = some_id(0x11)


def listed_and_delivered() -> Rig:
    """The alarm is at the MCC and listed, and the post has read it."""
    rig = Rig()
    rig.beat()
    rig.offer(age_s=10)
    rig.receive()
    rig.heartbeat(held(state="delivered"))
    rig.advance(2)
    return rig


def restored(rig: Rig, before: dict[str, AlarmRecord]) -> None:
    """The gateway comes back on an older copy of its journal, which so gets a new id."""
    rig.journal = dict(before)
    rig.restart(journal_id=NEW_JOURNAL)


def test_scenario_1_amnesia_and_an_old_journal() -> None:
    rig = Rig()
    rig.beat()
    before = dict(rig.journal)
    rig.offer()
    rig.receive()
    rig.retained.clear()
    restored(rig, before)
    rig.forget()
    # The post still holds it as delivered: the document that does not list it is its cue.
    rig.heartbeat(held(state="delivered"))
    assert rig.state_document().alarms == ()
    rig.offer(age_s=30)
    assert rig.listed() is not None
    document = rig.alarm_document()
    assert document.journal_id == NEW_JOURNAL
    assert document.receipted is None
    rig.receive()
    assert rig.alarm_document().state == "delivered"


def test_scenario_2_a_repeat_sent_once() -> None:
    rig = listed_and_delivered()
    # The offer with the repeat never arrives. The post's heartbeat says that it holds one more.
    rig.forget()
    rig.heartbeat(held(state="delivered", repeats=1))
    assert rig.published(PostState)[-1].alarms[0].repeats == 0
    rig.offer(age_s=15, repeat_ages_s=(2,))
    document = rig.alarm_document()
    assert document.repeats == 1
    assert document.receipted is not None
    assert document.receipted.content != document.content
    assert rig.sounds == ["alarm"]


def test_scenario_3_a_dropped_state_document() -> None:
    rig = listed_and_delivered()
    rig.command("resolve")
    rig.advance(2)
    rig.forget()  # as if its document had been lost
    rig.heartbeat(held(state="delivered"))
    assert rig.published(PostState)[-1].alarms[0].state == "resolved"
    rig.advance(30)
    rig.heartbeat(held(state="resolved", answered=0))
    assert rig.state_document().alarms == ()
    rig.heartbeat()
    rig.receive()
    rig.forget()
    rig.advance(3600)
    assert not any(document.alarms for document in rig.published(PostState))
    assert rig.published(MccAlarm) == []


def test_scenario_4_a_late_duplicate() -> None:
    rig = listed_and_delivered()
    rig.settle()
    rig.pass_days(8)
    assert rig.gateway.records == []
    rig.forget()
    rig.offer(age_s=8 * 86_400)
    listed = rig.listed()
    assert listed is not None
    assert listed.state == "resolved"
    assert rig.sounds == []
    assert rig.published(MccAlarm) == []
    rig.heartbeat()
    assert rig.state_document().alarms == ()
    assert rig.gateway.records == []


def test_scenario_5_the_swallowed_cry() -> None:
    rig = listed_and_delivered()
    # Three more presses and, before they arrive, the answer to what was on the screen.
    rig.command("acknowledge", repeats=0)
    rig.offer(age_s=12, repeat_ages_s=(1,))
    listed = rig.listed()
    assert listed is not None
    assert (listed.repeats, listed.answered_repeats) == (1, 0)
    # The post sees that nobody has answered its repeat, and raises it as an alarm of its own.
    rig.forget()
    rig.offer(LATER, age_s=1, follows=ALARM)
    assert rig.alarm_document(LATER).follows == ALARM
    assert rig.alarm_document(LATER).state == "received"
    assert rig.sounds == ["alarm"]


def test_scenario_5_the_swallowed_cry_when_it_is_resolved() -> None:
    rig = listed_and_delivered()
    rig.offer(age_s=12, repeat_ages_s=(1,))
    rig.command("resolve", repeats=0)
    listed = rig.listed()
    assert listed is not None
    assert (listed.repeats, listed.answered_repeats) == (1, 0)


def test_scenario_7_acknowledge_before_receive() -> None:
    rig = Rig()
    rig.beat()
    rig.offer()
    content = rig.alarm_document().content
    rig.command("acknowledge")
    rig.command("receive", content=content)
    document = rig.alarm_document()
    assert document.state == "acknowledged"
    assert document.reached.delivered is not None
    rig.receive()
    assert rig.alarm_document().receipted is not None
    rig.forget()
    rig.advance(400)
    assert rig.published(MccAlarm) == []


def test_scenario_8_the_gateway_restored_after_an_acknowledgement() -> None:
    rig = listed_and_delivered()
    before = dict(rig.journal)
    command = rig.command("acknowledge")
    restored(rig, before)
    # It offers delivered; the MCC holds acknowledged and sends its command again.
    assert rig.alarm_document().state == "delivered"
    rig.forget()
    rig.command("acknowledge", command_id=command)
    step = rig.alarm_document().reached.acknowledged
    assert step is not None
    assert step.command_id == command
    rig.advance(300)
    assert "escalation" not in rig.sounds


def test_scenario_9_an_old_answer() -> None:
    rig = listed_and_delivered()
    before = dict(rig.journal)
    command = rig.command("resolve")
    restored(rig, before)
    assert rig.alarm_document().state == "delivered"
    # Whatever the MCC has read before: the document below what it holds makes it send again.
    rig.command("resolve", command_id=command)
    assert rig.alarm_document().state == "resolved"
    assert rig.refusals == []


def test_scenario_10_old_receipts() -> None:
    rig = listed_and_delivered()
    before = dict(rig.journal)
    command = rig.command("resolve")
    rig.receive()
    restored(rig, before)
    # The receipt in the journal is void: the document is offered until it is receipted anew.
    assert rig.alarm_document().receipted is None
    rig.forget()
    rig.advance(60)
    assert len(rig.published(MccAlarm)) >= 2
    rig.command("resolve", command_id=command)
    rig.receive()
    document = rig.alarm_document()
    assert document.state == "resolved"
    assert document.receipted is not None


def test_scenario_11_an_alarm_nobody_has() -> None:
    rig = Rig()
    rig.beat()
    before = dict(rig.journal)
    rig.offer()
    rig.settle()
    rig.pass_days(8)
    restored(rig, before)
    rig.beat()
    command = rig.command("acknowledge")
    rig.advance(901)
    assert [(a.refused, a.command_id, a.alarm_id) for a in rig.refusals] == [
        ("unknown", command, ALARM)
    ]


def test_scenario_12_the_window_closes_between_two_calls() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(1)
    rig.command("open_test")
    rig.advance(60)
    rig.offer(age_s=2)
    assert rig.alarm_document().kind == "test"
    rig.advance(40)
    rig.command("close_test")
    rig.advance(5)
    rig.offer(age_s=47, repeat_ages_s=(1,))
    assert rig.alarm_document().kind == "panic"
    assert rig.sounds == ["alarm"]


def test_scenario_13_a_stale_open_test() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(5)
    rig.restart()
    rig.heartbeat()
    rig.command("open_test", age_s=2)
    assert [answer.refused for answer in rig.refusals] == ["too_old"]
    rig.advance(1)
    rig.offer(age_s=0.5)
    assert rig.alarm_document().kind == "panic"


def test_scenario_15_the_mcc_restored() -> None:
    rig = listed_and_delivered()
    command = rig.command("acknowledge")
    rig.receive()
    rig.advance(60)
    rig.forget()
    rig.beat(OTHER_STORE)
    document = rig.published(MccAlarm)[-1]
    assert document.receipted is not None
    assert document.receipted.store_id == STORE
    assert document.reached.acknowledged is not None
    assert document.reached.acknowledged.command_id == command
    rig.forget()
    rig.advance(60)
    assert rig.published(MccAlarm)
    rig.receive(store_id=OTHER_STORE)
    rig.forget()
    rig.advance(300)
    assert rig.published(MccAlarm) == []


def test_scenario_15_a_late_receipt_of_the_store_that_is_gone_counts_for_nothing() -> None:
    rig = listed_and_delivered()
    rig.beat(OTHER_STORE)
    rig.receive(store_id=OTHER_STORE)
    rig.receive(store_id=STORE)
    receipted = rig.alarm_document().receipted
    assert receipted is not None
    assert receipted.store_id == OTHER_STORE


def test_scenario_16_cleared_documents_return() -> None:
    rig = listed_and_delivered()
    topic = TOPICS.mcc("alarms", ALARM)
    state = TOPICS.post(POST, "state")
    brought_back = {topic: rig.retained[topic], state: rig.retained[state]}
    rig.settle()
    rig.pass_days(8)
    rig.restart(connect=False)
    rig.retained.update(brought_back)
    rig.forget()
    rig.connect()
    assert not rig.is_shown()
    assert rig.state_document().alarms == ()
    rig.advance(200)
    assert rig.published(MccAlarm) == []
    assert rig.sounds == []


def test_scenario_17_a_late_will() -> None:
    rig = Rig()
    rig.presence(online=True, connection=some_id(0xC1))
    rig.heartbeat(connection=some_id(0xC1))
    rig.advance(5)
    rig.presence(online=True, connection=some_id(0xC2))
    rig.heartbeat(connection=some_id(0xC2))
    rig.presence(online=False, connection=some_id(0xC1))
    rig.advance(60)
    rig.heartbeat(connection=some_id(0xC2))
    rig.advance(60)
    # Who only comes is not there yet.
    shown = [document.connection for document in rig.published(MccPost)]
    assert (shown[0], {*shown[1:]}) == ("unknown", {"online"})


def test_scenario_19_disk_gone() -> None:
    rig = listed_and_delivered()
    # The new card holds nothing. The alarm stays listed until it is resolved, and no longer.
    rig.heartbeat()
    assert rig.listed() is not None
    rig.command("resolve")
    rig.advance(2)
    rig.heartbeat()
    assert rig.state_document().alarms == ()


def test_scenario_14_post_away() -> None:
    rig = listed_and_delivered()
    rig.command("acknowledge")
    rig.command("resolve")
    rig.pass_days(2)
    rig.forget()
    # Back again: its heartbeat holds it below acknowledged, so that it learns the answer first.
    rig.heartbeat(held(state="delivered"))
    listed = rig.published(PostState)[-1].alarms[0]
    assert (listed.state, listed.answered_repeats) == ("resolved", 0)
    rig.heartbeat(held(state="resolved", answered=0))
    assert rig.state_document().alarms == ()


def test_an_old_journal_does_not_fall_below_what_the_broker_still_shows() -> None:
    """The old document at the broker is overwritten by what is committed, not merged into it."""
    rig = listed_and_delivered()
    before = dict(rig.journal)
    rig.command("acknowledge")
    restored(rig, before)
    assert rig.alarm_document().state == "delivered"
    assert msgspec.json.encode(rig.alarm_document()).count(b'"acknowledged"') == 0
    assert rig.journal[ALARM].boot_id == BOOT


def to_gateway(post: PostRig, rig: Rig, seen: int) -> None:
    """Carry what the post has published since."""
    for effect in post.effects[seen:]:
        if isinstance(effect, Publish) and isinstance(effect.message, Alarm | Health):
            what = "alarms" if isinstance(effect.message, Alarm) else "health"
            rig.hear(effect.message, Address("posts", what, POST))


def to_post(rig: Rig, post: PostRig, message: PostState | Answer) -> None:
    what = "state" if isinstance(message, PostState) else "answer"
    address = Address("posts", what, POST)
    post.send(Heard("gateway", post.connection, address, message))


@pytest.mark.parametrize("heard", [0, 1, 2])
def test_a_call_is_no_repeat_that_the_card_and_the_broker_have_forgotten(heard: int) -> None:
    """An operator has answered a repeat. The post's card and its broker come back older than it.

    The third press falls before, between and after what the gateway says to the first heartbeat.
    """
    rig = Rig()
    rig.beat()
    rig.offer()
    stale = rig.state_document()
    alarm = make_alarm(rig.at_us // 1000)
    rig.offer(repeat_ages_s=(0.5,))
    rig.receive()
    rig.command("acknowledge", repeats=1)
    rig.advance(5)
    card = Held(alarm=alarm, state="received")
    post = PostRig(held={ALARM: card}, boot_id=some_id(0xB1), at_us=rig.at_us)
    post.connect(answering=False)
    post.send(Heard("gateway", post.connection, Address("posts", "state", POST), stale))
    post.press(0.1, 0.1)
    post.press(0.1, 0.1)
    rig.advance(0.4)
    rig.beat()
    rig.forget()
    to_gateway(post, rig, 0)
    said = [p.message for p in rig.done(Publish) if isinstance(p.message, PostState | Answer)]
    assert len(said) == 2
    for message in said[:heard]:
        to_post(rig, post, message)
    called = len(post.effects)
    post.press(0.1, 0.1)
    for message in said[heard:]:
        to_post(rig, post, message)
    post.advance(5)
    rig.advance(5)
    to_gateway(post, rig, called)
    calls = rig.state_document().alarms
    assert [one.state for one in calls] == ["acknowledged", "received"]  # nobody has answered it
    assert post.newest.alarm.follows == ALARM
