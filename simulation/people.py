"""Residents at their posts and operators at their consoles, and what they really did.

What stands here is the truth that the checkers know. It must never be taken from what a core
believes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from device.presses import GAP_US
from mcc.alarms import AlarmRecord
from protocol.messages import Action, Command
from protocol.states import is_answered
from protocol.values import OUTCOMES, timestamp
from simulation.disks import MccDisk
from simulation.hosts import Host
from simulation.processes import CentreProcess, PostProcess
from simulation.timeline import SECOND_US, Timeline, Violation

CLICK_WITHIN_US = 50_000
OPERATORS = ("Sari", "Budi", "Wulan")
CALL_ENDS_US = 200_000  # after the third closing: it counts, or never will


@dataclass(eq=False)
class Call:
    """Three presses; `sure` when the post ran from the first to the last of them."""

    post: str
    at_us: int
    sure: bool
    excused: str | None = None


@dataclass(eq=False)
class Window:
    """An operator wanted a test window here; `closed_us`: when the screen said that it is over."""

    command_id: str
    issued_us: int
    minutes: int
    closed_us: int | None = None


@dataclass
class Truth:
    """What people did."""

    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    presses: int = 0
    commands: dict[str, Command] = field(default_factory=dict)
    # Highest number of repeats that an answer by a person covers, by post and alarm.
    answers: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    windows: dict[str, list[Window]] = field(default_factory=lambda: defaultdict(list))
    closings: dict[str, str] = field(default_factory=dict)  # close_test command -> post

    def has_two_outcomes(self, alarm_id: str) -> bool:
        """Whether people have closed this alarm as different things."""
        closed = (c for c in self.commands.values() if c.alarm_id == alarm_id)
        return len({c.outcome for c in closed if c.action == "resolve"}) > 1

    def sure_calls(self, post: str, until_us: int | None = None) -> int:
        """How many calls must have been heard, those that an allowed loss took left out."""
        return sum(
            call.sure and call.excused is None and (until_us is None or call.at_us <= until_us)
            for call in self.calls[post]
        )


class Resident:
    """Whoever stands at one post."""

    def __init__(self, timeline: Timeline, rng: Random, post: PostProcess, truth: Truth) -> None:
        """At this box."""
        self.timeline = timeline
        self.post = post
        self.busy_until_us = 0
        self._rng = rng
        self._truth = truth

    def _begin(self, lasts_us: int) -> bool:
        """One at a time: two people pressing one button would not know what they did."""
        if self.timeline.now_us < self.busy_until_us:
            return False
        self.busy_until_us = self.timeline.now_us + lasts_us
        return True

    def call(self, presses: int = 3) -> None:
        """Press three times, or hastily up to ten: one call for help."""
        rng, now_us = self._rng, self.timeline.now_us
        longest_us = 600_000 if presses > 3 else 1_200_000
        pauses_us = [rng.randrange(200_000, longest_us) for _ in range(presses - 1)]
        times_us = [now_us]
        for pause_us in pauses_us:
            times_us.append(times_us[-1] + pause_us)
        if not self._begin(times_us[-1] - now_us + 3 * SECOND_US):
            return
        self.timeline.note(self.post.name, f"resident presses {presses} times")
        for at_us in times_us:
            self.timeline.at(at_us, self._press)
        third_us = times_us[2]
        self.timeline.at(third_us + CALL_ENDS_US, self._called, now_us, third_us, self.post.life)
        if presses > 3:
            ends_us = times_us[-1] + CALL_ENDS_US
            self.timeline.at(ends_us, self._hammered, self.post.life, self._open_calls())

    def _called(self, first_us: int, third_us: int, life: int) -> None:
        post = self.post
        # A process that came up, or froze for long, in between may have missed a press.
        ready_us = post.started_us + 4 * GAP_US
        sure = post.alive and post.life == life and ready_us < first_us and not post.frozen
        call = Call(post.name, third_us, sure)
        self._truth.calls[post.name].append(call)
        self.timeline.note(post.name, f"call {'made' if sure else 'perhaps made'}")

    def _open_calls(self) -> set[str]:
        return {held.alarm_id for held in self.post.disk.rows.values() if not held.over}

    def _hammered(self, life: int, open_before: set[str]) -> None:
        """The last presses may be a call of their own.

        A process that came up in the middle cannot know that the first ones were a call; and once
        that call is over, so are the presses that belong to it.
        """
        post = self.post
        if post.life != life or not post.alive or open_before - self._open_calls():
            self._truth.calls[post.name].append(Call(post.name, self.timeline.now_us, sure=False))

    def near_miss(self, presses: int) -> None:
        """One or two presses, and then nothing."""
        if self._begin(9 * SECOND_US):
            for n in range(presses):
                self.timeline.after(n * 700_000, self._press)

    def lean(self) -> None:
        """A back against the button."""
        hold_us = self._rng.randrange(2 * SECOND_US, 90 * SECOND_US)
        if self._begin(hold_us + 8 * SECOND_US):
            self.post.edge("button", True)
            self.timeline.after(hold_us, self.post.edge, "button", False)

    def noise(self) -> None:
        """Interference: spikes far shorter than a press, for a while."""
        if self._begin(8 * SECOND_US):
            at_us = self.timeline.now_us
            for _ in range(self._rng.randint(3, 12)):
                at_us += self._rng.randrange(60_000, 400_000)
                self.timeline.at(at_us, self.post.edge, "button", True)
                self.timeline.at(at_us + self._rng.randint(5, 90), self.post.edge, "button", False)

    def knock(self) -> None:
        """Something hits the box: the contact closes for a few milliseconds."""
        if self._begin(8 * SECOND_US):
            self.post.edge("button", True)
            self.timeline.after(self._rng.randrange(500, 9_000), self.post.edge, "button", False)

    def chatter(self) -> None:
        """A worn contact: one press that trembles for most of a second."""
        if self._begin(9 * SECOND_US):
            at_us = self.timeline.now_us
            for _ in range(self._rng.randint(6, 25)):
                self.timeline.at(at_us, self.post.edge, "button", True)
                at_us += self._rng.randrange(2_000, 25_000)
                self.timeline.at(at_us, self.post.edge, "button", False)
                at_us += self._rng.randrange(300, 15_000)

    def cancel(self) -> None:
        """Hold the cancel key for 4 s."""
        self.post.edge("cancel", True)
        self.timeline.after(4 * SECOND_US, self.post.edge, "cancel", False)

    def _press(self) -> None:
        """One honest press with the bounce of a good button."""
        rng, post, timeline = self._rng, self.post, self.timeline
        at_us = timeline.now_us
        self._truth.presses += 1
        for _ in range(rng.randint(0, 3)):
            timeline.at(at_us, post.edge, "button", True, rng.randrange(3_000))
            at_us += rng.randrange(100, 900)
            timeline.at(at_us, post.edge, "button", False, rng.randrange(3_000))
            at_us += rng.randrange(100, 700)
        timeline.at(at_us, post.edge, "button", True, rng.randrange(3_000))
        if post.alive and not post.frozen and post.fuse is None:
            timeline.at(at_us + CLICK_WITHIN_US, self._answered, post.life, post.clicks)
        timeline.at(at_us + rng.randrange(60_000, 140_000), post.edge, "button", False, 1_000)

    def _answered(self, life: int, clicks: int) -> None:
        post = self.post
        running = post.alive and post.life == life and not post.frozen
        early = post.started_us > self.timeline.now_us - SECOND_US
        if running and not early and post.clicks <= clicks:
            raise Violation(f"P2 {post.name}: a press was not answered within 50 ms")


class Operators:
    """The people at the command centre: they look at its store and write into its outbox."""

    def __init__(
        self,
        timeline: Timeline,
        rng: Random,
        centre: CentreProcess,
        truth: Truth,
        new_id: Callable[[], str],
        *,
        slow: float = 1.0,
        resolve: bool = True,
    ) -> None:
        """`slow` stretches how long they take; without `resolve` they leave everything open."""
        self.timeline = timeline
        self.resolves = resolve
        self.attends = True
        self._rng = rng
        self._centre = centre
        self._disk: MccDisk = centre.disk
        self._host: Host = centre.host
        self._truth = truth
        self._new_id = new_id
        self._slow = slow

    def sees(self, alarm: AlarmRecord, *, is_new: bool) -> None:
        """Something new on the screen: an alarm, or more calls in it."""
        if not self.attends or (not is_new and is_answered(alarm.state)):
            return
        rng = self._rng
        first_us = rng.choice((4, 12, 40, 90, 400)) * SECOND_US
        first_us = int(first_us * (0.5 + rng.random()) * self._slow)
        alarm_id = alarm.alarm_id
        way = rng.random()
        if way < 0.70:
            self.timeline.after(first_us, self.act, "acknowledge", alarm_id)
            if rng.random() < 0.4:  # a second operator, or an impatient one
                again_us = rng.randrange(1, 3 * SECOND_US)
                self.timeline.after(first_us + again_us, self.act, "acknowledge", alarm_id)
        if way < 0.55 or way > 0.85:
            dispatch_us = rng.randrange(2 * SECOND_US, 200 * SECOND_US)
            self.timeline.after(first_us + dispatch_us, self.act, "dispatch", alarm_id)
        if alarm.kind == "test" and rng.random() < 0.3:
            self.timeline.after(first_us // 2, self.act, "panic", alarm_id)
        if self.resolves and rng.random() < 0.9:
            resolve_us = rng.randrange(SECOND_US, 1500 * SECOND_US)
            self.timeline.after(first_us + resolve_us, self.act, "resolve", alarm_id)
            if rng.random() < 0.2:
                self.timeline.after(first_us + resolve_us, self.act, "resolve", alarm_id)

    def act(self, action: Action, alarm_id: str) -> None:
        """One command on an alarm, with the calls that the screen shows now."""
        alarm = self._disk.alarms.get(alarm_id)
        if alarm is None:
            return
        rng = self._rng
        panic = action == "panic"
        command = self._command(
            action,
            alarm_id=alarm_id,
            repeats=None if panic else alarm.repeats,
            kind=None if panic else alarm.kind,
            unit=rng.choice(("Polsek Klojen", "Polsek Sukun")) if action == "dispatch" else None,
            outcome=rng.choice(OUTCOMES) if action == "resolve" else None,
        )
        if self._add(command) and not panic:
            seen = self._truth.answers[alarm.post]
            seen[alarm_id] = max(seen.get(alarm_id, 0), alarm.repeats)

    def open_test(self, post: str, minutes: int) -> None:
        """Open a test window."""
        command = self._command("open_test", post=post, minutes=minutes)
        if self._add(command):
            window = Window(command.command_id, self.timeline.now_us, minutes)
            self._truth.windows[post].append(window)

    def close_test(self, post: str) -> None:
        """Close it again."""
        command = self._command("close_test", post=post)
        if self._add(command):
            self._truth.closings[command.command_id] = post

    def clear_the_desk(self) -> None:
        """The shift ends: every open alarm is acknowledged and resolved, one thing at a time."""
        sending = {command.alarm_id for command in self._disk.sending()}
        for alarm in list(self._disk.alarms.values()):
            if alarm.is_open and alarm.alarm_id not in sending:
                self.act("resolve" if is_answered(alarm.state) else "acknowledge", alarm.alarm_id)

    def _command(self, action: Action, **fields: object) -> Command:
        return Command(
            command_id=self._new_id(),
            action=action,
            store_id=self._disk.store_id,
            at=timestamp(self._host.now().wall_ms),
            operator=self._rng.choice(OPERATORS),
            **fields,  # type: ignore[arg-type]
        )

    def _add(self, command: Command) -> bool:
        if not self._host.powered or not self._disk.add(command):
            return False
        self._truth.commands[command.command_id] = command
        self.timeline.note(
            "operator",
            f"{command.action} {(command.alarm_id or command.post or '')[-12:]}"
            f" repeats={command.repeats} kind={command.kind} id={command.command_id[-12:]}",
        )
        self._centre.new_commands()
        return True
