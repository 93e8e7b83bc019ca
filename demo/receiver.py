"""A GPS receiver on a pty that stands in Malang and speaks NMEA once a second."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import tty
from datetime import UTC, datetime

LAT, LON = -7.94422, 112.61437  # Dinoyo, Lowokwaru


def sentence(body: str) -> bytes:
    """Frame one NMEA 0183 sentence with its checksum."""
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n".encode()


def _degrees(value: float, width: int, letters: str) -> str:
    whole, rest = divmod(abs(value), 1)
    return f"{int(whole):0{width}d}{rest * 60:07.4f},{letters[value < 0]}"


def fix(at: datetime) -> bytes:
    """One second of a healthy receiver: GGA and RMC."""
    place = f"{_degrees(LAT, 2, 'NS')},{_degrees(LON, 3, 'EW')}"
    clock = f"{at:%H%M%S}.00"
    return sentence(f"GPGGA,{clock},{place},1,09,0.9,460.0,M,30.0,M,,") + sentence(
        f"GPRMC,{clock},A,{place},0.0,0.0,{at:%d%m%y},,,A"
    )


class Receiver:
    """The receiver; `device` is the path that the post opens."""

    def __init__(self) -> None:
        """Open the pty and start speaking."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._speak, name="receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Unplug it."""
        self._stop.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _speak(self) -> None:
        pause_s = 0.0
        while not self._stop.wait(pause_s):
            # Where nobody reads, a real receiver speaks into the void as well.
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, fix(datetime.now(UTC)))
            pause_s = 1.0 - time.time() % 1.0
