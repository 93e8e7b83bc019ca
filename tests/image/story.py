"""Steps that every story has."""

from __future__ import annotations

import functools
import hashlib
import operator
import re
import time
from collections.abc import Callable
from pathlib import Path

from image.build import BOOT_AT_MIB, BOOT_MIB, MIB, ROOT_MIB
from tests.image.machine import BUZZER, GREEN, RED, Machine
from tests.image.office import Office


def root_digest(image: Path) -> str:
    """Of the root partition, bit for bit."""
    digest = hashlib.sha256()
    with image.open("rb") as file:
        file.seek((BOOT_AT_MIB + BOOT_MIB) * MIB)
        for _ in range(ROOT_MIB):
            digest.update(file.read(MIB))
    return digest.hexdigest()


def listening(machine: Machine, post: str, since: int = 0) -> None:
    """It has started, and hears presses; no file system was broken beyond its own repair."""
    machine.until_said(f"event=listening .*post={post}", since=since)
    assert "event=card_code" not in machine.console[since:]
    assert not re.search(r"UNEXPECTED INCONSISTENCY|EXT4-fs error", machine.console[since:])


def is_armed(machine: Machine) -> bool:
    """Green has gone on and off again lately, red has not: nothing is held."""
    since_s = time.monotonic() - 6
    seen = [(line, level) for at_s, line, level in machine.changes if at_s > since_s]
    return (GREEN, 1) in seen and (GREEN, 0) in seen and (RED, 1) not in seen


def armed(machine: Machine) -> None:
    """Wait for it."""
    machine.until("armed", lambda: is_armed(machine))


def close_all(office: Office, machine: Machine) -> None:
    """Close what the centre holds open, until the lamp says that nothing is held."""

    def look() -> bool:
        for alarm_id, state in office.alarms().items():
            if state != "resolved":
                office.does("resolve", alarm_id, "--outcome", "test")
        return is_armed(machine)

    machine.until("armed, and nothing is open", look)


def press_three(machine: Machine) -> str:
    """Three presses as electrical edges with bounce; the alarm's id, as the post logs it."""
    before = len(machine.console)
    for number in range(3):
        machine.note(f"edges: press {number + 1} of 3, bouncing at both ends")
        machine.press()
        time.sleep(0.25)

    def look() -> str | None:
        raised = re.search(r"event=alarm_raised alarm_id=([0-9a-f-]{36})", machine.console[before:])
        return None if raised is None else raised[1]

    alarm_id = machine.until("raised", look, 60)
    machine.note(f"hop post: raised {alarm_id}")
    return alarm_id


def is_promised(machine: Machine, alarm_id: str) -> bool:
    """Whether the post has said *calling* for it, which it does only after the commit."""
    after = machine.console.partition(f"alarm_raised alarm_id={alarm_id}")[2]
    return "meaning=calling" in after


def acknowledge(office: Office, machine: Machine, alarm_id: str) -> None:
    """The operator does, and the buzzer says so at the wall."""
    since_s = time.monotonic()
    office.does("acknowledge", alarm_id, "--operator", "Siti")
    machine.note(f"hop centre: acknowledged {alarm_id}")
    sounded = functools.partial(_went_up, machine, BUZZER, since_s)
    machine.until("the buzzer sounds", sounded, 60)
    machine.note(f"hop post: the buzzer sounds on line {BUZZER} for {alarm_id}")
    machine.until(
        "answered", lambda: machine.levels.get(GREEN) == 1 and machine.levels.get(RED) == 0, 60
    )


def _went_up(machine: Machine, line: int, since_s: float) -> bool:
    return any(at > since_s and (n, v) == (line, 1) for at, n, v in machine.changes)


def resolve(office: Office, machine: Machine, alarm_id: str) -> None:
    """The case is closed."""
    office.does("resolve", alarm_id, "--outcome", "test")
    machine.note(f"hop centre: resolved {alarm_id}")


def nmea(lat: float, lon: float) -> Callable[[float], bytes]:
    """What a receiver with a fix says each second."""

    def sentences(wall_s: float) -> bytes:
        clock = time.strftime("%H%M%S.00", time.gmtime(wall_s))
        date = time.strftime("%d%m%y", time.gmtime(wall_s))
        place = f"{_angle(lat, 2, 'NS')},{_angle(lon, 3, 'EW')}"
        said = (
            f"GPGGA,{clock},{place},1,08,0.9,440.0,M,10.0,M,,",
            f"GPRMC,{clock},A,{place},0.0,0.0,{date},,,A",
        )
        return "".join(f"${one}*{_sum(one):02X}\r\n" for one in said).encode()

    return sentences


def _angle(degrees: float, digits: int, halves: str) -> str:
    whole, part = divmod(abs(degrees), 1)
    return f"{int(whole):0{digits}d}{part * 60:07.4f},{halves[degrees < 0]}"


def _sum(sentence: str) -> int:
    return functools.reduce(operator.xor, sentence.encode(), 0)
