"""Edges to presses to calls, against an oracle that sees all edges at once.

The oracle below is written from the definitions in words. It must never import a rule or a number
from `device.presses`: what both have wrong in the same way, nothing here would find.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.presses import CallCounter, Contact, ContactSignal

MS = 1_000
SECOND = 1_000_000
HOLD_US = 30 * SECOND
WINDOW_US = 5 * SECOND
ACCEPTED_WITHIN_US = 15 * MS

Edges = list[tuple[int, bool]]
Said = tuple[str, int]


# --- the oracle ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Press:
    """A press in the oracle's eyes: first closing, when it was one, the last edge until then."""

    at_us: int
    certain_us: int
    last_edge_us: int


@dataclass(frozen=True)
class Reading:
    """All that a complete list of edges means."""

    said: Counter[Said]
    presses: tuple[Press, ...]


def without_glitches(closed: bool, edges: Edges) -> list[int]:
    """The moments at which the level really changed, in turn."""
    kept: list[int] = []
    for at_us, level in edges:
        if level == closed:
            continue
        closed = level
        if kept and at_us - kept[-1] < 100:
            kept.pop()
        else:
            kept.append(at_us)
    return kept


def read(closed: bool, start_us: int, edges: Edges, end_us: int, hold_us: int) -> Reading:
    """What edges mean, looked at long after the last one (`end_us`)."""
    moments = ([start_us] if closed else []) + without_glitches(closed, edges)
    closings = [
        (moments[i], (moments[i + 1 : i + 2] or [end_us])[0]) for i in range(0, len(moments), 2)
    ]
    bursts: list[list[tuple[int, int]]] = []
    for closing in closings:
        if bursts and closing[0] - bursts[-1][-1][1] < 30 * MS:
            bursts[-1].append(closing)
        else:
            bursts.append([closing])
    said: Counter[Said] = Counter()
    presses = []
    for number, burst in enumerate(bursts):
        start = burst[0][0]
        from_boot = closed and number == 0
        over = burst[-1][1] != end_us
        press = None if from_boot else press_in(burst)
        if press is not None:
            presses.append(press)
            said["pressed", start] += 1
        if not from_boot and is_worn(burst, counted=press is not None, over=over):
            said["worn", start] += 1
        if burst[-1][1] - start >= hold_us:
            said["held", start] += 1
        if over:
            said["released", start] += 1
    return Reading(said, tuple(presses))


def press_in(burst: Sequence[tuple[int, int]]) -> Press | None:
    """The press that a burst is, if it is one."""
    start = burst[0][0]
    certain: list[tuple[int, int]] = []
    for i, (closed_us, opened_us) in enumerate(burst):
        before = sum(opened - closed for closed, opened in burst[:i])
        if before < 12 * MS <= before + opened_us - closed_us:
            certain.append((closed_us + 12 * MS - before, closed_us))
        if i >= 2 and closed_us - start > 10 * MS:
            certain.append((closed_us, closed_us))
    return Press(start, *min(certain)) if certain else None


def is_worn(burst: Sequence[tuple[int, int]], *, counted: bool, over: bool) -> bool:
    """Whether no sound button does this."""
    start = burst[0][0]
    openings = [opened for _, opened in burst if opened - start > 10 * MS]
    if openings and any(closed - openings[0] > 10 * MS for closed, _ in burst):
        return True
    return counted and over and max(opened - closed for closed, opened in burst) < 10 * MS


def calls_in(
    presses: Sequence[int], needed: int = 3, window_us: int = WINDOW_US
) -> list[tuple[int, ...]]:
    """Which presses are a call for help."""
    calls: list[tuple[int, ...]] = []
    free = 0  # the first press that belongs to no call
    for i in range(len(presses)):
        if calls:
            since = presses.index(calls[-1][-1])
            if all(presses[j + 1] - presses[j] < 2 * SECOND for j in range(since, i)):
                free = i + 1
                continue
        candidates = tuple(presses[free : i + 1])[-needed:]
        if len(candidates) == needed and candidates[-1] - candidates[0] <= window_us:
            calls.append(candidates)
            free = i + 1
    return calls


# --- three ways to let time pass -----------------------------------------------------------


@dataclass(frozen=True)
class Heard:
    """A signal and when it was given (us)."""

    signal: ContactSignal
    told_us: int


