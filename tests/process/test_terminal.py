"""The three commands on outputs that cannot take what they say: never a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcc.alarms import record_of
from mcc.core import Commit
from mcc.store import Store
from process.terminal import INTERRUPTED, UNHEARD
from tests.mcc.rig import document, step

ROOT = Path(__file__).parents[2]
OPERATOR = "Siti Nuraini \N{LATIN SMALL LETTER E WITH ACUTE}"
PROGRAMS = {
    "device.cli": "kentongan-device",
    "gateway.cli": "kentongan-gateway",
    "mcc.cli": "kentongan-mcc",
}


def arguments(module: str, directory: Path) -> list[str]:
    """What lets a command say something."""
    if module == "mcc.cli":
        store = directory / "mcc.db"
        with Store(store) as opened:
            shown = document(
                state="acknowledged", reached={"acknowledged": step(operator=OPERATOR)}
            )
            opened.commit(Commit(alarms=(record_of(shown),)))
        return ["list", "--store", str(store)]
    example = "post.toml" if module == "device.cli" else "gateway.toml"
    text = (ROOT / "config" / example).read_text()
    settings = directory / example
    settings.write_text(text.replace("/var/lib/kentongan", str(directory)))
    return ["check", "--config", str(settings)]


def ends(
    module: str, words: list[str], shell: str, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with its standard output as the shell's `shell` says."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {shell}', "-", sys.executable, "-m", module, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "", **more},
    )


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_full_disk_under_the_output_is_said_in_one_line(module: str, tmp_path: Path) -> None:
    ended = ends(module, arguments(module, tmp_path), "> /dev/full")
    assert ended.returncode == UNHEARD
    assert ended.stderr.splitlines() == [f"{PROGRAMS[module]}: No space left on device"]


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_reader_that_has_gone_is_told_nothing_more(module: str, tmp_path: Path) -> None:
    ended = ends(module, arguments(module, tmp_path), "| { exec <&-; sleep 3; }")
    assert (ended.returncode, ended.stderr) == (UNHEARD, "")


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_command_without_an_output_does_its_work(module: str, tmp_path: Path) -> None:
    ended = ends(module, arguments(module, tmp_path), ">&-")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_name_that_the_terminal_cannot_show_is_written_with_escapes(tmp_path: Path) -> None:
    words = arguments("mcc.cli", tmp_path)
    ended = ends("mcc.cli", words, "", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert "Siti Nuraini \\xe9" in ended.stdout


def test_the_help_can_be_shown_on_any_terminal() -> None:
    for module, command in (("device.cli", "panel"), ("gateway.cli", "check"), ("mcc.cli", "list")):
        ended = ends(module, [command, "--help"], "", PYTHONIOENCODING="ascii")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.isascii()


def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path: Path) -> None:
    # A panel that never answers, because it is not one.
    with socket.socket(socket.AF_UNIX) as panel:
        panel.bind(str(tmp_path / "panel"))
        panel.listen()
        words = ["panel", "--socket", str(tmp_path / "panel"), "status"]
        asking = subprocess.Popen(
            [sys.executable, "-m", "device.cli", *words],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            # A shell starts what runs in its background with Ctrl-C ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one call
        )
        panel.settimeout(30)
        with panel.accept()[0]:
            asking.send_signal(signal.SIGINT)
            _, said = asking.communicate(timeout=30)
    assert (asking.returncode, said) == (INTERRUPTED, "")
