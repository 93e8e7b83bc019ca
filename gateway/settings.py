"""The settings of a gateway: what may stand in its TOML file, with bounds and defaults.

This is the only declaration; `config/gateway.toml` is an example of it, held together by a test.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.supervision import SILENT_AFTER_S
from process.settings import (
    FilePath,
    LogSettings,
    MetricsSettings,
    MqttUrl,
    require_second_fits,
    require_tls_fits,
)
from protocol.topics import DEFAULT_ROOT, ROOT_PATTERN, Topics
from protocol.values import ConsoleId, GatewayId

Pin = Annotated[int, Meta(ge=0, le=27, description="BCM number of a GPIO line")]
KeepaliveS = Annotated[int, Meta(ge=5, le=600)]
JournalUrl = Annotated[
    str,
    Meta(
        # SQLite's names for a database that is no file would keep nothing.
        pattern=r"^(?:sqlite:///(?!:memory:|file:)[^?#\x00-\x1f]+"
        r"|postgresql\+psycopg://[^\x00-\x1f]+)\Z",
        max_length=1024,
        description="sqlite:///path or postgresql+psycopg://user@host/database",
        examples=["sqlite:////var/lib/kentongan/journal.db"],
    ),
]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class PostsSettings(Table, frozen=True):
    """[posts]: the broker that the posts connect to.

    The command centre shows a post that is not heard as silent after `silent_after_s`: 20 where its
    posts have a heartbeat of 5 s. A post with an older firmware than `firmware` has a fault.
    """

    url: MqttUrl
    # A second one that posts may go to: the gateway listens and speaks on both.
    second_url: MqttUrl | None = None
    keepalive_s: KeepaliveS = 20
    # Under the 200 s of UL and the 180 s of EN 50131 grade 3, and no less than four heartbeats of a
    # strict post.
    silent_after_s: Annotated[int, Meta(ge=20, le=180)] = SILENT_AFTER_S
    firmware: (
        Annotated[str, Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){1,3}\Z", max_length=27)] | None
    ) = None
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None

    def __post_init__(self) -> None:
        """Refuse keys that do not go together."""
        require_tls_fits(self.url, self.ca, self.certificate, self.key)
        require_second_fits(self.url, self.second_url)


class MccSettings(Table, frozen=True):
    """[mcc]: the broker that the command centre connects to; may be the same."""

    url: MqttUrl
    keepalive_s: KeepaliveS = 20
    # Gateways of other districts report there too: each below its own name.
    districts: bool = False
    require_receipt: bool = True
    receiver: ConsoleId = "console"
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None

    def __post_init__(self) -> None:
        """Refuse keys that do not go together."""
        require_tls_fits(self.url, self.ca, self.certificate, self.key)


class JournalSettings(Table, frozen=True):
    """[journal]: where alarms are recorded; a disk that keeps what was synced.

    An alarm is deleted `keep_days` after it is resolved and receipted, one that is open never.
    """

    url: JournalUrl
    # Not below the 30 days that a new store of the command centre is told again.
    keep_days: Annotated[int, Meta(ge=30, le=3660)] = 400


class BuzzerSettings(Table, frozen=True):
    """[buzzer]: the gateway's own; none where there is no pin."""

    pin: Pin | None = None
    silent: bool = False


class IdentitiesSettings(Table, frozen=True):
    """[identities]: the gateway's certificate authority and register; none on one machine alone."""

    directory: FilePath | None = None


class ControlSettings(Table, frozen=True):
    """[control]: where somebody at this machine opens a test window; nowhere if not set."""

    socket: FilePath | None = None


class SelftestSettings(Table, frozen=True):
    """[selftest]: every post is asked for its self-test once a day."""

    daily: bool = True


class PairSettings(Table, frozen=True):
    """[pair]: this machine is one of two that are one gateway; without a name it is alone.

    The name is this machine's own, under which it says at [mcc] that it is there.
    """

    name: GatewayId | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None


class GatewayFile(Table, frozen=True):
    """The whole file."""

    gateway_id: GatewayId
    posts: PostsSettings
    mcc: MccSettings
    journal: JournalSettings
    buzzer: BuzzerSettings = BuzzerSettings()
    identities: IdentitiesSettings = IdentitiesSettings()
    control: ControlSettings = ControlSettings()
    selftest: SelftestSettings = SelftestSettings()
    log: LogSettings = LogSettings()
    pair: PairSettings = PairSettings()
    metrics: MetricsSettings = MetricsSettings()
    pins: Literal["lgpio", "rpigpio", "mock"] = "lgpio"
    topic_root: Annotated[str, Meta(pattern=ROOT_PATTERN, max_length=64)] = DEFAULT_ROOT

    @property
    def topics(self) -> Topics:
        """Every topic of this gateway."""
        return Topics(self.topic_root, self.gateway_id if self.mcc.districts else None)

    def __post_init__(self) -> None:
        """Refuse a pair that could not be one."""
        pair = self.pair
        if pair.name is None:
            if pair.certificate or pair.key:
                raise ValueError("[pair] certificate would not be used: it has no name")
            return
        if pair.name == self.gateway_id:
            raise ValueError("[pair] name is this machine's own; both have the same gateway_id")
        if not self.journal.url.startswith("postgresql"):
            raise ValueError("[pair] needs a [journal] url on PostgreSQL, the same for both")
        if self.mcc.certificate is not None and pair.certificate is None:
            raise ValueError("[pair] certificate is missing: a broker knows a name by it")
        require_tls_fits(
            self.mcc.url,
            self.mcc.ca if pair.certificate else None,
            pair.certificate,
            pair.key,
        )
