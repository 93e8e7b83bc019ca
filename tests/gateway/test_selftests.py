"""The daily self-test as the gateway asks for it, follows it hop by hop, and judges it."""

from __future__ import annotations

import msgspec
import pytest

from gateway import selftests
from gateway.core import POSTS_LINK, GatewaySettings
from process.core import Publish
from protocol.messages import Alarm, Selftest, SelftestReport
from protocol.topics import Address
from protocol.values import timestamp
from tests.gateway.rig import (
    ALARM,
    DAY_S,
    GATEWAY,
    POST,
    WALL_MS,
    Rig,
    held,
    make_alarm,
    some_id,
)

TEST = some_id(0x5E)
HOUR_S = 3_600
PATIENCE_S = selftests.PATIENCE_US / 1_000_000


def asked(**settings: object) -> Rig:
    """A gateway with one post that is there, and that the day's first test has come for."""
    rig = Rig(settings=GatewaySettings(GATEWAY, selftests=True, **settings))  # type: ignore[arg-type]
    rig.beat()
    until_due(rig)
    return rig


def until_due(rig: Rig, within_s: int = HOUR_S) -> None:
    for _ in range(within_s // 30):
        live(rig)
        if rig.state_document().selftest_due is not None:
            return
    raise AssertionError("no self-test is due")


def live(rig: Rig, seconds: float = 30, **says: object) -> None:
    """Some time passes, and everybody says that he is there."""
    rig.beat()
    rig.heartbeat(**says)  # type: ignore[arg-type]
    rig.advance(seconds)
    if f"kentongan/v1/posts/{POST}/state" not in rig.retained:
        rig.heartbeat(held())  # what it holds is not listed: the document is published


def offer(rig: Rig, circuit: str = "looped", alarm_id: str = TEST) -> None:
    alarm = make_alarm(rig.at_us // 1000, alarm_id, kind="selftest")
    alarm = msgspec.structs.replace(alarm, circuit=circuit, presses_ms=())
    assert isinstance(alarm, Alarm)
    rig.hear(alarm, Address("posts", "alarms", POST))


def answer(rig: Rig, alarm_id: str = TEST) -> None:
    """The command centre's responder does its part."""
    rig.receive(alarm_id)
    rig.command("resolve", alarm_id=alarm_id, kind="selftest", outcome="test")
    rig.receive(alarm_id)


def report(rig: Rig, alarm_id: str = TEST, *, on_disk: bool = True) -> None:
    said = SelftestReport(
        alarm_id=alarm_id, on_disk=on_disk, lamp="armed", disk_ms=12, answered_ms=340
    )
    rig.heartbeat(selftest=said)


def result(rig: Rig) -> Selftest:
    found = rig.post_document().selftest
    assert found is not None
    return found


def test_every_post_has_its_own_second_of_the_day_and_keeps_it() -> None:
    posts = [f"mlg-rw{n:03d}" for n in range(2_000)]
    slots = [selftests.slot_s(post) for post in posts]
    assert slots == [selftests.slot_s(post) for post in posts]
    by_hour = [sum(slot // HOUR_S == hour for slot in slots) for hour in range(24)]
    assert min(by_hour) > 50
    assert max(by_hour) < 120


def test_a_post_is_due_at_its_slot_and_one_that_is_overdue_within_the_hour() -> None:
    slot = selftests.slot_s(POST)
    midnight_ms = WALL_MS - WALL_MS % (DAY_S * 1000)
    noon_ms = midnight_ms + slot * 1000 + 43_200_000
    done = Selftest(ended_at=timestamp(noon_ms - 43_000_000))
    assert selftests.next_in_s(POST, done, noon_ms) == 43_200
    old = Selftest(ended_at=timestamp(noon_ms - 2 * DAY_S * 1000))
    for latest in (old, None):
        in_s = selftests.next_in_s(POST, latest, noon_ms)
        assert selftests.OVERDUE_FIRST_S <= in_s < HOUR_S
    failed = msgspec.structs.replace(done, failed="missed")
    assert selftests.next_in_s(POST, failed, noon_ms) == selftests.RETRY_S


def test_one_that_passes_is_kept_hop_by_hop_and_leaves_nothing_else() -> None:
    rig = asked()
    due_at = rig.state_document().selftest_due
    offer(rig)
    assert rig.state_document().selftest_due is None
    assert rig.listed(TEST) is not None
    answer(rig)
    report(rig)
    passed = result(rig)
    assert passed.failed is None
    assert (passed.due_at, passed.alarm_id, passed.circuit) == (due_at, TEST, "looped")
    assert (passed.on_disk, passed.disk_ms, passed.lamp) == (True, 12, "armed")
    assert passed.confirmed_ms == 340
    times = (passed.received_at, passed.delivered_at, passed.answered_at, passed.ended_at)
    assert None not in times
    assert passed.proven_at == passed.ended_at
    assert rig.post_document().faults == ()
    rig.advance(120)
    rig.heartbeat()
    assert rig.journal == {}
    assert not rig.is_shown(TEST)
    assert rig.sounds == []


def test_a_row_that_a_crash_left_behind_goes_at_the_next_start() -> None:
    rig = asked()
    offer(rig)
    answer(rig)
    report(rig)
    over = msgspec.structs.replace(rig.journal[TEST], listed=False, cleared=True)
    rig.advance(120)
    rig.heartbeat()
    rig.journal[TEST] = over  # committed as over, and killed before the row went
    rig.restart()
    rig.heartbeat()
    assert rig.journal == {}
    assert not any(rig.gateway.census().alarms.values())


def test_it_is_due_again_a_day_later_and_not_before() -> None:
    rig = asked()
    offer(rig)
    answer(rig)
    report(rig)
    rig.forget()
    rig.advance(1)
    due = rig.gateway._deadlines.get(("selftest", POST))
    assert due is not None
    assert 0 < due - rig.at_us <= DAY_S * 1_000_000
    wall_s = (rig.now.wall_ms * 1000 + due - rig.at_us) // 1_000_000
    assert abs(wall_s % DAY_S - selftests.slot_s(POST)) <= 1


def test_a_dead_button_circuit_is_named() -> None:
    rig = asked()
    offer(rig, "dead")
    answer(rig)
    report(rig)
    assert result(rig).failed == "circuit_dead"
    assert result(rig).proven_at is None


def test_a_button_that_cannot_be_exercised_is_not_proven_by_a_test_that_passes() -> None:
    rig = asked()
    offer(rig, "unproven")
    answer(rig)
    report(rig)
    assert (result(rig).failed, result(rig).proven_at) == (None, None)


def test_a_disk_that_did_not_take_it_is_named() -> None:
    rig = asked()
    offer(rig)
    answer(rig)
    report(rig, on_disk=False)
    assert result(rig).failed == "disk_failing"


def test_a_post_that_is_heard_and_makes_no_selftest_is_a_fault_of_the_post() -> None:
    rig = asked()
    for _ in range(12):
        live(rig)
    assert result(rig).failed == "missed"
    assert rig.post_document().faults == ("selftest_missed",)
    assert rig.state_document().selftest_due is None


def test_a_test_that_calls_left_no_time_for_is_nobodys_fault_and_comes_later() -> None:
    rig = asked()
    rig.offer()
    for n in range(12):
        live(rig)
        if n == 7:
            rig.settle()
    assert rig.post_document().selftest is None
    assert rig.post_document().faults == ()
    until_due(rig)


def test_nor_is_one_of_a_post_that_was_away_meanwhile() -> None:
    rig = asked()
    for _ in range(7):
        rig.beat()
        rig.advance(20)
    assert rig.post_document().connection == "silent"
    for _ in range(6):
        live(rig)
    assert rig.post_document().connection == "online"
    assert rig.post_document().selftest is None
    until_due(rig)


def test_a_gateway_that_is_deaf_to_alarms_is_named_and_not_the_post() -> None:
    rig = asked()
    for _ in range(12):
        live(rig, faults=("gateway_deaf",))
    assert result(rig).failed == "gateway_deaf"
    assert rig.post_document().faults == ("gateway_deaf",)


def test_while_we_do_not_reach_the_command_centre_nobody_is_judged_and_it_goes_on_later() -> None:
    rig = asked()
    rig.disconnect("mcc")
    offer(rig)
    for _ in range(12):
        rig.heartbeat()
        rig.advance(30)
    assert selftests.RESPONDER_DEAD not in rig.gateway.faults
    rig.connect("mcc")
    rig.beat()
    assert rig.post_document().selftest is None
    answer(rig)
    report(rig)
    assert result(rig).failed is None


def test_a_command_centre_without_receipts_or_answers_is_one_fault_of_its_own() -> None:
    for does, failed in (("nothing", "mcc_deaf"), ("receipts", "responder_dead")):
        rig = asked()
        offer(rig)
        if does == "receipts":
            rig.receive(TEST)
        for _ in range(12):
            rig.beat()
            rig.heartbeat(held(TEST, "delivered" if does == "receipts" else "received"))
            rig.advance(30)
        assert result(rig).failed == failed
        assert rig.post_document().faults == ()
        assert rig.gateway_document().faults == ("responder_dead",)
        answer(rig)
        report(rig)
        assert result(rig).failed is None
        assert rig.gateway_document().faults == ()


def test_a_post_that_does_not_confirm_is_named_and_one_that_is_gone_is_not_judged() -> None:
    rig = asked()
    offer(rig)
    answer(rig)
    for _ in range(12):
        live(rig)
    assert result(rig).failed == "unconfirmed"
    assert rig.post_document().faults == ("selftest_unconfirmed",)
    gone = asked()
    gone.advance(2 * PATIENCE_S)
    assert gone.post_document().selftest is None
    assert gone.post_document().connection == "silent"
    assert gone.state_document().selftest_due is None


def test_it_waits_for_the_end_of_a_call() -> None:
    rig = Rig(settings=GatewaySettings(GATEWAY, selftests=True))
    rig.offer()
    for _ in range(2 * HOUR_S // 30):
        rig.beat()
        rig.heartbeat(held())
        rig.advance(30)
    assert rig.state_document().selftest_due is None
    rig.settle()
    until_due(rig)


def test_the_due_document_is_published_again_while_the_post_does_not_act() -> None:
    rig = asked()
    rig.forget()
    for _ in range(4):
        live(rig)
    said = [p for p in rig.done(Publish) if p.topic.endswith("/state")]
    assert len(said) >= 2


def test_a_restart_in_the_middle_goes_on_with_it() -> None:
    rig = asked()
    offer(rig)
    rig.restart()
    answer(rig)
    report(rig)
    assert result(rig).failed is None


def test_a_restart_before_it_came_asks_again_and_results_outlive_restarts() -> None:
    rig = asked()
    rig.restart()
    rig.heartbeat()
    assert rig.state_document().selftest_due is None  # the owner has mended what was retained
    until_due(rig)
    offer(rig)
    answer(rig)
    report(rig)
    proven_at = result(rig).proven_at
    rig.restart()
    rig.heartbeat()
    assert result(rig).proven_at == proven_at


def test_selftests_never_take_the_place_of_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.core.SELFTEST_ALARMS_MAX", 1)
    rig = asked()
    rig.offer(ALARM)
    offer(rig)
    assert list(rig.journal) == [ALARM]
    assert rig.gateway.counts["selftest_no_room"] == 1


def test_a_bounded_number_is_under_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.selftests.UNDER_WAY_MAX", 2)
    rig = Rig(settings=GatewaySettings(GATEWAY, selftests=True))
    posts = [f"mlg-rw{n:02d}" for n in range(8)]
    most = 0
    for _ in range(2 * HOUR_S // 30):
        rig.beat()
        for post in posts:
            rig.heartbeat(post=post)
        rig.advance(30)
        most = max(most, len(rig.gateway._running))
    assert most == 2
    rig.disconnect(POSTS_LINK)


def test_where_nobody_receipts_the_gateway_itself_ends_it() -> None:
    rig = asked(require_receipt=False)
    offer(rig)
    report(rig)
    assert result(rig).failed is None
    assert result(rig).delivered_at is None


def test_without_the_setting_nothing_is_due() -> None:
    rig = Rig()
    for _ in range(HOUR_S // 300):
        rig.heartbeat()
        rig.advance(300)
    assert rig.state_document().selftest_due is None


def test_a_post_with_older_firmware_than_is_wanted_has_a_fault() -> None:
    for firmware, wanted, is_old in (
        ("kentongan 1.9.0", "1.10.0", True),
        ("kentongan 1.10", "1.10.0", True),
        ("kentongan 1.10.0", "1.10.0", False),
        ("kentongan 2.0", "1.10.0", False),
        ("home-made", "1.10.0", True),
        ("home-made", None, False),
    ):
        rig = Rig(settings=GatewaySettings(GATEWAY, firmware=wanted))
        rig.presence(online=True, firmware=firmware)
        rig.heartbeat()
        assert ("firmware_old" in rig.post_document().faults) == is_old, firmware


def test_results_that_cannot_be_read_are_tested_anew() -> None:
    rows = {"selftest/a": "{", "selftest/b": "", "store_id": "x"}
    rows.update([selftests.meta_row("c", Selftest(ended_at=timestamp(WALL_MS)))])
    assert [post for post, _ in selftests.read_meta(rows)] == ["c"]
