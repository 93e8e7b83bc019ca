"""What a running gateway says of itself in its status file, for `doctor` and for whoever looks."""

from __future__ import annotations

import msgspec

from process.status import ServiceStatus


class GatewayStatus(ServiceStatus, frozen=True, kw_only=True):
    """Written every 2 s. `links`: whether each is connected.

    What follows `faults` is counted where metrics are wanted, every 10 s: `alarms` by
    `kind/state`, `posts` by connection, `queues` by where something waits; `refused`,
    `heartbeats`, `connections` and `lines_lost` since the start.
    """

    gateway: str
    links: dict[str, bool]
    mcc_answers: bool
    faults: tuple[str, ...]
    standing_by: bool = False
    posts: dict[str, int] = msgspec.field(default_factory=dict)
    post_faults: dict[str, int] = msgspec.field(default_factory=dict)
    alarms: dict[str, int] = msgspec.field(default_factory=dict)
    queues: dict[str, int] = msgspec.field(default_factory=dict)
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    connections: dict[str, int] = msgspec.field(default_factory=dict)
    heartbeats: int = 0
    uplink_lag_s: int = 0
    journal_bytes: int | None = None
    lines_lost: int = 0
