"""The process that hears the gateways: the one MQTT client of the command centre.

It wires the core's session to the site's database and waits until that answers. Nothing is decided
here; while it does not run, or its database does not answer, no beat goes out and the posts'
lamps say so.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from mcc.cases.store import CaseStore, NotSetUp
from mcc.session import Session
from mcc.settings import MccFile
from mcc.store import LinkLock, StoreUnavailable
from process.log import log
from process.settings import TlsFiles, parse_mqtt_url
from protocol.topics import Topics

if TYPE_CHECKING:
    from mcc.cases.metrics import IngestMetrics

DATABASE_PAUSE_S = 1.0
METRICS_STOP_S = 0.1


class AlreadyRuns(Exception):
    """Another process of this machine holds the link; the text names its lock."""


def anchor_of(settings: MccFile) -> Path:
    """The path beside which the lock of the link and the number of the newest commit lie."""
    return settings.database.file or Path(settings.state_directory) / "mcc-postgresql"


def run(settings: MccFile) -> str | None:
    """Hear the gateways until SIGTERM; what was found broken, or None. Django is configured.

    Raises:
        AlreadyRuns: another ingest of this machine does.
        NotSetUp: the database has not been set up.
        StoreUnavailable: the lock cannot be made.
    """
    anchor = anchor_of(settings)
    lock = LinkLock(anchor)
    if not lock.take():
        raise AlreadyRuns(f"another ingest holds {lock.path}")
    store = CaseStore(anchor)
    metrics = _metrics(settings.metrics.listen)
    try:
        return _session(settings, store, metrics).run()
    finally:
        if metrics is not None:
            metrics.close(METRICS_STOP_S)
        store.close()
        lock.give_back()


def _metrics(listen: str | None) -> IngestMetrics | None:
    """None where none are wanted, or none can be had: gateways are heard all the same."""
    if listen is None:
        return None
    from mcc.cases.metrics import IngestMetrics  # brings prometheus-client
    from process.metrics import MetricsUnavailable

    try:
        return IngestMetrics(listen)
    except MetricsUnavailable as error:
        log("metrics_unavailable", level="error", why=error)
        return None


def _session(settings: MccFile, store: CaseStore, metrics: IngestMetrics | None) -> Session:
    """The session, once the database answers."""
    mqtt = settings.mqtt
    said = ""
    while True:
        try:
            return Session(
                store,
                parse_mqtt_url(mqtt.url),
                console=mqtt.console,
                topics=Topics(settings.topic_root, "+" if mqtt.districts else None),
                watching=True,
                show=lambda show, _at: store.show(show),
                tls=TlsFiles(mqtt.ca, mqtt.certificate, mqtt.key),
                keepalive_s=mqtt.keepalive_s,
                pulse=store.pulse,
                metrics=metrics,
            )
        except NotSetUp:
            raise
        except StoreUnavailable as error:
            if said != str(error):
                said = str(error)
                log("database_away", level="error", why=said)
            time.sleep(DATABASE_PAUSE_S)
