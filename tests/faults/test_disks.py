"""Disks that are full, read-only, hanging or damaged, and databases that come back from a copy."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from demo.stage import until
from tests.faults.ground import Ground, Part, Row, copy_database, put_back
from tests.faults.machine import Machine, fill, remount, small_disk

DISK_KIB = 512
Damage = Literal["header", "pages", "half of it"]


def on_disk(post: Part, alarm_id: str) -> bool:
    """Is the alarm in the post's outbox file?"""
    connection = sqlite3.connect(f"file:{post.outbox}?mode=ro", uri=True)
    with contextlib.closing(connection) as outbox:
        found = outbox.execute("SELECT 1 FROM alarms WHERE alarm_id = ?", (alarm_id,)).fetchone()
    return found is not None


def test_a_full_disk_at_the_post_then_freed(
    ground: Ground, tmp_path: Path, table: Callable[[Row], None]
) -> None:
    post = ground.add_post()
    with small_disk(tmp_path / "disk", DISK_KIB) as disk:
        post.keep_in(disk)
        ground.start()
        filler = fill(disk)
        alarm_id = ground.raise_alarm(post)  # promised by the gateway's receipt
        ground.until_delivered(alarm_id)
        assert "disk_failing" in post.faults()
        assert not on_disk(post, alarm_id)
        filler.unlink()
        until("the fault clears", lambda: "disk_failing" not in post.faults(), 15)
        assert on_disk(post, alarm_id)
        table(ground.settle("disk full at the post, then freed"))
        post.end()


def test_a_full_disk_at_the_gateway_then_freed(
    ground: Ground, tmp_path: Path, table: Callable[[Row], None]
) -> None:
    with small_disk(tmp_path / "disk", DISK_KIB) as disk:
        ground.gateway.keep_in(disk)
        ground.start(2)
        filler = fill(disk)
        alarm_id = ground.raise_alarm(ground.posts[0])
        until("the journal fails", lambda: "event=commit_failed" in ground.gateway.log)
        # A post whose call would not be taken says so before anyone needs it.
        ground.posts[1].until_lamp("out_of_order")
        assert alarm_id not in ground.delivered()
        filler.unlink()
        table(ground.settle("disk full at the gateway, then freed"))
        ground.gateway.end()


def test_a_full_disk_at_the_command_centre_then_freed(
    ground: Ground, tmp_path: Path, table: Callable[[Row], None]
) -> None:
    with small_disk(tmp_path / "disk", DISK_KIB) as disk:
        ground.mcc.keep_in(disk)
        ground.start(1)
        filler = fill(disk)
        alarm_id = ground.raise_alarm(ground.posts[0])
        until("listed", lambda: alarm_id in ground.journaled())
        until("the store fails", lambda: "level=error" in ground.mcc.log)
        assert alarm_id not in ground.delivered()
        filler.unlink()
        table(ground.settle("disk full at the command centre, then freed"))
        ground.mcc.end()


@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_a_disk_that_takes_no_write_at_the_start_of_the_post(
    ground: Ground, tmp_path: Path, fault: str, table: Callable[[Row], None]
) -> None:
    post = ground.add_post()
    with small_disk(tmp_path / "disk", DISK_KIB) as disk:
        post.keep_in(disk)
        ground.start()
        ground.gateway.end()
        on_the_disk = ground.raise_alarm(post)
        assert on_disk(post, on_the_disk)
        # A post that was stopped leaves no files that would serve without more room.
        post.end("SIGTERM" if fault == "full" else "kill -9")
        if fault == "full":
            fill(disk)
        else:
            remount(disk, "ro")
        post.start_out_of_order()
        until("it says so", lambda: "disk_failing" in post.faults())
        ground.gateway.start()
        # What lies on it is told all the same, and so is what comes now.
        ground.until_delivered(on_the_disk)
        ground.until("resolved", ground.resolved)
        post.until_lamp("out_of_order")
        ground.until_delivered(ground.raise_alarm(post))
        if fault == "full":
            (disk / "filler").unlink()
        else:
            remount(disk, "rw")
        until("the fault clears", lambda: "disk_failing" not in post.faults(), 15)
        row = ground.settle(f"{fault} disk at the start of the post, with an alarm on it")
        assert row.delivered == 2
        table(row)
        post.end()


@pytest.mark.parametrize("fault", ["read-only", "broken"])
def test_a_disk_that_fails_under_all_of_them(
    ground: Ground,
    machine: Machine,
    fault: Literal["read-only", "broken"],
    table: Callable[[Row], None],
) -> None:
    post = ground.add_post()
    for part in ground.parts:
        part.environment = machine.environment
    ground.start()
    machine.set(disk=fault)
    alarm_id = ground.raise_alarm(post, promised=False)
    until("the post names it", lambda: "disk_failing" in post.faults())
    until("the journal fails", lambda: "event=commit_failed" in ground.gateway.log)
    assert alarm_id not in ground.journaled()
    machine.set()
    row = ground.settle(f"{fault} disk under post, gateway, centre")
    assert row.delivered == 1
    table(row)


