"""A scripted world for one trace: quiet, one post, operators who do what the script says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from gateway.record import AlarmRecord
from mcc.alarms import AlarmRecord as MccRecord
from protocol.messages import Action
from protocol.topics import NEVER_RETAINED
from simulation.broker import Broker, Packet
from simulation.processes import PostProcess
from simulation.world import World

POST = "mlg-rw01"
SETTLES_S = 5.0


class Script(World):
    """Everything connected and nothing open, the post's lamp armed; the checkers look on."""

    def __init__(self, *, brokers: int = 2) -> None:
        """Two brokers, so that each side can be made to forget by itself."""
        super().__init__(1, posts=1, brokers=brokers)
        self.faults_end_us = 10**15
        self.operators.attends = False
        self.passed: list[Packet] = []
        self.drops: Callable[[Packet], bool] = lambda packet: False
        for broker in self.brokers:
            self._tap(broker)
        self.start()
        self.run_for(SETTLES_S)
        assert self.post.lamp == "armed"

    def _tap(self, broker: Broker) -> None:
        publish = broker.publish

        def tapped(packet: Packet) -> None:
            self.passed.append(packet)
            if not self.drops(packet):
                publish(packet)

        broker.publish = tapped  # type: ignore[method-assign]

    @property
    def post(self) -> PostProcess:
        return self.posts[POST]

    @property
    def lamp(self) -> str | None:
        """What the post's lamp says."""
        return self.post.lamp

    @property
    def kind(self) -> str:
        """Whether the newest alarm is shown as a panic or as a test."""
        return self.alarm.kind

    @property
    def sounds(self) -> int:
        """How often the post's buzzer has sounded."""
        return sum(Counter(self.checkers.sounds).values())

    @property
    def alarms(self) -> list[MccRecord]:
        """What the command centre shows, oldest first."""
        return sorted(self.centre.disk.alarms.values(), key=lambda alarm: alarm.alarm_id)

    @property
    def alarm(self) -> MccRecord:
        """The newest of them."""
        return self.alarms[-1]

    @property
    def record(self) -> AlarmRecord:
        """The newest record of the journal."""
        return max(self.gateway.disk.rows.values(), key=lambda record: record.alarm_id)

    @property
    def documents(self) -> set[str]:
        """The alarms whose documents the MCC's broker keeps."""
        kept = self.broker_of_centre.retained.values()
        return {
            p.address.name for p in kept if (p.address.side, p.address.what) == ("mcc", "alarms")
        }

    def press3(self, settle_s: float = SETTLES_S) -> None:
        """Three presses, and time for all that follows."""
        self.call(POST)
        self.run_for(4.0 + settle_s)

    def operator(self, *actions: Action, alarm: MccRecord | None = None) -> None:
        """One action after the other on this alarm, or the newest."""
        for action in actions:
            self.operators.act(action, (alarm or self.alarm).alarm_id)
            self.run_for(2.0)

    def press_resolve(self) -> None:
        """An alarm from beginning to end."""
        self.press3()
        self.operator("acknowledge", "resolve")
        self.run_for(SETTLES_S)

    def restore_gateway(self) -> None:
        """The gateway is killed, and comes back on the only copy of its journal."""
        self.gateway.die(power=False)
        self.replaced(self.gateway.disk, self.gateway.disk.put_back)

    def offers(self) -> list[Packet]:
        """The offers of the post that have passed."""
        return [p for p in self.passed if (p.address.side, p.address.what) == ("posts", "alarms")]

    def everything_is_over(self) -> None:
        """Resolved everywhere, forgotten by the post, the lamp armed."""
        self.checkers.settled()
        for broker in self.brokers:
            kept = broker.retained.items()
            self.checkers.retained(
                {t: p for t, p in kept if (p.address.side, p.address.what) not in NEVER_RETAINED}
            )
