"""The command centre's decisions, rule by rule, under virtual time."""

from __future__ import annotations

import msgspec
import pytest

from mcc import core as core_module
from mcc.alarms import DONE, record_of
from mcc.core import Commit, DocumentCleared, NewCommands, SendingRefused
from process.core import Drop, Heard, LinkUp, Publish
from protocol.codec import decode, encode
from protocol.messages import Command, Message
from protocol.topics import Address
from tests.mcc.rig import (
    GATEWAY,
    POST,
    STORE_ID,
    Desk,
    command,
    document,
    gateway,
    post,
    receipted,
    step,
    uid,
    window,
)

# --- receipts ---


def test_a_new_alarm_is_committed_then_receipted_with_the_documents_content() -> None:
    desk = Desk().up()
    shown = document()
    desk.hear(shown)
    kinds = [
        type(e)
        for e in desk.effects
        if (isinstance(e, Commit) and e.alarms)
        or (
            isinstance(e, Publish)
            and isinstance(e.message, Command)
            and e.message.action == "receive"
        )
    ]
    assert kinds == [Commit, Publish]
    [receipt] = desk.published("receive")
    assert (receipt.alarm_id, receipt.content) == (uid(1), shown.content)
    assert (receipt.repeats, receipt.kind, receipt.store_id) == (0, "panic", STORE_ID)


def test_nothing_is_receipted_while_the_disk_does_not_answer() -> None:
    desk = Desk().up()
    desk.disk_answers = False
    desk.hear(document())
    desk.hear(document())
    desk.run(60)
    assert desk.published("receive") == []


def test_a_failed_commit_is_tried_again_each_second_and_then_receipted() -> None:
    desk = Desk().up()
    desk.disk_works = False
    desk.hear(document())
    desk.run(5)
    assert desk.published("receive") == []
    assert desk.logs().count("commit_failed") == 6
    assert desk.core.reason() == "the store cannot be written"
    desk.disk_works = True
    desk.run(1)
    assert len(desk.published("receive")) == 1
    assert desk.stored[uid(1)].state == "received"


def test_an_alarm_rings_even_when_the_disk_fails() -> None:
    desk = Desk().up()
    desk.disk_works = False
    desk.hear(document())
    assert desk.rings() == [uid(1)]
    desk.hear(document(2), retained=True)
    assert desk.rings() == [uid(1), uid(2)]


def test_a_receipt_is_repeated_with_growing_pauses_until_a_document_shows_it() -> None:
    desk = Desk(watching=False).up()
    shown = document()
    desk.hear(shown)
    desk.run(100)
    assert desk.expiries("receive") == [2, 4, 8, 16, 30, 30, 30]
    desk.hear(receipted(shown))
    desk.forget()
    desk.run(100)
    assert desk.published("receive") == []


def test_a_document_receipted_by_another_store_is_receipted_again() -> None:
    desk = Desk().up()
    desk.hear(receipted(document(), store_id=uid(99)))
    assert len(desk.published("receive")) == 1


def test_a_document_that_is_receipted_as_it_stands_is_not_receipted_again() -> None:
    desk = Desk().up()
    desk.hear(receipted(document()))
    desk.run(40)
    assert desk.published("receive") == []


def test_a_changed_document_is_receipted_with_its_new_content() -> None:
    desk = Desk().up()
    desk.hear(document())
    louder = document(repeats=1)
    desk.hear(louder)
    assert [c.content for c in desk.published("receive")] == [document().content, louder.content]
    desk.forget()
    desk.run(2)
    assert [c.content for c in desk.published("receive")] == [louder.content]


def test_a_retained_document_is_merged_and_receipted_like_a_live_one() -> None:
    desk = Desk().up()
    desk.hear(document(), retained=True)
    assert desk.alarm().state == "received"
    assert len(desk.published("receive")) == 1


def test_a_refused_receipt_is_not_repeated_for_the_same_content() -> None:
    desk = Desk().up()
    desk.hear(document())
    [receipt] = desk.published("receive")
    desk.refuse(receipt, "not_receiver")
    desk.forget()
    desk.hear(document())
    desk.run(60)
    assert desk.published("receive") == []
    desk.hear(document(repeats=1))
    assert len(desk.published("receive")) == 1


def test_a_cleared_document_ends_its_receipt_and_keeps_the_alarm() -> None:
    desk = Desk().up()
    desk.hear(document())
    desk.forget()
    desk.send(DocumentCleared(uid(1)))
    desk.run(60)
    assert desk.published("receive") == []
    assert desk.alarm().state == "received"