def said(heard: Iterable[Heard]) -> Counter[Said]:
    return Counter((h.signal.what, h.signal.at_us) for h in heard)


def moments(heard: Iterable[Heard], what: str) -> list[int]:
    return [h.signal.at_us for h in heard if h.signal.what == what]


def ticked(contact: Contact, edges: Edges, ticks: Iterable[int], end_us: int) -> list[Heard]:
    """Edges and ticks in the order of their times."""
    steps = [(at_us, 0, closed) for at_us, closed in edges] + [(at_us, 1, False) for at_us in ticks]
    heard = []
    for at_us, is_tick, closed in sorted(steps, key=lambda step: step[:2]):
        signals = contact.tick(at_us) if is_tick else contact.edge(at_us, closed)
        heard += [Heard(signal, at_us) for signal in signals]
    return heard + [Heard(signal, end_us) for signal in contact.tick(end_us)]


def wake(contact: Contact, until_us: int, now_us: int, heard: list[Heard]) -> None:
    """Tick whenever the contact asks for it, until `until_us`; each tick must come to rest."""
    while (wake_us := contact.wake_at_us()) is not None and max(wake_us, now_us) <= until_us:
        now_us = max(wake_us, now_us)
        heard += [Heard(signal, now_us) for signal in contact.tick(now_us)]
        again_us = contact.wake_at_us()
        assert again_us is None or again_us > now_us, "asks to be woken in the past"


def woken(
    contact: Contact, edges: Edges, end_us: int, late_us: Sequence[int] = (0,)
) -> list[Heard]:
    """Ticks only when asked for; edge n is handed over `late_us[n]` after it happened."""
    heard: list[Heard] = []
    now_us = 0
    for number, (at_us, closed) in enumerate(edges):
        over_us = max(at_us + late_us[number % len(late_us)], now_us)
        wake(contact, over_us, now_us, heard)
        now_us = over_us
        heard += [Heard(signal, now_us) for signal in contact.edge(at_us, closed)]
    wake(contact, end_us, now_us, heard)
    return heard


def calls(heard: Iterable[Heard]) -> list[tuple[int, ...]]:
    counter = CallCounter(3, WINDOW_US)
    made = [counter.press(at_us) for at_us in moments(heard, "pressed")]
    return [call for call in made if call is not None]


# --- what contacts do ----------------------------------------------------------------------


def toggled(toggles: Iterable[int]) -> Edges:
    """Edges of an open contact that changes at each of these moments; two at once are none."""
    kept = sorted(at_us for at_us, times in Counter(toggles).items() if times % 2)
    return [(at_us, number % 2 == 0) for number, at_us in enumerate(kept)]


def after(edges: Edges, hold_us: int = HOLD_US) -> int:
    return (edges[-1][0] if edges else 0) + hold_us + SECOND


BORDERS = (100, 9_000, 10 * MS, 12 * MS, 30 * MS, 2 * SECOND, 5 * SECOND)
STEPS = st.one_of(
    st.integers(0, 3),
    st.integers(0, 300),
    st.integers(100, 5 * MS),
    st.integers(5 * MS, 40 * MS),
    st.integers(40 * MS, SECOND),
    st.integers(SECOND, 6 * SECOND),
    st.builds(lambda border, by: border + by, st.sampled_from(BORDERS), st.integers(-2, 2)),
)
CHATTER_STEPS = st.one_of(st.integers(0, 250), st.integers(100, 13 * MS), st.integers(MS, 31 * MS))
REPEATED = st.integers(0, 9).map(lambda n: n == 0)


@st.composite
def edge_lists(draw: st.DrawFn) -> Edges:
    """Arbitrary edges with rising stamps, on all scales; now and then to the level that is."""
    steps = draw(st.sampled_from((STEPS, CHATTER_STEPS)))
    edges: Edges = []
    at_us, closed = 0, draw(st.booleans())
    for step_us, repeated in draw(st.lists(st.tuples(steps, REPEATED), max_size=60)):
        at_us += step_us
        closed = closed if repeated else not closed
        edges.append((at_us, closed))
    return edges


