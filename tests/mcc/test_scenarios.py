"""The traces that broke earlier drafts of the contract, the command centre's side of each."""

from __future__ import annotations

from mcc.alarms import DONE, record_of
from mcc.core import Committed
from tests.mcc.rig import GATEWAY, STORE_ID, Desk, command, document, gateway, receipted, step, uid

QUARTER_HOUR_S = 15 * 60


def test_scenario_5_the_swallowed_cry_rings_as_a_new_alarm_that_names_the_first() -> None:
    desk = Desk().up()
    desk.hear(receipted(document()))
    # The operator answers what stood on the screen: no repeats. The later cry comes too late.
    answer = command(10, "acknowledge", repeats=0)
    desk.type(answer)
    desk.hear(document(repeats=1))
    desk.hear(
        document(
            state="acknowledged",
            repeats=1,
            answered_repeats=0,
            reached={"acknowledged": step(answer)},
        )
    )
    assert desk.published("acknowledge")[0].repeats == 0
    assert desk.alarm().answered_repeats == 0
    assert desk.shown()[-1].late_repeats == 1
    desk.forget()
    desk.hear(document(2, follows=uid(1)))
    assert desk.rings() == [uid(2)]
    assert desk.shown()[-1].alarm.follows == uid(1)


def test_scenario_7_acknowledge_before_receive_ends_receipted_and_quiet() -> None:
    desk = Desk().up()
    desk.disk_answers = False
    desk.hear(document())
    answer = command(10, "acknowledge")
    desk.type(answer)
    shown = document(state="acknowledged", reached={"acknowledged": step(answer)})
    desk.hear(shown)
    assert desk.published("receive") == []
    desk.disk_answers = True
    desk.send(Committed())
    assert [c.content for c in desk.published("receive")] == [shown.content]
    desk.hear(receipted(shown))
    desk.forget()
    desk.run(60)
    assert desk.published("receive", "acknowledge") == []
    assert desk.rings() == []
    assert desk.verdicts == {uid(10): DONE}


def test_scenario_8_the_gateway_restored_after_an_acknowledgement_gets_it_again() -> None:
    answer = command(10, "acknowledge", repeats=1)
    acknowledged = document(state="acknowledged", repeats=1, reached={"acknowledged": step(answer)})
    desk = Desk(alarms=[record_of(acknowledged)]).up()
    desk.hear(document(state="delivered", repeats=1))
    [again] = desk.published("acknowledge")
    assert (again.command_id, again.operator, again.repeats) == (uid(10), "budi", 1)
    assert desk.alarm().state == "acknowledged"
    assert desk.rings() == []


def test_scenario_9_an_old_answer_leaves_it_resolved_everywhere_in_the_end() -> None:
    desk = Desk().up()
    desk.hear(document())
    over = command(10, "resolve", outcome="false")
    desk.type(over)
    resolved = document(state="resolved", outcome="false", reached={"resolved": step(over)})
    desk.hear(resolved)
    assert desk.verdicts == {uid(10): DONE}
    # The gateway is restored from before: done was no proof.
    desk.forget()
    desk.hear(document())
    [again] = desk.published("resolve")
    assert (again.command_id, again.outcome) == (uid(10), "false")
    desk.run(7)
    assert len(desk.published("resolve")) == 4
    desk.hear(resolved)
    desk.forget()
    desk.run(60)
    assert desk.published("resolve") == []
    assert desk.alarm().state == "resolved"


def test_scenario_10_old_receipts_the_resolution_goes_out_until_shown() -> None:
    over = command(10, "resolve")
    held = record_of(document(state="resolved", reached={"resolved": step(over)}))
    desk = Desk(alarms=[held]).up()
    # The restored journal has our receipt of the open alarm, and offers nothing any more.
    desk.hear(receipted(document()), retained=True)
    assert desk.published("receive") == []
    assert [c.command_id for c in desk.published("resolve")] == [uid(10)]


