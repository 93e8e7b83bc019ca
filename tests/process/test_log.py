"""A log line is one line, can be read back, and holds no secret."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator

import pytest

from process import log as log_module
from process.core import Log
from process.log import VALUE_CHARACTERS_MAX, begin, lines_lost, log, write_line


def line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text[:-1]


def test_a_line_begins_with_the_time_and_names_its_event(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log("link_up", link="posts", retained=False, why=None, count=3)
    text = line(capsys)
    assert re.match(r"at=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z level=info event=link_up ", text)
    assert text.endswith("link=posts retained=false why=null count=3")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ('a"b', r'"a\"b"'),
        ("a=b", '"a=b"'),
        ("line\nbreak\r\x1b[31m", r'"line\nbreak\r\u001b[31m"'),
        ("\u202eevil", r'"\u202eevil"'),
        ("\ud800", r'"\ud800"'),
        (b"\xff\x00", r'"\\xff\u0000"'),
        (ValueError("no"), '"ValueError: no"'),
        (1.5, "1.5"),
    ],
)
def test_a_value_can_neither_break_the_line_nor_the_field(
    capsys: pytest.CaptureFixture[str], value: object, written: str
) -> None:
    log("x", level="warning", value=value)
    assert line(capsys).endswith(f"level=warning event=x value={written}")


@pytest.fixture
def begun() -> Iterator[None]:
    yield
    log_module._part, log_module._as_json = None, False


def test_a_line_says_which_part_wrote_it_and_when_its_event_was(
    capsys: pytest.CaptureFixture[str], begun: None
) -> None:
    begin("gateway")
    at_ns = 1_795_000_000_123_456_789
    write_line(Log("alarm_sent", fields={"alarm_id": "5f2c"}), at_ns)
    assert line(capsys) == (
        "at=2026-11-18T11:06:40.123456Z part=gateway level=info event=alarm_sent alarm_id=5f2c"
    )


def test_the_same_line_as_json_is_one_object_whatever_is_in_it(
    capsys: pytest.CaptureFixture[str], begun: None
) -> None:
    begin("post", "json")
    fields = {"why": "a\nb\u202e", "n": 3, "after_ms": 1.5, "nan": float("nan"), "none": None}
    log("x", level="error", **fields, url="mqtt://u:geheim@h", password="geheim")  # type: ignore[arg-type]
    written = json.loads(line(capsys))
    assert re.fullmatch(r"20\d\d-.*\.\d{6}Z", written.pop("at"))
    assert written == {
        "part": "post",
        "level": "error",
        "event": "x",
        "why": "a\nb\u202e",
        "n": 3,
        "after_ms": 1.5,
        "nan": "nan",
        "none": None,
        "url": "mqtt://***@h",
        "password": "***",
    }


def test_a_long_value_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    log("x", value="y" * 100_000)
    assert line(capsys).endswith("value=" + "y" * VALUE_CHARACTERS_MAX + "...")


@pytest.mark.parametrize(
    "value", ["mqtt://post:geheim@broker", "to mqtts://u:ge@heim@h:1", b"//:geheim@h"]
)
def test_a_password_in_a_url_is_masked(
    capsys: pytest.CaptureFixture[str], value: str | bytes
) -> None:
    log("x", url=value)
    text = line(capsys)
    assert "//***@" in text
    assert "heim" not in text


def test_a_field_that_is_a_secret_by_name_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    log("x", password="geheim")
    assert line(capsys).endswith("password=***")


def test_a_line_that_cannot_be_written_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    before = lines_lost()
    log("x")
    assert lines_lost() == before + 1
