"""The GPS receiver on a serial line: a thread that turns what it sends into fixes and losses.

It never dies, whatever the line brings or the cable does, and never tells the time. Only sentences
that `hardware.nmea` has framed and found sound reach the parser (`adafruit_gps`), one at a time,
and each is judged alone: the parser keeps old places, and an empty quality, after a fix is lost.
"""

from __future__ import annotations

import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import adafruit_gps
import serial
from tenacity import Retrying, retry_if_exception_type, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_random_exponential

from hardware.clock import Clock
from hardware.nmea import (
    Claim,
    Epochs,
    Fix,
    Framer,
    GpsLost,
    GpsState,
    Position,
    accuracy_m,
    position,
    read_claim,
)

GpsEvent = Fix | GpsLost | GpsState

SILENCE_S = 10.0
READ_BYTES_MAX = 4096
# A read ends after this long at the latest, so that `stop` is quick.
READ_TIMEOUT_S = 0.2
# A burst is let in for this long before it is read: at 9600 baud each byte would wake the thread.
GATHER_S = 0.05
REOPEN_MAX_S = 30.0
REASON_CHARACTERS_MAX = 200


class _Lost(Exception):
    """The line brings nothing (any more); the message says why."""


class _OneSentence:
    """The stream that `adafruit_gps` reads from: holds one sentence at a time."""

    def __init__(self) -> None:
        self.line = b""

    @property
    def in_waiting(self) -> int:
        return len(self.line)

    def readline(self) -> bytes:
        line, self.line = self.line, b""
        return line


class _Port(serial.Serial):  # type: ignore[misc]
    """Opens without throwing away what the receiver has just sent: framing copes with a half."""

    def _reset_input_buffer(self) -> None:
        return


class SentenceReader:
    """Received bytes -> verdicts, by the framer, the parser and the ranges. Not for two threads."""

    def __init__(self) -> None:
        self.framer = Framer()
        self._epochs = Epochs()
        self._stream = _OneSentence()
        self._parser = adafruit_gps.GPS(self._stream)

    def feed(self, received: bytes) -> list[Position | None]:
        """The verdicts these bytes complete: a position, or None for an epoch without a fix."""
        verdicts: list[Position | None] = []
        for sentence in self.framer.feed(received):
            claim = read_claim(sentence)
            if claim is not None:
                verdicts += self._epochs.add(claim, self._place(claim))
        return verdicts

    def _place(self, claim: Claim) -> Position | None:
        if claim.canonical is None:
            return None
        parser = self._parser
        parser.fix_quality = 0
        parser.latitude = parser.longitude = None
        parser.satellites = parser.horizontal_dilution = None
        self._stream.line = f"{claim.canonical}\r\n".encode("ascii")
        if not parser.update() or not parser.has_fix:
            return None
        return position(
            parser.latitude, parser.longitude, parser.satellites, parser.horizontal_dilution
        )


