"""The Prometheus endpoint of a process: a thin edge that shows what the process knows of itself.

A registry of figures, and a small HTTP server of its own that answers one request at a time. It
decides nothing and counts nothing that is counted elsewhere: figures come from the status that the
main loop writes down every few seconds, durations from the lines and writes that it sees pass.
No label is ever a post's or an alarm's: the number of series does not grow with a city.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from process.core import Log

# A status is this old at most; a city is counted through no more often.
LOOK_EVERY_US = 10_000_000
REQUEST_S = 2.0  # whoever takes longer is cut off
WAITING_MAX = 4
# From a call that a hand makes to one that nobody answers for an hour.
HOP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 3600)
COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10)

Labelled = dict[tuple[str, ...], float]


class MetricsUnavailable(Exception):
    """The endpoint cannot be made; the text says where and why."""


class Figures:
    """A registry with the process's own figures, durations, and a status as families."""

    def __init__(self, prefix: str, families: Callable[[], Iterable[Metric]]) -> None:
        """`families` is asked at each scrape, on the endpoint's thread: it only reads."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.commit_s = Histogram(
            f"{prefix}_commit_seconds",
            "from handing over until it is on disk; what could not be written is not counted",
            buckets=COMMIT_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Families(families))


class Hops:
    """How long alarms take from hop to hop, from the lines that tell of them."""

    def __init__(self, name: str, hops: dict[str, str], kinds: Iterable[str], of: Figures) -> None:
        """`hops`: event of a line -> the way that ends with it."""
        self._ways = hops
        histogram = Histogram(
            name,
            "how long an alarm took from one hop to the next, on this process's own clock",
            labelnames=("hop", "kind"),
            buckets=HOP_SECONDS,
            registry=of.registry,
        )
        self._children = {
            (event, kind): histogram.labels(hop=way, kind=kind)
            for event, way in hops.items()
            for kind in kinds
        }

    def see(self, line: Log) -> None:
        """Take a line; most say nothing of a duration."""
        after_ms = line.fields.get("after_ms")
        if after_ms is not None:
            child = self._children.get((line.event, line.fields.get("kind", "")))
            if child is not None:
                child.observe(after_ms / 1000)


class _Families:
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def gauge(name: str, what: str, values: float | Labelled, labels: tuple[str, ...] = ()) -> Metric:
    """A family of what is so at this moment."""
    return _family(GaugeMetricFamily, name, what, values, labels)


def counter(name: str, what: str, values: float | Labelled, labels: tuple[str, ...] = ()) -> Metric:
    """A family of what has happened since the start; its samples are named `name_total`."""
    return _family(CounterMetricFamily, name, what, values, labels)


def _family(
    kind: type[Any], name: str, what: str, values: float | Labelled, labels: tuple[str, ...]
) -> Metric:
    family = kind(name, what, labels=labels)
    for label_values, value in (values if isinstance(values, dict) else {(): values}).items():
        family.add_metric(label_values, value)
    return family  # type: ignore[no-any-return]


class Endpoint:
    """`GET /metrics` on an address of this machine; anything else is not found."""

    def __init__(self, listen: str, registry: CollectorRegistry) -> None:
        """Listen on `host:port`, on a thread of its own.

        Raises:
            MetricsUnavailable: it cannot.
        """
        host, _, port = listen.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), registry)
        except OSError as error:
            why = error.strerror or error
            raise MetricsUnavailable(f"[metrics] listen: {listen}: {why}") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Stop listening."""
        threading.Thread(target=self._server.shutdown, daemon=True).start()
        self._thread.join(timeout_s)
        self._server.server_close()


class _Server(HTTPServer):
    request_queue_size = WAITING_MAX

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        self.registry = registry
        with contextlib.suppress(ValueError):  # a name, such as localhost
            if ipaddress.ip_address(address[0]).version == 6:
                self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer would ask the resolver for this machine's name, which may take its time.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "kentongan", self.server_address[1]

    def finish_request(self, request: Any, client_address: Any) -> None:
        # A client that sends a letter every second would hold up the next one for ever.
        cut = threading.Timer(REQUEST_S, _cut, (request,))
        cut.start()
        try:
            super().finish_request(request, client_address)
        finally:
            cut.cancel()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever goes away in the middle loses only his answer."""


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "only /metrics is here")
            return
        body = generate_latest(self.server.registry)
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "kentongan"

    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds is no event."""
