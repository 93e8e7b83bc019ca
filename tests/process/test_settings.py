"""A mistake in a settings file is named: file, key, found, allowed, nearest. Never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from pytest_mock import MockerFixture

from process.settings import (
    FILE_BYTES_MAX,
    PROBLEMS_MAX,
    Broker,
    MqttUrl,
    SettingsError,
    describe_settings,
    parse_mqtt_url,
    read_settings,
)


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class MqttTable(Table, frozen=True):
    url: MqttUrl
    keepalive_s: Annotated[int, Meta(ge=5, le=600)] = 20
    password: str | None = None


class ButtonTable(Table, frozen=True):
    pin: Annotated[int, Meta(ge=0, le=27, description="BCM number")] | None = 17
    window_s: Annotated[float, Meta(ge=1.0, le=60.0)] = 5.0
    pins: Literal["lgpio", "mock"] = "lgpio"
    silent: bool = False


class File(Table, frozen=True):
    post_id: Annotated[str, Meta(pattern=r"^[a-z-]+\Z", max_length=20, examples=["mlg-rw"])]
    mqtt: MqttTable
    button: ButtonTable = ButtonTable()


class Pair(Table, frozen=True):
    ca: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if self.key and not self.ca:
            raise ValueError("key needs ca")


class WithRule(Table, frozen=True):
    mqtt: Pair


GOOD = 'post_id = "mlg-dinoyo"\n[mqtt]\nurl = "mqtt://127.0.0.1"\n'


def read(tmp_path: Path, text: str | bytes) -> File:
    path = tmp_path / "post.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_settings(path, File)


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    """The problems of a file, without its name, which each line must begin with."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    name = f"{tmp_path / 'post.toml'}: "
    assert all(line.startswith(name) for line in caught.value.problems)
    assert all(line.isprintable() for line in caught.value.problems)
    return [line.removeprefix(name) for line in caught.value.problems]


def test_a_good_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD + "keepalive_s = 30\n[button]\nwindow_s = 4\n")
    assert settings.mqtt == MqttTable(url="mqtt://127.0.0.1", keepalive_s=30)
    assert settings.button == ButtonTable(window_s=4.0)


def test_a_file_saved_on_windows_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()).mqtt


def test_every_wrong_key_of_every_table_is_named_in_one_run(tmp_path: Path) -> None:
    text = """
        post_id = "RW 5"
        [mqtt]
        url = "http://x"
        keepalive_s = "20"
        [button]
        pin = 99
        window_s = inf
        pins = "gpio"
        silent = 1
    """
    assert problems(tmp_path, text) == [
        'post_id = "RW 5": expected a text in quotes of 1 to 20 characters, for example "mlg-rw"',
        '[mqtt] url = "http://x": it must begin with mqtt:// or mqtts://; expected a text in quotes'
        " of 1 to 512 characters (mqtt://host[:port] or mqtts://host[:port], with user:password@"
        " if needed)",
        '[mqtt] keepalive_s = "20": expected a whole number from 5 to 600',
        "[button] pin = 99: expected a whole number from 0 to 27 (BCM number)",
        "[button] window_s = Infinity: expected a number from 1.0 to 60.0",
        '[button] pins = "gpio": expected one of "lgpio", "mock"',
        "[button] silent = 1: expected true or false",
    ]


@pytest.mark.parametrize("value", ["nan", "-inf", "1e400", "9" * 400, "1979-05-27", "[[1]]", "{}"])
def test_a_value_that_is_no_number_in_range_is_refused(tmp_path: Path, value: str) -> None:
    [line] = problems(tmp_path, GOOD + f"[button]\nwindow_s = {value}\n")
    assert line.startswith("[button] window_s = ")
    assert line.endswith(": expected a number from 1.0 to 60.0")


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD + "keep_alive = 3\n") == [
        "[mqtt] keep_alive: unknown key; did you mean [mqtt] keepalive_s?"
    ]


def test_a_key_in_the_wrong_table_names_the_right_one(tmp_path: Path) -> None:
    assert problems(tmp_path, "window_s = 3\n" + GOOD) == [
        "window_s: unknown key here; did you mean [button] window_s?"
    ]


def test_an_unknown_table_names_the_nearest_known_one(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD + "[buton]\npin = 3\n") == [
        "buton: unknown table; did you mean button?"
    ]


def test_a_key_like_nothing_known_lists_what_is(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD + "zzz = 3\n") == [
        "[mqtt] zzz: unknown key; known here: url, keepalive_s, password"
    ]


def test_what_is_missing_is_named_with_what_it_must_hold(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == [
        'post_id is missing: expected a text in quotes of 1 to 20 characters, for example "mlg-rw"',
        "the table [mqtt] is missing; it must hold url",
    ]


def test_a_value_where_a_table_belongs_is_named_but_not_shown(tmp_path: Path) -> None:
    assert problems(tmp_path, 'post_id = "a"\nmqtt = "mqtt://u:geheim@h"\n') == [
        "mqtt: found a str, expected the table [mqtt]"
    ]


@pytest.mark.parametrize(
    "line",
    [
        'url = "http://user:geheim@h"',
        'url = "mqtt:user:ge/geheim@h"',
        'url = "mqtt://user:ge\\"geheim@h:0"',
        "password = 1",
        'pasword = "geheim"',
    ],
)
def test_no_problem_shows_a_password(tmp_path: Path, line: str) -> None:
    text = f'post_id = "a"\n[mqtt]\n{line}\n'
    assert "geheim" not in "\n".join(problems(tmp_path, text))


def test_text_that_is_not_toml_is_named_with_line_and_column(tmp_path: Path) -> None:
    assert problems(tmp_path, 'post_id = "a"\n[mqtt\n') == [
        "line 2, column 6: not valid TOML: Expected ']' at the end of a table declaration"
    ]


def test_text_that_ends_too_early_is_named_with_its_last_place(tmp_path: Path) -> None:
    assert problems(tmp_path, 'post_id = "a"\nx = ') == [
        "line 2, column 5: not valid TOML: Invalid value"
    ]


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    assert problems(tmp_path, b"a = 1\nb = '\xff'\n") == [
        "line 2: not UTF-8; save the file as UTF-8"
    ]


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "a = " + "[" * 50_000) == ["nested too deep"]