class Gps:
    """A receiver on serial `device` (a path) at `baud`.

    `deliver` is called on the GPS's own thread and may only enqueue: one `Fix` for each epoch of
    the receiver that has one, `GpsState` when that changes, `GpsLost` once when the line cannot be
    opened, breaks, or carries no whole sentence for `silence_s` seconds. Then it is opened again,
    with growing random pauses of at most 30 s, for ever.
    """

    def __init__(
        self,
        device: str,
        baud: int,
        deliver: Callable[[GpsEvent], object],
        clock: Clock,
        *,
        silence_s: float = SILENCE_S,
        reopen_max_s: float = REOPEN_MAX_S,
    ) -> None:
        self.failures = 0  # calls of `deliver` that raised: must stay 0
        self._device = device
        self._baud = baud
        self._deliver = deliver
        self._clock = clock
        self._silence_us = round(silence_s * 1_000_000)
        self._reopen_max_s = reopen_max_s
        self._stopping = threading.Event()
        self._lost = False
        self._fixed: bool | None = None
        self._thread = threading.Thread(target=self._run, name="gps", daemon=True)

    def start(self) -> None:
        """Starts the thread; the port need not exist yet."""
        self._thread.start()

    def stop(self) -> None:
        """Closes the port; returns within 0.5 s."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            retrying = Retrying(
                retry=retry_if_exception_type(_Lost),
                wait=wait_random_exponential(multiplier=0.5, max=self._reopen_max_s),
                sleep=sleep_using_event(self._stopping),
                stop=stop_when_event_set(self._stopping),
                retry_error_callback=lambda _: None,
            )
            retrying(self._listen)
            self._stopping.wait(0.5)

    def _listen(self) -> None:
        """One opening of the port, until it breaks.

        Returns when it had brought sentences, or when stopping; otherwise raises _Lost.
        """
        if self._stopping.is_set():
            return
        reader = SentenceReader()
        try:
            with _Port(self._device, self._baud, timeout=READ_TIMEOUT_S, exclusive=True) as port:
                self._read(port, reader)
        except Exception as error:
            # Not only SerialException: pyserial lets OSError, termios.error and TypeError out too.
            self._report_lost(str(error) or type(error).__name__)
            if not reader.framer.sentences:
                raise _Lost from error

    def _read(self, port: _Port, reader: SentenceReader) -> None:
        heard_us = self._clock.now().uptime_us
        heard = 0
        while not self._stopping.is_set():
            received = port.read(max(1, min(port.in_waiting, READ_BYTES_MAX)))
            at_us = self._clock.now().uptime_us
            for verdict in reader.feed(received):
                self._report(verdict, at_us)
            if reader.framer.sentences > heard:
                heard, heard_us = reader.framer.sentences, at_us
                self._lost = False
            elif at_us - heard_us > self._silence_us:
                raise _Lost(
                    f"no NMEA sentence for {self._silence_us / 1e6:g} s"
                    f" at {self._baud} baud ({reader.framer.garbled} garbled,"
                    f" {reader.framer.wrong_checksum} with a wrong checksum)"
                )
            if received:
                self._stopping.wait(GATHER_S)

    def _report(self, verdict: Position | None, at_us: int) -> None:
        fixed = verdict is not None
        if fixed != self._fixed:
            self._fixed = fixed
            self._send(GpsState(fixed, at_us))
        if verdict is not None:
            self._send(
                Fix(
                    lat=verdict.lat,
                    lon=verdict.lon,
                    accuracy_m=accuracy_m(verdict.hdop),
                    satellites=verdict.satellites,
                    hdop=verdict.hdop,
                    uptime_us=at_us,
                )
            )

    def _report_lost(self, reason: str) -> None:
        if self._lost:
            return
        self._lost, self._fixed = True, None
        self._send(GpsLost(reason[:REASON_CHARACTERS_MAX], self._clock.now().uptime_us))

    def _send(self, event: GpsEvent) -> None:
        try:
            self._deliver(event)
        except Exception:  # noqa: BLE001  whatever it is, this thread must live
            self.failures += 1


@dataclass(frozen=True, slots=True)
class Sample:
    """What a receiver sent in a short while: bytes, whole sentences, and the last place."""

    received_bytes: int
    sentences: int
    position: Position | None


def sample(device: str, baud: int, seconds: float) -> Sample:
    """Listen to a line that nobody else has, for `seconds`, or until there is a fix.

    Raises:
        OSError: the line cannot be opened, somebody has it, or it breaks.
    """
    reader = SentenceReader()
    received_bytes, place = 0, None
    until_s = time.monotonic() + seconds
    try:
        with _Port(device, baud, timeout=READ_TIMEOUT_S, exclusive=True) as port:
            while place is None and time.monotonic() < until_s:
                received = port.read(max(1, min(port.in_waiting, READ_BYTES_MAX)))
                received_bytes += len(received)
                for verdict in reader.feed(received):
                    place = verdict or place
    except (serial.SerialException, termios.error, TypeError, ValueError) as error:
        # SerialException is an OSError without its number; the others pyserial lets out.
        raise OSError(getattr(error, "strerror", None) or str(error)) from error
    return Sample(received_bytes, reader.framer.sentences, place)
