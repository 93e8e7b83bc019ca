"""The endpoints' figures, and the files for Grafana and Prometheus that ask for them."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.metrics import FAULT_NAMES_MAX, HOPS, GatewayMetrics
from gateway.status import GatewayStatus
from mcc.core import Commit, CommitFailed, Committed
from mcc.session import Session, SessionStatus
from mcc.store import Store
from process.core import Log
from process.metrics import REQUEST_S, MetricsUnavailable
from process.settings import Broker, MetricsSettings
from protocol.topics import Topics
from tests.monitoring import (
    DASHBOARD,
    WrongQuery,
    dashboard_queries,
    exposed,
    metrics_in,
    rules,
    scrape,
)


def status(**more: object) -> GatewayStatus:
    values: dict[str, object] = {
        "uptime_us": 5_000_000,
        "gateway": "gw",
        "links": {"posts": True},
        "mcc_answers": True,
        "faults": (),
        "journal_bytes": 4096,
    }
    return GatewayStatus(**{**values, **more})  # type: ignore[arg-type]


@pytest.fixture
def metrics() -> Iterator[GatewayMetrics]:
    one = GatewayMetrics("127.0.0.1:0")
    one.show(status())
    yield one
    one.close(1.0)


def test_a_line_with_a_duration_is_one_call_in_its_hop_and_other_lines_are_none(
    metrics: GatewayMetrics,
) -> None:
    metrics.see(Log("alarm_delivered", fields={"kind": "panic", "after_ms": 12.5}))
    metrics.see(Log("alarm_delivered", fields={"kind": "panic"}))
    metrics.see(Log("link_up", fields={"link": "posts"}))
    metrics.committed(2_000)
    text = scrape(metrics.port)
    name = "kentongan_gateway_hop_seconds"
    assert f'{name}_count{{hop="committed_to_delivered",kind="panic"}} 1.0' in text
    assert f'{name}_sum{{hop="committed_to_delivered",kind="panic"}} 0.0125' in text
    assert "kentongan_gateway_commit_seconds_sum 0.002" in text
    for way in HOPS.values():
        assert f'{name}_count{{hop="{way}",kind="panic"}}' in text  # there before the first call


def test_an_ingest_counts_only_what_is_in_its_store(tmp_path: Path) -> None:
    counted: list[float] = []

    class Counting:
        def committed(self, took_s: float) -> None:
            counted.append(took_s)

        def show(self, status: SessionStatus) -> None:
            raise AssertionError("nobody runs the session")

    with Store(tmp_path / "mcc.db") as store:
        session = Session(
            store,
            Broker("127.0.0.1", 1, tls=False),
            console="console",
            topics=Topics(),
            watching=False,
            show=lambda _effect, _at: None,
            metrics=Counting(),
        )
        assert isinstance(session._commit(Commit()), Committed)
    assert isinstance(session._commit(Commit()), CommitFailed)  # its file is closed
    assert len(counted) == 1


def test_no_label_is_a_posts_or_an_alarms_and_invented_faults_are_bounded(
    metrics: GatewayMetrics,
) -> None:
    for n in range(20):
        metrics.show(status(post_faults={f"invented_{n}_{m}": 1 for m in range(16)}))
        text = scrape(metrics.port)
    faults = set(re.findall(r'kentongan_gateway_post_faults{fault="([^"]+)"}', text))
    assert faults == {"other"}
    metrics.show(status(post_faults={f"invented_0_{m}": 2 for m in range(16)}))
    known = re.findall(r'kentongan_gateway_post_faults{fault="invented', scrape(metrics.port))
    assert len(known) == 16 < FAULT_NAMES_MAX
    labels = set(re.findall(r'[{,](\w+)="', text))
    assert labels <= {
        *("hop", "kind", "le", "link", "queue", "reason", "state", "connection", "fault"),
        *("implementation", "major", "minor", "patchlevel", "version"),
    }


def test_one_that_stands_by_answers_and_says_nothing_of_posts_and_calls(
    metrics: GatewayMetrics,
) -> None:
    assert "kentongan_gateway_standing_by 0.0" in scrape(metrics.port)
    by = status(standing_by=True, mcc_answers=False, links={"pair": True}, faults=("some",))
    metrics.show(by)
    text = scrape(metrics.port)
    assert "kentongan_gateway_standing_by 1.0" in text
    assert 'kentongan_gateway_link_up{link="pair"} 1.0' in text
    assert 'kentongan_gateway_faults{fault="some"} 1.0' in text
    assert "kentongan_gateway_status_uptime_seconds 5.0" in text
    # The rules would take these for a gateway whose calls nobody sees.
    assert not {"kentongan_gateway_mcc_answers", "kentongan_gateway_posts"} & exposed(text)


def test_who_dawdles_is_cut_off_and_the_next_is_served(metrics: GatewayMetrics) -> None:
    began_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", metrics.port)) as slow:
        slow.sendall(b"GET /metr")
        assert "kentongan_gateway_mcc_answers 1.0" in scrape(metrics.port)
    assert time.monotonic() - began_s < REQUEST_S + 3
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/", timeout=5)


def test_an_address_that_is_taken_is_said(metrics: GatewayMetrics) -> None:
    with pytest.raises(MetricsUnavailable, match=f"127.0.0.1:{metrics.port}: Address already"):
        GatewayMetrics(f"127.0.0.1:{metrics.port}")


@pytest.mark.parametrize(
    ("listen", "beyond", "problem"),
    [
        ("127.0.0.1:9464", False, None),
        ("[::1]:9464", False, None),
        ("localhost:9464", False, None),
        ("0.0.0.0:9464", True, None),
        (None, False, None),
        ("0.0.0.0:9464", False, "beyond_loopback = true"),
        ("[::]:9464", False, "beyond_loopback = true"),
        ("10.0.0.1:9464", False, "beyond_loopback = true"),
        ("127.0.0.1:70000", False, "70000 is no port"),
        ("999.0.0.1:9464", False, "does not appear to be an IPv4"),
        (None, True, "without listen"),
    ],
)
def test_off_the_loopback_only_where_that_is_said(
    listen: str | None, beyond: bool, problem: str | None
) -> None:
    if problem is None:
        MetricsSettings(listen=listen, beyond_loopback=beyond)
        return
    with pytest.raises(ValueError, match=problem):
        MetricsSettings(listen=listen, beyond_loopback=beyond)


def test_every_query_of_the_dashboard_and_of_the_rules_can_be_read() -> None:
    for query in (*dashboard_queries(), *(rule["expr"] for rule in rules())):
        assert metrics_in(query)
    for wrong in ("sum(rate(x[5m])", "x{a=~'b'}", "foo(x)", "x)", "rate(5[1m])", "x[5]"):
        with pytest.raises(WrongQuery):
            metrics_in(wrong)


def test_every_rule_says_how_bad_it_is_and_what_it_is() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) > 10
    for rule in found:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_the_dashboard_has_panels_that_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_what_the_gateway_shows_is_enough_for_the_queries_about_it(
    metrics: GatewayMetrics,
) -> None:
    asked = {
        name
        for query in (*dashboard_queries(), *(rule["expr"] for rule in rules()))
        for name in metrics_in(query)
        if name.startswith("kentongan_gateway")
    }
    assert asked - exposed(scrape(metrics.port)) == set()