def test_receipts_wait_for_the_link_and_follow_the_replayed_document() -> None:
    desk = Desk().up()
    desk.hear(document())
    desk.down()
    desk.forget()
    desk.run(60)
    assert desk.published() == []
    desk.up()
    desk.hear(document(), retained=True)
    assert len(desk.published("receive")) == 1


# --- ringing ---


def test_a_new_unanswered_alarm_rings_once() -> None:
    desk = Desk().up()
    desk.hear(document())
    desk.hear(document())
    desk.hear(document(state="delivered"))
    assert desk.rings() == [uid(1)]


def test_a_repeat_rings_again() -> None:
    desk = Desk().up()
    desk.hear(document())
    desk.hear(document(repeats=1))
    desk.hear(document(repeats=3))
    assert desk.rings() == [uid(1)] * 3


def test_an_answered_alarm_does_not_ring() -> None:
    desk = Desk().up()
    desk.hear(document(state="acknowledged"), retained=True)
    desk.hear(document(state="resolved"))
    assert desk.rings() == []


def test_a_test_makes_no_sound_and_rings_when_it_becomes_panic() -> None:
    desk = Desk().up()
    desk.hear(document(kind="test"))
    desk.hear(document(kind="test", repeats=1))
    assert desk.rings() == []
    desk.hear(document(kind="panic", repeats=1))
    assert desk.rings() == [uid(1)]


def test_a_repeat_beyond_the_answer_is_shown_and_rings_until_another_alarm_follows() -> None:
    desk = Desk().up()
    desk.hear(document())
    desk.hear(document(state="acknowledged", answered_repeats=0))
    desk.hear(document(state="acknowledged", repeats=1, answered_repeats=0))
    assert desk.rings() == [uid(1), uid(1)]
    assert desk.shown()[-1].late_repeats == 1
    desk.hear(document(2, follows=uid(1)))
    assert desk.rings()[-1] == uid(2)
    desk.hear(document(state="dispatched", repeats=1, answered_repeats=0))
    assert desk.shown()[-1].late_repeats == 0


def test_after_a_restart_the_unanswered_alarms_ring_and_the_answered_are_quiet() -> None:
    held = [record_of(document(1)), record_of(document(2, "acknowledged"))]
    desk = Desk(alarms=[*held, record_of(document(3, "resolved"))])
    assert [one.alarm.alarm_id for one in desk.shown()] == [uid(1), uid(2)]
    assert desk.rings() == [uid(1)]


# --- merging with what memory does not hold ---


def test_a_replayed_alarm_that_the_store_holds_resolved_stays_resolved_and_quiet() -> None:
    desk = Desk()
    desk.stored[uid(1)] = record_of(document(state="resolved"))
    desk.up()
    desk.hear(document(), retained=True)
    assert desk.alarm().state == "resolved"
    assert desk.stored[uid(1)].state == "resolved"
    assert desk.rings() == []


def test_an_alarm_id_of_another_post_is_refused_loudly_and_changes_nothing() -> None:
    desk = Desk().up()
    desk.hear(document())
    desk.forget()
    desk.hear(document(post="mlg-klojen-rw01", state="resolved"))
    assert desk.logs() == ["alarm_of_two_posts"]
    assert desk.alarm().state == "received"
    assert desk.published("receive") == []


# --- beats and who is alive ---


def test_a_watching_centre_beats_at_once_and_every_ten_seconds_while_connected() -> None:
    desk = Desk()
    desk.send(LinkUp("mcc", "c1"))
    assert len(desk.published("beat")) == 1
    desk.run(30)
    assert len(desk.published("beat")) == 4
    assert set(desk.expiries("beat")) == {10}
    desk.down()
    desk.forget()
    desk.run(60)
    assert desk.published() == []


def test_a_gateway_that_has_just_come_gets_a_beat_at_once_and_no_second_one() -> None:
    desk = Desk().up()
    desk.hear(gateway(online=False))
    desk.forget()
    desk.hear(gateway())
    desk.hear(gateway())
    assert len(desk.published("beat")) == 1


def test_a_gateway_that_comes_with_a_live_document_gets_a_beat_at_once() -> None:
    desk = Desk().up()
    desk.hear(gateway(online=False))
    desk.forget()
    desk.hear(post())
    desk.hear(gateway())
    assert len(desk.published("beat")) == 1


