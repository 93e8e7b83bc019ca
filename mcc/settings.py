"""The settings of a command centre: what may stand in mcc.toml, with bounds and defaults.

This is the only declaration; `config/mcc.toml` is an example of it, held together by a test. It
reads no file and imports no Django: the command line uses it where Django is not installed.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from mcc.people.roles import Role
from process.settings import (
    FilePath,
    LogSettings,
    MetricsSettings,
    MqttUrl,
    require_tls_fits,
)
from protocol.topics import DEFAULT_ROOT, ROOT_PATTERN
from protocol.values import ConsoleId

_SQLITE = "sqlite:///"

DatabaseUrl = Annotated[
    str,
    Meta(
        # SQLite's names for a database that is no file would keep nothing.
        pattern=r"^(?:sqlite:///(?!:memory:|file:)[^?#\x00-\x1f]+"
        r"|postgresql(?:\+psycopg)?://[^\x00-\x1f\s]*/[^/?#\x00-\x1f\s]+)\Z",
        max_length=1024,
        description="sqlite:///path or postgresql+psycopg://user:password@host/database",
        examples=["sqlite:////var/lib/kentongan/mcc.db"],
    ),
]
HostName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9.:\[\]-]{1,253}\Z",
        max_length=253,
        description="a host name or address",
        examples=["mcc.example.org"],
    ),
]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]
Percent = Annotated[float, Meta(ge=0.0, le=100.0)]
TileUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s\x00-\x1f\"'<>;]+\Z",
        max_length=512,
        description="http(s):// with {z}, {x} and {y} in it",
        examples=["https://tile.example.org/{z}/{x}/{y}.png"],
    ),
]
NoticeUrl = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9+.-]*://[^\s\x00-\x1f]+\Z",
        max_length=1024,
        description="where apprise can send to, such as tgram://token/chat or mailto://…",
        extra={"is": "secret"},
    ),
]
UnitId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}\Z", max_length=40)]


LetterheadLine = Annotated[str, Meta(max_length=80, pattern=r"^[^\x00-\x1f]*\Z")]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class DatabaseSettings(Table, frozen=True):
    """[database]: one database that ingest and site share, on a disk that keeps what was synced."""

    url: DatabaseUrl = "sqlite:////var/lib/kentongan/mcc-site.db"

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        if not self.url.startswith(_SQLITE):
            return None
        return Path(self.url.removeprefix(_SQLITE))

    @property
    def server(self) -> dict[str, str]:
        """PostgreSQL's NAME, USER, PASSWORD, HOST and PORT, as Django wants them."""
        parts = urlsplit(self.url)
        return {
            "NAME": unquote(parts.path.removeprefix("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
        }

    def __post_init__(self) -> None:
        """Refuse a port that is no number."""
        if self.file is None:
            try:
                _ = urlsplit(self.url).port
            except ValueError:
                raise ValueError("url: its port is not a number from 1 to 65535") from None


class MqttSettings(Table, frozen=True):
    """[mqtt]: the broker that the gateways report to, and this command centre's name on it."""

    url: MqttUrl
    console: ConsoleId = "console"
    # Gateways of many districts report there, each below its own name.
    districts: bool = False
    keepalive_s: Annotated[int, Meta(ge=5, le=600)] = 15
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None

    def __post_init__(self) -> None:
        """Refuse keys that do not go together."""
        require_tls_fits(self.url, self.ca, self.certificate, self.key)


class SiteSettings(Table, frozen=True):
    """[site]: where browsers reach it. Off the loopback only by HTTPS.

    `behind_proxy`: a web server on this machine ends TLS and says so in X-Forwarded-Proto.
    """

    listen: HostName = "127.0.0.1"
    port: Port = 8080
    allowed_hosts: Annotated[tuple[HostName, ...], Meta(max_length=32)] = ("localhost", "127.0.0.1")
    certificate: FilePath | None = None
    key: FilePath | None = None
    behind_proxy: bool = False

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine itself reaches it."""
        if self.listen == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.listen.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def is_https(self) -> bool:
        """Whether browsers speak HTTPS to it."""
        return self.certificate is not None or self.behind_proxy

    def __post_init__(self) -> None:
        """Refuse passwords in the clear over a wire, and keys that do not go together."""
        if not self.is_on_loopback and self.certificate is None:
            raise ValueError(
                "listen: off the loopback only by HTTPS: give certificate and key, or let a web"
                ' server on this machine end TLS (listen = "127.0.0.1", behind_proxy = true)'
            )
        if self.key and not self.certificate:
            raise ValueError("key needs certificate")


class MapSettings(Table, frozen=True):
    """[map]: what lies under the posts. Without a source: kecamatan drawn from centroids."""

    tiles: TileUrl | None = None
    attribution: Annotated[str, Meta(max_length=200)] = ""
    pmtiles: FilePath | None = None
    borders: FilePath | None = None
    latitude: Annotated[float, Meta(ge=-90.0, le=90.0)] = -7.9778
    longitude: Annotated[float, Meta(ge=-180.0, le=180.0)] = 112.6349
    zoom: Annotated[int, Meta(ge=1, le=19)] = 13

    def __post_init__(self) -> None:
        """Refuse two pictures at once."""
        if self.tiles and self.pmtiles:
            raise ValueError("tiles and pmtiles: give one of them")


class TargetSettings(Table, frozen=True):
    """[targets]: how soon calls are to be answered, counted from the press."""

    acknowledge_s: Seconds = 30
    acknowledge_percent: Percent = 80.0
    acknowledge_late_s: Seconds = 60
    acknowledge_late_percent: Percent = 98.5
    # After the acknowledgement.
    dispatch_s: Seconds = 60

    def __post_init__(self) -> None:
        """Refuse a second target before the first."""
        if self.acknowledge_late_s < self.acknowledge_s:
            raise ValueError("acknowledge_late_s must not be below acknowledge_s")


class ProofSettings(Table, frozen=True):
    """[proofs]: posts are listed that have not been proven, or pressed by a person, for so long."""

    not_proven_days: Annotated[int, Meta(ge=1, le=366)] = 30
    not_pressed_days: Annotated[int, Meta(ge=1, le=366)] = 90


class EscalationSettings(Table, frozen=True):
    """[escalation]: who is told, and how long after the press, while nobody acknowledges."""

    second_tone_s: Seconds = 15
    supervisor_s: Seconds = 60
    pickets_s: Seconds = 90
    supervisor: Annotated[tuple[NoticeUrl, ...], Meta(max_length=16)] = ()
    pickets: Annotated[
        dict[UnitId, Annotated[tuple[NoticeUrl, ...], Meta(max_length=16)]], Meta(max_length=64)
    ] = {}


class PeopleSettings(Table, frozen=True):
    """[people]: signing in, and when a console counts as one that would be heard.

    `codes`: the roles that need a one-time code beside the password; others may have one.
    """

    console_hours: Annotated[int, Meta(ge=1, le=24)] = 14
    phone_hours: Annotated[int, Meta(ge=1, le=24)] = 10
    office_hours: Annotated[int, Meta(ge=1, le=24)] = 4
    attempts: Annotated[int, Meta(ge=3, le=20)] = 5
    locked_minutes: Annotated[int, Meta(ge=1, le=1440)] = 15
    codes: Annotated[tuple[Role, ...], Meta(max_length=8)] = ("supervisor", "administrator")
    screen_silent_s: Annotated[int, Meta(ge=20, le=600)] = 60

    def hours(self, role: str) -> int:
        """How long a session of this role lasts after signing in."""
        if role in ("operator", "supervisor"):
            return self.console_hours
        return self.phone_hours if role in ("picket", "bhabinkamtibmas") else self.office_hours


class CommunitySettings(Table, frozen=True):
    """[community]: what the public reads, posters, false alarms, help across a border.

    `public_url`: the address that stands on posters. `practice_day`: in words, for posts without a
    planned drill. `review_after` false alarms within `review_months` want somebody's decision.
    `border_m`: so near to its own area a unit sees a neighbour's open case.
    """

    public_url: (
        Annotated[
            str,
            Meta(
                pattern=r"^https?://[^\s\x00-\x1f\"'<>;?#]+\Z",
                max_length=200,
                description="http(s):// and a host, such as https://kentongan.example.org",
            ),
        ]
        | None
    ) = None
    practice_day: Annotated[str, Meta(max_length=80, pattern=r"^[^\x00-\x1f]*\Z")] = ""
    review_after: Annotated[int, Meta(ge=1, le=100)] = 2
    review_months: Annotated[int, Meta(ge=1, le=60)] = 12
    border_m: Annotated[int, Meta(ge=0, le=20_000)] = 500


class AnevSettings(Table, frozen=True):
    """[anev]: the weekly analysis and evaluation: when it is made, whom it is sent to.

    On Mondays from `hour` on (WIB) that of the week before is made, if nobody has made it. `mail`
    gets the whole city's, `units` that of a Polsek its own kecamatan's. `on_scene_s` after the
    press somebody is to be there.
    """

    scheduled: bool = True
    hour: Annotated[int, Meta(ge=0, le=23)] = 6
    on_scene_s: Seconds = 900
    letterhead: Annotated[tuple[LetterheadLine, ...], Meta(max_length=6)] = (
        "KEPOLISIAN NEGARA REPUBLIK INDONESIA",
        "DAERAH JAWA TIMUR",
        "RESOR KOTA MALANG KOTA",
    )
    place: Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f]*\Z")] = "Malang"
    mail: Annotated[tuple[NoticeUrl, ...], Meta(max_length=16)] = ()
    units: Annotated[
        dict[UnitId, Annotated[tuple[NoticeUrl, ...], Meta(max_length=16)]], Meta(max_length=64)
    ] = {}


class VisitSettings(Table, frozen=True):
    """[visits]: kelurahan and posts are listed that nobody has visited for `not_visited_days`.

    After `keep_days` a visit loses what says whom it was about (`mcc.visits.personal`).
    """

    not_visited_days: Annotated[int, Meta(ge=1, le=366)] = 30
    keep_days: Annotated[int, Meta(ge=1, le=3_660)] = 730


class MccFile(Table, frozen=True):
    """The whole file. `state_directory` holds the site's secret and the photos of posts."""

    mqtt: MqttSettings
    database: DatabaseSettings = DatabaseSettings()
    site: SiteSettings = SiteSettings()
    map: MapSettings = MapSettings()
    targets: TargetSettings = TargetSettings()
    proofs: ProofSettings = ProofSettings()
    escalation: EscalationSettings = EscalationSettings()
    people: PeopleSettings = PeopleSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    community: CommunitySettings = CommunitySettings()
    anev: AnevSettings = AnevSettings()
    visits: VisitSettings = VisitSettings()
    state_directory: FilePath = "/var/lib/kentongan"
    topic_root: Annotated[str, Meta(pattern=ROOT_PATTERN, max_length=64)] = DEFAULT_ROOT

    @property
    def secret_file(self) -> Path:
        """What signs sessions; made by `kentongan-mcc setup`, for its owner alone."""
        return Path(self.state_directory) / "mcc.secret"

    @property
    def photos(self) -> Path:
        """The directory of the posts' photos."""
        return Path(self.state_directory) / "photos"