@st.composite
def bounces(draw: st.DrawFn, at_us: int) -> list[int]:
    """An edge at `at_us` with bounce of up to 10 ms: an odd number of changes."""
    offsets = draw(st.lists(st.integers(1, 10 * MS), max_size=8, unique=True))
    return [at_us, *(at_us + offset for offset in offsets[: len(offsets) // 2 * 2])]


@dataclass(frozen=True)
class Fingers:
    """What fingers did: when each came down, and when the contact changed (us)."""

    down_us: tuple[int, ...]
    toggles: tuple[int, ...]

    @property
    def end_us(self) -> int:
        return max(self.toggles) + SECOND


@st.composite
def fingers(draw: st.DrawFn, most: int = 5) -> Fingers:
    """Presses of 60-500 ms on a new button, at least 60 ms apart."""
    at_us, down, toggles = SECOND, [], []
    for _ in range(draw(st.integers(1, most))):
        down.append(at_us)
        toggles += draw(bounces(at_us))
        at_us += draw(st.integers(60 * MS, 500 * MS))
        toggles += draw(bounces(at_us))
        at_us += draw(st.integers(60 * MS, 3 * SECOND))
    return Fingers(tuple(down), tuple(toggles))


@st.composite
def glitches(draw: st.DrawFn, around: Fingers) -> list[int]:
    """Changes of 1 us anywhere, some of them close to real edges and to each other."""
    anywhere = st.integers(0, around.end_us)
    near = st.builds(lambda t, by: t + by, st.sampled_from(around.toggles), st.integers(-300, 300))
    starts = draw(st.lists(st.one_of(anywhere, near), max_size=30, unique=True))
    return [t for start in starts for t in (start, start + 1)]


@st.composite
def chatters(draw: st.DrawFn, at_us: int, lasting_us: int) -> list[int]:
    """A worn contact under a finger: it conducts for 0.2-9 ms, then not for 0.2-29 ms."""
    toggles = [at_us]
    while True:
        toggles.append(toggles[-1] + draw(st.integers(200, 9 * MS)))
        if toggles[-1] - at_us >= lasting_us:
            return toggles
        toggles.append(toggles[-1] + draw(st.integers(200, 29 * MS)))


# --- against the oracle --------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(
    edges=edge_lists(),
    closed=st.booleans(),
    hold_us=st.sampled_from((50 * MS, 3 * SECOND, HOLD_US)),
    ticks=st.lists(st.integers(0, 20 * SECOND), max_size=40),
)
def test_signals_are_the_oracles_whoever_lets_time_pass(
    edges: Edges, closed: bool, hold_us: int, ticks: list[int]
) -> None:
    end_us = after(edges, hold_us)
    expected = read(closed, 0, edges, end_us, hold_us).said

    def contact() -> Contact:
        return Contact(closed=closed, at_us=0, hold_us=hold_us)

    # A tick tells that all edges before it are known; edges carry ticks of their own besides.
    own = [at_us + 1 for at_us, _ in edges[::3]]
    early = [t for t in (*ticks, *own) if t <= end_us]
    assert said(ticked(contact(), edges, early, end_us)) == expected
    assert said(ticked(contact(), edges, [], end_us)) == expected
    assert said(woken(contact(), edges, end_us)) == expected


@settings(max_examples=300, deadline=None)
@given(edges=edge_lists(), closed=st.booleans())
def test_an_alarm_is_raised_exactly_when_three_accepted_presses_lie_in_a_window(
    edges: Edges, closed: bool
) -> None:
    end_us = after(edges)
    presses = [p.at_us for p in read(closed, 0, edges, end_us, HOLD_US).presses]
    assert calls(woken(Contact(closed=closed, at_us=0), edges, end_us)) == calls_in(presses)


@settings(max_examples=300, deadline=None)
@given(edges=edge_lists(), closed=st.booleans())
def test_a_press_is_accepted_at_most_15_ms_after_its_last_edge_and_not_before_it_is_one(
    edges: Edges, closed: bool
) -> None:
    end_us = after(edges)
    presses = read(closed, 0, edges, end_us, HOLD_US).presses
    heard = woken(Contact(closed=closed, at_us=0), edges, end_us)
    told_us = [h.told_us for h in heard if h.signal.what == "pressed"]
    assert len(told_us) == len(presses)
    for press, at_us in zip(presses, told_us, strict=True):
        assert press.certain_us <= at_us <= press.last_edge_us + ACCEPTED_WITHIN_US


@settings(max_examples=400, deadline=None)
@given(
    steps=st.lists(st.one_of(STEPS, st.integers(1, 4).map(lambda n: n * 500 * MS)), max_size=40),
    needed=st.integers(1, 5),
    window_us=st.sampled_from((SECOND, 3 * SECOND, WINDOW_US)),
)
def test_calls_are_the_oracles_for_any_times_of_presses(
    steps: list[int], needed: int, window_us: int
) -> None:
    presses = [sum(steps[: i + 1]) + i + 1 for i in range(len(steps))]
    counter = CallCounter(needed, window_us)
    made = [call for at_us in presses if (call := counter.press(at_us)) is not None]
    assert made == calls_in(presses, needed, window_us)


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(-50 * MS, 50 * MS), st.booleans()), max_size=60),
    closed=st.booleans(),
)
def test_stamps_that_go_backwards_neither_raise_nor_keep_the_post_busy(
    steps: list[tuple[int, bool]], closed: bool
) -> None:
    contact = Contact(closed=closed, at_us=0)
    heard: list[Heard] = []
    now_us = 0
    for step_us, level in steps:
        now_us += abs(step_us)
        heard += [Heard(s, now_us) for s in contact.edge(now_us + min(step_us, 0) * 2, level)]
        wake(contact, now_us, now_us, heard)
    wake(contact, now_us + HOLD_US + SECOND, now_us, heard)
    assert contact.closed == (steps[-1][1] if steps else closed)
    assert moments(heard, "pressed") == sorted(moments(heard, "pressed"))
    assert contact.wake_at_us() is None


