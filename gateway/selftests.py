"""The daily self-test of each post: when it is due, and what its hops say. Pure values.

What is ours is never shown as the post's: a gateway that does not hear, a command centre that does
not answer. It decides nothing about calls; when a test begins and ends is in `core.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from gateway.record import AlarmRecord
from protocol.messages import Selftest, SelftestFailure, SelftestReport, Step
from protocol.values import timestamp, wall_ms

SECOND_US = 1_000_000
DAY_S = 86_400
# A post whose test is overdue (the gateway was away, or the post is new) has it within the hour,
# and not in the first minutes: then posts are coming back, and alarms go first.
OVERDUE_FIRST_S = 600
OVERDUE_SPREAD_S = 3_000
RETRY_S = 3_600  # after one that failed: a repair is seen within the hour
LOOK_AGAIN_US = 600 * SECOND_US  # the post was not there, or somebody was calling
# From due to the post's report. The post waits until nobody has touched its button for a while, and
# says after a minute that it is not listed.
PATIENCE_US = 300 * SECOND_US
REMIND_US = 30 * SECOND_US  # the state document may have been lost
UNDER_WAY_MAX = 100
FULL_LOOK_US = 10 * SECOND_US
# Its document at the command centre is cleared so soon after it is over: nobody looks at it.
CLEARED_AFTER_US = 60 * SECOND_US
META_PREFIX = "selftest/"

# Failures that are not the post's, and by what fault of the gateway the command centre sees them.
RESPONDER_DEAD = "responder_dead"
_OF_THE_MCC: frozenset[SelftestFailure] = frozenset(("mcc_deaf", "responder_dead"))
# What the post has no word for itself.
_SAID_OF_POST: dict[SelftestFailure, str] = {
    "missed": "selftest_missed",
    "unconfirmed": "selftest_unconfirmed",
}
_PROVEN = frozenset(("looped", "levels"))


@dataclass(slots=True)
class Run:
    """A self-test that is under way. `record`: its alarm, once that is in the journal.

    `disturbed`: somebody called meanwhile, or the post was away.
    """

    due_at: str
    began_us: int
    record: AlarmRecord | None = None
    report: SelftestReport | None = None
    disturbed: bool = False


def slot_s(post: str) -> int:
    """The second of the day (UTC) at which this post is tested: stable, spread over the day."""
    digest = hashlib.blake2b(post.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % DAY_S


def next_in_s(post: str, latest: Selftest | None, now_wall_ms: int) -> int:
    """In how many seconds the next self-test is due, by the day's slot."""
    slot = slot_s(post)
    since_slot_s = (now_wall_ms // 1000 - slot) % DAY_S
    if latest is not None and wall_ms(latest.ended_at) >= now_wall_ms - since_slot_s * 1000:
        return DAY_S - since_slot_s if latest.failed is None else RETRY_S
    return OVERDUE_FIRST_S + slot % OVERDUE_SPREAD_S


def failure_of(record: AlarmRecord, report: SelftestReport | None) -> SelftestFailure | None:
    """The first hop that is not in order; None: all are."""
    if record.circuit == "dead":
        return "circuit_dead"
    if record.reached.delivered is None and not record.resolved:
        return "mcc_deaf"
    if not record.resolved:
        return "responder_dead"
    if report is None:
        return "unconfirmed"
    return None if report.on_disk else "disk_failing"


def result_of(
    run: Run, failed: SelftestFailure | None, latest: Selftest | None, at: str
) -> Selftest:
    """What journal and command centre keep of it; `latest` is the one before."""
    record, report = run.record, run.report
    is_proven = failed is None and record is not None and record.circuit in _PROVEN
    proven_at = None if latest is None else latest.proven_at
    if record is None:
        return Selftest(ended_at=at, failed=failed, due_at=run.due_at, proven_at=proven_at)
    reached = record.reached
    return Selftest(
        ended_at=at,
        failed=failed,
        proven_at=at if is_proven else proven_at,
        due_at=run.due_at,
        alarm_id=record.alarm_id,
        circuit=record.circuit,
        on_disk=None if report is None else report.on_disk,
        disk_ms=None if report is None else report.disk_ms,
        received_at=reached.received.at,
        delivered_at=_at(reached.delivered),
        answered_at=_at(reached.resolved),
        lamp=None if report is None else report.lamp,
        confirmed_ms=None if report is None else report.answered_ms,
    )


def _at(step: Step | None) -> str | None:
    return None if step is None else step.at


def fault_of(latest: Selftest | None) -> str | None:
    """What the latest test says of the post and the post does not say itself."""
    return None if latest is None or latest.failed is None else _SAID_OF_POST.get(latest.failed)


def is_of_mcc(failed: SelftestFailure | None) -> bool:
    """Whether it is the command centre that did not do its part."""
    return failed in _OF_THE_MCC


def closed_here(record: AlarmRecord, at_wall_ms: int) -> AlarmRecord:
    """Over, where nobody answers: a third party without receipts."""
    step = Step(at=timestamp(at_wall_ms))
    reached = msgspec.structs.replace(record.reached, resolved=step)
    return msgspec.structs.replace(
        record, state="resolved", reached=reached, outcome="test", answered_repeats=0
    )


def read_meta(meta: Mapping[str, str]) -> Iterator[tuple[str, Selftest]]:
    """The latest results by post, as the journal's meta values hold them."""
    for key, value in meta.items():
        if key.startswith(META_PREFIX) and value:
            try:
                yield key.removeprefix(META_PREFIX), msgspec.json.decode(value, type=Selftest)
            except (msgspec.MsgspecError, ValueError):
                continue  # the post is tested within the hour


def meta_row(post: str, latest: Selftest | None) -> tuple[str, str]:
    """The meta value of a result; None: the post is no post any more."""
    text = "" if latest is None else msgspec.json.encode(latest).decode()
    return META_PREFIX + post, text
