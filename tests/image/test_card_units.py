"""The lines of shell in the card's units, run on this machine: which firmware takes the card, which
network is tried again, whose key SSH shows. Booted they are by `make image-test`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "image/root/etc/systemd/system"
CONNECTIONS = "/run/NetworkManager/system-connections"


def shell(unit: str, key: str) -> str:
    """What systemd hands to `/bin/sh -c` for the first such line of a unit."""
    text = (UNITS / unit).read_text().replace("\\\n", "")
    found = re.search(rf"^{key}=/bin/sh -c '([^']*)'$", text, re.MULTILINE)
    assert found, f"{unit} has no {key}= with /bin/sh"
    return found[1].replace("$$", "$")


def run(script: str, stubs: dict[str, str], at: Path) -> tuple[int, list[str]]:
    """Run it with stubs for commands that a laptop lacks; its status, and what it asked of them."""
    programs = at / "stubs"
    programs.mkdir()
    said = at / "said"
    said.touch()
    for name, body in stubs.items():
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {said}\n{body}\n')
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        check=False,
        timeout=30,
    )
    return done.returncode, said.read_text().splitlines()


@pytest.mark.parametrize(
    ("installed", "own", "umount", "status", "asks"),
    [
        ("exit 0", "exit 9", 0, 0, 1),
        ("exit 3", "exit 9", 0, 3, 1),  # no post yet: nobody's fault
        ("exit 1", "exit 0", 0, 0, 2),
        ("kill -SEGV $$", "exit 3", 0, 3, 2),
        ("sleep 60", "exit 0", 0, 0, 2),
        ("exit 1", "exit 1", 0, 1, 2),
        ("exit 1", "exit 0", 32, 0, 2),  # nothing is installed: its own tries once more
    ],
)
def test_an_installed_firmware_that_cannot_take_the_card_gives_way_to_the_cards_own(
    installed: str, own: str, umount: int, status: int, asks: int, tmp_path: Path
) -> None:
    script = shell("kentongan-card.service", "ExecStart")
    # Twice the patience and the rest of it are within what systemd allows.
    assert "timeout 40 " in script
    assert "TimeoutStartSec=100s" in (UNITS / "kentongan-card.service").read_text()
    script = script.replace("timeout 40 ", "timeout 1 ").replace("/opt/kentongan/bin/", "")
    taken_off = tmp_path / "taken-off"
    stubs = {
        "umount": f"touch {taken_off}; exit {umount}",
        "kentongan-device": f"if test -e {taken_off}; then {own}; fi; {installed}",
    }
    ended, said = run(script, stubs, tmp_path)
    asked = [one for one in said if one.startswith("kentongan-device")]
    assert (ended, asked) == (status, ["kentongan-device card take"] * asks)
    assert ("umount --lazy /opt/kentongan" in said) == (asks == 2)


@pytest.mark.parametrize(
    ("laid", "active", "tried"),
    [
        ({"wifi": "", "lte": ""}, "", ["wifi", "lte"]),
        ({"wifi": "", "lte": ""}, "kentongan-wifi", ["lte"]),
        ({"wifi": "", "lte": "pin=1234"}, "", ["wifi"]),  # three wrong ones lock the SIM for good
        ({"wifi": "psk=pin=1"}, "", ["wifi"]),
        ({}, "", []),
    ],
)
def test_a_network_that_was_given_up_is_tried_again_but_never_a_pin(
    laid: dict[str, str], active: str, tried: list[str], tmp_path: Path
) -> None:
    for name, line in laid.items():
        (tmp_path / f"kentongan-{name}.nmconnection").write_text(f"[connection]\n{line}\n")
    script = shell("kentongan-reconnect.service", "ExecStart").replace(CONNECTIONS, str(tmp_path))
    nmcli = f'case "$*" in *--active) echo "{active}";; *) exit 4;; esac'
    ended, said = run(script, {"nmcli": nmcli}, tmp_path)
    assert ended == 0
    assert [one for one in said if "connection up" in one] == [
        f"nmcli --wait 90 connection up kentongan-{name}" for name in tried
    ]


@pytest.mark.parametrize("before", ["none", "half", "empty", "whole"])
def test_the_key_that_ssh_shows_is_made_whole_and_then_kept(before: str, tmp_path: Path) -> None:
    key = tmp_path / "ssh_host_ed25519_key"
    script = shell("ssh.service.d/card.conf", "ExecStartPre").replace("/data/card", str(tmp_path))
    if before != "none":
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(make, check=True)
        if before != "whole":
            key.write_bytes(key.read_bytes()[: 0 if before == "empty" else 150])
    (tmp_path / f"{key.name}.new").write_text("left by a power cut")
    held = key.read_bytes() if key.exists() else b""
    assert run(script, {}, tmp_path)[0] == 0
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", str(key)], check=True, capture_output=True
    )
    assert shown.stdout.startswith(b"ssh-ed25519 ")
    assert (key.read_bytes() == held) == (before == "whole")
    assert key.stat().st_mode & 0o777 == 0o600
