"""The command centre's store on a real file."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mcc import store as store_module
from mcc.alarms import DONE, Verdict, record_of
from mcc.core import Commit
from mcc.store import LinkLock, OutboxFull, Store, StoreUnavailable
from protocol.messages import Raised
from tests.mcc.rig import GATEWAY, POST, command, document, gateway, post, uid


def claimed(path: Path) -> str:
    with Store(path) as store:
        return store.claim()


def committed(path: Path, *states: str) -> None:
    with Store(path) as store:
        for n, state in enumerate(states, 1):
            store.commit(Commit(alarms=(record_of(document(n, state)),)))


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    ours = command(10, "acknowledge")
    with Store(path) as store:
        store_id = store.claim()
        store.add(ours)
        store.commit(
            Commit(
                alarms=(record_of(document(1)), record_of(document(2, "resolved"))),
                posts=(post(),),
                gateways=(gateway(),),
                reason="no gateway is answering",
            )
        )
    with Store(path) as store:
        assert store.claim() == store_id
        memory = store.load()
        assert [(a.alarm_id, a.state) for a in memory.alarms] == [
            (uid(2), "resolved"),
            (uid(1), "received"),
        ]
        assert [p.post for p in memory.posts] == [POST]
        assert [g.gateway for g in memory.gateways] == [GATEWAY]
        assert list(memory.commands) == [ours]
        assert store.reason() == "no gateway is answering"


def test_the_file_is_written_with_wal_and_full_sync_and_only_its_owner_reads_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deep" / "mcc.db"
    with Store(path) as store:
        sql = store._sql
        assert sql.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert sql.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_fresh_alarm_that_the_store_has_is_left_as_it_is_and_returned(tmp_path: Path) -> None:
    committed(tmp_path / "mcc.db", "resolved")
    with Store(tmp_path / "mcc.db") as store:
        news = record_of(document(1))
        [existing] = store.commit(Commit(alarms=(news,), fresh=frozenset((uid(1),))))
        assert existing.state == "resolved"
        assert store.alarms_like(uid(1))[0].state == "resolved"


def test_a_verdict_ends_a_command_and_is_read_back(tmp_path: Path) -> None:
    refused = Verdict(refused="already", why="already acknowledged by sari", first_operator="sari")
    with Store(tmp_path / "mcc.db") as store:
        store.add(command(10, "acknowledge"))
        store.add(command(11, "acknowledge"))
        store.commit(Commit(verdicts=((uid(10), DONE), (uid(11), refused))))
        assert store.sending() == ()
        done, lost = store.sent(uid(10)), store.sent(uid(11))
        assert done is not None
        assert lost is not None
        assert (done.state, lost.state, lost.verdict) == ("done", "refused", refused)
        assert store.sent(uid(12)) is None


def test_a_full_outbox_refuses_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "COMMANDS_MAX", 2)
    with Store(tmp_path / "mcc.db") as store:
        store.add(command(10, "acknowledge"))
        store.add(command(11, "acknowledge"))
        with pytest.raises(OutboxFull, match="2 commands"):
            store.add(command(12, "acknowledge"))
        store.commit(Commit(verdicts=((uid(10), DONE),)))
        store.add(command(12, "acknowledge"))


def test_settled_commands_and_closed_alarms_are_pruned_beyond_their_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SETTLED_STORED_MAX", 2)
    monkeypatch.setattr(store_module, "CLOSED_STORED_MAX", 2)
    ticks = iter(range(1_000))
    monkeypatch.setattr("mcc.store.time.time_ns", lambda: next(ticks) * 1_000_000)
    path = tmp_path / "mcc.db"
    with Store(path) as store:
        for n in range(10, 16):
            store.add(command(n, "dispatch"))
            store.commit(Commit(verdicts=((uid(n), DONE),)))
        assert [n for n in range(10, 16) if store.sent(uid(n))] == [13, 14, 15]
        for n in range(1, 6):
            at = f"2027-01-0{n}T00:00:00.000Z"
            shown = document(n, "resolved", raised=Raised(at=at, known="before"))
            store.commit(Commit(alarms=(record_of(shown),)))
        store.commit(Commit(alarms=(record_of(document(9)),)))
        store.claim()
        assert {a.alarm_id for a in store.alarms(99)} == {uid(3), uid(4), uid(5), uid(9)}


def test_alarms_are_found_by_the_beginning_of_their_id(tmp_path: Path) -> None:
    committed(tmp_path / "mcc.db", "received", "resolved")
    with Store(tmp_path / "mcc.db") as store:
        assert [a.alarm_id for a in store.alarms_like(uid(2))] == [uid(2)]
        assert len(store.alarms_like("00000000-")) == 2
        assert store.alarms_like("1") == ()


def test_data_version_changes_when_another_process_commits(tmp_path: Path) -> None:
    with Store(tmp_path / "mcc.db") as one, Store(tmp_path / "mcc.db") as other:
        before = one.data_version()
        assert one.data_version() == before
        other.add(command(10, "acknowledge"))
        assert one.data_version() != before


# --- identity ---


def test_a_new_store_has_its_own_id_and_keeps_it(tmp_path: Path) -> None:
    one, other = claimed(tmp_path / "one.db"), claimed(tmp_path / "other.db")
    assert one != other
    assert claimed(tmp_path / "one.db") == one


def test_a_store_restored_from_an_older_copy_gets_a_new_store_id(tmp_path: Path) -> None:
    path, copy = tmp_path / "mcc.db", tmp_path / "backup.db"
    before = claimed(path)
    committed(path, "received")
    shutil.copy(path, copy)
    committed(path, "acknowledged", "resolved")
    assert claimed(path) == before
    shutil.copy(copy, path)
    restored = claimed(path)
    assert restored != before
    assert claimed(path) == restored
    with Store(path) as store:
        assert [a.state for a in store.load().alarms] == ["received"]


def test_a_store_moved_without_its_sidecar_counts_as_restored(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    before = claimed(path)
    committed(path, "received")
    Path(f"{path}.seq").unlink()
    assert claimed(path) != before


def test_a_damaged_file_is_set_aside_and_a_new_store_begins_loudly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcc.db"
    before = claimed(path)
    path.write_bytes(b"this was never a database\n" * 400)
    with Store(path) as store:
        assert store.claim() != before
        assert store.alarms(9) == ()
    assert len(list(tmp_path.glob("mcc.db.damaged-*"))) == 1
    assert "level=error event=store_replaced" in capfd.readouterr().err


@pytest.mark.parametrize("what", ["notes", "another program's"])
def test_a_file_that_was_never_a_store_is_refused_and_left_as_it_is(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "notes.txt"
    if what == "notes":
        path.write_text("the plan for the night watch\n" * 400)
    else:
        with contextlib.closing(sqlite3.connect(path)) as sql:
            sql.execute("CREATE TABLE alarms (of_a_clock TEXT)")
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"notes\.txt is not a Kentongan store"):
            Store(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_store_that_may_not_be_replaced_stays_damaged(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    claimed(path)
    path.write_bytes(b"this was never a database\n" * 400)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="is damaged"):
        Store(path, replaces=False)
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*.damaged-*")) == []


def test_damage_inside_the_file_is_found_by_the_holder_of_the_link(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    before = claimed(path)
    committed(path, *["received"] * 200)
    body = bytearray(path.read_bytes())
    for page in range(3, len(body) // 4096):
        body[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    path.write_bytes(body)
    assert claimed(path) != before
    assert len(list(tmp_path.glob("mcc.db.damaged-*"))) == 1


def test_a_damaged_file_in_use_is_not_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    claimed(path)
    path.write_bytes(b"this was never a database\n" * 400)
    lock = LinkLock(path)
    assert lock.take()
    with pytest.raises(StoreUnavailable, match="in use"):
        Store(path)
    lock.give_back()
    assert path.exists()


def test_a_row_that_cannot_be_read_hides_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcc.db"
    committed(path, "received", "received")
    sql = sqlite3.connect(path)
    sql.execute("UPDATE alarms SET body = '{' WHERE alarm_id = ?", (uid(1),))
    sql.commit()
    sql.close()
    with Store(path) as store:
        assert [a.alarm_id for a in store.load().alarms] == [uid(2)]
        assert "row_unreadable" in capfd.readouterr().err
        # The gateway's document brings it again.
        store.commit(Commit(alarms=(record_of(document(1)),), fresh=frozenset((uid(1),))))
        assert {a.alarm_id for a in store.load().alarms} == {uid(1), uid(2)}


def test_a_store_of_a_newer_version_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    claimed(path)
    sql = sqlite3.connect(path)
    sql.execute("PRAGMA user_version = 99")
    sql.close()
    with pytest.raises(StoreUnavailable, match="version 99"):
        Store(path)


def test_a_place_that_is_no_directory_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailable, match="file"):
        Store(tmp_path / "file" / "mcc.db")
    with pytest.raises(StoreUnavailable, match=str(tmp_path)):
        Store(tmp_path)


# --- several processes ---


def test_only_one_holds_the_link_and_a_dead_holder_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    program = (
        "import sys, time; from pathlib import Path; from mcc.store import LinkLock\n"
        "lock = LinkLock(Path(sys.argv[1])); print(lock.take(), flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lock = LinkLock(path)
        assert not lock.take()
    finally:
        holder.kill()
        holder.communicate()
    assert lock.take()
    assert lock.take()
    lock.give_back()


def test_eight_processes_that_open_a_new_store_at_once_agree_on_it(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        ids = pool.starmap(_open_and_add, [(path, n) for n in range(10, 18)])
    assert len(set(ids)) == 1
    with Store(path) as store:
        assert {c.command_id for c in store.sending()} == {uid(n) for n in range(10, 18)}


def _open_and_add(path: Path, n: int) -> str:
    with Store(path) as store:
        store.add(command(n, "dispatch"))
        return store.store_id


def test_kill_9_in_the_middle_of_commits_loses_nothing_that_had_returned(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    program = (
        "import sys; from pathlib import Path\n"
        "from mcc.core import Commit; from mcc.store import Store\n"
        "from mcc.alarms import record_of; from tests.mcc.rig import document\n"
        "store = Store(Path(sys.argv[1])); n = int(sys.argv[2])\n"
        "while True:\n"
        "    n += 1\n"
        "    store.commit(Commit(alarms=(record_of(document(n)),)))\n"
        "    print(n, flush=True)\n"
    )
    said: set[int] = set()
    for run in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(1_000 * run)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert writer.stdout is not None
        for _ in range(25):
            said.add(int(writer.stdout.readline()))
        os.kill(writer.pid, signal.SIGKILL)
        rest, _ = writer.communicate()
        said |= {int(line) for line in rest.split()}
        with Store(path) as store:
            there = {a.alarm_id for a in store.load().alarms}
        assert {uid(n) for n in said} <= there
    assert len(said) >= 75
