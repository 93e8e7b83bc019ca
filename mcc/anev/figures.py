"""Every figure of a week, counted: typed rows in, a report out, each number with its events.

Pure: no database and no clock. A number that is not here stands in no page, file or message; one
that is has the ids of the events behind it. Times are Unix milliseconds, durations milliseconds.
A week goes from Monday 00:00 to Monday 00:00 in Malang (WIB, UTC+7 without summer time).

The median and the 90th percentile are by the nearest rank: of n values in their order the one at
place ceil(n * 50 / 100) or ceil(n * 90 / 100). So each is the time of one real call. Below
`SMALL` values there is neither, and no percentage: the values themselves are named.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args

import msgspec

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
# WIB. Indonesia has no summer time.
OFFSET_MS = 7 * HOUR_MS
# The week itself and those that it is held against.
TREND_WEEKS = 12
# With fewer values a percentile or a percentage says more than is known.
SMALL = 5
CITY = "city"
SILENT = "silent"
# So far a telephone's clock may be off: a press that came here belongs to a visit.
PRESS_NEAR_MS = 2 * HOUR_MS
PERCENTILES = {"median": 50, "p90": 90}

EventKind = Literal["alarm", "post", "fault", "visit"]
Unit = Literal["count", "ms", "hours", "percent"]
# From what to what; `target` is held against what is counted from the press.
Step = Literal[
    "press_received",
    "received_acknowledged",
    "press_acknowledged",
    "acknowledged_sent",
    "acknowledged_on_scene",
    "press_on_scene",
]
STEPS: tuple[Step, ...] = get_args(Step)
KINDS = ("panic", "test")
# `none`: closed without an outcome, because no gateway knew the alarm any more.
OUTCOMES = ("real", "false", "prank", "test", "none", "open")
FALSE = ("false", "prank")


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that the figures are made of, or that is kept with them."""


class Remark(Row, frozen=True):
    """What a person wrote about a case."""

    at_ms: int
    who: str
    text: str


class Case(Row, frozen=True):
    """One call. `pressed_ms` is None where nobody knows the moment of the press."""

    alarm_id: str
    post: str
    kind: str
    raised_ms: int
    pressed_ms: int | None = None
    received_ms: int | None = None
    acknowledged_ms: int | None = None
    sent_ms: int | None = None
    on_scene_ms: int | None = None
    outcome: str = ""
    is_open: bool = False
    remarks: tuple[Remark, ...] = ()

    @property
    def ended(self) -> str:
        """One of `OUTCOMES`."""
        return "open" if self.is_open else self.outcome or "none"

    def took_ms(self, step: Step) -> int | None:
        """How long a step took; None where an end of it is not known. Clocks that disagree: 0."""
        begin, end = step.split("_", 1)
        moments = {
            "press": self.pressed_ms,
            "received": self.received_ms,
            "acknowledged": self.acknowledged_ms,
            "sent": self.sent_ms,
            "on_scene": self.on_scene_ms,
        }
        began_ms, ended_ms = moments[begin], moments[end]
        return None if began_ms is None or ended_ms is None else max(0, ended_ms - began_ms)


class FaultSpan(Row, frozen=True):
    """A fault of a post, or of a gateway, from its raising to its clearing (None: it stands)."""

    fault_id: str
    post: str
    fault: str
    raised_ms: int
    cleared_ms: int | None = None


class PostRow(Row, frozen=True):
    """A post: where it is registered, when it last showed that it works, when it was pressed.

    `is_heard`: a gateway has told of it. `after_ms`: the last press so shortly after the week that
    it may be the one that an officer spoke of at the end of it (`PRESS_NEAR_MS`).
    """

    post: str
    name: str
    kelurahan: str | None = None
    is_heard: bool = False
    proven_ms: int | None = None
    pressed_ms: int | None = None
    after_ms: int | None = None


class Visit(Row, frozen=True):
    """A visit of an officer; `post`: the post that was checked, if one was.

    `is_pressed`: the officer says to have pressed its button.
    """

    visit_id: str
    officer: str
    kelurahan: str | None
    at_ms: int
    post: str | None = None
    is_pressed: bool = False


class Scope(Row, frozen=True):
    """What figures are about: the city, a kecamatan, a kelurahan or an officer.

    `key` is `city`, `kec/CODE`, `kel/CODE` or `officer/ID`; `parent` the key above it. An officer's
    figures are those of the kelurahan, and the officer's own visits.
    """

    key: str
    name: str
    parent: str | None = None


