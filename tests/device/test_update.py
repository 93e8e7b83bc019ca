"""An update on a card: good, bad, unsigned, cut, crashing, hanging, interrupted; without a boot."""

from __future__ import annotations

import dataclasses
import errno
import io
import platform
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from device import update as update_module
from device.status import PostStatus
from device.update import (
    FACTORY,
    MANIFEST_BYTES_MAX,
    PROOF_PATIENCE_S,
    UPDATE_BYTES_MAX,
    Installed,
    Manifest,
    Store,
    UpdateRefused,
    at_start,
    pack_update,
    update,
)
from process.files import replace_file

GOOD = PostStatus(
    uptime_us=0,
    post="mlg-rw01",
    lamp="armed",
    listening=True,
    connected=True,
    gateway_answers=True,
    mcc_answers=True,
    faults=(),
    location="surveyed",
    held=0,
)
UNANSWERED = PostStatus(
    **{**{f: getattr(GOOD, f) for f in GOOD.__struct_fields__}, "gateway_answers": False}
)


class PowerCut(Exception):
    """Nothing after this happens."""


@dataclasses.dataclass
class Bench:
    """A machine on which each version behaves as it is told; time passes when it is waited."""

    behaves: dict[str, PostStatus | None] = dataclasses.field(default_factory=dict)
    ends: set[str] = dataclasses.field(default_factory=set)
    cut_while: str | None = None
    asked_to_stop_while: str | None = None
    deaf_manager: str | None = None
    laid: str = FACTORY
    runs: str = FACTORY
    at_s: float = 0.0

    def lay(self, firmware: Path) -> None:
        if self.runs == self.cut_while:
            raise PowerCut
        self.laid = firmware.name

    def is_laid(self) -> bool:
        return self.laid != FACTORY

    def restart(self) -> None:
        self.runs = self.laid

    def restarts(self) -> int:
        if self.runs == self.deaf_manager:
            raise UpdateRefused("systemctl show does not end")
        return int(self.runs in self.ends)

    def status(self) -> PostStatus | None:
        if self.runs == self.cut_while:
            raise PowerCut
        if self.runs == self.asked_to_stop_while:
            raise KeyboardInterrupt
        return self.behaves.get(self.runs, GOOD)

    def now_s(self) -> float:
        return self.at_s

    def wait(self, seconds: float) -> None:
        self.at_s += seconds


