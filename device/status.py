"""What a running post says of itself in its status file, for `doctor` and for whoever looks."""

from __future__ import annotations

from process.status import ServiceStatus


class PostStatus(ServiceStatus, frozen=True, kw_only=True):
    """Written every 2 s. `location`: `gps`, `last_known` or `surveyed`; `held`: alarms it holds."""

    post: str
    lamp: str
    listening: bool
    connected: bool
    gateway_answers: bool
    mcc_answers: bool
    faults: tuple[str, ...]
    location: str
    held: int
