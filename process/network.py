"""How a card reaches the network: `network.toml` of a post's bundle, as NetworkManager reads it.

The gateway checks the file when it makes the bundle, the card when it takes it. Nothing here
touches a network: text in, text out. A password goes into its keyfile and nowhere else.
"""

from __future__ import annotations

import ipaddress
import uuid
from typing import Annotated

import msgspec
from msgspec import Meta

# A line of nothing but visible characters and blanks: what it is written into has lines, too.
Line = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[ -~]+\Z")]
SSID_BYTES_MAX = 32
DNS_MAX = 3
SSH_KEYS_MAX = 4
SshKey = Annotated[
    str,
    Meta(
        max_length=1024,
        pattern=r"^(?:ssh-ed25519|ecdsa-sha2-nistp256|sk-ssh-ed25519@openssh\.com|ssh-rsa)"
        r" [A-Za-z0-9+/=]+(?: [!-~ ]{0,100})?\Z",
    ),
]
_NAMESPACE = uuid.UUID("5b0c4f0e-4b6e-5d0c-9f0a-6b656e746f6e")


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class Ethernet(Table, frozen=True):
    """[ethernet]: a fixed address, such as 192.168.1.20/24; without one it is asked for (DHCP)."""

    address: Line | None = None
    gateway: Line | None = None
    dns: Annotated[tuple[Line, ...], Meta(max_length=DNS_MAX)] = ()

    def __post_init__(self) -> None:
        """Refuse addresses that are none, or that cannot reach each other."""
        if self.address is None:
            if self.gateway is not None or self.dns:
                raise ValueError("[ethernet] gateway and dns go with an address")
            return
        try:
            interface = ipaddress.IPv4Interface(self.address)
        except ValueError:
            raise ValueError(
                f"[ethernet] address {self.address!r}: such as 192.168.1.20/24"
            ) from None
        if "/" not in self.address:
            raise ValueError(f"[ethernet] address {self.address!r}: without its /24")
        if self.gateway is not None and _address(self.gateway) not in interface.network:
            raise ValueError(f"[ethernet] gateway {self.gateway} is not in {interface.network}")
        for server in self.dns:
            _address(server)


class Wifi(Table, frozen=True):
    """[wifi]: WPA2 or WPA3 with a password; an open network is no place for a post."""

    ssid: Annotated[str, Meta(min_length=1, max_length=SSID_BYTES_MAX)]
    password: Annotated[str, Meta(min_length=8, max_length=63, pattern=r"^[ -~]+\Z")]
    hidden: bool = False

    def __post_init__(self) -> None:
        """Refuse a name that no access point can have."""
        if len(self.ssid.encode()) > SSID_BYTES_MAX:
            raise ValueError(f"[wifi] ssid: more than {SSID_BYTES_MAX} bytes")


class Lte(Table, frozen=True):
    """[lte]: a modem that ModemManager knows."""

    apn: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9.-]+\Z")]
    user: Line | None = None
    password: Line | None = None
    pin: Annotated[str, Meta(pattern=r"^[0-9]{4,8}\Z", extra={"is": "secret"})] | None = None


class Ssh(Table, frozen=True):
    """[ssh]: whose keys may log in as root; without this table nobody listens there."""

    keys: Annotated[tuple[SshKey, ...], Meta(min_length=1, max_length=SSH_KEYS_MAX)]


class Time(Table, frozen=True):
    """[time]: a server of the site's own, where the Internet's are not reached."""

    server: Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:-]+\Z")]


class NetworkFile(Table, frozen=True):
    """The whole file. Every table may be missing: then Ethernet asks for an address."""

    ethernet: Ethernet = Ethernet()
    wifi: Wifi | None = None
    lte: Lte | None = None
    ssh: Ssh | None = None
    time: Time | None = None


def keyfiles(network: NetworkFile) -> dict[str, str]:
    """NetworkManager's files by their names; all of them try for ever, in the order of cost.

    But for what NetworkManager takes for a wrong password: `kentongan-reconnect.timer` of the card.
    """
    files = {"kentongan-ethernet.nmconnection": _ethernet(network.ethernet)}
    if network.wifi is not None:
        files["kentongan-wifi.nmconnection"] = _wifi(network.wifi)
    if network.lte is not None:
        files["kentongan-lte.nmconnection"] = _lte(network.lte)
    return files


def _ethernet(ethernet: Ethernet) -> str:
    ipv4 = ["method=auto"]
    if ethernet.address is not None:
        gateway = "" if ethernet.gateway is None else f",{ethernet.gateway}"
        ipv4 = [f"address1={ethernet.address}{gateway}", "method=manual"]
        if ethernet.dns:
            ipv4.append("dns=" + "".join(f"{server};" for server in ethernet.dns))
    return _keyfile("kentongan-ethernet", "ethernet", [*ipv4, "route-metric=100"])


def _wifi(wifi: Wifi) -> str:
    # As bytes: a name such as `1;2` would be read as a list of them.
    ssid = "".join(f"{byte};" for byte in wifi.ssid.encode())
    return _keyfile(
        "kentongan-wifi",
        "wifi",
        ["method=auto", "route-metric=200"],
        wifi=["mode=infrastructure", f"ssid={ssid}", f"hidden={str(wifi.hidden).lower()}"],
        **{"wifi-security": ["key-mgmt=wpa-psk", f"psk={_escaped(wifi.password)}"]},
    )


def _lte(lte: Lte) -> str:
    gsm = [f"apn={lte.apn}"]
    gsm += [] if lte.user is None else [f"username={_escaped(lte.user)}"]
    gsm += [] if lte.password is None else [f"password={_escaped(lte.password)}"]
    gsm += [] if lte.pin is None else [f"pin={lte.pin}"]
    return _keyfile("kentongan-lte", "gsm", ["method=auto", "route-metric=300"], gsm=gsm)


def _keyfile(name: str, kind: str, ipv4: list[str], **sections: list[str]) -> str:
    whole = {
        "connection": [
            f"id={name}",
            f"uuid={uuid.uuid5(_NAMESPACE, name)}",
            f"type={kind}",
            "autoconnect=true",
            "autoconnect-retries=0",  # for ever
        ],
        **sections,
        "ipv4": ipv4,
        "ipv6": ["method=auto"],
    }
    return "\n".join(
        line for section, lines in whole.items() for line in (f"[{section}]", *lines, "")
    )


def _escaped(value: str) -> str:
    value = value.replace("\\", "\\\\")
    return "\\s" + value[1:] if value.startswith(" ") else value


def _address(text: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"[ethernet] {text!r} is no IPv4 address") from None
