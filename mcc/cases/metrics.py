"""The ingest's figures for Prometheus: what it holds and hears, and how long its commits take.

It counts nothing itself. The names stand in `config/grafana` and `config/prometheus` too; a test
compares them.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric

from mcc.session import SessionStatus
from process.metrics import Endpoint, Figures, counter, gauge

PREFIX = "kentongan_ingest"


class IngestMetrics:
    """The endpoint; `committed` and `show` are called by the main loop."""

    def __init__(self, listen: str) -> None:
        """Listen.

        Raises:
            MetricsUnavailable: it cannot.
        """
        self._status: SessionStatus | None = None
        self._figures = Figures(PREFIX, self._families)
        self._endpoint = Endpoint(listen, self._figures.registry)

    def committed(self, took_s: float) -> None:
        """A write is in the database."""
        self._figures.commit_s.observe(took_s)

    def show(self, status: SessionStatus) -> None:
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
        yield gauge(f"{PREFIX}_link_up", "whether its link is connected", status.link_up)
        yield gauge(
            f"{PREFIX}_alarms",
            "alarms in memory",
            {tuple(name.split("/")): count for name, count in status.alarms.items()},
            ("kind", "state"),
        )
        yield gauge(
            f"{PREFIX}_posts",
            "posts by what their gateways say of them",
            {(name,): count for name, count in status.posts.items()},
            ("connection",),
        )
        yield gauge(
            f"{PREFIX}_gateways",
            "gateways by whether they are heard",
            {(name,): count for name, count in status.gateways.items()},
            ("liveness",),
        )
        yield gauge(
            f"{PREFIX}_queue_depth",
            "what waits, by where",
            {(name,): count for name, count in status.queues.items()},
            ("queue",),
        )
        yield counter(
            f"{PREFIX}_refused",
            "what was refused, by reason",
            {(name,): count for name, count in status.refused.items()},
            ("reason",),
        )
        yield counter(
            f"{PREFIX}_link_connections", "times that its link came up", status.connections
        )
        yield counter(f"{PREFIX}_log_lines_lost", "lines nobody could write", status.lines_lost)
