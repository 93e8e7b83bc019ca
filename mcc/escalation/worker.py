"""`kentongan-mcc escalate`: looks once a second, writes what is due, sends what is written.

It wires; the ladder decides who is due, the desk who gets a row. A target that hangs holds up no
other one, and nothing holds up the looking. Another worker may run beside it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module

from django.db import Error, connections

from mcc.anev import mail as letters
from mcc.anev.editions import make_first
from mcc.anev.schedule import due
from mcc.api import hooks
from mcc.cases.actions import Refused
from mcc.cases.models import Process
from mcc.escalation import desk
from mcc.escalation.ladder import Ladder, Now
from mcc.escalation.models import Notice
from mcc.escalation.words import Message, message
from mcc.people.models import Screen
from mcc.people.shifts import MANNING, on_shift
from mcc.people.watch import NAMES, Ages, FaultName, ScreenSeen, faults
from mcc.settings import MccFile
from mcc.visits.personal import forget
from process.log import log
from process.notify import Notifier

PROCESS = "escalate"
LOOK_EVERY_S = 1.0
FORGET_EVERY_S = 3_600.0
# Before an anev that could not be made is tried again.
ANEV_PAUSE_S = 300.0
# Targets that are sent to at once.
SENDERS_MAX = 8
# How long an end waits for what is being sent.
STOP_S = 5.0


class Worker:
    """One worker of this command centre. `run()` until `stop()`."""

    def __init__(self, settings: MccFile) -> None:
        self._settings = settings
        self._ladder = Ladder(settings.escalation)
        self._targets = desk.targets(settings.escalation) | letters.targets(settings.anev)
        # The latest week whose anev is made, and when to try again where it could not be.
        self._anev_made_ms = 0
        self._anev_next_s = 0.0
        self._ages = Ages()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(SENDERS_MAX, thread_name_prefix="notice")
        self._sending: dict[str, Future[None]] = {}
        self._forget_at_s = 0.0
        self._trouble = ""

    def run(self, notifier: Notifier) -> None:
        """Look until the end; a database that does not answer is asked again."""
        log("escalation_started", targets=len(self._targets))
        notifier.ready("looking")
        feed = notifier.feeding(lambda: None)
        fed_s = 0.0
        while not self._stopping.is_set():
            self._look_once()
            if time.monotonic() - fed_s >= 2.0:
                feed()
                fed_s = time.monotonic()
            self._stopping.wait(LOOK_EVERY_S)
        notifier.stopping()
        self._end()

    def stop(self) -> None:
        """Ask for the end; from any thread or signal handler."""
        self._stopping.set()

    def _look_once(self) -> None:
        try:
            self.look(Now(time.monotonic(), time.time_ns() // 1_000_000))
        except Error as error:
            words = str(error).strip()
            if words != self._trouble:
                log("database_away", level="error", why=words)
            self._trouble = words
        else:
            self._trouble = ""
        finally:
            connections.close_all()

    def look(self, now: Now) -> None:
        """See what is unanswered and what is wrong; write and send what is due.

        Raises:
            django.db.Error: the database does not answer; nothing is half done.
        """
        if now.mono_s >= self._forget_at_s:
            desk.drop_targets(self._targets, now.wall_ms)
            desk.forget_settled()
            _clear_sessions()
            self._start("visits", self._forget_visits, now.wall_ms)
            self._forget_at_s = now.mono_s + FORGET_EVERY_S
        self._beat(now)
        desk.set_faults(self._faults(now).items(), NAMES)
        calls = desk.unanswered()
        if not calls:
            desk.mend_without_target()
        rises = self._ladder.rises([*calls, *desk.mine()], now)
        desk.write(rises, self._settings.escalation, now.wall_ms)
        for target in desk.waiting_targets(now.wall_ms):
            if target in self._targets:
                self._start(target, self._deliver, self._targets[target], now.wall_ms)
        for pk in hooks.due(now.wall_ms):
            self._start(f"hook/{pk}", self._tell_hook, pk, now.wall_ms)
        failing = hooks.failing()
        desk.set_faults([(hooks.FAULT, failing)] if failing else [], (hooks.FAULT,))
        begin_ms = due(self._settings.anev, now.wall_ms)
        if begin_ms not in (None, self._anev_made_ms) and now.mono_s >= self._anev_next_s:
            self._start("anev", self._make_anev, begin_ms, now)

    def _start(self, key: str, what: Callable[..., None], *arguments: object) -> None:
        """On a thread of the pool, unless this key is still being sent to."""
        running = self._sending.get(key)
        if running is None or running.done():
            self._sending[key] = self._pool.submit(what, *arguments)

    def _tell_hook(self, pk: int, now_ms: int) -> None:
        """On a thread of the pool: one hook, until it has taken all or fails."""
        try:
            parcel = hooks.claim(pk, now_ms)
            if parcel is not None and not hooks.deliver(parcel, now_ms):
                log("hook_not_told", level="warning", hook=parcel.hook.name)
        except Error as error:
            log("hook_not_noted", level="error", why=str(error).strip())
        finally:
            connections.close_all()

    def _forget_visits(self, now_ms: int) -> None:
        """On a thread of the pool: old visits lose whom they were about; again in an hour."""
        try:
            gone = forget(now_ms, self._settings.visits.keep_days)
            if gone.total():
                log("visits_forgotten", visits=gone["visits"], strays=gone["stray_files"])
        # Nobody reads what a thread of the pool raises.
        except Exception as error:  # noqa: BLE001
            log("visits_not_forgotten", level="error", why=repr(error)[:200])
        finally:
            connections.close_all()

    def _make_anev(self, begin_ms: int, now: Now) -> None:
        """On a thread of the pool: a week's first edition, or the letter of one that is there."""
        # Looked at again only after a pause, whatever becomes of it.
        self._anev_next_s = now.mono_s + ANEV_PAUSE_S
        try:
            edition = make_first(self._settings, begin_ms, now.wall_ms, letters.put_out)
            if edition is not None:
                log("anev_made", week=edition.week, edition=edition.number)
            elif (late := letters.put_out_late(begin_ms)) is not None:
                log("anev_put_out", week=late.week, edition=late.number)
            self._anev_made_ms = begin_ms
        except Refused as error:
            log("anev_not_made", level="error", why=error.why)
        # Nobody reads what a thread of the pool raises; it is tried again after the pause.
        except Exception as error:  # noqa: BLE001
            log("anev_not_made", level="error", why=repr(error)[:200])
        finally:
            connections.close_all()

    def _faults(self, now: Now) -> dict[FaultName, str]:
        rows = list(Screen.objects.select_related("user"))
        ages = self._ages.of(
            {row.screen_id: row.seen_ms for row in rows}, mono_s=now.mono_s, wall_ms=now.wall_ms
        )
        screens = [
            ScreenSeen(
                age_s=ages[row.screen_id],
                sound=row.sound,
                may_answer=row.user.is_active and row.user.role in MANNING,
            )
            for row in rows
        ]
        silent_s = self._settings.people.screen_silent_s
        return dict(faults(len(on_shift(now.wall_ms)), screens, silent_s=silent_s))

    def _beat(self, now: Now) -> None:
        row, made = Process.objects.get_or_create(name=PROCESS, defaults={"at_ms": now.wall_ms})
        if not made:
            Process.objects.filter(name=PROCESS).update(beat=row.beat + 1, at_ms=now.wall_ms)

    def _deliver(self, target: desk.Target, now_ms: int) -> None:
        """On a thread of the pool: claim, send, note."""
        try:
            notices = desk.claim(target.digest, now_ms)
            if notices:
                what = worded(notices, now_ms)
                delivered = what is not None and send(target, what)
                desk.settle(notices, delivered=delivered, now_ms=now_ms)
                log(
                    "notice_sent" if delivered else "notice_not_sent",
                    level="info" if delivered else "warning",
                    to=target.label,
                    calls=len(notices),
                    attempt=max(one.attempts for one in notices),
                )
        except Error as error:
            # Claimed and not noted: the lease ends, and it is tried again.
            log("notice_not_noted", level="error", to=target.label, why=str(error).strip())
        finally:
            connections.close_all()

    @property
    def is_sending(self) -> bool:
        """Whether something is being sent."""
        return any(not one.done() for one in self._sending.values())

    def finish(self, within_s: float = STOP_S) -> None:
        """Wait for what is being sent."""
        until_s = time.monotonic() + within_s
        for running in self._sending.values():
            try:
                running.result(max(0.0, until_s - time.monotonic()))
            except TimeoutError:
                log("notice_left", level="warning")

    def _end(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.finish()
        log("escalation_ended")


def worded(notices: Sequence[Notice], now_ms: int) -> Message | None:
    """What is to be said; None where it could not be put into words or on paper.

    Raises:
        django.db.Error: the database does not answer.
    """
    if notices[0].rung != desk.ANEV:
        return message(notices, now_ms)
    try:
        return letters.message(notices)
    except Error:
        raise
    # A paper that cannot be drawn is one that was not sent: tried again, and given up, as such.
    except Exception as error:  # noqa: BLE001
        log("anev_not_drawn", level="error", call=notices[0].call, why=repr(error)[:200])
        return None


def send(target: desk.Target, what: Message) -> bool:
    """Whether the target's service has taken the message."""
    import apprise
    from apprise.attachment.memory import AttachMemory

    files = [
        AttachMemory(content=one.content, name=one.name, mimetype=one.content_type)  # type: ignore[no-untyped-call]
        for one in what.files
    ]
    sender = apprise.Apprise()
    if not sender.add(target.url):
        return False
    try:
        # Said to be text, it is escaped where a service takes markup: Telegram refuses a bare `<`.
        return bool(
            sender.notify(
                title=what.title,
                body=what.body,
                body_format=apprise.NotifyFormat.TEXT,
                attach=files or None,
            )
        )
    # Whatever a service's module raises, it has told nobody.
    except Exception as error:  # noqa: BLE001
        log("notice_raised", level="error", to=target.label, why=type(error).__name__)
        return False


def run(settings: MccFile) -> None:
    """Work until SIGTERM. Django is configured. Call from the main thread."""
    worker = Worker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: worker.stop())
    worker.run(Notifier.from_environment())
    if worker.is_sending:
        # A service that does not answer must not hold up the end of the process.
        os._exit(0)


def _clear_sessions() -> None:
    """Sessions that are over: nobody else deletes them."""
    from django.conf import settings

    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
