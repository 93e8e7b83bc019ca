"""The life of faults at the gateway: raised, chattering, cleared, many silences as one. Pure.

What a party says of itself at one moment comes in; what is to be shown comes out. A fault that
comes and goes is one fault with a count, which stands until it has stayed away for a minute. Posts
that become silent together are one group. Acknowledging and shelving are the command centre's
(docs/adr/0011).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hardware.clock import Now
from protocol.messages import GROUPS_MAX, SilentGroup
from protocol.values import FAULT_COUNT_MAX, FAULTS_MAX, timestamp, wall_ms

SECOND_US = 1_000_000
# A fault that comes so often within so long chatters (EEMUA 191 and ISA 18.2: three in a minute).
CHATTER_RAISES = 3
CHATTER_US = 60 * SECOND_US
# While it does, the count goes out so often at most.
COUNT_SAID_US = 10 * SECOND_US
LIVES_MAX = 32  # of one party: those shown, and those that were there within the last minute
# So many posts that become silent within so long do so together.
TOGETHER_MIN = 5
TOGETHER_US = 60 * SECOND_US
# So many starts within so long are a fault of the gateway's own.
STARTS_OFTEN = 3
STARTS_US = 600 * SECOND_US
RESTART_LOOP = "restart_loop"


@dataclass(frozen=True)
class Start:
    """One start of this gateway's process."""

    boot_id: str
    uptime_us: int
    wall_ms: int


def note_start(earlier: str, start: Start) -> str:
    """Add a start to those that the journal remembers, the last `STARTS_OFTEN` of them."""
    line = f"{start.boot_id} {start.uptime_us} {start.wall_ms}"
    return "\n".join([*earlier.splitlines()[1 - STARTS_OFTEN :], line])


def starts_too_often(noted: str) -> bool:
    """Whether the last `STARTS_OFTEN` starts lie within `STARTS_US`, the newest being now.

    Within one boot by uptime. Across boots there are only the wall clocks, which may be wrong: a
    clock that stands still while the power is off makes three real starts look too near.
    """
    try:
        words = [line.split() for line in noted.splitlines()]
        starts = [Start(boot, int(us), int(ms)) for boot, us, ms in words]
    except ValueError:
        return False  # nothing that this function has written
    if len(starts) < STARTS_OFTEN:
        return False
    first, last = starts[0], starts[-1]
    if first.boot_id == last.boot_id:
        return last.uptime_us - first.uptime_us <= STARTS_US
    return abs(last.wall_ms - first.wall_ms) * 1000 <= STARTS_US


@dataclass(slots=True)
class _Life:
    """One fault of one party. `raises`: when it came, the last ones."""

    since_ms: int
    # (us of uptime, Unix ms)
    raises: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=CHATTER_RAISES))
    count: int = 1
    present: bool = True
    shown: bool = True
    ends_us: int = 0  # what is not present is forgotten then, and shown no more


