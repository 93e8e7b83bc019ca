"""`network.toml`: what NetworkManager gets of it, and what is refused before it reaches a wall."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from process.network import DNS_MAX, SSH_KEYS_MAX, SSID_BYTES_MAX, NetworkFile, keyfiles
from process.settings import SettingsError, read_settings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5"


def read(tmp_path: Path, text: str) -> NetworkFile:
    path = tmp_path / "network.toml"
    path.write_text(text)
    return read_settings(path, NetworkFile)


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return parser


def test_without_a_word_ethernet_asks_for_an_address_for_ever(tmp_path: Path) -> None:
    (text,) = keyfiles(read(tmp_path, "")).values()
    file = parsed(text)
    assert file["ipv4"]["method"] == "auto"
    assert file["connection"]["autoconnect-retries"] == "0"


def test_a_fixed_address_is_written_with_its_gateway_and_its_name_servers(tmp_path: Path) -> None:
    network = read(
        tmp_path,
        '[ethernet]\naddress = "192.168.1.20/24"\ngateway = "192.168.1.1"\ndns = ["1.1.1.1"]',
    )
    ipv4 = parsed(keyfiles(network)["kentongan-ethernet.nmconnection"])["ipv4"]
    assert (ipv4["method"], ipv4["address1"]) == ("manual", "192.168.1.20/24,192.168.1.1")
    assert ipv4["dns"] == "1.1.1.1;"


def test_no_name_or_password_of_a_wifi_changes_what_the_file_means(tmp_path: Path) -> None:
    network = read(tmp_path, '[wifi]\nssid = "1;2 [x]"\npassword = " a\\\\b;c#d"')
    file = parsed(keyfiles(network)["kentongan-wifi.nmconnection"])
    assert bytes(int(byte) for byte in file["wifi"]["ssid"].split(";")[:-1]) == b"1;2 [x]"
    assert file["wifi-security"]["psk"] == "\\sa\\\\b;c#d"  # as GLib reads it back


def test_a_modem_gets_what_its_operator_asks_for(tmp_path: Path) -> None:
    network = read(tmp_path, '[lte]\napn = "internet"\nuser = "wap"\npin = "1234"')
    gsm = parsed(keyfiles(network)["kentongan-lte.nmconnection"])["gsm"]
    assert dict(gsm) == {"apn": "internet", "username": "wap", "pin": "1234"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[wifi]\nssid = "a"', "password"),
        ('[wifi]\nssid = "a"\npassword = "short"', "[wifi] password"),
        ('[wifi]\nssid = "a"\npassword = "12345678\\n[x]"', "[wifi] password"),
        ('[lte]\napn = "a\\nb"', "[lte] apn"),
        ('[ethernet]\naddress = "192.168.1.20"', "without its /24"),
        ('[ethernet]\naddress = "192.168.1.999/24"', "such as"),
        ('[ethernet]\naddress = "10.0.0.2/24"\ngateway = "10.0.1.1"', "is not in"),
        ('[ethernet]\naddress = "10.0.0.2/24"\ngateway = "x"', "no IPv4 address"),
        ('[ethernet]\naddress = "10.0.0.2/24"\ndns = ["x"]', "no IPv4 address"),
        ('[ethernet]\ngateway = "10.0.1.1"', "go with an address"),
        ('[ssh]\nkeys = ["-----BEGIN OPENSSH PRIVATE KEY-----"]', "[ssh] keys"),
        ("[ssh]\nkeys = []", "[ssh] keys"),
        ('[time]\nserver = "a\\nb"', "[time] server"),
        ("[bluetooth]", "bluetooth"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_without_the_password(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, text)
    said = " ".join(raised.value.problems)
    assert says in said
    assert "short" not in said
    assert "12345678" not in said


def test_one_more_of_anything_is_refused(tmp_path: Path) -> None:
    def wifi(name: str) -> str:
        return f'[wifi]\nssid = "{name}"\npassword = "12345678"'

    def dns(count: int) -> str:
        return f'[ethernet]\naddress = "10.0.0.2/24"\ndns = {["10.0.0.1"] * count}'

    def keys(count: int) -> str:
        return f"[ssh]\nkeys = {[KEY] * count}"

    for make, most in ((dns, DNS_MAX), (keys, SSH_KEYS_MAX)):
        read(tmp_path, make(most))
        with pytest.raises(SettingsError):
            read(tmp_path, make(most + 1))
    read(tmp_path, wifi("é" * (SSID_BYTES_MAX // 2)))
    with pytest.raises(SettingsError, match="bytes"):
        read(tmp_path, wifi("é" * (SSID_BYTES_MAX // 2 + 1)))