@pytest.mark.parametrize("role", ["post", "gateway"])
def test_an_fsync_that_hangs(
    ground: Ground, machine: Machine, role: str, table: Callable[[Row], None]
) -> None:
    post, other = ground.add_post(), ground.add_post()
    (post if role == "post" else ground.gateway).environment = machine.environment
    ground.start()
    machine.set(sync_hangs=True)
    alarm_id = ground.raise_alarm(post)
    if role == "post":
        ground.until_delivered(alarm_id)  # from memory, after 1 s
        assert "disk_hanging" in post.faults()
    else:
        # Nothing is said before it is on disk, and the other post's lamp does not stay armed.
        other.until_lamp("out_of_order")
        assert alarm_id not in ground.journaled()
    machine.set()
    until("the fault clears", lambda: "disk_hanging" not in post.faults(), 15)
    table(ground.settle(f"fsync hangs at the {role}"))


def damage(database: Path, how: Damage) -> None:
    """What a card does that lost power while it moved its blocks about."""
    size = database.stat().st_size
    with database.open("r+b") as file:
        if how == "half of it":
            file.truncate(size // 2)
            return
        file.seek(0 if how == "header" else 4096)
        file.write(random.Random(how).randbytes(100 if how == "header" else size - 4096))


@pytest.mark.parametrize("how", ["header", "pages", "half of it"])
def test_databases_damaged_at_the_start(
    ground: Ground, how: Damage, table: Callable[[Row], None]
) -> None:
    ground.start(1)
    (post,) = ground.posts
    first = ground.raise_alarm(post)
    ground.until_delivered(first)
    named = {"post": "outbox_damaged", "gateway": "journal_replaced", "mcc": "store_replaced"}
    # One after the other: the journal gets it back from the post, the centre from the journal.
    for part in (ground.gateway, ground.mcc, post):
        part.end("SIGTERM")
        damage(part.database, how)
        part.start()
        until("journaled again", lambda: first in ground.journaled(), 20)
        until("it is named", lambda part=part: f"event={named[part.role]}" in part.log)  # type: ignore[misc]
        aside = [*part.directory.glob("*.damaged-*")]
        assert aside, f"{part.role}: nothing is kept of it"
        ground.until_delivered(first)
    assert "disk_replaced" in post.faults()
    assert [part.restarts for part in ground.parts] == [0, 0, 0], "a boot loop"
    second = ground.raise_alarm(post)
    assert second != first
    row = ground.settle(f"databases damaged at the start: {how}")
    assert row.delivered == 2
    table(row)


def test_damage_to_the_only_copy_of_an_alarm_is_reported(
    ground: Ground, table: Callable[[Row], None]
) -> None:
    ground.start(1)
    (post,) = ground.posts
    ground.gateway.end()
    lost = ground.raise_alarm(post)
    post.end("SIGTERM")
    damage(post.database, "header")
    post.start()
    assert "event=outbox_damaged" in post.log
    # The one loss that is allowed. It is in the log, among the post's faults, and at the centre.
    ground.promised.remove(lost)
    ground.gateway.start()
    until("the command centre is told", lambda: "disk_replaced" in ground.mcc.log_or_screen(), 30)
    later = ground.raise_alarm(post)
    row = ground.settle("damage to the only copy of an alarm: lost 1, reported")
    assert set(ground.delivered()) == {later}
    table(row)


@pytest.mark.parametrize("role", ["gateway", "mcc", "post"])
def test_a_database_back_from_a_backup(
    ground: Ground, tmp_path: Path, role: str, table: Callable[[Row], None]
) -> None:
    ground.start(1)
    (post,) = ground.posts
    (part,) = [part for part in ground.parts if part.role == role]
    first = ground.raise_alarm(post)
    ground.until_delivered(first)
    copy_database(part.database, tmp_path / "before.db")
    ground.resolve_open()
    until("resolved", lambda: post.status().get("alarms") == [] or None)
    second = ground.raise_alarm(post)
    ground.until_delivered(second)
    part.end()
    put_back(tmp_path / "before.db", part.database)
    part.start()
    row = ground.settle(f"{role} back from a backup")
    assert row.delivered == 2
    if role != "post":  # a card that has forgotten that it sounded may sound again
        assert post.status()["acknowledgement_buzzes"] == 2
    table(row)


def test_the_command_centre_away_and_back(ground: Ground, table: Callable[[Row], None]) -> None:
    ground.start(2)
    ground.mcc.end()
    ids = [ground.raise_alarm(post) for post in ground.posts]
    until("journaled", lambda: set(ids) <= set(ground.journaled()))
    ground.mcc.start()
    ground.until_delivered(*ids)
    table(ground.settle("command centre away and back"))


def test_the_small_disk_is_what_it_says(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", DISK_KIB) as disk:
        space = os.statvfs(disk)
        assert space.f_blocks * space.f_frsize == DISK_KIB * 1024
        fill(disk)
        with pytest.raises(OSError, match="No space left"):
            (disk / "more").write_bytes(b"1" * 8192)
