"""The GPS thread on real pseudo-terminals: recorded receivers, unplugging, silence, stopping."""

import json
import os
import queue
import tempfile
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware.clock import SystemClock
from hardware.gps import Gps, GpsEvent
from hardware.nmea import Fix, GpsLost, GpsState, checksum

LOGS = Path(__file__).parents[3] / "shared" / "nmea"
NAMES = sorted(path.name for path in LOGS.glob("*.log"))
CLOSE_DEGREES = 0.0001


class Receiver:
    """A pty that plays a receiver. `path` is a link, so that it can be unplugged and come back."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/gps"
        self._master = -1
        self.plug()

    def plug(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        Path(self.path).symlink_to(os.ttyname(slave))
        self._slave = slave

    def unplug(self) -> None:
        Path(self.path).unlink(missing_ok=True)
        for descriptor in (self._slave, self._master):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._master, data[:1024]) :]

    def fix(self, second: int) -> None:
        for body in (
            f"GPGGA,0102{second:02}.00,0757.8612,S,11238.1234,E,1,08,0.9,450.1,M,10.0,M,,",
            f"GPRMC,0102{second:02}.00,A,0757.8612,S,11238.1234,E,0.1,,251126,,,A",
        ):
            self.send(f"${body}*{checksum(body)}\r\n".encode())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with tempfile.TemporaryDirectory() as directory:
        receiver = Receiver(directory)
        yield receiver
        receiver.unplug()


class Heard:
    """What the GPS delivered, in order."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[GpsEvent] = queue.SimpleQueue()

    def next(self, kind: type[GpsEvent], timeout_s: float = 10) -> GpsEvent:
        until_s = time.monotonic() + timeout_s
        while True:
            event = self.events.get(timeout=max(0.001, until_s - time.monotonic()))
            if isinstance(event, kind):
                return event


def _start(path: str, heard: Heard, **change: float) -> Gps:
    gps = Gps(path, 9600, heard.events.put, SystemClock(), reopen_max_s=0.2, **change)
    gps.start()
    return gps


def test_the_recorded_receivers_are_there_or_the_folder_is_absent() -> None:
    assert not LOGS.exists() or len(NAMES) >= 9


@pytest.mark.parametrize("name", NAMES or ["(no recording)"])
def test_gpsds_own_fixes_are_reported(name: str, receiver: Receiver) -> None:
    if not LOGS.exists():
        # The only skip there is: other people's recordings, which are not ours to pass on.
        pytest.skip("the folder of recorded receivers is not beside this repository")
    theirs = _gpsd_fixes(LOGS / f"{name}.chk")
    log = (LOGS / name).read_bytes()
    ours: list[Fix] = []
    end = threading.Event()
    # A last epoch in Malang, far from every recorded one, says that all before it has been read.
    malang = (-7.96, 112.63)

    def deliver(event: GpsEvent) -> None:
        if isinstance(event, Fix):
            if _close((event.lat, event.lon), malang, degrees=0.1):
                end.set()
            else:
                ours.append(event)

    gps = Gps(receiver.path, 115200, deliver, SystemClock())
    gps.start()
    receiver.send(log + b"\r\n")
    receiver.fix(1)
    receiver.fix(2)
    assert end.wait(20)
    gps.stop()

    assert gps.failures == 0
    places = [(fix.lat, fix.lon) for fix in ours]
    reported = sum(any(_close(place, their[:2]) for place in places) for their in theirs)
    assert reported >= 0.9 * len(theirs)
    assert all(any(_close(place, their[:2]) for their in theirs) for place in places)
    epochs = {their[2] for their in theirs if their[2]}
    assert len(places) >= 0.9 * len(epochs)
    if name == "tn200.log":
        assert places == []


def _gpsd_fixes(path: Path) -> list[tuple[float, float, str]]:
    fixes = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            if said["class"] == "TPV" and "lat" in said:
                fixes.append((said["lat"], said["lon"], said.get("time", "")))
    return fixes


