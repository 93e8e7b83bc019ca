"""A log line is one line, can be read back, and holds no secret."""

from __future__ import annotations

import io
import re
import sys

import pytest

from process.log import VALUE_CHARACTERS_MAX, lines_lost, log


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
    assert re.match(r"at=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ level=info event=link_up ", text)
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
