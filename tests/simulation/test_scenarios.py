"""The traces that broke earlier drafts of the contract, each as it must end now."""

from __future__ import annotations

import msgspec
import pytest

from protocol.messages import Action, Alarm, Command, CommandAnswer, MccAlarm, MccPost, PostState
from protocol.values import new_id
from simulation.broker import Packet
from simulation.timeline import SECOND_US
from tests.simulation.script import POST, Script

DAYS_MS = 86_400_000


def test_01_amnesia_and_an_old_journal() -> None:
    script = Script(brokers=1)
    script.gateway.disk.copy()
    script.centre.die(power=True)
    script.centre.host.powered = False
    script.press3()
    assert script.record.state == "received"
    assert script.lamp == "calling"
    script.broker_of_posts.stop()
    script.restore_gateway()
    assert not script.gateway.disk.rows
    script.broker_of_posts.start("none")
    script.power_on(script.centre.host)
    script.run_for(120)
    assert [alarm.repeats for alarm in script.alarms] == [0]


def test_02_a_repeat_sent_once() -> None:
    script = Script()
    script.press3()
    script.broker_of_posts.loses = 1.0
    script.press3(settle_s=0)
    script.broker_of_posts.loses = 0.0
    assert script.alarm.repeats == 0
    script.run_for(40)
    assert script.alarm.repeats == 1


def test_03_a_dropped_state_document() -> None:
    script = Script()
    script.press3()
    script.operator("acknowledge")
    script.drops = lambda packet: isinstance(packet.message, PostState)
    script.operator("resolve")
    assert script.lamp == "answered"
    script.drops = lambda packet: False
    script.run_for(62)
    assert script.lamp == "armed"
    assert not script.record.listed
    passed = len(script.passed)
    script.run_for(300)
    documents = [p for p in script.passed[passed:] if isinstance(p.message, (PostState, Alarm))]
    assert documents == []
    script.everything_is_over()


def test_04_a_late_duplicate() -> None:
    script = Script()
    script.press_resolve()
    script.run_for(60)
    assert not script.post.disk.rows
    script.broker_of_posts.publish(script.offers()[0])
    script.run_for(1)
    assert script.record.listed
    assert script.record.resolved
    script.run_for(35)
    assert not script.record.listed
    assert script.sounds == 1
    script.everything_is_over()


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_05_the_swallowed_cry(action: Action) -> None:
    script = Script()
    script.press3()
    first = script.alarm
    script.drops = lambda packet: isinstance(packet.message, Alarm)
    script.press3(settle_s=-1.0)
    script.drops = lambda packet: False
    script.operator(action)
    script.run_for(30)
    assert script.alarms[0].answered_repeats == 0
    assert script.alarm.follows == first.alarm_id
    assert script.kind == "panic"
    assert script.alarm.state == "delivered"
    assert script.lamp == "calling"


def test_06_a_document_during_the_sound() -> None:
    script = Script()
    script.press3()
    script.press3()
    script.operators.act("acknowledge", script.alarm.alarm_id)
    script.run_for(0.5)
    assert script.post.sounding == script.alarm.alarm_id
    script.operators.act("dispatch", script.alarm.alarm_id)
    script.run_for(0.5)
    script.post.die(power=True)
    script.post.host.powered = False
    script.power_on(script.post.host)
    script.run_for(60)
    (held,) = script.post.disk.rows.values()
    assert (held.answered_repeats, held.excess, held.sound) == (1, 0, "sounded")
    assert script.sounds == 2
    assert len(script.alarms) == 1


def test_07_acknowledge_before_receive() -> None:
    script = Script()
    script.drops = lambda packet: (
        isinstance(packet.message, Command) and packet.message.action == "receive"
    )
    script.press3()
    script.operator("acknowledge")
    assert script.record.receipted is None
    script.drops = lambda packet: False
    script.run_for(90)
    assert script.record.state == "acknowledged"
    assert script.record.reached.delivered is not None
    passed = len(script.passed)
    script.run_for(300)
    assert not [p for p in script.passed[passed:] if isinstance(p.message, MccAlarm)]


def test_08_the_gateway_restored_after_an_acknowledgement() -> None:
    script = Script()
    script.press3()
    script.gateway.disk.copy()
    script.operator("acknowledge")
    script.restore_gateway()
    assert script.record.state == "delivered"
    script.run_for(30)
    assert script.record.reached.acknowledged is not None
    assert script.record.reached.acknowledged.command_id in script.truth.commands
    sounds = script.gateway.sounds
    script.run_for(300)
    assert script.gateway.sounds == sounds


def test_09_an_old_answer() -> None:
    script = Script()
    script.press3()
    script.operator("acknowledge")
    script.gateway.disk.copy()
    script.operators.act("resolve", script.alarm.alarm_id)
    script.operator("resolve")
    answers = [p for p in script.passed if isinstance(p.message, CommandAnswer)]
    assert answers
    script.restore_gateway()
    script.broker_of_centre.publish(answers[-1])
    script.run_for(90)
    script.everything_is_over()


def test_10_old_receipts() -> None:
    script = Script()
    script.press3()
    script.gateway.disk.copy()
    script.operator("acknowledge", "resolve")
    script.run_for(60)
    script.restore_gateway()
    dropped: list[Packet] = []

    def drop_one(packet: Packet) -> bool:
        if dropped or not isinstance(packet.message, MccAlarm):
            return False
        dropped.append(packet)
        return True

    script.drops = drop_one
    script.run_for(90)
    assert dropped
    script.everything_is_over()


