"""`kentongan-device` as a person meets it: settings, mistakes, the panel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from device.cli import PANEL_VERBS
from device.settings import PostFile
from hardware.panel import REQUESTS
from process.settings import read_settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "post.toml"
GOOD = """
post_id = "mlg-test-rw01"
[location]
lat = -7.9
lon = 112.6
[mqtt]
url = "mqtt://127.0.0.1:1"
[hardware]
pins = "mock"
"""


def device(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "device.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=ROOT,
    )


def with_every_key_on(text: str) -> str:
    """The example with its commented-out keys switched on, and with values that allow them."""
    text = re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.MULTILINE)
    return text.replace('"mqtt://', '"mqtts://')


def without(text: str, key: str) -> str:
    return re.sub(rf"^{key} = .*\n", "", text, flags=re.MULTILINE)


def test_every_key_of_the_example_is_real_and_every_key_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "post.toml"
    text = with_every_key_on(EXAMPLE.read_text())
    for allowed in (
        without(text, "panel_socket"),
        without(text, "chip").replace('pins = "lgpio"', 'pins = "mock"'),
    ):
        path.write_text(allowed)
        read_settings(path, PostFile)
    shown = tomllib.loads(text)

    def keys(model: type[msgspec.Struct], table: dict[str, object], where: str) -> None:
        for field in msgspec.structs.fields(model):
            assert field.encode_name in table, f"{where}{field.encode_name} is not in the example"
            kind = field.type
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                inner = table[field.encode_name]
                assert isinstance(inner, dict)
                keys(kind, inner, f"[{field.encode_name}] ")

    keys(PostFile, shown, "")


def test_what_the_example_says_is_the_default_is_the_default(tmp_path: Path) -> None:
    plain = read_settings(EXAMPLE, PostFile)
    path = tmp_path / "post.toml"
    examples_not_defaults = (
        *("blue", "ca", "certificate", "key", "chip", "panel_socket", "nc_pin"),
        "second_url",
    )
    text = "\n".join(
        line
        for line in with_every_key_on(EXAMPLE.read_text()).splitlines()
        if not line.startswith(tuple(f"{name} =" for name in examples_not_defaults))
    )
    for not_fitted in ("loop_pin = 12", "pin = 25", "pin = 6", "pin = 13"):
        text = text.replace(f"\n{not_fitted}\n", "\n")
    path.write_text(text.replace('"mqtts://', '"mqtt://'))
    assert read_settings(path, PostFile) == plain


def test_check_prints_what_would_run() -> None:
    done = device("check", "--config", str(EXAMPLE))
    assert done.returncode == 0, done.stderr
    assert "heartbeat_s" in done.stdout


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (GOOD.replace("lat = -7.9", 'lat = "south"'), "lat"),
        (GOOD.replace("lat = -7.9", "lat = -97.9"), "lat"),
        (GOOD.replace("[hardware]", "[hardwear]"), "hardware"),
        (GOOD.replace("pins =", "pin ="), "pins"),
        (GOOD.replace("url =", "uri ="), "url"),
        (GOOD.replace("mqtt://", "http://"), "mqtt"),
        (GOOD.replace("mlg-test-rw01", "RW 05!"), "post_id"),
        (GOOD + "[button\n", "line"),
        (GOOD.replace('post_id = "mlg-test-rw01"', ""), "post_id"),
        (GOOD.replace("mlg-test-rw01", ""), "of 1 to 64 characters"),
        (GOOD + "chip = 0\n", "[hardware]: chip would not be used"),
        (GOOD.replace('"mock"', '"lgpio"\npanel_socket = "/tmp/p"'), "[hardware]: panel_socket"),
        (GOOD + "[tamper]\npin = 24\n", "[buzzer] pin and [tamper] pin are both 24"),
        (GOOD + "[button]\npresses = 9\nwindow_s = 1\n", "[button]: 9 presses do not fit"),
        (GOOD + '[store]\npath = "/tmp/a\\u0000b"\n', "without control characters"),
        (GOOD.replace("[hardware]", 'ca = "/x"\n[hardware]'), "[mqtt]: ca would not be used"),
        (GOOD.replace("[hardware]", "heartbeat_s = 81\n[hardware]"), "from 5 to 80"),
        (
            GOOD.replace("mqtt://", "mqtts://").replace("[hardware]", 'key = "/x"\n[hardware]'),
            "[mqtt]: key needs certificate",
        ),
        (
            GOOD.replace("mqtt://", "mqtts://").replace(
                "[hardware]", 'certificate = "/x"\n[hardware]'
            ),
            "[mqtt]: certificate needs ca",
        ),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_wrong_setting_is_named_and_exits_2(
    tmp_path: Path, broken: str, says: str, command: str
) -> None:
    path = tmp_path / "post.toml"
    path.write_text(broken)
    done = device(command, "--config", str(path))
    assert done.returncode == 2
    assert says in done.stderr
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[store]\npath = "/dev/null/post.db"\n', "/dev/null is not a directory"),
        ('[store]\npath = "/tmp"\n', '[store] path = "/tmp": this is a directory'),
        ('panel_socket = "/dev/null/p"\n', '[hardware] panel_socket = "/dev/null/p"'),
    ],
)
def test_check_names_a_place_that_cannot_be_used(tmp_path: Path, more: str, says: str) -> None:
    path = tmp_path / "post.toml"
    path.write_text(GOOD + more)
    done = device("check", "--config", str(path))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "post.toml"
    text = GOOD.replace("mqtt://", "mqtts://")
    path.write_text(text.replace("[hardware]", f'ca = "{tmp_path}/ca.pem"\n[hardware]'))
    done = device("check", "--config", str(path))
    assert done.returncode == 2
    assert "[mqtt] ca = " in done.stderr
    assert "No such file" in done.stderr


def test_one_run_reports_an_error_of_every_table(tmp_path: Path) -> None:
    path = tmp_path / "post.toml"
    path.write_text(
        GOOD.replace("lat = -7.9", "lat = 99.0").replace("pins =", "pens =")
        + "[button]\npresses = 0\n[buzzer]\nsilent = 3\n"
    )
    done = device("check", "--config", str(path))
    for word in ("location", "hardware", "button", "buzzer"):
        assert word in done.stderr


@pytest.mark.parametrize("path", ["missing.toml", "."])
def test_a_file_that_is_not_there_or_no_file_is_said_so(tmp_path: Path, path: str) -> None:
    done = device("run", "--config", str(tmp_path / path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr


def test_pins_that_are_not_there_are_said_so_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "post.toml"
    path.write_text(GOOD.replace('"mock"', '"lgpio"') + f'[store]\npath = "{tmp_path}/p.db"\n')
    done = device("run", "--config", str(path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "lgpio" in done.stderr


def test_the_panel_says_when_nobody_answers(tmp_path: Path) -> None:
    done = device("panel", "--socket", str(tmp_path / "no.sock"), "status")
    assert done.returncode == 1
    assert "no.sock" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_edges_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.edges"
    path.write_text("0 0\nsoon 1\n")
    done = device("panel", "--socket", str(tmp_path / "no.sock"), "edges", str(path))
    assert done.returncode == 1
    assert "bad.edges" in done.stderr
    assert "2" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wire"], "cut, short, ok"),
        (["wire", "sever"], "cut, short, ok"),
        (["tamper", "lost"], "open, close"),
        (["mains", "open"], "lost, back"),
        (["press", "hard"], "takes no argument"),
        (["edges"], "needs a file"),
    ],
)
def test_a_panel_verb_with_the_wrong_argument_says_what_it_takes(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    done = device("panel", "--socket", str(tmp_path / "no.sock"), *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_the_command_line_knows_every_request_of_the_panel() -> None:
    assert set(PANEL_VERBS) == set(REQUESTS)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise ModuleNotFoundError(name='msgspec')\n")
    done = subprocess.run(
        [sys.executable, "-m", "device.cli", "check", "--config", str(EXAMPLE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "kentongan[device]" in done.stderr


def test_a_panel_whose_path_is_not_unicode_is_only_not_there(tmp_path: Path) -> None:
    done = device("panel", "--socket", os.fsdecode(os.fsencode(tmp_path) + b"/\xff"), "status")
    assert done.returncode == 1
    assert "no panel answers at" in done.stderr
    assert "Traceback" not in done.stderr