def test_a_stamp_from_before_takes_nothing_from_the_press_it_falls_into() -> None:
    contact = Contact(closed=False, at_us=0)
    contact.edge(SECOND, True)
    assert contact.tick(SECOND + 11 * MS) == []
    contact.edge(SECOND // 2, False)
    heard = woken(contact, toggled([SECOND + 15 * MS, SECOND + 100 * MS]), 2 * SECOND)
    assert moments(heard, "pressed") == [SECOND]


# --- new buttons ---------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(data=st.data(), what=fingers())
def test_bounce_of_10_ms_and_glitches_of_1_us_change_nothing(
    data: st.DataObject, what: Fingers
) -> None:
    noise = data.draw(glitches(what))
    heard = woken(Contact(closed=False, at_us=0), toggled([*what.toggles, *noise]), what.end_us)
    pressed = moments(heard, "pressed")
    assert len(pressed) == len(what.down_us)
    for down_us, at_us in zip(what.down_us, pressed, strict=True):
        assert -len(noise) <= at_us - down_us <= 10 * MS + 100 * len(noise)
    assert moments(heard, "worn") == []
    assert moments(heard, "held") == []
    assert len(moments(heard, "released")) == len(what.down_us)


@settings(max_examples=300, deadline=None)
@given(
    what=fingers(), late_us=st.lists(st.integers(0, 9 * MS), min_size=1, max_size=9), data=st.data()
)
def test_edges_handed_over_up_to_9_ms_late_are_judged_by_their_stamps(
    what: Fingers, late_us: list[int], data: st.DataObject
) -> None:
    edges = toggled([*what.toggles, *data.draw(glitches(what))])
    in_time = woken(Contact(closed=False, at_us=0), edges, what.end_us)
    late = woken(Contact(closed=False, at_us=0), edges, what.end_us, late_us)
    assert said(late) == said(in_time)


def clean(*downs_us: int, closed_us: int = 60 * MS) -> Edges:
    return toggled(t for down_us in downs_us for t in (down_us, down_us + closed_us))


def test_a_clean_press_is_accepted_after_12_ms_with_the_time_of_its_closing() -> None:
    heard = woken(Contact(closed=False, at_us=0), clean(SECOND), 2 * SECOND)
    pressed = heard[0]
    assert pressed == Heard(ContactSignal("pressed", SECOND), SECOND + 12 * MS)
    assert [h.signal.what for h in heard] == ["pressed", "released"]


def test_ten_hasty_presses_are_one_call() -> None:
    edges = clean(*(SECOND + n * 120 * MS for n in range(10)))
    heard = woken(Contact(closed=False, at_us=0), edges, after(edges))
    assert len(moments(heard, "pressed")) == 10
    assert calls(heard) == [(SECOND, SECOND + 120 * MS, SECOND + 240 * MS)]


def test_a_knock_of_up_to_10_ms_is_no_press() -> None:
    edges = toggled([0, 900, 2 * MS, 4 * MS, 5 * MS, 5_500, 6 * MS, 7 * MS, 9 * MS, 10 * MS])
    assert [h.signal.what for h in woken(Contact(closed=False, at_us=0), edges, SECOND)] == [
        "released"
    ]


@pytest.mark.parametrize(
    ("toggles", "what"),
    [
        ((0, 99), []),
        ((0, 100), ["released"]),
        ((0, 11_999), ["released"]),
        ((0, 12_000), ["pressed", "released"]),
        ((0, 1_000, 5_000, 6_000, 10_000, 11_000), ["released"]),
        ((0, 1_000, 5_000, 6_000, 10_001, 11_000), ["pressed", "worn", "released"]),
        ((0, 10_000, 20_001, 200_000), ["pressed", "released"]),
        ((0, 10_001, 20_002, 200_000), ["worn", "pressed", "released"]),
        ((0, 100_000, 110_000, 111_000), ["pressed", "released"]),
        ((0, 100_000, 110_001, 111_000), ["pressed", "worn", "released"]),
        ((0, 10_000, 11_000, 14_000), ["pressed", "released"]),
        ((0, 9_999, 11_000, 14_000), ["pressed", "worn", "released"]),
        ((0, 50_000, 79_999, 99_999), ["pressed", "worn", "released"]),
        ((0, 50_000, 80_000, 100_000), ["pressed", "released", "pressed", "released"]),
    ],
)
def test_the_borders_lie_where_the_words_put_them(
    toggles: tuple[int, ...], what: list[str]
) -> None:
    edges = toggled(toggles)
    heard = woken(Contact(closed=False, at_us=0), edges, SECOND)
    assert [h.signal.what for h in heard] == what
    assert said(heard) == read(False, 0, edges, SECOND, HOLD_US).said


def test_a_bouncing_press_is_accepted_when_it_was_closed_for_12_ms_in_all() -> None:
    heard = woken(Contact(closed=False, at_us=0), toggled([0, 1 * MS, 5 * MS, 100 * MS]), SECOND)
    assert heard[0] == Heard(ContactSignal("pressed", 0), 16 * MS)


@pytest.mark.parametrize(
    ("presses", "call"),
    [
        ((0, 2_500 * MS, 5 * SECOND), True),
        ((0, 2_500 * MS, 5 * SECOND + 1), False),
        ((0, 4 * SECOND, 8 * SECOND, 8_500 * MS), True),
    ],
)
def test_the_window_slides_and_its_end_belongs_to_it(presses: tuple[int, ...], call: bool) -> None:
    counter = CallCounter(3, WINDOW_US)
    assert [counter.press(at_us) is not None for at_us in presses][-1] is call


def test_after_a_call_three_presses_are_a_new_one_only_after_a_pause_of_2_s() -> None:
    counter = CallCounter(3, WINDOW_US)

    def three(from_us: int) -> list[bool]:
        return [counter.press(from_us + n * 300 * MS) is not None for n in range(3)]

    assert three(0) == [False, False, True]
    assert three(600 * MS + 1_999_999) == [False, False, False]
    assert three(600 * MS + 1_999_999 + 600 * MS + 2_000_000) == [False, False, True]


# --- worn, stuck, at boot, in noise --------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(data=st.data(), lasting_us=st.integers(60 * MS, SECOND))
def test_three_chattering_presses_of_a_worn_button_raise_once_and_say_worn(
    data: st.DataObject, lasting_us: int
) -> None:
    toggles: list[int] = []
    downs = []
    for _ in range(3):
        downs.append(toggles[-1] + 200 * MS if toggles else SECOND)
        toggles += data.draw(chatters(downs[-1], lasting_us))
    heard = woken(Contact(closed=False, at_us=0), toggled(toggles), toggles[-1] + SECOND)
    assert moments(heard, "pressed") == downs
    assert moments(heard, "worn") == downs
    assert calls(heard) == [tuple(downs)]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), lasting_us=st.integers(100 * MS, SECOND), releasing=st.booleans())