def test_11_an_alarm_nobody_has() -> None:
    script = Script()
    script.gateway.disk.copy()
    script.press3()
    script.restore_gateway()
    script.post.die(power=False)
    script.replaced(script.post.disk, script.post.disk.replace_by_new)
    for broker in script.brokers:
        broker.stop()
        broker.start("none")
    script.run_for(120)
    assert not script.gateway.disk.rows
    script.operator("acknowledge")
    script.run_for(14 * 60)
    assert script.alarm.is_open
    script.run_for(4 * 60)
    assert script.alarm.closed_here is not None
    assert script.centre.disk.sending() == ()


def test_12_the_window_closes_between_two_calls() -> None:
    script = Script()
    script.operators.open_test(POST, 5)
    script.run_for(2)
    script.press3()
    assert script.kind == "test"
    script.run_for(60)
    script.operators.close_test(POST)
    script.run_for(2)
    script.press3()
    assert script.kind == "panic"
    assert len(script.alarms) == 1


def test_13_a_stale_open_test() -> None:
    script = Script()
    script.gateway.die(power=False)
    script.operators.open_test(POST, 5)
    (command_id,) = script.centre.disk.outbox
    script.run_for(40)
    _, verdict = script.centre.disk.outbox[command_id]
    assert verdict is not None
    assert verdict.refused == "too_old"
    script.press3()
    assert script.kind == "panic"


def test_14_the_post_is_away() -> None:
    script = Script()
    script.press3()
    script.post.die(power=True)
    script.post.host.powered = False
    script.run_for(10)
    script.operator("acknowledge", "resolve")
    assert script.sounds == 0
    script.run_for(3600)
    script.power_on(script.post.host)
    script.run_for(120)
    assert script.sounds == 1
    script.everything_is_over()


def test_15_the_command_centre_restored() -> None:
    script = Script()
    script.centre.disk.copy()
    script.press3()
    script.operator("acknowledge", "dispatch")
    before = script.alarm
    script.centre.die(power=False)
    script.replaced(script.centre.disk, script.centre.disk.put_back)
    assert script.alarms == []
    script.run_for(60)
    assert script.alarm.reached.acknowledged == before.reached.acknowledged
    assert script.alarm.unit == before.unit
    assert script.alarm.state == "dispatched"


def test_16_cleared_documents_return() -> None:
    script = Script()
    script.press_resolve()
    script.run_for(60)
    assert script.documents == {script.alarm.alarm_id}
    script.broker_of_centre.remember()
    script.broker_of_posts.remember()
    script.gateway.host.set_wall(8 * DAYS_MS, synchronised=True)
    script.gateway.die(power=False)
    script.run_for(60)
    assert script.documents == set()
    for broker in script.brokers:
        broker.stop()
        broker.start("old")
    assert script.documents == {script.alarm.alarm_id}
    script.run_for(60)
    assert script.documents == set()
    assert not script.alarm.is_open
    assert script.sounds == 1


def test_17_a_late_will() -> None:
    script = Script()
    script.broker_of_posts.keeps_zombies_us = 60 * SECOND_US
    script.post.die(power=True)
    script.post.host.powered = False
    script.power_on(script.post.host)
    script.run_for(300)
    shown = [p.message for p in script.passed if isinstance(p.message, MccPost)]
    assert {post.connection for post in shown} <= {"online", "unknown"}
    assert script.lamp == "armed"


def test_18_a_retained_forgery() -> None:
    script = Script()
    script.press_resolve()
    script.run_for(60)
    offer = script.offers()[0]
    assert isinstance(offer.message, Alarm)
    forged = msgspec.structs.replace(offer.message, alarm_id=new_id())
    command = next(
        p for p in script.passed if isinstance(p.message, Command) and p.message.alarm_id
    )
    script.broker_of_posts.publish(Packet(offer.topic, offer.address, forged, retain=True))
    script.broker_of_centre.publish(
        Packet(command.topic, command.address, command.message, retain=True)
    )
    script.run_for(10)
    assert [link.refused for link in script.gateway.links.values()] == [1, 1]
    assert len(script.gateway.disk.rows) == 1
    script.gateway.links["posts"].reset()
    script.run_for(60)
    assert len(script.gateway.disk.rows) == 1


def test_19_the_disk_is_gone() -> None:
    script = Script()
    script.press3()
    script.post.die(power=False)
    script.replaced(script.post.disk, script.post.disk.replace_by_new)
    script.run_for(30)
    assert script.lamp == "calling"
    script.operator("acknowledge", "resolve")
    script.run_for(60)
    assert script.lamp == "armed"
    assert not script.record.listed
    assert script.sounds == 0


def test_20_sixteen_open() -> None:
    script = Script()
    for _ in range(16):
        script.press3()
        script.operator("acknowledge")
    script.press3()
    assert len(script.alarms) == 16
    newest = script.alarm
    assert newest.repeats == 1
    assert script.lamp == "calling"
    script.operator("resolve", alarm=script.alarms[0])
    script.run_for(10)
    assert len(script.alarms) == 17
    assert script.alarm.follows == newest.alarm_id
    assert script.alarm.state == "delivered"
    for alarm in script.alarms[1:]:
        script.operator("acknowledge", "resolve", alarm=alarm)
    script.run_for(60)
    script.everything_is_over()
