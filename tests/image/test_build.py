"""What a card is made of, without a card: an ext4 shows nothing of when it was made, and no private
key is taken for the public one that every card carries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from image.build import _require_public, _same_times
from image.debian import BuildError, clamp, run

EPOCH = 1_764_288_000


def test_a_file_system_says_of_no_moment_that_it_was_made_or_written_in_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    # As many as it takes until debugfs counts its own writing into the superblock, with the time.
    for number in range(2_000):
        (tree / f"{number}").write_text("x")
    clamp(tree, EPOCH)
    system = tmp_path / "system.ext4"
    with system.open("wb") as file:
        file.truncate(64 << 20)
    stamp = {"E2FSPROGS_FAKE_TIME": str(EPOCH)}
    run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", "-d", tree, system, env=stamp)
    _same_times(system, EPOCH)
    said = run("dumpe2fs", "-h", system, env={"TZ": "UTC"})
    for what in ("Filesystem created", "Last write time", "Last checked"):
        assert re.search(rf"^{what}: +Fri Nov 28 00:00:00 2025$", said, re.MULTILINE), said
    shown = run("debugfs", "-R", "stat 1999", system)
    assert len(re.findall(rf"0x{EPOCH:08x}", shown)) == 4, shown


def test_only_the_public_half_of_an_update_key_goes_onto_a_card(tmp_path: Path) -> None:
    private, public, other = (tmp_path / name for name in ("update.pem", "update.pub", "rsa.pub"))
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", private)
    run("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    run("openssl", "genpkey", "-algorithm", "rsa", "-out", tmp_path / "rsa.pem")
    run("openssl", "pkey", "-in", tmp_path / "rsa.pem", "-pubout", "-out", other)
    _require_public(public)
    both = tmp_path / "both.pem"
    both.write_bytes(public.read_bytes() + private.read_bytes())
    for wrong in (private, other, both, tmp_path / "none"):
        with pytest.raises(BuildError, match=wrong.name):
            _require_public(wrong)