class Limits(Row, frozen=True):
    """What figures are held against, as it was set when they were made."""

    acknowledge_s: int
    acknowledge_percent: float
    acknowledge_late_s: int
    acknowledge_late_percent: float
    dispatch_s: int
    on_scene_s: int
    not_proven_days: int
    not_pressed_days: int


class Rows(Row, frozen=True):
    """All that a report is made of. `began_ms`: since when there is any record."""

    scopes: tuple[Scope, ...]
    posts: tuple[PostRow, ...]
    cases: tuple[Case, ...]
    faults: tuple[FaultSpan, ...]
    visits: tuple[Visit, ...]
    began_ms: int | None
    # Gateways that were not heard: `post` names the gateway.
    outages: tuple[FaultSpan, ...] = ()


class Number(Row, frozen=True):
    """One number and the events behind it; None: too few to say, or none.

    A median's event is the call whose time it is; where there is no median, the few calls.
    """

    value: float | None
    ids: tuple[str, ...] = ()
    of: EventKind = "alarm"
    unit: Unit = "count"

    @property
    def n(self) -> int:
        """How many events."""
        return len(self.ids)


Section = dict[str, Number]
ZERO = Number(value=0)


class Report(Row, frozen=True):
    """The figures of one week for every scope, with the events that they name.

    Editions keep it for ever: a name or a field may be added here, with a default, never changed.
    """

    begin_ms: int
    made_ms: int
    limits: Limits
    scopes: tuple[Scope, ...]
    sections: dict[str, Section]
    posts: dict[str, PostRow]
    cases: dict[str, Case]
    faults: dict[str, FaultSpan]
    visits: dict[str, Visit]

    @property
    def end_ms(self) -> int:
        """The Monday after."""
        return self.begin_ms + WEEK_MS

    @property
    def is_over(self) -> bool:
        """Whether the week had ended when this was made."""
        return self.made_ms >= self.end_ms

    @property
    def week(self) -> str:
        """As in `week_name`."""
        return week_name(self.begin_ms)

    def below(self, key: str) -> list[Scope]:
        """The scopes directly below one."""
        return [one for one in self.scopes if one.parent == key]

    def scope(self, key: str) -> Scope | None:
        """The scope of this key."""
        return next((one for one in self.scopes if one.key == key), None)

    def number(self, scope: str, name: str) -> Number | None:
        """A number by its name; an hour without a call is not kept and is 0."""
        section = self.sections.get(scope)
        if section is None:
            return None
        return section.get(name, ZERO if name in _HEAT else None)


_HEAT = frozenset(f"heat.{day}.{hour}" for day in range(7) for hour in range(24))


# --- weeks --------------------------------------------------------------------------------------


def week_of(at_ms: int) -> int:
    """The Monday 00:00 WIB with which the week of this moment began."""
    days = (at_ms + OFFSET_MS) // DAY_MS
    # 1 January 1970 was a Thursday.
    return (days - (days + 3) % 7) * DAY_MS - OFFSET_MS


def week_name(begin_ms: int) -> str:
    """The week as ISO 8601 numbers it, such as 2026-W48."""
    said = day_of(begin_ms).isocalendar()
    return f"{said.year}-W{said.week:02d}"


def week_named(name: str) -> int:
    """When the week of this name began.

    Raises:
        ValueError: there is no such week.
    """
    year, _dash, week = name.partition("-W")
    if not (len(year) == 4 and len(week) == 2 and (year + week).isascii()):
        raise ValueError(f"no week: {name[:20]!r}; one is written like 2026-W48")
    day = dt.date.fromisocalendar(int(year), int(week), 1)
    begin_ms = (day.toordinal() - dt.date(1970, 1, 1).toordinal()) * DAY_MS - OFFSET_MS
    if begin_ms < 0:
        raise ValueError(f"no week: {name[:20]!r}; the first is 1970-W02")
    return begin_ms


