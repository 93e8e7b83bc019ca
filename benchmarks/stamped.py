"""The real post and the real gateway, each its own process, noting when an alarm comes by.

Run as `python -m benchmarks.stamped post|gateway SETTINGS STAMPS`. The services are the product's
own; only the entrance of their cores is watched, from outside. Nothing is ever written while they
run: the stamps (uptime in microseconds, by alarm) go to the file STAMPS at the end.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest.mock import patch

import device.core
import device.service
import gateway.core
import gateway.service
from device.settings import PostFile
from gateway.settings import GatewayFile
from hardware.buzzer import Buzzer
from hardware.clock import Now, uptime_us
from process.core import Heard, Log, Publish
from process.settings import read_settings
from protocol.messages import Alarm, MccAlarm

_alarms: dict[str, dict[str, int]] = {}
_presses: list[dict[str, int]] = []


class StampedPost(device.core.Post):
    """The post's core: when was a press accepted, when was an alarm committed and offered?"""

    def handle(self, event: object, now: Now) -> list[device.core.Effect]:
        """As the product does."""
        effects = super().handle(event, now)
        for effect in effects:
            match effect:
                case Log("press_counted", _, fields):
                    closed_us = fields["at_us"]
                    _presses.append({"closed_us": closed_us, "accepted_us": now.uptime_us})
                case Log("alarm_raised", _, fields):
                    _alarms[fields["alarm_id"]] = {"accepted_us": now.uptime_us}
                case Publish(message=Alarm(alarm_id=alarm_id, kind="panic")):
                    _alarms[alarm_id].setdefault("offered_us", now.uptime_us)
                case _:
                    continue
        return effects


class StampedBuzzer(Buzzer):
    """The buzzer, which is set after the lamp: when had the press been answered?"""

    def click(self) -> None:
        """As the product does."""
        super().click()
        _presses[-1]["answered_us"] = uptime_us()


class StampedGateway(gateway.core.Gateway):
    """The gateway's core: when was an alarm heard, when committed and handed on?"""

    def handle(self, event: object, now: Now) -> list[gateway.core.Effect]:
        """As the product does."""
        effects = super().handle(event, now)
        if isinstance(event, Heard) and isinstance(event.message, Alarm):
            _alarms.setdefault(event.message.alarm_id, {}).setdefault("heard_us", now.uptime_us)
        for effect in effects:
            if isinstance(effect, Publish) and isinstance(effect.message, MccAlarm):
                _alarms[effect.message.alarm_id].setdefault("told_us", now.uptime_us)
        return effects


def post(settings: Path) -> int:
    """Be a post until SIGTERM; the exit code."""
    with (
        patch.object(device.service, "Post", StampedPost),
        patch.object(device.service, "Buzzer", StampedBuzzer),
    ):
        return device.service.Service(read_settings(settings, PostFile)).run()


def gateway_(settings: Path) -> int:
    """Be the gateway until SIGTERM; the exit code."""
    with patch.object(gateway.service, "Gateway", StampedGateway):
        return gateway.service.Service(read_settings(settings, GatewayFile)).run()


def main(role: str, settings: str, stamps: str) -> int:
    """Run, then leave the stamps; the exit code."""
    code = {"post": post, "gateway": gateway_}[role](Path(settings))
    Path(stamps).write_text(json.dumps({"alarms": _alarms, "presses": _presses}))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