@dataclasses.dataclass(frozen=True)
class Card:
    """What lies on a card, and in the office that signs."""

    directory: Path
    store: Store
    key: Path
    public: Path

    def update(
        self, version: str, key: Path | None = None, changes: dict[str, str] | None = None
    ) -> Path:
        """An update as the office makes it."""
        venv = self.directory / f"venv-{version}"
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin/kentongan-device").write_text(f"#!/bin/sh\necho {version}\n")
        (venv / "bin/kentongan-device").chmod(0o755)
        (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
        out = self.directory / f"{version}.update"

        def manifest(digest: str) -> Manifest:
            python = ".".join(platform.python_version_tuple()[:2])
            fields = {"version": version, "python": python, "machine": platform.machine()}
            return msgspec.convert({**fields, "sha256": digest, **(changes or {})}, Manifest)

        pack_update(venv, manifest, key or self.key, out)
        return out


def make_key(path: Path) -> Path:
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    return path


@pytest.fixture
def card(tmp_path: Path) -> Card:
    factory = tmp_path / FACTORY
    factory.mkdir()
    key = make_key(tmp_path / "signing.pem")
    public = tmp_path / "update.pub"
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    return Card(tmp_path, Store(tmp_path / "firmware", factory), key, public)


def refused(card: Card, bench: Bench, file: Path) -> str:
    with pytest.raises(UpdateRefused) as raised:
        update(card.store, bench, file, card.public)
    return str(raised.value)


def test_a_good_update_runs_stays_and_is_what_the_next_start_lays(card: Card) -> None:
    bench = Bench()
    assert update(card.store, bench, card.update("1.1"), card.public) == "1.1"
    assert (bench.runs, card.store.installed()) == ("1.1", Installed(current="1.1"))
    program = card.store.path("1.1") / "bin/kentongan-device"
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"1.1\n"
    again = Bench()
    assert at_start(card.store, again) == "1.1"
    assert again.laid == "1.1"


def test_the_version_before_is_kept_and_the_one_before_that_is_not(card: Card) -> None:
    bench = Bench()
    for version in ("1.1", "1.2", "1.3"):
        update(card.store, bench, card.update(version), card.public)
    kept = {path.name for path in card.store.directory.iterdir() if path.is_dir()}
    assert kept == {"1.2", "1.3"}


def test_the_version_that_runs_is_not_installed_over_itself(card: Card) -> None:
    bench = Bench()
    file = card.update("1.1")
    update(card.store, bench, file, card.public)
    assert "runs already" in refused(card, bench, file)
    assert (card.store.path("1.1") / "pyvenv.cfg").exists()


def test_a_version_that_gave_way_to_the_cards_own_can_be_installed_again(card: Card) -> None:
    bench = Bench()
    file = card.update("1.1")
    update(card.store, bench, file, card.public)
    bench.laid = bench.runs = FACTORY
    assert update(card.store, bench, file, card.public) == "1.1"
    assert bench.runs == "1.1"


def unsigned(file: Path) -> None:
    _replace(file, "manifest.sig", lambda content: b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def manifest_changed(file: Path) -> None:
    _replace(file, "manifest.json", lambda content: content.replace(b"1.1", b"9.9"))


def firmware_changed(file: Path) -> None:
    _replace(file, "firmware.tar", lambda content: content.replace(b"echo 1.1", b"echo 6.6"))


def no_update(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04" + bytes(5000))


def larger_than_it_is(file: Path) -> None:
    """A sparse member, as GNU tar packs it: all of its size and not a byte of it."""
    hollow = file.with_name("firmware.tar")
    with hollow.open("wb") as made:
        made.truncate(UPDATE_BYTES_MAX)
    command = ["tar", "--create", "--sparse", "--format=gnu", f"--file={file}", hollow.name]
    subprocess.run(command, cwd=file.parent, check=True)
    with tarfile.open(file, "a:") as tar:
        for name in ("manifest.json", "manifest.sig"):
            tar.addfile(tarfile.TarInfo(name))


def _replace(file: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    with tarfile.open(file) as tar:
        parts = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        content = {key: part.read() for key, part in parts.items() if part is not None}
    content[name] = change(content[name])
    with tarfile.open(file, "w:") as tar:
        for key, body in content.items():
            member = tarfile.TarInfo(key)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (unsigned, "signature"),
        (manifest_changed, "signature"),
        (firmware_changed, "cut short or changed"),
        (cut, "not a whole update"),
        (no_update, "not a whole update"),
        (larger_than_it_is, "firmware.tar is no file"),
    ],
)
def test_what_nobody_signed_or_is_not_whole_changes_nothing(
    card: Card, spoil: Callable[[Path], None], says: str
) -> None:
    bench = Bench()
    file = card.update("1.1")
    spoil(file)
    assert says in refused(card, bench, file)
    assert (bench.runs, card.store.installed()) == (FACTORY, Installed())
    assert list(card.store.directory.iterdir()) == []


def test_the_key_of_somebody_else_is_no_signature(card: Card) -> None:
    file = card.update("1.1", key=make_key(card.directory / "thief.pem"))
    assert "signature" in refused(card, Bench(), file)


def test_a_card_that_was_made_without_a_key_takes_no_update(card: Card) -> None:
    file = card.update("1.1")
    card.public.unlink()
    assert "made to take no updates" in refused(card, Bench(), file)


@pytest.mark.parametrize("changes", [{"python": "3.99"}, {"machine": "riscv64"}])
def test_an_update_for_another_card_is_refused(card: Card, changes: dict[str, str]) -> None:
    assert "it is for Python" in refused(card, Bench(), card.update("1.1", changes=changes))


def test_a_manifest_longer_than_any_is_refused(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    file = card.update("1.1")
    monkeypatch.setattr(update_module, "MANIFEST_BYTES_MAX", 10)
    assert MANIFEST_BYTES_MAX > 10
    assert "manifest" in refused(card, Bench(), file)


@pytest.mark.parametrize(
    ("bound", "says"),
    [
        ("UPDATE_BYTES_MAX", "more than"),
        ("UNPACKED_BYTES_MAX", "more than"),
        ("UNPACKED_FILES_MAX", "files in it"),
    ],
)
def test_an_update_over_a_bound_is_refused(
    card: Card, monkeypatch: pytest.MonkeyPatch, bound: str, says: str
) -> None:
    file = card.update("1.1")
    monkeypatch.setattr(update_module, bound, 1)
    assert says in refused(card, Bench(), file)
    assert not card.store.path("1.1").exists()


def test_a_firmware_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    firmware, to = tmp_path / "evil.tar", tmp_path / "to"
    for name, kind in (("../../etc/passwd", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)):
        with tarfile.open(firmware, "w:") as tar:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/shadow"
            tar.addfile(member, io.BytesIO())
        with pytest.raises(UpdateRefused, match="no plain file below it"):
            update_module._extract(firmware, to)


@pytest.mark.parametrize(
    ("bench", "says"),
    [
        (Bench(ends={"1.1"}), "it ended by itself"),
        (Bench(behaves={"1.1": None}), "not listening and answered within"),
        (Bench(behaves={"1.1": UNANSWERED}), "not listening and answered within"),
        (Bench(deaf_manager="1.1"), "systemctl show does not end"),
    ],
    ids=["crashes", "hangs", "is not answered", "nobody can tell"],
)
def test_an_update_that_does_not_come_up_is_taken_back_by_itself(
    card: Card, bench: Bench, says: str
) -> None:
    said = refused(card, bench, card.update("1.1"))
    assert says in said
    assert "factory runs again" in said
    assert (bench.runs, card.store.installed()) == (FACTORY, Installed())
    assert not card.store.path("1.1").exists()
    assert bench.at_s <= PROOF_PATIENCE_S + 1


def test_after_a_power_cut_in_the_trial_the_version_before_runs(card: Card) -> None:
    update(card.store, Bench(), card.update("1.0"), card.public)
    with pytest.raises(PowerCut):
        update(card.store, Bench(cut_while="1.1"), card.update("1.1"), card.public)
    assert card.store.installed().trial == "1.1"
    bench = Bench()
    assert at_start(card.store, bench) == "1.0"
    assert bench.laid == "1.0"
    assert card.store.installed() == Installed(current="1.0")
    # And it can be tried again.
    assert update(card.store, Bench(), card.update("1.1"), card.public) == "1.1"


def test_who_stops_the_proof_gets_the_version_before(card: Card) -> None:
    bench = Bench(asked_to_stop_while="1.1")
    with pytest.raises(KeyboardInterrupt):
        update(card.store, bench, card.update("1.1"), card.public)
    assert (bench.runs, card.store.installed()) == (FACTORY, Installed())
    assert not card.store.path("1.1").exists()


def test_an_update_that_cannot_be_taken_off_keeps_its_files_until_the_next_start(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, lay = Bench(behaves={"1.1": None}), Bench.lay

    def stuck(bench: Bench, firmware: Path) -> None:
        if bench.laid == "1.1":
            raise UpdateRefused("umount does not end")
        lay(bench, firmware)

    monkeypatch.setattr(Bench, "lay", stuck)
    assert "runs again from the next start" in refused(card, bench, card.update("1.1"))
    assert bench.runs == "1.1"
    assert (card.store.path("1.1") / "pyvenv.cfg").exists()
    assert card.store.installed() == Installed()


def test_a_proof_that_cannot_be_written_down_is_none(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, note = Bench(), Store.note

    def full(store: Store, installed: Installed) -> None:
        if installed.current == "1.1":
            raise OSError(errno.ENOSPC, "No space left on device")
        note(store, installed)

    monkeypatch.setattr(Store, "note", full)
    with pytest.raises(OSError, match="No space"):
        update(card.store, bench, card.update("1.1"), card.public)
    assert (bench.runs, card.store.installed()) == (FACTORY, Installed())


def test_a_power_cut_at_any_write_of_the_state_leaves_a_version_that_is_whole(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = replace_file
    for cut_at in (0, 1):
        writes = 0

        def cut_replace(path: Path, content: bytes, mode: int, cut_at: int = cut_at) -> None:
            nonlocal writes
            writes += 1
            if writes > cut_at:
                raise PowerCut
            replace(path, content, mode)

        monkeypatch.setattr(update_module, "replace_file", cut_replace)
        with pytest.raises(PowerCut):
            update(card.store, Bench(), card.update("1.1"), card.public)
        monkeypatch.setattr(update_module, "replace_file", replace)
        assert at_start(card.store, Bench()) == FACTORY


@pytest.mark.parametrize("content", [b"", b"{", b'{"current": 5}'])
def test_a_state_that_cannot_be_read_means_the_factorys_firmware(
    card: Card, content: bytes
) -> None:
    card.store.directory.mkdir()
    (card.store.directory / "installed.json").write_bytes(content)
    assert at_start(card.store, Bench()) == FACTORY


def test_a_firmware_that_is_gone_means_the_factorys(card: Card) -> None:
    card.store.directory.mkdir()
    card.store.note(Installed(current="1.1"))
    assert at_start(card.store, Bench()) == FACTORY
