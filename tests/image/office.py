"""The office on this machine: a real broker, gateway and command centre, under mutual TLS.

Two `mosquitto_sub` listen beside them: what the post put on the broker, what the gateway put there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.image.machine import BUTTON, BUZZER, GREEN, RED
from tests.security.city import OPERATOR, OTHER_GATEWAY, VIEWER, City

WIRING = f"""
[button]
pin = {BUTTON}
[lamp]
red = {RED}
green = {GREEN}
[buzzer]
pin = {BUZZER}
[hardware]
chip = 0
"""
# QEMU's second serial port; a Pi's is /dev/serial0.
GPS_PORT = "/dev/ttyS0"


class Office:
    """Broker, gateway and an operator, and the bundles that they make."""

    def __init__(self, directory: Path) -> None:
        """A new register, and a technician's key."""
        self.directory = directory
        self.key = directory / "technician"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True
        )
        self.city = City(directory / "city-of-test")
        self._listeners: list[subprocess.Popen[bytes]] = []

    def bundle(self, name: str) -> Path:
        """What a technician is handed."""
        wiring, network = self.directory / "wiring.toml", self.directory / "network.toml"
        wiring.write_text(WIRING)
        public = self.key.with_suffix(".pub").read_text().strip()
        network.write_text(f"[ssh]\nkeys = {json.dumps([public])}\n")
        out = self.directory / f"{name}.kentongan"
        url = f"mqtts://10.0.2.2:{self.city.posts_broker.port}"
        done = self.city.command(
            *("provision", "post", name, "--lat", "-7.98", "--lon", "112.63", "--name", "Pos 7"),
            *("--url", url, "--settings", str(wiring), "--network", str(network)),
            *("--gps", GPS_PORT, "--out", str(out), "--config", str(self.city.config)),
        )
        assert done.returncode == 0, done.stderr
        return out

    def open(self) -> None:
        """The command centre opens its eyes, and so do we."""
        self.city.run("mcc", "mcc.cli", "watch", "--json", *self._options())
        for who, topics in (
            (OTHER_GATEWAY, "kentongan/v1/posts/+/alarms"),
            (VIEWER, "kentongan/v1/mcc/alarms/+"),
        ):
            certificate = str(self.city.certificates[who])
            with (self.directory / f"{who}.sub").open("wb") as log:
                self._listeners.append(
                    subprocess.Popen(
                        [
                            *("mosquitto_sub", "-V", "5", "-i", who, "-h", "localhost"),
                            *("-p", str(self.city.posts_broker.port), "--cafile", self.city.ca),
                            *("--cert", certificate, "--key", certificate),
                            *("-t", topics, "-F", "%U %t %p"),
                        ],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )

    def close(self) -> None:
        """Nobody listens any more."""
        for process in self._listeners:
            process.terminate()
            process.wait(10)

    def does(self, *arguments: str) -> None:
        """The operator does something."""
        done = subprocess.run(
            [sys.executable, "-m", "mcc.cli", *arguments, *self._options()],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=self.directory,
            env=self.city.environment(),
        )
        assert done.returncode == 0, done.stderr

    def _options(self) -> list[str]:
        city = self.city
        certificate = str(city.certificates[OPERATOR])
        store = str(self.directory / "mcc.db")
        options = ["--store", store, "--url", city.mcc_broker.url, "--console", OPERATOR]
        return [*options, "--ca", city.ca, "--certificate", certificate]

    def alarms(self) -> dict[str, str]:
        """Each alarm that the command centre has seen, with its latest state."""
        return {one["alarm_id"]: one["state"] for one in self._shown("alarm")}

    def place(self, alarm_id: str) -> dict[str, object]:
        """Where an alarm says that it comes from, at the command centre."""
        (place, *_) = [
            one["location"] for one in self._shown("alarm") if one["alarm_id"] == alarm_id
        ]
        assert isinstance(place, dict)
        return place

    def firmware(self, post: str) -> str | None:
        """Which one the gateway has last heard of from a post."""
        found = re.findall(rf"post={post} .*firmware=\"([^\"]*)\"", self.city.log_of("gateway"))
        return found[-1] if found else None

    def _shown(self, event: str) -> list[dict[str, str]]:
        return [
            shown
            for line in self.city.log_of("mcc").splitlines()
            if line.startswith("{") and (shown := json.loads(line))["event"] == event
        ]

    def hops(self, alarm_id: str) -> list[str]:
        """When an alarm was first seen at each place: real times of this machine."""
        found = []
        for who, where in (
            (OTHER_GATEWAY, "mosquitto_sub at the posts' broker"),
            (VIEWER, "mosquitto_sub at the centre's broker"),
        ):
            for line in (self.directory / f"{who}.sub").read_text().splitlines():
                if alarm_id in line:
                    at, topic, _ = line.split(maxsplit=2)
                    found.append((float(at), f"{where}: {topic}"))
                    break
        for log in ("gateway", "mcc"):
            for line in self.city.log_of(log).splitlines():
                match = re.match(rf"at=\S+T(\S+)Z .*event=(alarm_\w+) .*{alarm_id}", line)
                if match is not None:
                    hours, minutes, seconds = match[1].split(":")
                    at_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
                    at_s += time.time() // 86_400 * 86_400
                    found.append((at_s, f"{log}: {match[2]}"))
        return [
            f"{time.strftime('%H:%M:%S', time.gmtime(when_s))}.{int(when_s * 1000) % 1000:03d}"
            f" {where} {alarm_id}"
            for when_s, where in sorted(found)
        ]