def test_chatter_before_or_after_a_steady_closing_is_the_same_press_and_worn(
    data: st.DataObject, lasting_us: int, releasing: bool
) -> None:
    steady_us = 150 * MS
    chatter = data.draw(chatters(SECOND, lasting_us))
    if releasing:
        toggles = [SECOND - steady_us - 5 * MS, SECOND - 5 * MS, *chatter]
    else:
        toggles = [*chatter, chatter[-1] + 5 * MS, chatter[-1] + 5 * MS + steady_us]
    heard = woken(Contact(closed=False, at_us=0), toggled(toggles), toggles[-1] + SECOND)
    assert moments(heard, "pressed") == [toggles[0]]
    assert moments(heard, "worn") == [toggles[0]]


@settings(max_examples=300, deadline=None)
@given(edges=edge_lists())
def test_whatever_lasts_42_ms_is_a_press(edges: Edges) -> None:
    changes = without_glitches(False, edges)
    ends = [*(opened for opened in changes[1::2]), after(edges)]
    heard = woken(Contact(closed=False, at_us=0), edges, after(edges))
    pressed = moments(heard, "pressed")
    start = None
    for closed_us, opened_us in zip(changes[::2], ends, strict=False):
        before = bisect.bisect_left(ends, closed_us)
        if start is None or closed_us - ends[before - 1] >= 30 * MS:
            start = closed_us
        if opened_us - start >= 42 * MS:
            assert start in pressed


