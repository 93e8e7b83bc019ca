"""The settings file: the example is real, mistakes are named, nothing is a traceback."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from gateway.cli import main
from gateway.settings import GatewayFile
from process.settings import SettingsError, read_settings

EXAMPLE = Path(__file__).parents[2] / "config" / "gateway.toml"


def uncommented(text: str) -> str:
    """The example with every key that is commented out put in force."""
    lines = []
    for line in text.splitlines():
        is_key = line.startswith("#") and "=" in line and not line.startswith("# ")
        lines.append(line[1:] if is_key else line)
    return "\n".join(lines) + "\n"


def keys_of(kind: type[msgspec.Struct], prefix: str = "") -> set[str]:
    found = set()
    for item in msgspec.structs.fields(kind):
        inner = item.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found |= keys_of(inner, f"{prefix}{item.name}.")
        else:
            found.add(prefix + item.name)
    return found


def test_the_example_is_valid_as_it_stands() -> None:
    settings = read_settings(EXAMPLE, GatewayFile)
    assert settings.mcc.receiver == "console"
    assert settings.mcc.require_receipt


def test_every_key_of_the_example_is_real_and_every_key_is_in_the_example(tmp_path: Path) -> None:
    whole = tmp_path / "gateway.toml"
    # Files for TLS are only taken with a URL that uses them, a pair only with a server.
    text = uncommented(EXAMPLE.read_text()).replace('"mqtt://', '"mqtts://')
    whole.write_text(
        text.replace("sqlite:////var/lib/kentongan/journal.db", "postgresql+psycopg:///kentongan")
    )
    read_settings(whole, GatewayFile)
    table = tomllib.loads(whole.read_text())
    named = {
        f"{name}.{key}" if isinstance(value, dict) else name
        for name, value in table.items()
        for key in (value if isinstance(value, dict) else (None,))
    }
    assert named == keys_of(GatewayFile)


def test_check_prints_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(EXAMPLE)]) == 0
    assert 'gateway_id = "mlg-lowokwaru"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "put", "says"),
    [
        ('gateway_id = "mlg-lowokwaru"', 'gateway_id = "UPPER"', "gateway_id"),
        ('gateway_id = "mlg-lowokwaru"', "", "gateway_id"),
        ("#keepalive_s = 20", "keepalive = 20", "keepalive_s"),
        ("#keepalive_s = 20", "keepalive_s = 1", "keepalive_s"),
        ("#require_receipt = true", 'require_receipt = "yes"', "require_receipt"),
        ("sqlite:////var/lib/kentongan/journal.db", "mysql://nowhere", "sqlite:///path"),
        ("sqlite:////var/lib/kentongan/journal.db", "sqlite://", "sqlite:///path"),
        ("sqlite:////var/lib/kentongan/journal.db", "sqlite:///:memory:", "sqlite:///path"),
        ("sqlite:////var/lib/kentongan/journal.db", "sqlite:///file:j.db", "sqlite:///path"),
        ("sqlite:////var/lib/kentongan/journal.db", "sqlite:////a\\u0000b", "sqlite:///path"),
        ("sqlite:////var/lib/kentongan/journal.db", "postgresql+psycopg://h:p/x", "h:p/x"),
        ("sqlite:////var/lib/kentongan/journal.db", "sqlite:////dev/null/j.db", "/dev/null is not"),
        ("sqlite:////var/lib/kentongan/journal.db", "sqlite:////tmp", "this is a directory"),
        ('#ca = "/etc', 'ca = "/etc', "[posts]: ca would not be used"),
        ("[buzzer]", "[buzzer", "gateway.toml"),
    ],
)
def test_a_mistake_in_the_file_is_named_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], found: str, put: str, says: str
) -> None:
    config = tmp_path / "gateway.toml"
    text = EXAMPLE.read_text()
    assert found in text
    config.write_text(text.replace(found, put, 1))
    assert main(["check", "--config", str(config)]) == 2
    assert says in capsys.readouterr().err


PAIR = """
gateway_id = "mlg-lowokwaru"
[posts]
url = "mqtt://127.0.0.1"
[mcc]
url = "{mcc}"
{mcc_files}
[journal]
url = "{journal}"
[pair]
{pair}
"""
SERVER = "postgresql+psycopg:///kentongan"
FILES = 'ca = "/ca.pem"\ncertificate = "/mcc.pem"'


@pytest.mark.parametrize(
    ("journal", "pair", "tls", "says"),
    [
        (SERVER, 'name = "mlg-lowokwaru-a"', False, None),
        (SERVER, 'name = "mlg-lowokwaru-a"\ncertificate = "/a.pem"', True, None),
        ("sqlite:////j.db", 'name = "mlg-lowokwaru-a"', False, "on PostgreSQL"),
        (SERVER, 'name = "mlg-lowokwaru"', False, "this machine's own"),
        (SERVER, 'certificate = "/a.pem"', True, "it has no name"),
        (SERVER, 'name = "mlg-lowokwaru-a"', True, "certificate is missing"),
        (SERVER, 'name = "mlg-lowokwaru-a"\ncertificate = "/a.pem"', False, "not be used"),
    ],
)
def test_a_pair_that_could_not_be_one_is_refused(
    tmp_path: Path, journal: str, pair: str, tls: bool, says: str | None
) -> None:
    config = tmp_path / "gateway.toml"
    mcc = "mqtts://127.0.0.1" if tls else "mqtt://127.0.0.1"
    files = FILES if tls else ""
    config.write_text(PAIR.format(mcc=mcc, mcc_files=files, journal=journal, pair=pair))
    if says is None:
        assert read_settings(config, GatewayFile).pair.name == "mlg-lowokwaru-a"
        return
    with pytest.raises(SettingsError, match=says):
        read_settings(config, GatewayFile)


def test_check_names_a_certificate_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gateway.toml"
    text = EXAMPLE.read_text().replace('"mqtt://', '"mqtts://', 1)
    config.write_text(text.replace('#ca = "/etc', f'ca = "{tmp_path}', 1))
    assert main(["check", "--config", str(config)]) == 2
    assert '[posts] ca = "' in (said := capsys.readouterr().err)
    assert "No such file" in said


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", "/nowhere/gateway.toml"]) == 2
    assert "/nowhere/gateway.toml" in capsys.readouterr().err
