"""The edges of a gateway around its core: two links, the journal, the buzzer, on one loop.

Nothing is decided here. Links and journal only enqueue; the loop hands one event at a time to
`gateway.core.Gateway` and carries the effects out. Messages are acknowledged to the broker when
the core says so, which is after the commit.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.brokers import Brokers
from gateway.control import Control, ControlError
from gateway.core import (
    MCC_LINK,
    POSTS_LINK,
    Commit,
    CommitFailed,
    Committed,
    Effect,
    FaultSeen,
    Flooding,
    Gateway,
    GatewaySettings,
    Lookup,
    NotSent,
    Prune,
    Recall,
    Registered,
    Sound,
    SoundName,
    Told,
)
from gateway.faults import Start
from gateway.gate import Gate, NotAdmitted, Register
from gateway.journal import Journal, file_of
from gateway.pair import Presence, TakesOver, wait
from gateway.settings import GatewayFile, MccSettings, PostsSettings
from gateway.status import GatewayStatus
from hardware.buzzer import Buzzer
from hardware.buzzer import Sound as SoundPattern
from hardware.clock import SystemClock
from hardware.pins import open_pins
from process.core import Acknowledge, Drop, Heard, Log, Publish
from process.disk import Writes
from process.events import EventQueue
from process.intake import Intake
from process.link import (
    Link,
    LinkSettings,
    PublishRefused,
    Received,
    Subscription,
    TlsFiles,
    Will,
)
from process.log import begin, lines_lost, log, write_line
from process.loop import run as run_loop
from process.loop import stop_on_signals
from process.notify import Notifier
from process.settings import parse_mqtt_url
from process.status import StatusFile
from protocol.codec import Refused, encode
from protocol.messages import (
    Certificate,
    Command,
    CommandAnswer,
    MccGateway,
    Place,
    Renewal,
)
from protocol.values import timestamp

if TYPE_CHECKING:
    from gateway.metrics import GatewayMetrics
    from gateway.registrar import Registrar

QUEUE_LIMIT = 8192
# Places that only the journal and the state of the links may take.
QUEUE_RESERVED = 4096
QUEUE_FULL_PAUSE_S = 0.01
ANSWER_EXPIRY_S = 30
REGISTRAR_STOP_S = 0.2
CONTROL_STOP_S = 0.2
METRICS_STOP_S = 0.1
LINK_STOP_S = 0.5
JOURNAL_STOP_S = 0.7
EXIT_BROKEN = 70
# Nothing is said before it is committed, so a journal that says nothing is a gateway that is dead.
JOURNAL_SILENT_US = 60_000_000
PROBE_TOKEN = 0  # the core's own tokens begin at 1

# (on, off) in milliseconds.
SOUNDS: dict[SoundName, SoundPattern] = {
    "alarm": ((200, 100),) * 5,
    "escalation": ((600, 200),) * 5,
    "acknowledged": ((100, 100), (400, 0)),
}

ALLOWED = {
    POSTS_LINK: (
        ("posts", "alarms"),
        ("posts", "presence"),
        ("posts", "health"),
        ("posts", "renewal"),
        ("posts", "state"),
    ),
    MCC_LINK: (("mcc", "commands"), ("mcc", "alarms"), ("mcc", "posts")),
}


class Service:
    """One gateway on this machine."""

    def __init__(
        self,
        settings: GatewayFile,
        journal: Journal | None = None,
        presence: Presence | None = None,
        metrics: GatewayMetrics | None = None,
    ) -> None:
        """Open buzzer, register and journal; `presence`: this machine is one of a pair.

        `journal`: one that has waited for its seat. `metrics`: where the figures are shown.

        Raises:
            PinsUnavailable: with what is missing and what to do.
            IdentitiesError: the register's directory cannot be used, with why.
            JournalUnusable: with why.
        """
        self._settings = settings
        self._clock = SystemClock()
        self._topics = settings.topics
        self._queue = EventQueue(QUEUE_LIMIT, QUEUE_RESERVED)
        self._intakes = {link: Intake(self._topics, pairs) for link, pairs in ALLOWED.items()}
        pin = settings.buzzer.pin
        self._pins = None if pin is None else open_pins(settings.pins)
        self._buzzer = Buzzer(self._pins, pin)
        self._gate = Gate()
        self._flooding: frozenset[str] = frozenset()
        self._registrar = self._open_register()
        self._journal = journal or Journal(settings.journal.url)
        self._journal.deliver = self._deliver
        self._presence = presence
        now = self._clock.now()
        start = Start(self._clock.boot_id(), now.uptime_us, now.wall_ms)
        opened = self._journal.open(start)
        if presence is not None:
            presence.tell(TakesOver(opened.journal_id))
        self._core = Gateway(
            GatewaySettings(
                gateway_id=settings.gateway_id,
                receiver=settings.mcc.receiver,
                require_receipt=settings.mcc.require_receipt,
                silent=settings.buzzer.silent,
                topic_root=settings.topic_root,
                district=settings.topics.district,
                keep_days=settings.journal.keep_days,
                silent_after_s=settings.posts.silent_after_s,
                selftests=settings.selftest.daily,
                firmware=settings.posts.firmware,
            ),
            now=now,
            journal_id=opened.journal_id,
            records=opened.records,
            meta=opened.meta,
            faults=opened.faults,
            rng=Random(),
        )
        self._control = self._open_control()
        self._metrics = metrics
        self._counted: dict[str, Any] | None = None
        self._counted_us = 0
        self._journal_id = opened.journal_id
        self._writes = Writes(now.uptime_us)
        self._notifier = Notifier.from_environment()
        self._status_file = StatusFile.from_environment()
        self._links: dict[str, Link | Brokers] = {
            POSTS_LINK: self._link(
                POSTS_LINK,
                settings.posts,
                live=(
                    self._topics.post("+", "alarms"),
                    self._topics.post("+", "health"),
                    self._topics.post("+", "renewal"),
                ),
                kept=(self._topics.post("+", "presence"), self._topics.post("+", "state")),
            ),
            MCC_LINK: self._link(
                MCC_LINK,
                settings.mcc,
                live=(self._topics.mcc("commands", "+"),),
                kept=(self._topics.mcc("alarms", "+"), self._topics.mcc("posts", "+")),
            ),
        }

    def _link(
        self,
        name: str,
        settings: PostsSettings | MccSettings,
        *,
        live: tuple[str, ...],
        kept: tuple[str, ...],
    ) -> Link | Brokers:
        # Live echoes of our own documents come back without the retained flag; the core passes
        # over them.
        subscriptions = [
            *(Subscription(topic, live_only=True) for topic in live),
            *(Subscription(topic, live_only=False) for topic in kept),
        ]
        tls = TlsFiles(settings.ca, settings.certificate, settings.key)
        second = settings.second_url if isinstance(settings, PostsSettings) else None
        urls = (settings.url, second)

        def made(deliver: Callable[[object, bool], bool], number: int) -> Link:
            return Link(
                name,
                LinkSettings(
                    broker=parse_mqtt_url(urls[number] or settings.url),
                    # Both links may lead to one broker, where a client id can be there once only.
                    client_id=f"{self._settings.gateway_id}-{name}",
                    keepalive_s=settings.keepalive_s,
                    tls=tls,
                ),
                subscriptions=subscriptions,
                will=self._will if name == MCC_LINK else _no_will,
                deliver=deliver,
                manual=True,
                synchronised=lambda: self._clock.now().synchronised,
                may_speak=self._may_speak,
            )

        def offer(event: object, droppable: bool) -> bool:
            return self._queue.offer(event, droppable=droppable)

        return made(offer, 0) if second is None else Brokers(name, made, offer)

    def _may_speak(self) -> bool:
        """Alone, always; one of two only while the other cannot have taken over."""
        lease = self._journal.lease
        return self._presence is None or lease is None or lease.may_speak()

    def _open_register(self) -> Registrar | None:
        directory = self._settings.identities.directory
        if directory is None:
            return None
        from gateway.registrar import Registrar  # brings cryptography; a demo does without it

        registrar = Registrar(Path(directory), self._deliver, self._clock)
        self._gate.register = registrar.read()  # before the first message comes in
        return registrar

    def _open_control(self) -> Control | None:
        """None where none is wanted, or none can be had: alarms are taken in all the same."""
        path = self._settings.control.socket
        if path is None:
            return None
        try:
            return Control(Path(path), lambda event: self._queue.offer(event, droppable=True))
        except ControlError as error:
            log("control_unavailable", level="error", why=error)
            self._queue.offer(FaultSeen("control_unavailable", present=True), droppable=False)
            return None

    def _will(self, _connection: str) -> Will:
        gone = MccGateway(
            gateway=self._settings.gateway_id,
            online=False,
            at=timestamp(self._clock.now().wall_ms),
            journal_id=self._journal_id,
        )
        topic = self._topics.mcc("gateways", self._settings.gateway_id)
        return Will(topic, encode(gone), retain=True)

    def _deliver(self, event: object) -> None:
        """On the journal's thread: an outcome is never lost; a full queue holds the journal up."""
        while not self._queue.offer(event, droppable=False):
            time.sleep(QUEUE_FULL_PAUSE_S)

    # --- the loop --------------------------------------------------------------------------

    def run(self) -> int:
        """Be the gateway until SIGTERM; the exit code, `EXIT_BROKEN` to be started anew."""
        stop_on_signals(self._queue)
        if self._registrar is not None:
            self._registrar.start()  # it has the surveyed places, which the first alarm may need
        for link in self._links.values():
            link.start()
        log("gateway_ready", gateway=self._settings.gateway_id, journal_id=self._journal_id)
        self._notifier.ready("taking in alarms")
        wrong = run_loop(
            self._core,
            self._queue,
            self._clock,
            self._perform,
            read=self._read,
            watch=self._notifier.feeding(self._watch),
            say=self._say,
        )
        if wrong is None:
            self._notifier.stopping()
        else:
            log("gateway_broken", level="error", why=wrong)
        self._close()
        return 0 if wrong is None else EXIT_BROKEN

    def _read(self, event: object) -> object | None:
        match event:
            case Received(link=link, receipt=receipt):
                heard = self._intakes[link].read(event)
                if heard is not None:
                    refused = self._gate.admit(
                        heard.address, heard.message, self._clock.now().uptime_us
                    )
                    if refused is not None:
                        self._not_admitted(heard, refused)
                        heard = None
                    elif isinstance(heard.message, Renewal):
                        if self._registrar is not None:
                            self._registrar.renew(heard.message)
                        heard = None
                if heard is None and receipt is not None:
                    self._links[link].acknowledge(receipt)
                return heard
            case Register():
                return self._take_register(event)
            case Certificate(post=post):
                topic = self._topics.post(post, "certificate")
                self._links[POSTS_LINK].publish(topic, encode(event), expiry_s=ANSWER_EXPIRY_S)
                return None
            case PublishRefused(link, topic, reason):
                log("publish_refused", level="error", link=link, topic=topic, reason=reason)
                return None
            case Committed(tokens) | CommitFailed(tokens):
                if self._metrics is not None and isinstance(event, Committed):
                    now_us = self._clock.now().uptime_us
                    for token in tokens:
                        self._metrics.committed(self._writes.took_us(token, now_us))
                self._writes.answered(tokens)
        return event

    def _take_register(self, register: Register) -> Registered:
        self._gate.register = register
        log("register_read", posts=len(register.posts), denied=len(register.denied))
        return Registered(
            {
                name: (
                    entry.label,
                    None
                    if entry.lat is None or entry.lon is None
                    else Place(lat=entry.lat, lon=entry.lon),
                )
                for name, entry in register.posts.items()
            },
            register.maintained,
            register.retired,
        )

    def _not_admitted(self, heard: Heard, refused: NotAdmitted) -> None:
        if refused.tell:
            log(
                "not_admitted",
                level="warning",
                link=heard.link,
                who=heard.address.name,
                what=heard.address.what,
                why=refused.why,
                count=refused.count,
            )
        if isinstance(heard.message, Command) and refused.why != "flood":
            console = heard.address.name
            answer = CommandAnswer(
                console=console,
                command_id=heard.message.command_id,
                refused="not_allowed",
                why=f"{console} may not {heard.message.action} ({refused.why})",
                alarm_id=heard.message.alarm_id,
            )
            topic = self._topics.mcc("answers", console)
            self._links[MCC_LINK].publish(topic, encode(answer), expiry_s=ANSWER_EXPIRY_S)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Publish():
                self._publish(effect)
            case Acknowledge(link, receipts):
                for receipt in receipts:
                    self._links[link].acknowledge(receipt)
            case Commit():
                self._commit(effect)
            case Lookup() | Recall() | Prune():
                self._journal.submit(effect)
            case Drop(link, reason):
                self._links[link].drop(reason)
            case Told():
                if self._control is not None:
                    self._control.tell(effect)
            case Sound(name):
                self._buzzer.sound(SOUNDS[name], _nothing)

    def _publish(self, publish: Publish) -> None:
        link = self._links[publish.link]
        try:
            payload = b"" if publish.message is None else encode(publish.message)
        except Refused as error:
            log("message_too_large", level="error", topic=publish.topic, why=error)
            return
        taken = link.publish(
            publish.topic, payload, retain=publish.retain, expiry_s=publish.expiry_s
        )
        if not taken and publish.retain and link.connection is not None:
            # Not droppable: the queue is full just when links are, and a document that nobody says
            # again would be missing at the command centre for minutes.
            self._queue.offer(NotSent(publish.link, publish.topic), droppable=False)

    def _commit(self, commit: Commit) -> None:
        self._writes.asked(commit.token, self._clock.now().uptime_us)
        self._journal.submit(commit)

    def _watch(self) -> str | None:
        """Every 2 s: do threads and disk answer? While this returns None the watchdog is fed."""
        now_us = self._clock.now().uptime_us
        if self._writes.probe_due(now_us):
            self._commit(Commit(PROBE_TOKEN, ()))  # a commit of nothing still counts one up
        if self._journal.lost is not None:
            return self._journal.lost
        if not self._journal.alive():
            return "the journal's thread has died"
        if self._presence is not None and not self._presence.alive():
            return "a thread of the pair's presence has died"
        if not self._buzzer.alive():
            return "the buzzer's thread has died"
        silent_us = self._writes.silent_us(now_us)
        if silent_us >= JOURNAL_SILENT_US:
            return f"the journal has not answered for {silent_us // 1_000_000} s"
        for link in self._links.values():
            if not link.alive():
                return f"the thread of link {link.name} has died"
        if self._registrar is not None and not self._registrar.alive():
            return "the registrar's thread has died"
        if self._control is not None and not self._control.alive():
            return "the control socket's thread has died"
        flooding = self._gate.flooding(now_us)
        if flooding != self._flooding and self._queue.offer(Flooding(flooding), droppable=True):
            self._flooding = flooding
        # For `doctor`, which so need not touch what this process holds.
        presence = self._presence
        status = GatewayStatus(
            uptime_us=now_us,
            gateway=self._settings.gateway_id,
            links={name: link.connection is not None for name, link in self._links.items()},
            mcc_answers=self._core.mcc_answers,
            faults=self._core.faults
            if presence is None
            else (*self._core.faults, *presence.faults),
        )
        if self._metrics is not None:
            from process.metrics import LOOK_EVERY_US

            if self._counted is None or now_us - self._counted_us >= LOOK_EVERY_US:
                self._counted_us, self._counted = now_us, self._count()
            status = msgspec.structs.replace(status, **self._counted)
            self._metrics.show(status)
        self._status_file.write(status)
        return None

    def _count(self) -> dict[str, Any]:
        """The part of the status that costs a look at everything."""
        census = self._core.census()
        refused: Counter[str] = Counter(self._core.counts)
        for intake in self._intakes.values():
            refused.update(intake.refusals)
        refused.update({f"not_admitted_{why}": n for why, n in self._gate.counts.items()})
        refused["queue_full"] = self._queue.dropped
        for link in self._links.values():
            refused.update(link.counts.refusals)
        return {
            "posts": dict(census.posts),
            "post_faults": dict(census.post_faults),
            "alarms": dict(census.alarms),
            "queues": {
                "events": self._queue.depth,
                "journal": census.uncommitted,
                "unreceipted": census.unreceipted,
                "parked": census.parked,
                **{f"{name}_out": len(link.outbound) for name, link in self._links.items()},
            },
            "refused": dict(refused),
            "connections": {name: one.counts.connections for name, one in self._links.items()},
            "heartbeats": census.heartbeats,
            "uplink_lag_s": census.lag_s,
            "journal_bytes": self._journal_bytes(),
            "lines_lost": lines_lost(),
        }

    def _journal_bytes(self) -> int | None:
        path = file_of(self._settings.journal.url)
        if path is None:
            return None
        sizes = []
        for each in (path, path.with_name(f"{path.name}-wal")):
            with contextlib.suppress(OSError):
                sizes.append(each.stat().st_size)
        return sum(sizes)

    def _say(self, line: Log, at_ns: int) -> None:
        if self._metrics is not None:
            self._metrics.see(line)
        write_line(line, at_ns)

    def _close(self) -> None:
        """End everything within 2 s; what is under way to the journal gets there first."""
        self._journal.close(JOURNAL_STOP_S)
        self._links[POSTS_LINK].stop(LINK_STOP_S)
        self._links[MCC_LINK].stop(LINK_STOP_S, [self._will("")])
        if self._registrar is not None:
            self._registrar.close(REGISTRAR_STOP_S)
        if self._control is not None:
            self._control.close(CONTROL_STOP_S)
        self._buzzer.close()
        if self._pins is not None:
            self._pins.close()
        self._notifier.close()
        self._status_file.remove()
        log("gateway_stopped", gateway=self._settings.gateway_id)


