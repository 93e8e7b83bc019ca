"""False alarms are counted fairly: pattern, clusters, a ladder, and a person's decision only."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from mcc.cases.actions import Refused, act
from mcc.cases.models import Alarm, Command, Entry
from mcc.community.fairness import CLUSTER_MS, LADDER, RATE_FROM_CASES, Case, Decision, review
from protocol.messages import Raised, Step
from protocol.values import timestamp
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST, uid
from tests.mcc.test_actions import FROM, a_user, registered, sent, stored

DAY_MS = 86_400_000
# 1 March 2026, 00:00 WIB.
MIDNIGHT_MS = 1_772_298_000_000


def case(hour: float, outcome: str = "false", day: int = 0) -> Case:
    raised_ms = int(MIDNIGHT_MS + day * DAY_MS + hour * 3_600_000)
    return Case("x", raised_ms, raised_ms + 60_000, outcome)


def decision(day: int, step: str = "talk") -> Decision:
    return Decision(MIDNIGHT_MS + day * DAY_MS, step, "rini", "why")


def test_false_and_prank_are_false_alarms_and_practice_is_not() -> None:
    found = review([case(1), case(2, "prank"), case(3, "test"), case(4, "real")], [], due_after=2)
    assert (found.alarms, found.real, found.test, found.is_due) == (2, 1, 1, True)
    assert review([case(1), case(3, "test")], [], due_after=2).is_due is False


def test_a_percentage_is_given_from_so_many_cases_on() -> None:
    cases = [case(1)] + [case(n, "real") for n in range(2, RATE_FROM_CASES)]
    assert review(cases, [], due_after=2).percent is None
    assert review([*cases, case(9, "real")], [], due_after=2).percent == 20


def test_the_pattern_is_by_part_of_the_day_in_wib_and_by_cluster() -> None:
    evening = [case(20), case(20.5), case(21.4)]
    found = review([*evening, case(5.99, day=3)], [], due_after=9)
    assert (found.by_part, found.clusters) == ((1, 0, 0, 3), 2)
    apart = [case(1), replace(case(1), raised_ms=case(1).raised_ms + CLUSTER_MS)]
    assert review(apart, [], due_after=9).clusters == 1
    assert review([], [], due_after=9).clusters == 0


def test_a_decision_starts_the_count_anew_and_the_next_step_is_the_mildest_left() -> None:
    cases = [case(1), case(2), case(3, day=5)]
    assert review(cases, [], due_after=2).next_step == LADDER[0]
    decided = review(cases, [decision(1)], due_after=2)
    assert (decided.since_decision, decided.is_due, decided.next_step) == (1, False, LADDER[1])
    every = [decision(1, step) for step in LADDER]
    assert review(cases, every, due_after=2).next_step is None


def test_what_was_open_when_somebody_decided_counts_once_it_is_closed() -> None:
    late = replace(case(23), closed_ms=decision(1).at_ms + 1)
    assert review([late], [decision(1)], due_after=1).is_due
    assert not review(
        [replace(late, closed_ms=decision(1).at_ms)], [decision(1)], due_after=1
    ).is_due


# --- with the database --------------------------------------------------------------------------


@pytest.fixture
def site(database: object, quick_passwords: None) -> None:
    """A command centre."""


SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def crowed(n: int, *, raised_s: int, closed_s: int) -> None:
    """A false alarm; seconds from now."""
    now_ms = time.time_ns() // 1_000_000
    raised = Raised(at=timestamp(now_ms + raised_s * 1000), known="computed")
    closed = Step(at=timestamp(now_ms + closed_s * 1000), operator="sari", console="console")
    stored(n, "resolved", outcome="false", raised=raised, reached={"resolved": closed})
    Alarm.objects.filter(alarm_id=uid(n)).update(outcome="false", is_open=False)


@SQLITE
@pytest.mark.usefixtures("site")
class TestPages:
    """The pages, for those who work with the posts."""

    def test_a_post_with_two_false_alarms_wants_a_decision_and_a_supervisor_gives_one(self) -> None:
        registered()
        crowed(1, raised_s=-7200, closed_s=-3600)
        crowed(2, raised_s=-7200, closed_s=-3600)
        client = signed_in(an_account("rini", "supervisor"))
        client.cookies["django_language"] = "en"
        assert "wanted</strong>" in client.get("/false-alarms/").content.decode()
        said = {"step": "talk", "why": "children after school"}
        answer = client.post(f"/false-alarms/{POST}/decide", said, follow=True)
        assert "children after school" in answer.content.decode()
        entry = Entry.objects.get(action="measure")
        assert (entry.post, entry.detail["result"]) == (POST, "talk")
        # It is somebody's decision and nothing else: no order goes to any gateway.
        assert not Command.objects.exists()
        assert "none wanted" in client.get("/false-alarms/").content.decode()
        assert "A decision is wanted" not in answer.content.decode()
        # Two that were open meanwhile.
        crowed(3, raised_s=-7200, closed_s=3600)
        crowed(4, raised_s=-7200, closed_s=3600)
        assert "wanted</strong>" in client.get("/false-alarms/").content.decode()
        assert "A decision is wanted" in client.get(f"/false-alarms/{POST}").content.decode()

    def test_no_decision_without_a_reason_or_by_an_operator(self) -> None:
        registered()
        rini = an_account("rini", "supervisor")
        signed_in(rini).post(f"/false-alarms/{POST}/decide", {"step": "talk", "why": " "})
        budi = signed_in(an_account())
        assert budi.post(f"/false-alarms/{POST}/decide", {"step": "talk"}).status_code == 403
        with pytest.raises(Refused):
            act(rini, "measure", post=POST, result="deafen", note="no", **FROM)
        assert not Entry.objects.filter(action="measure").exists()


@SQLITE
@pytest.mark.usefixtures("site")
class TestCallBack:
    """`confirm by phone` is written down beside the dispatch and holds up nothing."""

    @pytest.mark.parametrize("result", ["real", "false", "unclear", "no_answer"])
    def test_a_unit_is_sent_before_and_after_whatever_was_heard(self, result: str) -> None:
        registered()
        user = a_user()
        stored(1)
        stored(2)
        act(user, "dispatch", alarm_id=uid(1), **FROM)
        act(user, "confirm_by_phone", alarm_id=uid(1), result=result, **FROM)
        act(user, "confirm_by_phone", alarm_id=uid(2), result=result, **FROM)
        act(user, "dispatch", alarm_id=uid(2), **FROM)
        assert [one.action for one in sent()] == ["dispatch", "dispatch"]
        assert Alarm.objects.filter(is_open=True).count() == 2

    def test_a_call_back_without_a_result_is_refused(self) -> None:
        stored(1)
        with pytest.raises(Refused):
            act(a_user(), "confirm_by_phone", alarm_id=uid(1), **FROM)