class FaultLives:
    """The faults of one party."""

    __slots__ = ("_lives", "_say_us")

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}
        self._say_us: int | None = None  # when a changed count is to be told

    def __bool__(self) -> bool:
        """Whether there is anything to remember."""
        return bool(self._lives)

    def restore(self, faults: Sequence[str], since: Sequence[str], count: Sequence[int]) -> None:
        """Take up since when these stand, as an earlier run has shown it."""
        for fault, since_at, often in zip(faults, since, count, strict=False):
            life = self._lives.get(fault)
            if life is not None and life.present:
                life.since_ms, life.count = wall_ms(since_at), often

    def see(self, present: Iterable[str], now: Now) -> bool:
        """These are present now, and no others; whether what is shown has changed."""
        wanted = dict.fromkeys(present)
        changed = False
        for fault, life in self._lives.items():
            if life.present and fault not in wanted:
                life.present = False
                life.ends_us = now.uptime_us + CHATTER_US
                life.shown = life.count >= CHATTER_RAISES
                changed |= not life.shown
        for fault in wanted:
            changed |= self._raise(fault, now)
        if changed:
            # What the caller names first is shown first: not all may fit.
            first = {fault: self._lives[fault] for fault in wanted if fault in self._lives}
            self._lives = first | self._lives
        return changed

    def _raise(self, fault: str, now: Now) -> bool:
        life = self._lives.get(fault)
        if life is None:
            if len(self._lives) >= LIVES_MAX and not self._make_room():
                return False
            life = self._lives[fault] = _Life(now.wall_ms)
            life.raises.append((now.uptime_us, now.wall_ms))
            return True
        if life.present:
            return False
        life.present = True
        life.raises.append((now.uptime_us, now.wall_ms))
        if life.shown:
            life.count = min(FAULT_COUNT_MAX, life.count + 1)
            if self._say_us is None:
                self._say_us = now.uptime_us + COUNT_SAID_US
            return False
        life.shown = True
        first_us, first_ms = life.raises[0]
        often = len(life.raises) == CHATTER_RAISES
        if often and now.uptime_us - first_us <= CHATTER_US:
            life.since_ms, life.count = first_ms, CHATTER_RAISES
        else:
            life.since_ms, life.count = now.wall_ms, 1
        return True

    def _make_room(self) -> bool:
        """Forget who has gone first, of those that are not shown if there is one."""
        gone = {fault: life for fault, life in self._lives.items() if not life.present}
        if not gone:
            return False
        del self._lives[min(gone, key=lambda fault: (gone[fault].shown, gone[fault].ends_us))]
        return True

    def next_us(self) -> int | None:
        """The uptime (us) at which time alone changes what is remembered or shown."""
        ends = [life.ends_us for life in self._lives.values() if not life.present]
        if self._say_us is not None:
            ends.append(self._say_us)
        return min(ends, default=None)

    def due(self, now: Now) -> bool:
        """Let time pass; whether what is shown has changed."""
        changed = False
        if self._say_us is not None and now.uptime_us >= self._say_us:
            self._say_us, changed = None, True
        for fault, life in list(self._lives.items()):
            if not life.present and now.uptime_us >= life.ends_us:
                changed |= life.shown
                del self._lives[fault]
        return changed

    @property
    def shown(self) -> tuple[str, ...]:
        """The faults to show, the first `FAULTS_MAX`."""
        return tuple(fault for fault, life in self._lives.items() if life.shown)[:FAULTS_MAX]

    @property
    def since(self) -> tuple[str, ...]:
        """Since when each of `shown` stands."""
        return tuple(timestamp(self._lives[fault].since_ms) for fault in self.shown)

    @property
    def count(self) -> tuple[int, ...]:
        """How often each of `shown` has come since; empty when each did once."""
        counts = tuple(self._lives[fault].count for fault in self.shown)
        return counts if any(count > 1 for count in counts) else ()


@dataclass(slots=True)
class _Group:
    last_us: int
    posts: set[str] = field(default_factory=set)


class SilentGroups:
    """Which posts have become silent together. A group is named by when its first one did."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, tuple[int, str]] = OrderedDict()  # single: moment, since
        self._groups: OrderedDict[str, _Group] = OrderedDict()
        self._group_of: dict[str, str] = {}

    def group_of(self, post: str) -> str | None:
        """The group that a post belongs to, or None."""
        return self._group_of.get(post)

    @property
    def shown(self) -> tuple[SilentGroup, ...]:
        """What the gateway's document says."""
        return tuple(
            SilentGroup(since=since, posts=len(group.posts))
            for since, group in self._groups.items()
        )

    def silent(self, post: str, since: str, now_us: int) -> list[str]:
        """A post has become silent; whose group has changed by that."""
        for name, (at_us, _since) in list(self._recent.items()):
            if now_us - at_us <= TOGETHER_US:
                break
            del self._recent[name]
        if self._groups:
            newest, group = next(reversed(self._groups.items()))
            if now_us - group.last_us <= TOGETHER_US:
                group.last_us = now_us
                self._join(newest, [post])
                return [post]
        self._recent[post] = (now_us, since)
        if len(self._recent) < TOGETHER_MIN or len(self._groups) >= GROUPS_MAX:
            return []
        posts = list(self._recent)
        began = min(since for _at_us, since in self._recent.values())
        self._recent.clear()
        self._groups.setdefault(began, _Group(now_us)).last_us = now_us
        self._join(began, posts)
        return posts

    def restore(self, post: str, since: str, now_us: int) -> None:
        """It is silent still, and an earlier run has put it into this group."""
        if since not in self._groups:
            if len(self._groups) >= GROUPS_MAX:
                return
            self._groups[since] = _Group(now_us - TOGETHER_US - 1)  # nobody new joins it
            self._groups.move_to_end(since, last=False)
        self._join(since, [post])

    def _join(self, since: str, posts: Iterable[str]) -> None:
        for post in posts:
            self._groups[since].posts.add(post)
            self._group_of[post] = since

    def heard(self, post: str) -> bool:
        """It is silent no more; whether it was in a group."""
        self._recent.pop(post, None)
        since = self._group_of.pop(post, None)
        if since is None:
            return False
        posts = self._groups[since].posts
        posts.discard(post)
        if not posts:
            del self._groups[since]
        return True