def _no_will(_connection: str) -> None:
    return None


def _nothing() -> None:
    """Nobody waits for the end of the gateway's sounds."""


def _open_metrics(settings: GatewayFile) -> GatewayMetrics | None:
    """None where none are wanted, or none can be had: alarms are taken in all the same."""
    listen = settings.metrics.listen
    if listen is None:
        return None
    from gateway.metrics import GatewayMetrics  # brings prometheus-client
    from process.metrics import MetricsUnavailable

    try:
        return GatewayMetrics(listen)
    except MetricsUnavailable as error:
        log("metrics_unavailable", level="error", why=error)
        return None


def run(settings: GatewayFile) -> int:
    """Be the gateway, after standing by where another machine is it; the exit code.

    Raises:
        As `Service`.
    """
    begin("gateway", settings.log.format)
    metrics = _open_metrics(settings)
    try:
        if settings.pair.name is None:
            return Service(settings, metrics=metrics).run()
        journal = Journal(settings.journal.url)
        presence = Presence(settings)
        try:
            show = None if metrics is None else metrics.show
            if not wait(settings, journal, presence, show):
                return 0
            return Service(settings, journal, presence, metrics).run()
        finally:
            presence.close()
    finally:
        if metrics is not None:
            metrics.close(METRICS_STOP_S)
