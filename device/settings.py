"""The settings of a post: what may stand in its TOML file, with bounds and defaults.

This is the only declaration; `config/post.toml` is an example of it and a test holds them together.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from process.settings import FilePath, LogSettings, MqttUrl, require_second_fits, require_tls_fits
from protocol.messages import HEARTBEAT_S_MAX
from protocol.topics import DEFAULT_ROOT, ROOT_PATTERN
from protocol.values import Latitude, Longitude, PostId

# BCM numbers of the header's free lines on every 40-pin Pi.
Pin = Annotated[int, Meta(ge=0, le=27, description="BCM number of a GPIO line")]
# A hasty hand makes about six presses a second; a shaking one needs longer.
PRESS_APART_S = 0.25


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class ButtonSettings(Table, frozen=True):
    """[button]: presses within window_s are a call.

    nc_pin: the normally closed contact. loop_pin: the output of the loop-back.
    """

    pin: Pin = 17
    nc_pin: Pin | None = None
    loop_pin: Pin | None = None
    presses: Annotated[int, Meta(ge=2, le=9)] = 3
    window_s: Annotated[float, Meta(ge=1.0, le=60.0)] = 5.0

    def __post_init__(self) -> None:
        """Refuse keys that do not go together."""
        needed_s = (self.presses - 1) * PRESS_APART_S
        if self.window_s < needed_s:
            raise ValueError(
                f"{self.presses} presses do not fit into {self.window_s:g} s;"
                f" window_s must be at least {needed_s:g}"
            )


class LampSettings(Table, frozen=True):
    """[lamp]: an RGB lamp, or a red and a green LED (then no blue)."""

    red: Pin = 27
    green: Pin = 22
    blue: Pin | None = None


class BuzzerSettings(Table, frozen=True):
    """[buzzer]: silent = lamp only."""

    pin: Pin | None = 24
    silent: bool = False


class CancelSettings(Table, frozen=True):
    """[cancel]: a key switch or button, held 3 s; not fitted where there is no pin."""

    pin: Pin | None = None


class TamperSettings(Table, frozen=True):
    """[tamper]: the lid's switch, closed while the lid is shut; not fitted without a pin."""

    pin: Pin | None = None


class MainsSettings(Table, frozen=True):
    """[mains]: closed to ground while the mains is there; not fitted without a pin."""

    pin: Pin | None = None


class LocationSettings(Table, frozen=True):
    """[location]: the surveyed place, always; and the GPS receiver where there is one."""

    lat: Latitude
    lon: Longitude
    source: Literal["gps", "fixed"] = "fixed"
    device: FilePath = "/dev/serial0"
    baud: Literal[4800, 9600, 19200, 38400, 57600, 115200] = 9600


class MqttSettings(Table, frozen=True):
    """[mqtt]: the posts' broker, and one to go to while that one is not there."""

    url: MqttUrl
    second_url: MqttUrl | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=600)] = 20
    # The gateway calls a post silent after 90 s: two heartbeats, and time for one that is late.
    # Over 40 only where the gateway waits longer: its silent_after_s at two heartbeats and 10 s.
    heartbeat_s: Annotated[int, Meta(ge=5, le=HEARTBEAT_S_MAX)] = 30
    topic_root: Annotated[str, Meta(pattern=ROOT_PATTERN, max_length=64)] = DEFAULT_ROOT
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None

    def __post_init__(self) -> None:
        """Refuse keys that do not go together."""
        require_tls_fits(self.url, self.ca, self.certificate, self.key)
        require_second_fits(self.url, self.second_url)


class HardwareSettings(Table, frozen=True):
    """[hardware]: how pins are reached. `mock` has a panel: a socket that moves the button."""

    pins: Literal["lgpio", "rpigpio", "mock"] = "lgpio"
    chip: Annotated[int, Meta(ge=0, le=63)] | None = None
    panel_socket: FilePath | None = None

    def __post_init__(self) -> None:
        """Refuse keys that do not go together."""
        if self.panel_socket is not None and self.pins != "mock":
            raise ValueError(
                'panel_socket needs pins = "mock": nobody presses a real post from afar'
            )
        if self.chip is not None and self.pins != "lgpio":
            raise ValueError(f'chip would not be used with pins = "{self.pins}"')


class StoreSettings(Table, frozen=True):
    """[store]: where the outbox lies; a disk that keeps what was synced."""

    path: FilePath = "/var/lib/kentongan/post.db"


class PostFile(Table, frozen=True):
    """The whole file."""

    post_id: PostId
    location: LocationSettings
    mqtt: MqttSettings
    button: ButtonSettings = ButtonSettings()
    lamp: LampSettings = LampSettings()
    buzzer: BuzzerSettings = BuzzerSettings()
    cancel: CancelSettings = CancelSettings()
    tamper: TamperSettings = TamperSettings()
    mains: MainsSettings = MainsSettings()
    hardware: HardwareSettings = HardwareSettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()

    def __post_init__(self) -> None:
        """Refuse one pin for two things, defaults included."""
        keys = {
            "[button] pin": self.button.pin,
            "[button] nc_pin": self.button.nc_pin,
            "[button] loop_pin": self.button.loop_pin,
            "[lamp] red": self.lamp.red,
            "[lamp] green": self.lamp.green,
            "[lamp] blue": self.lamp.blue,
            "[buzzer] pin": self.buzzer.pin,
            "[cancel] pin": self.cancel.pin,
            "[tamper] pin": self.tamper.pin,
            "[mains] pin": self.mains.pin,
        }
        taken: dict[int, str] = {}
        for key, pin in keys.items():
            if pin is not None and taken.setdefault(pin, key) != key:
                raise ValueError(f"{taken[pin]} and {key} are both {pin}")
