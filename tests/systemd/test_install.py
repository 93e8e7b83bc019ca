"""`install` and `uninstall` on a system's root directory, as an image is made."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from process.install import DEVICE, GATEWAY, MCC, Service
from tests.systemd.staged import install, uninstall

ROOT = Path(__file__).parents[2]
ALL = pytest.mark.parametrize("service", [DEVICE, GATEWAY, MCC], ids=lambda one: str(one.name))
GOOD = {
    "device": 'post_id = "mlg-test-rw01"\n[location]\nlat = -7.9\nlon = 112.6\n'
    '[mqtt]\nurl = "mqtt://127.0.0.1"\n',
    "gateway": 'gateway_id = "mlg-test"\n[posts]\nurl = "mqtt://127.0.0.1"\n'
    '[mcc]\nurl = "mqtt://127.0.0.1"\n[journal]\nurl = "sqlite:////var/lib/kentongan/j.db"\n',
    "mcc": '[mqtt]\nurl = "mqtt://127.0.0.1"\n',
}


def files(root: Path) -> dict[str, bytes]:
    """Every file below the root that is the installer's own doing."""
    accounts = {"passwd", "group", "shadow", "gshadow", ".pwd.lock"}
    return {
        str(path.relative_to(root)): path.readlink().name.encode()
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if (path.is_file() or path.is_symlink()) and path.name.rstrip("-") not in accounts
    }


def settings(service: Service, root: Path) -> Path:
    return root / "etc/kentongan" / service.settings