def test_a_retained_document_of_a_gateway_gets_no_beat() -> None:
    desk = Desk()
    desk.send(LinkUp("mcc", "c1"))
    desk.forget()
    desk.hear(gateway(), retained=True)
    assert desk.published("beat") == []


def test_a_single_command_does_not_beat_because_nobody_watches() -> None:
    desk = Desk(watching=False).up()
    desk.run(60)
    assert desk.published("beat") == []


@pytest.mark.parametrize("watching", [True, False])
def test_a_gateway_that_comes_back_gets_the_commands_that_wait_at_once(watching: bool) -> None:
    desk = Desk(watching=watching).up()
    desk.hear(document(1))
    desk.send(NewCommands((command(10, "acknowledge", alarm_id=uid(1)),)))
    desk.hear(gateway(online=False))
    desk.run(16)  # by now the pauses have grown
    desk.forget()
    desk.hear(gateway())
    assert [one.command_id for one in desk.published("acknowledge")] == [uid(10)]
    desk.run(1)
    assert len(desk.published("acknowledge")) == 2


def test_a_retained_document_proves_no_gateway_alive() -> None:
    desk = Desk()
    desk.send(LinkUp("mcc", "c1"))
    desk.hear(gateway(), retained=True)
    assert desk.gateways() == [(GATEWAY, "unknown")]
    assert desk.core.reason() == "no gateway is answering"


def test_a_gateway_without_a_beat_for_25_s_is_silent_and_comes_back_with_the_next() -> None:
    desk = Desk().up()
    desk.run(24)
    desk.hear(gateway())
    desk.run(24.9)
    assert desk.gateways() == [(GATEWAY, "online")]
    desk.run(0.2)
    assert desk.gateways()[-1] == (GATEWAY, "silent")
    desk.hear(gateway())
    assert desk.gateways()[-1] == (GATEWAY, "online")


def test_a_gateways_will_shows_it_offline_at_once() -> None:
    desk = Desk().up()
    desk.hear(gateway(online=False))
    assert desk.gateways()[-1] == (GATEWAY, "offline")
    assert desk.core.reason() == "no gateway is answering"


def test_a_live_document_is_as_good_as_a_gateways_beat() -> None:
    desk = Desk().up()
    desk.run(24)
    desk.hear(post())
    desk.run(20)
    assert desk.gateways() == [(GATEWAY, "online")]


def test_a_link_that_hears_no_gateway_is_opened_anew_after_growing_pauses() -> None:
    desk = Desk().up()
    desk.hear(gateway())
    desk.run(59)
    assert desk.logs().count("link_deaf") == 0
    desk.run(2)
    assert desk.logs().count("link_deaf") == 1
    desk.run(118)
    assert desk.logs().count("link_deaf") == 1
    desk.run(3)
    assert desk.logs().count("link_deaf") == 2
    assert [drop.link for drop in desk.effects if isinstance(drop, Drop)] == ["mcc", "mcc"]
    desk.hear(gateway())
    desk.run(61)
    assert desk.logs().count("link_deaf") == 3


def test_a_lost_link_makes_every_gateway_unknown() -> None:
    desk = Desk().up()
    desk.down()
    assert desk.gateways()[-1] == (GATEWAY, "unknown")
    assert desk.core.reason() == "not connected to the broker: connection refused"


def test_the_reason_is_kept_in_the_store_for_the_commands_that_wait() -> None:
    desk = Desk().up()
    desk.down()
    assert desk.reasons == [
        "not connected to the broker: connecting",
        "no gateway is answering",
        "",
        "not connected to the broker: connection refused",
    ]


# --- operators' commands ---


def test_a_command_is_repeated_under_one_id_expiring_with_each_pause() -> None:
    desk = Desk(watching=False).up()
    desk.hear(receipted(document()))
    desk.type(command(10, "acknowledge"))
    desk.run(100)
    assert desk.expiries("acknowledge") == [1, 2, 4, 8, 16, 30, 30, 30]
    assert {c.command_id for c in desk.published("acknowledge")} == {uid(10)}


def test_a_command_read_twice_from_the_outbox_is_one_command() -> None:
    desk = Desk().up()
    desk.hear(document())
    desk.type(command(10, "acknowledge"))
    desk.type(command(10, "acknowledge"))
    assert len(desk.published("acknowledge")) == 1


def test_a_command_waits_for_the_link_and_goes_out_with_it() -> None:
    desk = Desk(commands=[command(10, "acknowledge")])
    desk.run(50)
    assert desk.published() == []
    desk.up()
    assert len(desk.published("acknowledge")) == 1