def day_of(at_ms: int) -> dt.date:
    """The day of this moment in Malang."""
    return dt.date.fromordinal(dt.date(1970, 1, 1).toordinal() + int((at_ms + OFFSET_MS) // DAY_MS))


# --- the report ---------------------------------------------------------------------------------


def report(rows: Rows, limits: Limits, begin_ms: int, made_ms: int) -> Report:
    """The figures of the week that begins at `begin_ms`, as they stood at `made_ms`."""
    wards = _wards(rows.scopes)
    ward_of = {one.post: one.kelurahan for one in rows.posts}
    week = _Week(begin_ms, made_ms, limits, rows.began_ms)
    sections = {}
    for scope in rows.scopes:
        here = wards[scope.key]
        sections[scope.key] = week.section(
            [one for one in rows.posts if here is None or one.kelurahan in here],
            [one for one in rows.cases if here is None or ward_of.get(one.post) in here],
            [one for one in rows.faults if here is None or ward_of.get(one.post) in here],
            [one for one in rows.visits if _is_visit_of(one, scope, here)],
        )
    if CITY in sections:
        # Which posts could not call meanwhile, nobody knows: the city's alone.
        sections[CITY].update(week.outages(rows.outages))
    return Report(
        begin_ms=begin_ms,
        made_ms=made_ms,
        limits=limits,
        scopes=rows.scopes,
        sections=sections,
        posts={one.post: one for one in rows.posts},
        cases={one.alarm_id: one for one in rows.cases},
        faults={one.fault_id: one for one in (*rows.faults, *rows.outages)},
        visits={one.visit_id: one for one in rows.visits},
    )


def _wards(scopes: Sequence[Scope]) -> dict[str, frozenset[str] | None]:
    """The kelurahan of each scope; None: all, and what is registered in none."""
    found: dict[str, set[str]] = {scope.key: set() for scope in scopes}
    for scope in scopes:
        kind, _slash, code = scope.key.partition("/")
        if kind == "kel":
            found[scope.key].add(code)
            if scope.parent in found:
                found[scope.parent].add(code)
        elif kind == "officer" and scope.parent and scope.parent.startswith("kel/"):
            found[scope.key].add(scope.parent.removeprefix("kel/"))
    return {key: None if key == CITY else frozenset(codes) for key, codes in found.items()}


def _is_visit_of(visit: Visit, scope: Scope, wards: frozenset[str] | None) -> bool:
    if scope.key.startswith("officer/"):
        return scope.key == f"officer/{visit.officer}"
    return wards is None or visit.kelurahan in wards


class _Week:
    """Counts one scope at a time."""

    def __init__(self, begin_ms: int, made_ms: int, limits: Limits, began_ms: int | None) -> None:
        self._begin_ms = begin_ms
        self._end_ms = begin_ms + WEEK_MS
        self._made_ms = made_ms
        self._limits = limits
        self._began_ms = began_ms

    def section(
        self,
        posts: Sequence[PostRow],
        cases: Sequence[Case],
        faults: Sequence[FaultSpan],
        visits: Sequence[Visit],
    ) -> Section:
        """All numbers of a scope; cases and visits of other weeks are looked at for the trend."""
        cases = sorted(cases, key=lambda one: (one.raised_ms, one.alarm_id))
        mine = [one for one in cases if self._is_mine(one.raised_ms)]
        calls = [one for one in mine if one.kind == "panic"]
        found: Section = {}
        found.update(_alarms(mine))
        found.update(_false(calls))
        found.update(_times(calls))
        found.update(self._targets(calls))
        found.update(self._posts(posts, faults))
        found.update(self._visits(posts, [one for one in visits if self._is_mine(one.at_ms)]))
        every = [one for one in cases if one.kind == "panic" and one.raised_ms < self._end_ms]
        found.update(_heat(every))
        found.update(self._trend(every))
        return found

    def _is_mine(self, at_ms: int) -> bool:
        return self._begin_ms <= at_ms < self._end_ms

    # --- against the targets ---

    def _targets(self, calls: Sequence[Case]) -> Iterator[tuple[str, Number]]:
        limits = self._limits
        yield from self._target(
            calls, "acknowledge", "press_acknowledged", limits.acknowledge_s * 1000
        )
        yield from self._target(
            calls, "acknowledge_late", "press_acknowledged", limits.acknowledge_late_s * 1000
        )
        # A call that was closed without a unit needed none.
        sent = [one for one in calls if one.sent_ms is not None or one.is_open]
        yield from self._target(sent, "dispatch", "acknowledged_sent", limits.dispatch_s * 1000)
        # Only where a unit was sent somebody was to come.
        gone = [one for one in calls if one.sent_ms is not None or one.on_scene_ms is not None]
        yield from self._target(gone, "on_scene", "press_on_scene", limits.on_scene_s * 1000)

    def _target(
        self, calls: Sequence[Case], name: str, step: Step, within_ms: int
    ) -> Iterator[tuple[str, Number]]:
        """A call counts once it has taken the step, or once its time for that is over."""
        within, counted = [], []
        for one in calls:
            took_ms = one.took_ms(step)
            began_ms = one.pressed_ms if step.startswith("press") else one.acknowledged_ms
            if began_ms is None:
                continue
            if took_ms is not None or self._made_ms - began_ms > within_ms:
                counted.append(one)
                if took_ms is not None and took_ms <= within_ms:
                    within.append(one)
        yield f"target.{name}.counted", _count(counted)
        yield f"target.{name}.within", _count(within)
        yield f"target.{name}.percent", _percent(_ids(within), _ids(counted))

    # --- posts ---

    def _posts(
        self, posts: Sequence[PostRow], faults: Sequence[FaultSpan]
    ) -> Iterator[tuple[str, Number]]:
        end_ms = min(self._end_ms, self._made_ms)
        standing: dict[str, list[FaultSpan]] = defaultdict(list)
        silent = []
        for one in sorted(faults, key=lambda one: (one.raised_ms, one.fault_id)):
            if one.raised_ms >= end_ms:
                continue
            if one.cleared_ms is None or one.cleared_ms >= end_ms:
                standing[one.fault].append(one)
            if one.fault == SILENT and self._lay_in_week(one):
                silent.append(one)
        yield "posts.registered", _posts_number(posts)
        yield "posts.unheard", _posts_number(one for one in posts if not one.is_heard)
        out = {one.post for lives in standing.values() for one in lives}
        yield "posts.out_of_order", _posts_number(one for one in posts if one.post in out)
        for fault, lives in sorted(standing.items()):
            ids = tuple(one.fault_id for one in lives)
            yield f"posts.standing.{fault}", Number(value=len(ids), ids=ids, of="fault")
        quiet = {one.post for one in silent}
        yield "posts.silent", _posts_number(one for one in posts if one.post in quiet)
        yield "posts.silent_hours", self._hours(silent)
        limits = self._limits
        proven_ms = end_ms - limits.not_proven_days * DAY_MS
        pressed_ms = end_ms - limits.not_pressed_days * DAY_MS
        yield (
            "posts.not_proven",
            _posts_number(
                one for one in posts if one.proven_ms is None or one.proven_ms < proven_ms
            ),
        )
        yield (
            "posts.not_pressed",
            _posts_number(
                one for one in posts if one.pressed_ms is None or one.pressed_ms < pressed_ms
            ),
        )

    def outages(self, faults: Sequence[FaultSpan]) -> Iterator[tuple[str, Number]]:
        """How long gateways were not heard: their posts could not call."""
        faults = sorted(faults, key=lambda one: (one.raised_ms, one.fault_id))
        yield (
            "gateways.silent_hours",
            self._hours([one for one in faults if self._lay_in_week(one)]),
        )

    def _lay_in_week(self, one: FaultSpan) -> bool:
        """Whether it stood in the week; one that ended as the week began did not."""
        end_ms = min(self._end_ms, self._made_ms)
        return one.raised_ms < end_ms and (
            one.cleared_ms is None or one.cleared_ms > self._begin_ms
        )

    def _hours(self, faults: Sequence[FaultSpan]) -> Number:
        """How long they stood within the week, together."""
        end_ms = min(self._end_ms, self._made_ms)
        stood_ms = sum(
            min(end_ms, end_ms if one.cleared_ms is None else one.cleared_ms)
            - max(self._begin_ms, one.raised_ms)
            for one in faults
        )
        ids = tuple(one.fault_id for one in faults)
        return Number(value=round(stood_ms / HOUR_MS, 1), ids=ids, of="fault", unit="hours")

    # --- visits ---

    def _visits(
        self, posts: Sequence[PostRow], visits: Sequence[Visit]
    ) -> Iterator[tuple[str, Number]]:
        ids = tuple(
            one.visit_id for one in sorted(visits, key=lambda one: (one.at_ms, one.visit_id))
        )
        yield "visits.made", Number(value=len(ids), ids=ids, of="visit")
        checked = {one.post for one in visits}
        seen = [one for one in posts if one.post in checked]
        yield "visits.posts", _posts_number(seen)
        pressed = {one.post: max(one.pressed_ms or 0, one.after_ms or 0) for one in posts}
        claimed = {
            one.post
            for one in visits
            if one.is_pressed
            and one.post in pressed
            and pressed[one.post] < one.at_ms - PRESS_NEAR_MS
        }
        yield "visits.unheard", _posts_number(one for one in posts if one.post in claimed)
        yield (
            "visits.coverage",
            _percent([one.post for one in seen], [one.post for one in posts], "post"),
        )

    # --- the trend ---

    def _trend(self, calls: Sequence[Case]) -> Iterator[tuple[str, Number]]:
        """`trend.N.…`: N weeks before. A week in part before the first record is left out."""
        for back in range(TREND_WEEKS + 1):
            begin_ms = self._begin_ms - back * WEEK_MS
            if back and (self._began_ms is None or begin_ms < self._began_ms):
                continue
            of_week = [one for one in calls if begin_ms <= one.raised_ms < begin_ms + WEEK_MS]
            yield f"trend.{back}.calls", _count(of_week)
            yield f"trend.{back}.real", _count(one for one in of_week if one.ended == "real")
            yield f"trend.{back}.false", _count(one for one in of_week if one.ended in FALSE)
            times = _durations(of_week, "press_acknowledged")
            yield f"trend.{back}.median", _percentile(times, PERCENTILES["median"])


# --- pieces -------------------------------------------------------------------------------------


def _alarms(cases: Sequence[Case]) -> Iterator[tuple[str, Number]]:
    for kind in KINDS:
        of_kind = [one for one in cases if one.kind == kind]
        yield f"calls.{kind}", _count(of_kind)
        for outcome in OUTCOMES:
            yield f"calls.{kind}.{outcome}", _count(one for one in of_kind if one.ended == outcome)


def _false(calls: Sequence[Case]) -> Iterator[tuple[str, Number]]:
    """False alarms among those of which it is known; practice is no false alarm."""
    wolves = [one for one in calls if one.ended in FALSE]
    counted = [one for one in calls if one.ended == "real" or one.ended in FALSE]
    yield "false.alarms", _count(wolves)
    yield "false.counted", _count(counted)
    yield "false.percent", _percent(_ids(wolves), _ids(counted))
    by_post: dict[str, list[Case]] = defaultdict(list)
    for one in wolves:
        by_post[one.post].append(one)
    for post, own in sorted(by_post.items()):
        yield f"false.post.{post}", _count(own)


def _times(calls: Sequence[Case]) -> Iterator[tuple[str, Number]]:
    yield "time.unknown", _count(one for one in calls if one.pressed_ms is None)
    for step in STEPS:
        times = _durations(calls, step)
        yield f"time.{step}.n", Number(value=len(times), ids=tuple(one for _ms, one in times))
        for name, percent in PERCENTILES.items():
            yield f"time.{step}.{name}", _percentile(times, percent)
        if len(times) < SMALL:
            for place, (took_ms, alarm_id) in enumerate(times, 1):
                yield f"time.{step}.{place}", Number(value=took_ms, ids=(alarm_id,), unit="ms")


def _heat(calls: Sequence[Case]) -> Iterator[tuple[str, Number]]:
    """`heat.DAY.HOUR`, Monday is 0; an hour without a call is left out."""
    found: dict[tuple[int, int], list[Case]] = defaultdict(list)
    for one in calls:
        hours = (one.raised_ms + OFFSET_MS) // HOUR_MS
        found[(hours // 24 + 3) % 7, hours % 24].append(one)
    for (day, hour), own in sorted(found.items()):
        yield f"heat.{day}.{hour}", _count(own)


def _durations(calls: Iterable[Case], step: Step) -> list[tuple[int, str]]:
    took = ((one.took_ms(step), one.alarm_id) for one in calls)
    return sorted((took_ms, alarm_id) for took_ms, alarm_id in took if took_ms is not None)


def _percentile(times: Sequence[tuple[int, str]], percent: int) -> Number:
    if len(times) < SMALL:
        return Number(value=None, ids=tuple(one for _ms, one in times), unit="ms")
    took_ms, alarm_id = times[-(-len(times) * percent // 100) - 1]
    return Number(value=took_ms, ids=(alarm_id,), unit="ms")


def _percent(part: Sequence[str], whole: Sequence[str], of: EventKind = "alarm") -> Number:
    """A share of the whole; its events are the whole."""
    value = None if len(whole) < SMALL else round(100 * len(part) / len(whole), 1)
    return Number(value=value, ids=tuple(whole), of=of, unit="percent")


def _ids(cases: Iterable[Case]) -> list[str]:
    return [one.alarm_id for one in cases]


def _count(cases: Iterable[Case]) -> Number:
    ids = tuple(_ids(cases))
    return Number(value=len(ids), ids=ids)


def _posts_number(posts: Iterable[PostRow]) -> Number:
    ids = tuple(one.post for one in posts)
    return Number(value=len(ids), ids=ids, of="post")
