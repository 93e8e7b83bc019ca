"""What a running gateway says of itself in its status file, for `doctor` and for whoever looks."""

from __future__ import annotations

from process.status import ServiceStatus


class GatewayStatus(ServiceStatus, frozen=True, kw_only=True):
    """Written every 2 s. `links`: whether each is connected."""

    gateway: str
    links: dict[str, bool]
    mcc_answers: bool
    faults: tuple[str, ...]
    standing_by: bool = False