def test_a_new_connection_starts_the_pauses_anew() -> None:
    desk = Desk(commands=[command(10, "acknowledge")], watching=False).up()
    desk.run(20)
    desk.down()
    desk.forget()
    desk.up()
    desk.run(2)
    assert desk.expiries("acknowledge") == [1, 2]


@pytest.mark.parametrize(
    ("action", "state", "name"),
    [
        ("acknowledge", "acknowledged", "acknowledged"),
        ("dispatch", "dispatched", "dispatched"),
        ("resolve", "resolved", "resolved"),
    ],
)
def test_a_document_with_our_step_makes_the_command_done(
    action: str, state: str, name: str
) -> None:
    desk = Desk().up()
    desk.hear(document())
    ours = command(10, action)
    desk.type(ours)
    desk.hear(document(state=state, reached={name: step(ours)}))
    assert desk.verdicts == {uid(10): DONE}
    assert desk.stored[uid(1)].state == state
    desk.forget()
    desk.run(60)
    assert desk.published(action) == []


def test_the_verdict_and_the_state_it_rests_on_are_one_commit() -> None:
    desk = Desk().up()
    desk.hear(document())
    ours = command(10, "acknowledge")
    desk.type(ours)
    desk.forget()
    desk.hear(document(state="acknowledged", reached={"acknowledged": step(ours)}))
    [commit] = [e for e in desk.effects if isinstance(e, Commit)]
    assert commit.verdicts
    assert [a.state for a in commit.alarms] == ["acknowledged"]


def test_a_step_of_another_command_makes_ours_refused_and_names_who_was_first() -> None:
    desk = Desk().up()
    desk.hear(document())
    desk.type(command(10, "acknowledge"))
    first = command(11, "acknowledge", operator="sari")
    desk.hear(document(state="acknowledged", reached={"acknowledged": step(first)}))
    verdict = desk.verdicts[uid(10)]
    assert (verdict.refused, verdict.first_operator) == ("already", "sari")
    assert verdict.why.startswith("already acknowledged by sari at 20")


def test_two_resolutions_the_loser_is_told_the_outcome_that_won() -> None:
    desk = Desk().up()
    desk.hear(document())
    ours, theirs = command(10, "resolve"), command(11, "resolve", operator="sari", outcome="false")
    desk.type(ours, theirs)
    desk.hear(document(state="resolved", outcome="false", reached={"resolved": step(theirs)}))
    assert desk.verdicts[uid(11)] == DONE
    assert desk.verdicts[uid(10)].why.startswith("already resolved as false by sari")


def test_an_acknowledgement_of_what_is_already_dispatched_names_the_dispatcher() -> None:
    desk = Desk().up()
    desk.hear(document(state="dispatched", reached={"acknowledged": None}))
    desk.type(command(10, "acknowledge"))
    assert desk.verdicts[uid(10)].why.startswith("already dispatched to Polsek Klojen by sari")
    assert desk.published("acknowledge") == []


def test_a_panic_command_is_done_when_the_document_says_panic() -> None:
    desk = Desk().up()
    desk.hear(document(kind="test"))
    desk.type(command(10, "panic"))
    assert desk.verdicts == {}
    desk.hear(document(kind="panic"))
    assert desk.verdicts == {uid(10): DONE}


def test_a_test_window_is_open_when_the_posts_document_shows_our_command() -> None:
    desk = Desk().up()
    ours = command(10, "open_test")
    desk.type(ours)
    desk.hear(post(test_window=window(command(11, "open_test"))))
    assert desk.verdicts == {}
    desk.hear(post(test_window=window(ours)))
    assert desk.verdicts == {uid(10): DONE}


def test_a_test_window_is_closed_when_the_document_no_longer_shows_one() -> None:
    desk = Desk().up()
    desk.hear(post(test_window=window(command(9, "open_test"))))
    desk.type(command(10, "close_test"))
    desk.run(5)
    assert desk.verdicts == {}
    desk.hear(post())
    assert desk.verdicts == {uid(10): DONE}


def test_closing_a_window_that_was_not_open_is_done_after_one_attempt() -> None:
    desk = Desk().up()
    desk.hear(post(), retained=True)
    desk.type(command(10, "close_test"))
    assert desk.verdicts == {}
    desk.run(1)
    assert desk.verdicts == {uid(10): DONE}


def test_closing_a_window_is_not_done_while_no_gateway_answers() -> None:
    desk = Desk()
    desk.send(LinkUp("mcc", "c1"))
    desk.hear(post(), retained=True)
    desk.type(command(10, "close_test"))
    desk.run(20)
    assert desk.verdicts == {}


