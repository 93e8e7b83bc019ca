"""The power is cut at random instants of the story: each time it boots, listens, and lost nothing.

What was not flushed dies with the power (`nbd.py`). KENTONGAN_CUTS: how many starts after a cut
are looked at; some starts are cut themselves.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from random import Random

from image.build import BOOT_AT_MIB, BOOT_MIB, DATA_MIB, MIB, ROOT_MIB
from tests.image.machine import RED, Machine, PowerGone, boot_partition
from tests.image.office import Office
from tests.image.story import (
    acknowledge,
    armed,
    close_all,
    is_promised,
    listening,
    press_three,
    resolve,
    root_digest,
)

POST = "mlg-klojen-rw07"
CUTS = int(os.environ.get("KENTONGAN_CUTS", "20"))
DATA_AT_MIB = BOOT_AT_MIB + BOOT_MIB + ROOT_MIB
# The story after listening, and a start that nobody has timed yet.
STORY_S, START_S = 14.0, 25.0


class Calls:
    """Which calls the lamp has promised."""

    def __init__(self) -> None:
        """None yet."""
        self.raised: list[str] = []
        self.promised: set[str] = set()

    def look(self, machine: Machine) -> None:
        """What the post had said when the power went."""
        self.promised |= {one for one in self.raised if is_promised(machine, one)}


def test_after_any_power_cut_it_listens_and_no_raised_call_is_lost(
    office: Office, machine: Machine
) -> None:
    random = Random(8)
    boot_partition(machine.image, ("mcopy", office.bundle(POST), "::/"))
    root_before = root_digest(machine.image)
    calls = Calls()
    cuts, looked_at, start_s, while_starting = 0, 0, START_S, False
    while True:
        # The first start, with the bundle, is cut; never two in a row.
        while_starting = not while_starting and (cuts == 0 or random.random() < 0.25)
        machine.on(seed=cuts)
        if while_starting:
            after_s = random.uniform(1, start_s)
            time.sleep(after_s)
            machine.cut()
            where = f"{after_s:.1f} s into a start that takes {start_s:.0f} s"
        else:
            start_s = _all_is_there(office, machine, calls)
            looked_at += 1
            if looked_at == CUTS:
                break
            where = _story_until_cut(office, machine, calls, random)
        calls.look(machine)
        cuts += 1
        machine.note(f"cut {cuts}, {where}: {len(calls.promised)} calls promised so far")
    machine.cut()
    machine.note(
        f"{cuts} cuts; after them {looked_at} of {CUTS} starts listened;"
        f" {len(calls.promised)} calls promised, {len(calls.promised - set(office.alarms()))} lost"
    )
    assert len(calls.promised) >= CUTS // 4
    assert calls.promised <= set(office.alarms())
    assert root_digest(machine.image) == root_before
    _file_systems_are_clean(machine)


def _all_is_there(office: Office, machine: Machine, calls: Calls) -> float:
    """It listens, and every call that was promised is at the centre; what is open is closed.

    How many seconds it took from power to listening.
    """
    listening(machine, POST)
    took_s = time.monotonic() - machine.on_s
    machine.until_said("event=link_up")
    machine.until(
        "every promised call at the centre", lambda: calls.promised <= set(office.alarms())
    )
    close_all(office, machine)
    return took_s


def _story_until_cut(office: Office, machine: Machine, calls: Calls, random: Random) -> str:
    """Press, call, answer; somewhere in it the power goes. Half the calls have no way out."""
    after_s = random.uniform(0, STORY_S)
    is_alone = random.random() < 0.5
    if is_alone:
        machine.link("off")
    timer = threading.Timer(after_s, machine.cut)
    timer.start()
    try:
        while True:
            _one_call(office, machine, calls, is_alone=is_alone)
    except PowerGone:
        timer.join()
    return f"{after_s:.1f} s into the story{', without a network' if is_alone else ''}"


def _one_call(office: Office, machine: Machine, calls: Calls, *, is_alone: bool) -> None:
    alarm_id = press_three(machine)
    calls.raised.append(alarm_id)
    machine.until("calling", lambda: machine.levels.get(RED) == 1, 60)
    if is_alone:
        machine.until("the power goes", lambda: None, 2 * STORY_S)
    machine.until("received", lambda: alarm_id in office.alarms(), 60)
    acknowledge(office, machine, alarm_id)
    resolve(office, machine, alarm_id)
    armed(machine)


def _file_systems_are_clean(machine: Machine) -> None:
    """After the last cut: nothing but a journal to play back, as any start does."""
    part = machine.work / "partition"
    for at_mib, mib, checks in (
        (DATA_AT_MIB, DATA_MIB, (("e2fsck", "-p"), ("e2fsck", "-f", "-n"))),
        (BOOT_AT_MIB + BOOT_MIB, ROOT_MIB, (("e2fsck", "-f", "-n"),)),
        (BOOT_AT_MIB, BOOT_MIB, (("fsck.vfat", "-n"),)),
    ):
        with machine.image.open("rb") as card:
            card.seek(at_mib * MIB)
            part.write_bytes(card.read(mib * MIB))
        for check in checks:
            done = subprocess.run((*check, part), capture_output=True, text=True, check=False)
            said = done.stdout.replace(str(part), "it").strip()[-200:]
            machine.note(f"{' '.join(check)}, at {at_mib} MiB: exit {done.returncode}: {said}")
            # 1: it has repaired by itself what a cut leaves behind, as it does at each start.
            assert done.returncode in (0, 1 if "-p" in check else 0), done.stdout + done.stderr
    part.unlink()
