"""What page, paper and sheets list beside the numbers, in words."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.utils.translation import gettext as _

from mcc.anev import words
from mcc.anev.figures import Number, Report, Section

TARGETS = ("acknowledge", "acknowledge_late", "dispatch", "on_scene")


def wanted_percent(report: Report, name: str) -> str:
    """What share a target wants; empty where it wants none."""
    limits = report.limits
    wanted = {
        "acknowledge": limits.acknowledge_percent,
        "acknowledge_late": limits.acknowledge_late_percent,
    }.get(name)
    return words.value(Number(value=wanted, unit="percent")) if wanted is not None else ""


def false_posts(report: Report, section: Section) -> list[tuple[str, str]]:
    """The posts that raised false alarms, those with the most first: label, number."""
    names = [name for name in section if name.startswith("false.post.")]
    names.sort(key=lambda name: (-section[name].n, name))
    return [(post_name(report, name.removeprefix("false.post.")), name) for name in names]


def broken_posts(report: Report, section: Section) -> list[tuple[str, str]]:
    """Each post with a fault at the end of the week, and which."""
    faults: dict[str, list[str]] = defaultdict(list)
    for name, number in section.items():
        if name.startswith("posts.standing."):
            for fault_id in number.ids:
                one = report.faults[fault_id]
                said = _("%(fault)s since %(when)s")
                parts = {
                    "fault": words.fault_words(one.fault),
                    "when": words.moment(one.raised_ms),
                }
                faults[one.post].append(said % parts)
    return sorted((post_name(report, post), ", ".join(some)) for post, some in faults.items())


def cases_of(report: Report, section: Section) -> list[dict[str, Any]]:
    """The calls for help of the week, with what people wrote."""
    return [case_of(report, alarm_id) for alarm_id in section["calls.panic"].ids]


def case_of(report: Report, alarm_id: str) -> dict[str, Any]:
    """One call in words."""
    case = report.cases[alarm_id]
    answered = case.took_ms("press_acknowledged")
    there = case.took_ms("press_on_scene")
    return {
        "case": case,
        "post": post_name(report, case.post),
        "at": words.moment(case.raised_ms),
        "kind": words.KINDS[case.kind],
        "outcome": words.OUTCOMES[case.ended],
        "answered": "" if answered is None else words.duration(answered),
        "there": "" if there is None else words.duration(there),
        "remarks": [(words.moment(one.at_ms), one) for one in case.remarks],
    }


def post_name(report: Report, post: str) -> str:
    """A post's name; its id where nobody has registered it."""
    known = report.posts.get(post)
    return known.name if known else post