def test_a_file_too_large_for_settings_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "#" * (FILE_BYTES_MAX + 1)) == [
        "larger than 256 KiB, no settings file"
    ]


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        read_settings(tmp_path / "absent.toml", File)
    with pytest.raises(SettingsError, match="this is a directory"):
        read_settings(tmp_path, File)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / ("x" * 300), File)


def test_a_file_that_may_not_be_read_is_named(mocker: MockerFixture, tmp_path: Path) -> None:
    # Mocked: root, who runs the tests in a container, may read everything.
    mocker.patch.object(Path, "open", side_effect=PermissionError(13, "Permission denied"))
    with pytest.raises(SettingsError, match="may not be read by this user"):
        read_settings(tmp_path / "post.toml", File)


def test_the_number_of_problems_is_bounded(tmp_path: Path) -> None:
    lines = problems(tmp_path, "".join(f"k{number} = 1\n" for number in range(200)) + GOOD)
    assert len(lines) == PROBLEMS_MAX + 1
    assert lines[-1] == "and 150 more"


def test_a_rule_across_keys_is_a_problem_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[mqtt]\nkey = 'k'\n")
    with pytest.raises(SettingsError, match=r"x\.toml: \[mqtt\]: key needs ca"):
        read_settings(path, WithRule)


@given(st.text(max_size=200))
def test_no_text_whatever_gives_anything_but_settings_or_problems(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SettingsError) as caught:
        read_settings(path, File)
    assert caught.value.problems


def test_what_would_run_is_shown_with_defaults_and_without_passwords(tmp_path: Path) -> None:
    text = 'post_id = "a"\n[mqtt]\nurl = "mqtts://u:geheim@h"\npassword = "geheim"\n'
    assert describe_settings(read(tmp_path, text)).split("\n") == [
        'post_id = "a"',
        "",
        "[mqtt]",
        'url = "mqtts://u:***@h:8883"',
        "keepalive_s = 20",
        'password = "***"',
        "",
        "[button]",
        "pin = 17",
        "window_s = 5.0",
        'pins = "lgpio"',
        "silent = false",
    ]


def test_a_key_without_value_is_shown_as_not_set(tmp_path: Path) -> None:
    assert "# password is not set" in describe_settings(read(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://localhost", Broker("localhost", 1883, False)),
        ("mqtts://broker.example.id/", Broker("broker.example.id", 8883, True)),
        ("mqtt://10.0.0.1:1884", Broker("10.0.0.1", 1884, False)),
        ("mqtt://[::1]:1884", Broker("::1", 1884, False)),
        ("mqtts://[fe80::1%eth0]", Broker("fe80::1%eth0", 8883, True)),
        ("mqtt://post@h", Broker("h", 1883, False, "post")),
        ("mqtt://post:p%40ss%2F@h", Broker("h", 1883, False, "post", "p@ss/")),
    ],
)
def test_a_broker_url_is_read(url: str, broker: Broker) -> None:
    assert parse_mqtt_url(url) == broker


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must begin with"),
        ("localhost:1883", "must begin with"),
        ("http://localhost", "must begin with"),
        ("mqtt://", "names no host"),
        ("mqtt://:1883", "names no host"),
        ("mqtt://user@", "names no host"),
        ("mqtt://h:", "port is not a number"),
        ("mqtt://h:0", "port is not a number"),
        ("mqtt://h:65536", "port is not a number"),
        ("mqtt://h:x", "port is not a number"),
        ("mqtt://::1", "must stand in brackets"),
        ("mqtt://[::1", "brackets"),
        ("mqtt://[::1]x", "brackets"),
        ("mqtt://[1.2.3.4]", "brackets"),
        ("mqtt://h/topic", "nothing may follow"),
        ("mqtt://h?x=1", "nothing may follow"),
        ("mqtt://h#x", "nothing may follow"),
        ("mqtt://a b", "blank or a control"),
        ("mqtt://a\x00b", "blank or a control"),
        ("mqtt://-h-", "neither a name nor an address"),
        ("mqtt://:pw@h", "no user"),
        ("mqtt://@h", "no user"),
    ],
)
def test_a_url_that_is_none_is_refused_with_a_reason(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_mqtt_url(url)


@given(st.text(max_size=40))
def test_no_url_whatever_raises_anything_else(rest: str) -> None:
    try:
        broker = parse_mqtt_url("mqtt://" + rest)
    except ValueError:
        return
    assert 1 <= broker.port <= 65535
    assert broker.host


def test_a_broker_is_never_shown_with_its_password() -> None:
    broker = parse_mqtt_url("mqtt://post:geheim@[::1]")
    assert broker.describe() == "mqtt://post:***@[::1]:1883"
    assert "geheim" not in repr(broker)
