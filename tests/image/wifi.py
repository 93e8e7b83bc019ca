"""Wi-Fi and modem on the booted image: an access point that starts up with the post after a power
cut breaks the handshake off once, and NetworkManager gives up; the post does not.

The radios are the kernel's own, of `mac80211_hwsim`; the second one is the access point. No modem
is emulated: what is looked at is whether the programs that it needs are there.
"""

from __future__ import annotations

import time
from pathlib import Path

from process.bundle import pack, read_bundle
from tests.image.machine import Machine, boot_partition
from tests.image.office import Office
from tests.image.story import listening

POST = "mlg-klojen-rw07"
NETWORK = '[wifi]\nssid = "Pos RW 07"\npassword = "sawah dan bukit"\n[lte]\napn = "internet"\n'
RADIOS = """mkdir -p /run/NetworkManager/conf.d
cat > /run/NetworkManager/conf.d/ap.conf <<'END'
[keyfile]
unmanaged-devices=interface-name:wlan1
END
nmcli general reload && modprobe mac80211_hwsim radios=2"""
AP = """kill $(cat /run/ap.pid) 2> /run/ap.none; cat > /run/ap.conf <<'END'
network={{
 ssid="Pos RW 07"
 mode=2
 frequency=2412
 key_mgmt=WPA-PSK
 proto=RSN
 pairwise=CCMP
 psk="{password}"
}}
END
wpa_supplicant -B -P /run/ap.pid -D nl80211 -i wlan1 -c /run/ap.conf"""
ACTIVE = "nmcli -t -f NAME connection show --active"


def test_wifi_that_was_given_up_is_joined_when_the_access_point_is_whole(
    office: Office, machine: Machine
) -> None:
    handed = office.bundle(POST)
    files = dict(read_bundle(handed, "post").files)
    files["network.toml"] += NETWORK
    card = machine.work / "wifi.kentongan"
    card.write_bytes(pack("post", POST, files))
    boot_partition(machine.image, ("mcopy", card, "::/"))
    machine.on()
    listening(machine, POST)
    machine.until_said("event=link_up")
    does(office.key, machine, RADIOS)
    does(office.key, machine, AP.format(password="another one"))
    machine.until_said(r"device \(wlan0\): state change: need-auth -> failed")
    machine.until("given up", lambda: "wifi" not in does(office.key, machine, ACTIVE), 60)
    given_up = len(machine.console)

    does(office.key, machine, AP.format(password="sawah dan bukit"))
    machine.note("the access point is whole again")
    time.sleep(15)
    assert "ip-config" not in machine.console[given_up:].partition("wlan0")[2]
    asked = "systemctl is-active kentongan-reconnect.timer ModemManager polkit wpa_supplicant"
    assert does(office.key, machine, asked).split() == ["active"] * 4
    does(office.key, machine, "systemctl start --no-block kentongan-reconnect.service")
    machine.until_said(r"device \(wlan0\): state change: config -> ip-config", 120, since=given_up)
    machine.cut()


def does(key: Path, machine: Machine, command: str) -> str:
    """Run it on the post; its words."""
    done = machine.ssh(key, command)
    assert done.returncode == 0, done.stderr
    return done.stdout