def test_a_refusal_ends_a_command_with_why_and_who_was_first() -> None:
    desk = Desk().up()
    desk.hear(document())
    ours = command(10, "acknowledge")
    desk.type(ours)
    desk.refuse(ours, "already", first_operator="sari", first_at="2027-01-15T08:00:00.000Z")
    verdict = desk.verdicts[uid(10)]
    assert (verdict.refused, verdict.first_operator) == ("already", "sari")
    desk.forget()
    desk.run(60)
    assert desk.published("acknowledge") == []


def test_a_post_that_only_another_gateway_does_not_know_is_asked_for_again() -> None:
    desk = Desk().up()
    desk.hear(post())
    desk.hear(gateway("other"))
    ours = command(10, "open_test")
    desk.type(ours)
    desk.refuse(ours, "unknown")
    assert desk.verdicts == {}
    desk.hear(post(test_window=window(ours)))
    assert desk.verdicts == {uid(10): DONE}


def test_a_post_that_no_gateway_knows_is_refused_at_once() -> None:
    desk = Desk().up()
    ours = command(10, "open_test", post="nowhere")
    desk.type(ours)
    desk.refuse(ours, "unknown")
    assert desk.verdicts[uid(10)].refused == "unknown"


def test_what_the_broker_refuses_is_said_until_something_gets_through() -> None:
    desk = Desk().up()
    desk.send(SendingRefused("kentongan/v1/mcc/commands/console", "Not authorized"))
    assert desk.core.reason() == "the broker refuses this console: Not authorized"
    assert desk.logs() == ["publish_refused"]
    ours = command(10, "open_test")
    desk.type(ours)
    desk.hear(post(test_window=window(ours)))
    assert desk.core.reason() == ""


def test_a_busy_gateway_is_asked_again() -> None:
    desk = Desk().up()
    desk.hear(document())
    ours = command(10, "acknowledge")
    desk.type(ours)
    desk.refuse(ours, "busy")
    desk.run(3)
    assert desk.verdicts == {}
    assert len(desk.published("acknowledge")) == 3


def test_a_verdict_that_could_not_be_written_is_written_later() -> None:
    desk = Desk().up()
    desk.hear(document())
    ours = command(10, "acknowledge")
    desk.type(ours)
    desk.disk_works = False
    desk.refuse(ours, "too_old")
    desk.type(ours)  # the outbox still says sending
    desk.disk_works = True
    desk.run(1)
    assert desk.verdicts[uid(10)].refused == "too_old"
    assert len(desk.published("acknowledge")) == 1


def test_the_screen_says_sending_until_a_document_shows_the_step() -> None:
    desk = Desk().up()
    desk.hear(document())
    ours = command(10, "acknowledge")
    desk.type(ours)
    assert desk.shown()[-1].sending == ("acknowledge",)
    desk.hear(document(state="acknowledged", reached={"acknowledged": step(ours)}))
    assert desk.shown()[-1].sending == ()


def test_the_command_bound_refuses_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_module, "COMMANDS_MAX", 2)
    desk = Desk().up()
    desk.type(*(command(n, "dispatch", alarm_id=uid(n)) for n in (10, 11, 12)))
    assert [c.command_id for c in desk.published("dispatch")] == [uid(10), uid(11)]
    assert "commands_full" in desk.logs()


# --- repair ---


def test_a_document_below_what_is_held_gets_the_commands_again_in_order() -> None:
    ack, go, over = (
        command(10, "acknowledge", repeats=2),
        command(11, "dispatch"),
        command(12, "resolve", repeats=2, note="done"),
    )
    held = record_of(
        document(
            state="resolved",
            repeats=2,
            note="done",
            reached={"acknowledged": step(ack), "dispatched": step(go), "resolved": step(over)},
        )
    )
    desk = Desk(alarms=[held]).up()
    desk.hear(document(repeats=2), retained=True)
    again = desk.published("acknowledge", "dispatch", "resolve")
    assert [c.command_id for c in again] == [uid(10), uid(11), uid(12)]
    assert [c.operator for c in again] == ["budi"] * 3
    assert (again[0].repeats, again[0].kind) == (2, "panic")
    assert (again[1].unit, again[1].repeats) == ("Polsek Klojen", 2)
    assert (again[2].outcome, again[2].note, again[2].repeats) == ("real", "done", 2)


