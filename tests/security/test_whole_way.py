"""Two brokers apart, both under TLS: the story of a press, a certificate renewed on the way, and
no key in anything that anybody said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

import gateway.identities
from gateway.broker_config import refresh
from gateway.identities import Identity
from hardware.panel import PanelError, ask
from protocol.codec import encode
from protocol.topics import Topics
from tests.security.city import HONEST, OPERATOR, THIEF, City, Client, until, wall_ms
from tests.security.test_attacks import alarm

TOPICS = Topics()
ENDS_SOON_DAYS = 100  # under half a year: the post asks at once


class Whole:
    """A city with a real post and a real command centre."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.panel = str(city.directory / "panel.sock")
        self.post_directory = city.directory / "post"
        extra = city.directory / "extra.toml"
        extra.write_text(
            f'[hardware]\npins = "mock"\npanel_socket = "{self.panel}"\n'
            f'[store]\npath = "{city.directory / "post.db"}"\n'
        )
        bundle = city.directory / "post.kentongan"
        place = ("--lat", "-7.98", "--lon", "112.63", "--name", "Pos RW 01")
        options = ("--settings", str(extra), "--out", str(bundle), "--config", str(city.config))
        done = city.command("provision", "post", HONEST, *place, *options)
        assert done.returncode == 0, done.stderr
        self.said = done.stdout + done.stderr
        unpacked = subprocess.run(
            [sys.executable, "-m", "device.cli", "unpack", str(bundle)]
            + ["--to", str(self.post_directory)],
            capture_output=True,
            text=True,
            check=False,
            env=city.environment(),
        )
        assert unpacked.returncode == 0, unpacked.stderr
        self.said += unpacked.stdout + unpacked.stderr

    @property
    def identity(self) -> Path:
        return self.post_directory / "identity.pem"

    def start(self) -> None:
        city = self.city
        city.run("mcc", "mcc.cli", "watch", "--json", *self._mcc_options())
        city.run("post", "device.cli", "run", "--config", str(self.post_directory / "post.toml"))

    def mcc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mcc.cli", *arguments, *self._mcc_options()],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd=self.city.directory,
            env=self.city.environment(),
        )
        self.said += done.stdout + done.stderr
        return done

    def _mcc_options(self) -> list[str]:
        city = self.city
        certificate = str(city.certificates[OPERATOR])
        store = str(city.directory / "mcc.db")
        options = ["--store", store, "--url", city.mcc_broker.url, "--console", OPERATOR]
        return [*options, "--ca", city.ca, "--certificate", certificate]

    def status(self) -> dict[str, Any]:
        try:
            return ask(self.panel, {"request": "status"})
        except PanelError:
            return {}

    def until_lamp(self, meaning: str) -> None:
        until(f"lamp {meaning}", lambda: self.status().get("lamp") == meaning)


def test_a_press_goes_its_way_over_two_brokers_and_no_key_is_in_any_log(tmp_path: Path) -> None:
    with City(tmp_path, two_brokers=True) as city:
        whole = Whole(city)
        before = whole.identity.read_text()
        whole.start()
        whole.until_lamp("armed")
        ask(whole.panel, {"request": "press3"})
        alarm_id = until("an alarm", lambda: [a["id"] for a in whole.status()["alarms"]])[0]
        until("the operator sees it", lambda: f'"{alarm_id}"' in city.log_of("mcc"))
        until("delivered", lambda: '"state": "delivered"' in city.log_of("mcc"))
        done = whole.mcc("acknowledge", alarm_id, "--operator", "Siti")
        assert done.returncode == 0, done.stderr
        whole.until_lamp("answered")
        assert whole.mcc("resolve", alarm_id, "--outcome", "test").returncode == 0
        whole.until_lamp("armed")
        # Its name and its place have come from the register.
        shown = [json.loads(line) for line in city.log_of("mcc").splitlines() if line[:1] == "{"]
        assert any(one.get("name") == "Pos RW 01" for one in shown)
        _each_broker_keeps_to_its_own(city)
        assert city.command("revoke", THIEF, "--config", str(city.config)).returncode == 0

        keys = [before, whole.identity.read_text(), (city.register / "ca.key").read_text()]
        keys += [path.read_text() for path in city.certificates.values()]
        said = whole.said + "".join(
            path.read_text(errors="replace")
            for path in [*tmp_path.glob("*.log"), *(one.directory / "log" for one in city.brokers)]
        )
        assert "link_up" in said
        assert "PRIVATE KEY" not in said
        for line in _secret_lines(keys):
            assert line not in said


def _secret_lines(pems: list[str]) -> list[str]:
    lines = []
    for pem in pems:
        _, _, key = pem.partition("-----BEGIN PRIVATE KEY-----\n")
        body, _, _ = key.partition("-----END PRIVATE KEY-----")
        lines += [line[-24:] for line in body.splitlines() if len(line) > 24]
    assert len(lines) >= 2 * len(pems)
    return lines


def _each_broker_keeps_to_its_own(city: City) -> None:
    """A post has no business at the command centre's broker, nor a console at the posts'."""
    for who, broker, topic in (
        (THIEF, city.mcc_broker, TOPICS.post(THIEF, "alarms")),
        ("console-2", city.posts_broker, TOPICS.mcc("commands", "console-2")),
    ):
        since = len(broker.log)
        with city.client(who, port=broker.port) as client:
            assert client.publish(topic, encode(alarm(THIEF))) == "Not authorized"
        assert broker.said("Denied PUBLISH", who, since=since)


def test_a_certificate_is_renewed_over_the_link_and_the_new_key_never_leaves_the_post(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with City(tmp_path) as city:
        whole = Whole(city)
        monkeypatch.setattr(gateway.identities, "CERTIFICATE_DAYS", ENDS_SOON_DAYS)
        ending = city.authority.provision(
            Identity(HONEST, "post", label="Pos RW 01", lat=-7.98, lon=112.63), wall_ms()
        )
        whole.identity.write_text(ending.whole)
        assert refresh(city.authority, wall_ms()) == []
        whole.start()
        until("the new one", lambda: "event=certificate_renewed" in city.log_of("post"))
        until("the register", lambda: "event=renewal_signed" in city.log_of("gateway"))
        renewed = whole.identity.read_text()
        old = x509.load_pem_x509_certificate(ending.certificate.encode())
        new = x509.load_pem_x509_certificate(renewed.encode())
        assert new.subject == old.subject
        assert new.not_valid_after_utc > old.not_valid_after_utc
        assert new.public_key() != old.public_key()
        assert whole.identity.stat().st_mode & 0o777 == 0o600
        assert not list(whole.post_directory.glob("*new*"))
        # It proves itself at once, on a connection of its own.
        connected = f"as {HONEST} "
        until("the post connects anew", lambda: city.posts_broker.log.count(connected) >= 2)
        whole.until_lamp("armed")
        said = city.log_of("post") + city.log_of("gateway") + city.posts_broker.log
        for line in _secret_lines([renewed]):
            assert line not in said
        # The old one still counts, until it ends: the post may have to fall back on it.
        old_file = city.keep("before", ending.whole)
        fallback = Client(city.ca, old_file, port=city.posts_broker.port, client_id=HONEST)
        assert fallback.connect().accepted
        fallback.close()
