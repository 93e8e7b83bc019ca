"""One command shuts somebody out who is connected; nobody else notices; a new card comes in."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from cryptography import x509

from gateway.identities import Authority, Identity
from protocol.codec import encode
from protocol.topics import Topics
from tests.security.city import HONEST, OPERATOR, THIEF, City, Client, until, wall_ms
from tests.security.test_attacks import alarm

TOPICS = Topics()
OUT_WITHIN_S = 10.0


def test_a_connected_post_is_out_within_ten_seconds_of_one_command(tmp_path: Path) -> None:
    with City(tmp_path) as city, city.client(THIEF) as thief, city.client(HONEST) as honest:
        links_down = city.log_of("gateway").count("link_down")
        began_s = time.monotonic()
        done = city.command("revoke", THIEF, "--config", str(city.config))
        assert done.returncode == 0, done.stderr
        until("the thief is cut off", lambda: thief.ended)
        assert time.monotonic() - began_s < OUT_WITHIN_S

        # Three doors, each shut: the list of certificates, the access list, the gateway.
        crl = x509.load_pem_x509_crl((city.register / "crl.pem").read_bytes())
        card = x509.load_pem_x509_certificate(city.certificates[THIEF].read_bytes())
        assert crl.get_revoked_certificate_by_serial_number(card.serial_number) is not None
        acl = city.posts_broker.directory / "acl"
        assert f"user {THIEF}\ntopic deny #\n" in acl.read_text()
        until("the gateway knows", lambda: "posts=2 denied=1" in city.log_of("gateway"))
        back = Client(
            city.ca, city.certificates[THIEF], port=city.posts_broker.port, client_id=THIEF
        ).connect()
        assert not back.accepted
        back.close()

        # Nobody else noticed.
        assert honest.ended is None
        assert city.log_of("gateway").count("link_down") == links_down
        offer = alarm(HONEST)
        assert honest.publish(TOPICS.post(HONEST, "alarms"), encode(offer)) == "Success"
        until(
            "the honest alarm",
            lambda: f"event=alarm_committed alarm_id={offer.alarm_id}" in city.log_of("gateway"),
        )

        # The replacement card: the denial is lifted for it, and for it alone.
        place = ("--lat", "-7.98", "--lon", "112.63", "--out", str(tmp_path / "new.kentongan"))
        config = ("--config", str(city.config))
        done = city.command("provision", "post", THIEF, *place, *config)
        assert done.returncode == 0, done.stderr
        assert "topic deny #" not in acl.read_text()
        new = _unpacked(city, tmp_path / "new.kentongan")
        with contextlib.closing(new.connect()):
            assert new.accepted
            offer = alarm(THIEF)
            until(
                "the gateway lets the new card in",
                lambda: (
                    new.publish(TOPICS.post(THIEF, "alarms"), encode(offer))
                    and f"event=alarm_committed alarm_id={offer.alarm_id}" in city.log_of("gateway")
                ),
            )
            again = Client(
                city.ca, city.certificates[THIEF], port=city.posts_broker.port, client_id=THIEF
            ).connect()
            assert not again.accepted
            again.close()
            assert new.ended is None


def _unpacked(city: City, bundle: Path) -> Client:
    from process.bundle import read_bundle, unpack

    directory = city.directory / "unpacked"
    unpack(read_bundle(bundle, "post"), directory)
    identity = directory / "identity.pem"
    return Client(city.ca, identity, port=city.posts_broker.port, client_id=THIEF)


def test_a_new_card_puts_the_old_one_out_while_it_is_connected(tmp_path: Path) -> None:
    with City(tmp_path) as city, city.client(THIEF) as old:
        place = ("--lat", "-7.98", "--lon", "112.63", "--out", str(tmp_path / "new.kentongan"))
        done = city.command("provision", "post", THIEF, *place, "--config", str(city.config))
        assert done.returncode == 0, done.stderr
        assert "the certificate that it had is revoked" in done.stdout
        until("the old card is cut off", lambda: old.ended)


def test_a_running_gateway_takes_a_change_of_the_register_to_the_broker_by_itself(
    tmp_path: Path,
) -> None:
    with City(tmp_path) as city, city.client(THIEF) as thief:
        with Authority(city.register) as elsewhere:
            elsewhere.revoke(THIEF, wall_ms())
        until("the broker reads its lists", lambda: "Reloading config" in city.posts_broker.log)
        time.sleep(1.0)  # mosquitto applies them within a turn of its loop
        offer = encode(alarm(THIEF))
        assert thief.publish(TOPICS.post(THIEF, "alarms"), offer) == "Not authorized"


def test_a_console_is_shut_out_like_a_post(tmp_path: Path) -> None:
    with City(tmp_path) as city, city.client(OPERATOR) as console:
        done = city.command("revoke", OPERATOR, "--config", str(city.config))
        assert done.returncode == 0, done.stderr
        until("the console is cut off", lambda: console.ended)


def test_when_the_broker_cannot_be_reached_the_rest_is_done_and_that_is_said(
    tmp_path: Path,
) -> None:
    city = City(tmp_path)
    try:
        done = city.command("revoke", THIEF, "--config", str(city.config))
    finally:
        city.close()
    assert done.returncode == 1
    assert f"{THIEF} is shut out" in done.stdout
    assert "cannot be reached to put" in done.stderr
    assert "Traceback" not in done.stderr
    assert f"user {THIEF}\ntopic deny #" in (city.posts_broker.directory / "acl").read_text()


@pytest.mark.parametrize("name", ["nobody", "Not A Name", ""])
def test_nobody_of_that_name_is_said_and_nothing_is_done(tmp_path: Path, name: str) -> None:
    city = City(tmp_path)
    try:
        done = city.command("revoke", name, "--config", str(city.config))
        assert done.returncode == 2
        assert "is not in the register" in done.stderr
        assert all(one.live for one in city.authority.standings(wall_ms()))
        assert city.authority.provision(Identity(THIEF, "post"), wall_ms()).replaced == 1
    finally:
        city.close()