def test_a_repair_is_repeated_until_a_document_shows_it() -> None:
    held = record_of(document(state="acknowledged"))
    desk = Desk(alarms=[held]).up()
    desk.hear(document())
    desk.run(4)
    assert len(desk.published("acknowledge")) == 3
    desk.hear(document(state="acknowledged"))
    desk.forget()
    desk.run(60)
    assert desk.published("acknowledge") == []


def test_a_refused_repair_is_not_repeated_on_this_connection() -> None:
    held = record_of(document(state="acknowledged"))
    desk = Desk(alarms=[held]).up()
    desk.hear(document())
    desk.refuse(desk.published("acknowledge")[0], "already")
    desk.forget()
    desk.hear(document())
    desk.run(60)
    assert desk.published("acknowledge") == []


def test_a_document_that_says_test_where_panic_is_held_gets_a_panic_command() -> None:
    desk = Desk(alarms=[record_of(document(kind="panic"))]).up()
    desk.hear(document(kind="test"))
    [again] = desk.published("panic")
    assert desk.alarm().kind == "panic"
    assert decode(Command, encode(again)) == again


# --- bounds ---


def test_at_the_bound_the_oldest_closed_alarm_leaves_memory_for_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_module, "ALARMS_MAX", 3)
    desk = Desk().up()
    desk.hear(document(1, "resolved"))
    desk.hear(document(2))
    desk.hear(document(3))
    desk.hear(document(4))
    assert {a.alarm_id for a in desk.core.alarms()} == {uid(2), uid(3), uid(4)}
    assert set(desk.stored) == {uid(1), uid(2), uid(3), uid(4)}


def test_at_the_bound_with_all_open_the_newest_is_not_receipted_and_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_module, "ALARMS_MAX", 2)
    desk = Desk().up()
    for n in (1, 2, 3):
        desk.hear(document(n))
    assert [c.alarm_id for c in desk.published("receive")] == [uid(1), uid(2)]
    assert "alarms_full" in desk.logs()
    desk.hear(document(1, "resolved"))
    desk.hear(document(3))
    assert desk.rings() == [uid(1), uid(2), uid(3)]


def test_posts_and_gateways_beyond_their_bounds_are_refused_and_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_module, "POSTS_MAX", 1)
    monkeypatch.setattr(core_module, "GATEWAYS_MAX", 1)
    desk = Desk().up()
    desk.hear(post())
    desk.hear(post(post="another"))
    desk.hear(gateway("another"))
    assert [p.post for p in desk.posts()] == [POST]
    assert desk.logs() == ["posts_full", "gateways_full"]


# --- posts ---


def test_a_post_is_shown_when_its_connection_or_faults_change_and_not_otherwise() -> None:
    desk = Desk().up()
    desk.hear(post())
    desk.hear(post(last_seen="2027-01-15T08:00:00.000Z"))
    desk.hear(post(connection="silent"))
    desk.hear(post(connection="silent", faults=("button_stuck",)))
    assert [(p.connection, p.faults) for p in desk.posts()] == [
        ("online", ()),
        ("silent", ()),
        ("silent", ("button_stuck",)),
    ]


# --- the whole ---


def test_no_order_or_repetition_of_documents_changes_what_is_held() -> None:
    documents = [
        document(),
        document(repeats=2),
        document(state="acknowledged", repeats=2, answered_repeats=0),
        document(state="resolved", repeats=2, answered_repeats=0),
    ]
    ends = set()
    for shift in range(len(documents)):
        desk = Desk().up()
        for shown in documents[shift:] + documents[:shift] + documents:
            desk.hear(shown)
        ends.add(msgspec.json.encode(desk.alarm()))
        assert desk.stored[uid(1)] == desk.alarm()
    assert len(ends) == 1


def test_an_unexpected_event_or_message_is_logged_and_harms_nothing() -> None:
    desk = Desk().up()
    desk.send(object())
    desk.send(Heard("mcc", "c1", Address("mcc", "commands", "x"), command(1, "panic")))
    assert desk.logs() == ["event_unknown", "message_unexpected"]


def test_everything_published_is_of_the_contract() -> None:
    desk = Desk(alarms=[record_of(document(state="resolved"))]).up()
    desk.hear(document())
    desk.hear(document(2))
    desk.send(NewCommands([command(n, a) for n, a in enumerate(("panic", "open_test"), 20)]))
    desk.run(100)
    sent: list[Message] = list(desk.published())
    assert len(sent) > 20
    assert all(decode(Command, encode(one)) == one for one in sent)