def with_settings(service: Service, root: Path, text: str) -> Path:
    path = settings(service, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def is_enabled(service: Service, root: Path) -> bool:
    wants = root / "etc/systemd/system/multi-user.target.wants"
    found = {(wants / unit).is_symlink() for unit in service.units}
    assert len(found) == 1  # all of them or none
    return found == {True}


@ALL
def test_without_settings_all_is_laid_but_nothing_is_enabled(
    service: Service, tmp_path: Path
) -> None:
    done = install(service, tmp_path)
    assert done.returncode == 0, done.stderr
    laid = files(tmp_path)
    assert {f"etc/systemd/system/{unit}" for unit in service.units} <= laid.keys()
    assert {target for _, target in service.files} <= laid.keys()
    example = (ROOT / "config" / service.settings).read_bytes()
    assert laid[f"etc/kentongan/{service.settings}.example"] == example
    assert not settings(service, tmp_path).exists()
    assert not is_enabled(service, tmp_path)
    assert f"next: copy /etc/kentongan/{service.settings}.example" in done.stdout


@ALL
def test_with_good_settings_the_service_is_enabled(service: Service, tmp_path: Path) -> None:
    with_settings(service, tmp_path, GOOD[service.name])
    done = install(service, tmp_path)
    assert done.returncode == 0, done.stderr
    assert is_enabled(service, tmp_path)


@ALL
def test_a_second_install_changes_nothing_and_says_so(service: Service, tmp_path: Path) -> None:
    with_settings(service, tmp_path, GOOD[service.name])
    install(service, tmp_path)
    before = files(tmp_path)
    again = install(service, tmp_path)
    assert files(tmp_path) == before
    assert again.returncode == 0
    assert "wrote" not in again.stdout
    for unit in service.units:
        assert f"unchanged /etc/systemd/system/{unit}" in again.stdout


@ALL
def test_settings_with_a_mistake_are_named_and_nothing_is_enabled(
    service: Service, tmp_path: Path
) -> None:
    path = with_settings(service, tmp_path, "url = 'http://x'\n")
    done = install(service, tmp_path)
    assert done.returncode == 2
    assert f"{path}:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not is_enabled(service, tmp_path)


@pytest.mark.parametrize("service", [DEVICE, GATEWAY], ids=lambda one: str(one.name))
def test_an_example_that_nobody_edited_does_not_run(service: Service, tmp_path: Path) -> None:
    with_settings(service, tmp_path, (ROOT / "config" / service.settings).read_text())
    done = install(service, tmp_path)
    assert done.returncode == 2
    assert "still the example" in done.stderr
    assert not is_enabled(service, tmp_path)


def test_the_command_centres_broker_must_be_named(tmp_path: Path) -> None:
    with_settings(MCC, tmp_path, "# nothing\n")
    assert "mqtt" in install(MCC, tmp_path).stderr


@ALL
def test_a_changed_file_of_ours_is_put_right_again(service: Service, tmp_path: Path) -> None:
    install(service, tmp_path)
    unit = tmp_path / "etc/systemd/system" / service.units[-1]
    right = unit.read_bytes()
    unit.write_text("[Service]\n")
    done = install(service, tmp_path)
    assert f"wrote /etc/systemd/system/{unit.name}" in done.stdout
    assert unit.read_bytes() == right


def test_settings_and_keys_are_for_root_and_the_service_alone(tmp_path: Path) -> None:
    path = with_settings(DEVICE, tmp_path, GOOD["device"])
    path.chmod(0o644)
    key = path.with_name("post.key")
    key.write_text("key")
    key.chmod(0o600)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not ours")
    elsewhere.chmod(0o644)
    path.with_name("link").symlink_to(elsewhere)
    done = install(DEVICE, tmp_path)
    assert done.returncode == 0, done.stderr
    modes = {one: stat.S_IMODE(one.stat().st_mode) for one in (path, key, elsewhere, path.parent)}
    if os.geteuid() == 0:
        assert modes == {path: 0o640, key: 0o640, elsewhere: 0o644, path.parent: 0o750}
    else:
        assert "not root" in done.stdout
        assert modes[elsewhere] == 0o644


@ALL
def test_uninstall_takes_away_what_was_laid_and_keeps_settings_and_data(
    service: Service, tmp_path: Path
) -> None:
    path = with_settings(service, tmp_path, GOOD[service.name])
    data = tmp_path / "var/lib/kentongan/some.db"
    data.parent.mkdir(parents=True)
    data.write_text("data")
    install(service, tmp_path)
    done = uninstall(service, tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(files(tmp_path)) == {
        str(path.relative_to(tmp_path)),
        str(data.relative_to(tmp_path)),
    }


@ALL
def test_purge_takes_settings_and_data_too(service: Service, tmp_path: Path) -> None:
    with_settings(service, tmp_path, GOOD[service.name])
    (tmp_path / "var/lib/kentongan").mkdir(parents=True)
    install(service, tmp_path)
    done = uninstall(service, tmp_path, "--purge")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == {}
    assert not (tmp_path / "etc/kentongan").exists()
    assert not (tmp_path / "var/lib/kentongan").exists()


def test_what_another_service_needs_stays_until_that_one_goes(tmp_path: Path) -> None:
    with_settings(GATEWAY, tmp_path, GOOD["gateway"])
    (tmp_path / "var/lib/kentongan").mkdir(parents=True)
    install(DEVICE, tmp_path)
    install(GATEWAY, tmp_path)
    done = uninstall(DEVICE, tmp_path, "--purge")
    assert f"{GATEWAY.units[0]} still there" in done.stdout
    assert settings(GATEWAY, tmp_path).exists()
    assert (tmp_path / "var/lib/kentongan").exists()
    laid = files(tmp_path)
    assert {target for _, target in GATEWAY.files} <= laid.keys()
    assert install(GATEWAY, tmp_path).stdout.count("wrote") == 0


@ALL
def test_uninstall_of_what_is_not_there_is_no_mistake(service: Service, tmp_path: Path) -> None:
    done = uninstall(service, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@ALL
def test_a_root_that_is_not_there_is_said(service: Service, tmp_path: Path) -> None:
    done = install(service, tmp_path / "nowhere")
    assert done.returncode == 2
    assert "there is no such directory" in done.stderr
