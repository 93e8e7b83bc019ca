"""`kentongan-gateway` on identities as a person meets it: what it says of a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mcc.cli
from device.settings import PostFile
from gateway.cli import main
from process.bundle import HERE, read_bundle
from process.settings import read_settings

CONFIG = """gateway_id = "mlg-gw1"
[posts]
url = "mqtts://localhost:1"
[mcc]
url = "mqtts://localhost:1"
[journal]
url = "sqlite:///journal.db"
"""
PLACE = ("--lat", "-7.98", "--lon", "112.63")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG + f'[identities]\ndirectory = "{tmp_path / "register"}"\n')
    assert main(["ca", "init", "--config", str(path)]) == 0
    return str(path)


def test_every_role_gets_a_bundle_with_what_it_needs(config: str, tmp_path: Path) -> None:
    for arguments, files in (
        (["post", "mlg-rw01", *PLACE], {"ca.pem", "identity.pem", "post.toml"}),
        (["console", "console", "--may", "operator"], {"ca.pem", "identity.pem"}),
        (["gateway", "mlg-gw1"], {"ca.pem", "posts.pem", "mcc.pem"}),
        (["broker", "broker-1", "--host", "localhost"], {"ca.pem", "broker.pem"}),
    ):
        assert main(["provision", *arguments, "--config", config]) == 0
        path = tmp_path / f"{arguments[1]}.kentongan"
        assert set(read_bundle(path, arguments[0]).files) == files
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_post_with_a_receiver_reads_it_from_its_bundles_settings(
    config: str, tmp_path: Path
) -> None:
    for name, option, device in (
        ("mlg-rw01", "--gps", "/dev/serial0"),
        ("mlg-rw02", "--gps=/dev/ttyUSB0", "/dev/ttyUSB0"),
    ):
        assert main(["provision", "post", name, *PLACE, option, "--config", config]) == 0
        bundle = read_bundle(tmp_path / f"{name}.kentongan", "post")
        path = tmp_path / "post.toml"
        path.write_text(bundle.files["post.toml"].replace(HERE, "/nowhere"))
        location = read_settings(path, PostFile).location
        assert (location.source, location.device, location.lat) == ("gps", device, -7.98)


def test_how_its_card_reaches_the_network_goes_into_a_posts_bundle(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tmp_path / "network.toml"
    wanted = ["provision", "post", "mlg-rw01", *PLACE, "--network", str(network)]
    network.write_text('[wifi]\nssid = "pos"\npassword = "short"')
    assert main([*wanted, "--config", config]) == 2
    assert "[wifi] password" in capsys.readouterr().err
    network.write_text('[wifi]\nssid = "pos"\npassword = "long enough"')
    assert main([*wanted, "--config", config]) == 0
    bundle = read_bundle(tmp_path / "mlg-rw01.kentongan", "post")
    assert bundle.files["network.toml"] == network.read_text()


def test_the_list_shows_everybody(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = ("--name", "Pos RW 01", "--kelurahan", "Dinoyo")
    main(["provision", "post", "mlg-rw01", *PLACE, *name, "--config", config])
    main(["provision", "console", "console", "--config", config])
    capsys.readouterr()
    assert main(["list", "--json", "--config", config]) == 0
    console, post = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (console["name"], console["role"], console["console_role"]) == (
        "console", "console", "viewer",
    )  # fmt: skip
    assert (post["label"], post["lat"], post["kelurahan"]) == ("Pos RW 01", -7.98, "Dinoyo")
    assert main(["list", "--config", config]) == 0
    assert "Pos RW 01" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["provision", "post", "mlg-rw01"], "--lat and --lon"),
        (["provision", "post", "mlg-rw01", "--lat", "91", "--lon", "1"], "--lat"),
        (["provision", "post", "mlg-rw01", "--lat", "nan", "--lon", "1"], "--lat"),
        (["provision", "post", "Mlg Rw01", *PLACE], "is no name"),
        (["provision", "post", "mlg-rw01", *PLACE, "--name", "x" * 49], "--name"),
        (["provision", "post", "mlg-rw01", *PLACE, "--name", "a\u202eb"], "--name"),
        (["provision", "post", "mlg-rw01", *PLACE, "--name", "\udcff"], "--name"),
        (["provision", "console", "c", "--name", "\udcff"], "--name"),
        (["revoke", "\udcff"], "is not in the register"),
        (["provision", "post", "mlg-rw01", *PLACE, "--url", "mqtt://far.example"], "mqtts://"),
        (["provision", "post", "mlg-rw01", *PLACE, "--url", "x"], "--url"),
        (["provision", "post", "mlg-rw01", *PLACE, "--settings", "nowhere"], "--settings"),
        (["provision", "post", "mlg-rw01", *PLACE, "--gps", ""], "--gps"),
        (["provision", "console", "c", "--gps"], "--gps is for a post"),
        (["provision", "post", "mlg-rw01", *PLACE, "--out", "no/where/x"], "--out"),
        (["provision", "post", "mlg-rw01", *PLACE, "--host", "h"], "--host is for a broker"),
        (["provision", "console", "c", "--lat", "1"], "--lat is for a post"),
        (["provision", "gateway", "g" * 60], "is no name"),
        (["provision", "broker", "b"], "--host"),
        (["provision", "broker", "b", "--host", "a b"], "neither a host name"),
        (["revoke", "nobody"], "is not in the register"),
        (["renew", "nobody"], "is not in the register"),
        (["ca", "init"], "there is one already"),
        (["broker-config", "--bundle", "nowhere", "--to", "b"], "No such file"),
        (["broker-config", "--bundle", "x", "--to", "b", "--port", "70000"], "--port 70000"),
    ],
)
def test_a_mistake_is_said_in_a_line_and_exit_2(
    config: str, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main([*arguments, "--config", config]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("kentongan-gateway: ")


def test_a_user_that_does_not_exist_is_said(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["provision", "broker", "b", "--host", "localhost", "--config", config])
    options = ["--bundle", "b.kentongan", "--to", "broker", "--owner", "nobody-of-this-name"]
    assert main(["broker-config", *options, "--config", config]) == 2
    assert "no user 'nobody-of-this-name'" in capsys.readouterr().err


def test_without_a_directory_in_the_settings_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG)
    assert main(["list", "--config", str(path)]) == 2
    assert "[identities] directory" in capsys.readouterr().err


def test_without_an_authority_the_next_command_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG + f'[identities]\ndirectory = "{tmp_path / "register"}"\n')
    for command in (["list"], ["run"]):
        assert main([*command, "--config", str(path)]) == 2
        assert "kentongan-gateway ca init" in capsys.readouterr().err


def test_renewing_leaves_the_old_certificate_in_force(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["provision", "gateway", "mlg-gw1", "--config", config])
    assert main(["renew", "mlg-gw1", "--out", "new.kentongan", "--config", config]) == 0
    capsys.readouterr()
    main(["list", "--json", "--config", config])
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["revoked"] for one in shown] == [0, 0]
    assert set(read_bundle(Path("new.kentongan"), "gateway").files) == {
        "ca.pem", "posts.pem", "mcc.pem",
    }  # fmt: skip


@pytest.mark.parametrize(
    "url", ["mqtt://10.0.0.5", "mqtt://broker.example:1883", "mqtt://[fe80::1]"]
)
def test_without_tls_only_this_machine_is_spoken_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.replace("mqtts://localhost:1", url, 1))
    assert main(["check", "--config", str(path)]) == 2
    assert "use mqtts://" in capsys.readouterr().err
    assert mcc.cli.main(["watch", "--url", url, "--store", str(tmp_path / "mcc.db")]) == 2
    assert "use mqtts://" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["mqtt://localhost", "mqtt://127.0.0.1:1", "mqtt://[::1]"])
def test_this_machine_itself_may_be_spoken_to_without_tls(tmp_path: Path, url: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.replace("mqtts://localhost:1", url))
    assert main(["check", "--config", str(path)]) == 0
