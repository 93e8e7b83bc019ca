"""mqtt-io as it is, on gpiozero's mock pins; run by the Python of its own environment.

`PYTHON peer_mqttio.py CONFIG PIN STAMPS`: each line on stdin closes the pin's contact and opens it
again 20 ms later; at the end of stdin the uptimes (us) of the closings go to the file STAMPS.
Nothing of mqtt-io is changed.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import gpiozero
from gpiozero.pins.mock import MockFactory

CLOSED_S = 0.02


def _press(pin_number: int, stamps: Path) -> None:
    pin = gpiozero.Device.pin_factory.pin(pin_number)
    closed_us = []
    for _ in sys.stdin:
        closed_us.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)
        pin.drive_low()
        time.sleep(CLOSED_S)
        pin.drive_high()
    stamps.write_text(json.dumps(closed_us))
    os._exit(0)


def main(config: str, pin: str, stamps: str) -> None:
    """Be mqtt-io until the end of stdin."""
    gpiozero.Device.pin_factory = MockFactory()
    threading.Thread(target=_press, args=(int(pin), Path(stamps)), daemon=True).start()
    from mqtt_io.__main__ import main as run

    sys.argv = ["mqtt-io", config]
    run()


if __name__ == "__main__":
    main(*sys.argv[1:])
