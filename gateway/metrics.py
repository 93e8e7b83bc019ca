"""A gateway's figures for Prometheus: its status, and the durations it sees pass. It counts nothing
itself. The names stand in `config/grafana` and `config/prometheus` too; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client.core import Metric

from gateway.status import GatewayStatus
from process.core import Log
from process.metrics import Endpoint, Figures, Hops, counter, gauge
from protocol.values import Kind

PREFIX = "kentongan_gateway"
# The event of a gateway's line -> the way that ends with it.
HOPS = {
    "alarm_received": "press_to_received",
    "alarm_committed": "received_to_committed",
    "alarm_delivered": "committed_to_delivered",
    "alarm_acknowledged": "delivered_to_acknowledged",
    "alarm_read": "acknowledged_to_read",
    "alarm_sounded": "acknowledged_to_sounded",
}
# Names of faults come from posts: who invents names shares one.
FAULT_NAMES_MAX = 100
OTHER_FAULT = "other"


class GatewayMetrics:
    """The endpoint; `see` and `show` are called by the main loop."""

    def __init__(self, listen: str) -> None:
        """Listen.

        Raises:
            MetricsUnavailable: it cannot.
        """
        self._status: GatewayStatus | None = None
        self._fault_names: set[str] = set()
        self._figures = Figures(PREFIX, self._families)
        self._hops = Hops(f"{PREFIX}_hop_seconds", HOPS, get_args(Kind), self._figures)
        self._endpoint = Endpoint(listen, self._figures.registry)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._endpoint.port

    def see(self, line: Log) -> None:
        """A line of the core."""
        self._hops.see(line)

    def committed(self, took_us: int) -> None:
        """A write is in the journal."""
        self._figures.commit_s.observe(took_us / 1_000_000)

    def show(self, status: GatewayStatus) -> None:
        """What is shown from now on."""
        self._status = status

    def close(self, timeout_s: float) -> None:
        """Stop listening."""
        self._endpoint.close(timeout_s)

    def _families(self) -> Iterable[Metric]:
        status = self._status
        if status is None:
            return
        yield gauge(
            f"{PREFIX}_status_uptime_seconds",
            "uptime of the machine when the main loop last looked: it stands when the loop does",
            status.uptime_us / 1_000_000,
        )
        yield gauge(
            f"{PREFIX}_link_up",
            "whether a link is connected",
            {(name,): float(up) for name, up in status.links.items()},
            ("link",),
        )
        yield gauge(
            f"{PREFIX}_faults",
            "the gateway's own faults",
            {(name,): 1.0 for name in self._named(status.faults)},
            ("fault",),
        )
        yield gauge(
            f"{PREFIX}_standing_by",
            "whether another machine of the pair is the gateway",
            status.standing_by,
        )
        if status.standing_by:
            return  # of posts and calls it knows nothing, which is not that there are none
        yield gauge(f"{PREFIX}_mcc_answers", "whether a call would be seen", status.mcc_answers)
        yield gauge(
            f"{PREFIX}_post_faults",
            "posts that have a fault, by its kind",
            self._by_known_name(status.post_faults),
            ("fault",),
        )
        yield gauge(
            f"{PREFIX}_posts",
            "posts by whether they are heard",
            {(name,): count for name, count in status.posts.items()},
            ("connection",),
        )
        yield gauge(
            f"{PREFIX}_alarms",
            "alarms in memory: open, listed, or not yet cleared",
            {tuple(name.split("/")): count for name, count in status.alarms.items()},
            ("kind", "state"),
        )
        yield gauge(
            f"{PREFIX}_queue_depth",
            "what waits, by where",
            {(name,): count for name, count in status.queues.items()},
            ("queue",),
        )
        yield gauge(
            f"{PREFIX}_uplink_lag_seconds",
            "how long the oldest change has waited for the command centre's receipt",
            status.uplink_lag_s,
        )
        if status.journal_bytes is not None:
            yield gauge(f"{PREFIX}_journal_bytes", "file and log on disk", status.journal_bytes)
        yield counter(f"{PREFIX}_heartbeats", "heartbeats of posts", status.heartbeats)
        yield counter(
            f"{PREFIX}_refused",
            "what was refused, by reason",
            {(name,): count for name, count in status.refused.items()},
            ("reason",),
        )
        yield counter(
            f"{PREFIX}_link_connections",
            "times that a link came up",
            {(name,): count for name, count in status.connections.items()},
            ("link",),
        )
        yield counter(f"{PREFIX}_log_lines_lost", "lines nobody could write", status.lines_lost)

    def _named(self, names: Iterable[str]) -> list[str]:
        known = []
        for name in names:
            if name not in self._fault_names and len(self._fault_names) < FAULT_NAMES_MAX:
                self._fault_names.add(name)
            known.append(name if name in self._fault_names else OTHER_FAULT)
        return known

    def _by_known_name(self, faults: dict[str, int]) -> dict[tuple[str, ...], float]:
        counted: dict[tuple[str, ...], float] = {}
        for name, count in zip(self._named(faults), faults.values(), strict=True):
            counted[name,] = counted.get((name,), 0) + count
        return counted