def test_scenario_11_an_alarm_nobody_has_is_closed_here_after_the_refusal() -> None:
    desk = Desk(alarms=[record_of(document())]).up()
    over = command(10, "resolve")
    desk.type(over)
    for _ in range(QUARTER_HOUR_S // 10):
        desk.run(10)
        desk.hear(gateway())
    assert desk.alarm().is_open
    desk.refuse(over, "unknown")
    assert desk.alarm().closed_here is not None
    assert not desk.stored[uid(1)].is_open
    assert desk.verdicts[uid(10)].refused == "unknown"
    assert desk.shown()[-1].alarm.closed_here is not None
    assert "alarm_closed_here" in desk.logs()


def test_scenario_11_the_word_of_another_gateway_closes_nothing() -> None:
    desk = Desk(alarms=[record_of(document())]).up()
    desk.hear(gateway("other"))
    desk.hear(gateway(GATEWAY, online=False))
    over = command(10, "resolve")
    desk.type(over)
    desk.refuse(over, "unknown")
    assert desk.alarm().is_open
    assert desk.verdicts == {}
    desk.run(60)
    assert len(desk.published("resolve")) > 3


def test_scenario_11_an_alarm_whose_document_is_there_is_not_closed() -> None:
    desk = Desk().up()
    desk.hear(document())
    over = command(10, "resolve")
    desk.type(over)
    desk.refuse(over, "unknown")
    assert desk.alarm().is_open
    assert desk.verdicts == {}


def test_scenario_11_a_live_document_opens_a_closed_alarm_again_and_a_replayed_one_does_not() -> (
    None
):
    desk = Desk(alarms=[record_of(document())]).up()
    over = command(10, "resolve")
    desk.type(over)
    desk.refuse(over, "unknown")
    desk.forget()
    desk.hear(document(), retained=True)
    assert not desk.alarm().is_open
    assert desk.rings() == []
    desk.hear(document())
    assert desk.alarm().is_open
    assert desk.rings() == [uid(1)]


def test_scenario_15_the_mcc_restored_has_the_alarm_again_with_all_that_happened() -> None:
    old_store, new_store = STORE_ID, uid(77)
    desk = Desk(store_id=new_store).up()
    shown = receipted(document(state="dispatched", repeats=2), store_id=old_store)
    desk.hear(shown, retained=True)
    held = desk.alarm()
    assert (held.state, held.repeats, held.unit) == ("dispatched", 2, "Polsek Klojen")
    assert held.reached.acknowledged is not None
    assert held.reached.acknowledged.operator == "sari"
    [receipt] = desk.published("receive")
    assert (receipt.store_id, receipt.content) == (new_store, shown.content)
    assert {c.store_id for c in desk.published("beat")} == {new_store}
    assert desk.rings() == []


def test_scenario_16_cleared_documents_return_and_nothing_opens_or_sounds() -> None:
    desk = Desk(alarms=[record_of(document(state="resolved"))]).up()
    desk.hear(receipted(document()), retained=True)
    assert desk.alarm().state == "resolved"
    assert desk.rings() == []


def test_what_the_broker_still_retains_does_not_outweigh_its_own_gateways_word() -> None:
    desk = Desk(alarms=[record_of(document())]).up()
    desk.hear(document(), retained=True)  # of a journal that has been lost since
    over = command(10, "resolve")
    desk.type(over)
    desk.refuse(over, "unknown", gateway="another")
    desk.refuse(over, "unknown")
    assert (desk.verdicts, desk.alarm().closed_here) == ({}, None)
    desk.refuse(over, "unknown", gateway=GATEWAY)
    assert desk.alarm().closed_here is not None
    assert desk.verdicts[uid(10)].refused == "unknown"
    desk.hear(document(), retained=True)
    assert desk.alarm().closed_here is not None


def test_an_alarm_that_has_come_since_the_question_outweighs_an_answer_that_was_late() -> None:
    desk = Desk(alarms=[record_of(document())]).up()
    over = command(10, "resolve")
    desk.type(over)
    desk.hear(document())
    desk.refuse(over, "unknown", gateway=GATEWAY)
    assert (desk.verdicts, desk.alarm().closed_here) == ({}, None)


def test_once_an_alarm_is_closed_here_its_earlier_commands_end_with_the_same_answer() -> None:
    """Seed 60006 of the simulator: they went on being sent for ever."""
    desk = Desk(alarms=[record_of(document())]).up()
    earlier, over = command(10, "acknowledge"), command(11, "resolve")
    desk.type(earlier)
    desk.hear(document(repeats=1))
    desk.refuse(earlier, "unknown", gateway=GATEWAY)  # it may be late: the alarm was heard since
    assert desk.verdicts == {}
    desk.type(over)
    desk.refuse(over, "unknown", gateway=GATEWAY)
    assert desk.alarm().closed_here is not None
    desk.refuse(earlier, "unknown", gateway=GATEWAY)
    assert desk.verdicts[uid(10)].refused == "unknown"


def test_what_was_answered_first_is_what_later_commands_say() -> None:
    desk = Desk(alarms=[record_of(document(state="acknowledged", repeats=2, answered_repeats=0))])
    desk.up()
    desk.type(command(10, "dispatch", repeats=2))
    desk.type(command(11, "resolve", repeats=2))
    assert [one.repeats for one in desk.published("dispatch", "resolve")] == [0, 0]