def test_a_contact_closed_for_30_s_is_one_press_and_held_and_never_a_second_press() -> None:
    edges = toggled([SECOND, 100 * SECOND])
    heard = woken(Contact(closed=False, at_us=0), edges, 200 * SECOND)
    assert [(h.signal.what, h.told_us) for h in heard] == [
        ("pressed", SECOND + 12 * MS),
        ("held", 31 * SECOND),
        ("released", 100 * SECOND + 30 * MS),
    ]


def test_a_contact_closed_a_moment_short_of_30_s_is_not_held() -> None:
    edges = toggled([SECOND, 31 * SECOND - 1])
    heard = woken(Contact(closed=False, at_us=0), edges, 200 * SECOND)
    assert [h.signal.what for h in heard] == ["pressed", "released"]


@pytest.mark.parametrize("open_at_us", [5 * MS, 11 * MS, SECOND])
def test_a_contact_closed_at_boot_is_no_press_and_not_worn_but_the_next_press_is(
    open_at_us: int,
) -> None:
    contact = Contact(closed=True, at_us=0)
    edges: Edges = [(open_at_us, False), (2 * SECOND, True), (2_100 * MS, False)]
    heard = woken(contact, edges, 3 * SECOND)
    assert [(h.signal.what, h.signal.at_us) for h in heard] == [
        ("released", 0),
        ("pressed", 2 * SECOND),
        ("released", 2 * SECOND),
    ]


def test_a_contact_closed_at_boot_that_stays_so_is_held_and_no_press() -> None:
    heard = woken(Contact(closed=True, at_us=0), [], 1000 * SECOND)
    assert [(h.signal.what, h.told_us) for h in heard] == [("held", HOLD_US)]


@settings(max_examples=50, deadline=None)
@given(
    gaps=st.lists(
        st.one_of(st.integers(2, 300), st.integers(2, 2 * SECOND)), min_size=200, max_size=400
    ),
    closed=st.booleans(),
)
def test_minutes_of_glitches_are_nothing_and_hide_no_level(gaps: list[int], closed: bool) -> None:
    starts = [sum(gaps[: i + 1]) + i for i in range(len(gaps))]
    edges = [edge for start in starts for edge in ((start, not closed), (start + 1, closed))]
    heard = woken(Contact(closed=closed, at_us=0, hold_us=10**10), edges, starts[-1] + SECOND)
    assert heard == []


def test_presses_of_a_new_call_count_when_the_old_one_is_over_between_them() -> None:
    counter = CallCounter(3, 5 * SECOND)
    assert counter.press(0) is None
    counter.call_over()
    assert counter.press(1 * SECOND) is None
    counter.call_over()
    assert counter.press(2 * SECOND) == (0, 1 * SECOND, 2 * SECOND)