def _close(
    one: tuple[float, float], other: tuple[float, float], degrees: float = CLOSE_DEGREES
) -> bool:
    return abs(one[0] - other[0]) <= degrees and abs(one[1] - other[1]) <= degrees


def test_a_fix_carries_its_precision_and_the_uptime_it_came_at(receiver: Receiver) -> None:
    heard = Heard()
    gps = _start(receiver.path, heard)
    before_us = SystemClock().now().uptime_us
    receiver.fix(1)
    state, fix = heard.next(GpsState), heard.next(Fix)
    gps.stop()
    assert isinstance(state, GpsState)
    assert state.fixed
    assert isinstance(fix, Fix)
    assert (fix.satellites, fix.hdop, fix.accuracy_m) == (8, 0.9, 4.5)
    assert before_us <= fix.uptime_us <= SystemClock().now().uptime_us


def test_a_receiver_that_is_unplugged_is_a_loss_and_comes_back(receiver: Receiver) -> None:
    heard = Heard()
    gps = _start(receiver.path, heard)
    for second in (1, 11):
        receiver.fix(second)
        heard.next(Fix)
        receiver.unplug()
        lost = heard.next(GpsLost)
        assert isinstance(lost, GpsLost)
        assert lost.reason
        receiver.plug()
    receiver.fix(21)
    assert heard.next(GpsState) == GpsState(True, heard.next(Fix).uptime_us)
    gps.stop()


def test_a_receiver_that_is_not_there_is_one_loss_however_often_it_is_tried() -> None:
    heard = Heard()
    gps = _start("/nonexistent/gps", heard)
    lost = heard.next(GpsLost)
    assert isinstance(lost, GpsLost)
    assert "/nonexistent/gps" in lost.reason
    with pytest.raises(queue.Empty):
        heard.next(GpsLost, timeout_s=0.6)
    gps.stop()


def test_a_line_that_brings_only_noise_is_a_loss_that_names_the_baud_rate(
    receiver: Receiver,
) -> None:
    heard = Heard()
    gps = _start(receiver.path, heard, silence_s=0.3)
    receiver.send(b"\x80\xf8\x00" * 50)
    lost = heard.next(GpsLost)
    assert isinstance(lost, GpsLost)
    assert "9600 baud" in lost.reason
    receiver.fix(1)
    receiver.fix(2)
    heard.next(Fix)
    gps.stop()


def test_a_lost_fix_is_told_once(receiver: Receiver) -> None:
    heard = Heard()
    gps = _start(receiver.path, heard)
    receiver.fix(1)
    for body in ("GPGGA,010202.00,,,,,0,00,99.99,,,,,,", "GPRMC,010202.00,V,,,,,,,251126,,,N") * 3:
        receiver.send(f"${body}*{checksum(body)}\r\n".encode())
    receiver.fix(3)
    told: list[GpsEvent] = []
    while len(told) < 3:
        told.append(heard.next(GpsState))
    gps.stop()
    assert [state.fixed for state in told if isinstance(state, GpsState)] == [True, False, True]


def test_a_deliver_that_raises_is_counted_and_the_thread_lives(receiver: Receiver) -> None:
    heard: list[GpsEvent] = []
    second = threading.Event()

    def deliver(event: GpsEvent) -> None:
        heard.append(event)
        if len(heard) < 3:
            raise RuntimeError("queue gone")
        second.set()

    gps = Gps(receiver.path, 9600, deliver, SystemClock())
    gps.start()
    receiver.fix(1)
    receiver.fix(2)
    assert second.wait(5)
    gps.stop()
    assert gps.failures == 2


@pytest.mark.parametrize("plugged", [True, False])
def test_stopping_takes_less_than_half_a_second(receiver: Receiver, plugged: bool) -> None:
    heard = Heard()
    gps = Gps(
        receiver.path if plugged else "/nonexistent/gps", 9600, heard.events.put, SystemClock()
    )
    gps.start()
    if plugged:
        receiver.fix(1)
        heard.next(Fix)
    else:
        heard.next(GpsLost)
    began_s = time.monotonic()
    gps.stop()
    assert time.monotonic() - began_s < 0.5
    assert not gps._thread.is_alive()
