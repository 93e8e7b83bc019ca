"""What a link checks of a broker: chain, name, dates; and what it does without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gateway.identities
from gateway.identities import Identity
from process.core import LinkDown, LinkUp
from process.link import Link, LinkSettings, TlsFiles
from process.settings import parse_mqtt_url
from tests.security.city import DAY_MS, HONEST, City, TlsBroker, until, wall_ms

HALF_AN_HOUR_DAYS = 0.02


class Watched:
    """A link and what became of it."""

    def __init__(self, url: str, files: TlsFiles, *, synchronised: bool = True) -> None:
        self.ups = 0
        self.downs: list[str] = []
        self.link = Link(
            "posts",
            LinkSettings(parse_mqtt_url(url), HONEST, 5, files),
            subscriptions=(),
            will=lambda _connection: None,
            deliver=self._deliver,
            synchronised=lambda: synchronised,
            pause_max_s=0.2,
        )

    def _deliver(self, event: object, _droppable: bool) -> bool:
        if isinstance(event, LinkUp):
            self.ups += 1
        if isinstance(event, LinkDown):
            self.downs.append(event.reason)
        return True

    def why(self) -> str:
        return until("an end", lambda: self.downs[0] if self.downs else None)

    def until_up(self) -> None:
        until("a connection", lambda: self.ups)


@contextmanager
def watched(url: str, files: TlsFiles, *, synchronised: bool = True) -> Iterator[Watched]:
    one = Watched(url, files, synchronised=synchronised)
    one.link.start()
    try:
        yield one
    finally:
        one.link.stop(2.0)


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    made = City(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def files(city: City) -> TlsFiles:
    return TlsFiles(city.ca, str(city.certificates[HONEST]))


@pytest.fixture
def stale(city: City, monkeypatch: pytest.MonkeyPatch) -> TlsBroker:
    """A broker whose certificate ended hours ago."""
    broker = TlsBroker(city.authority, city.directory / "stale", frozenset(("posts",)))
    monkeypatch.setattr(gateway.identities, "CERTIFICATE_DAYS", HALF_AN_HOUR_DAYS)
    hosts = ("localhost", "127.0.0.1")
    issued = city.authority.provision(
        Identity("stale", "broker", hosts=hosts), wall_ms() - DAY_MS // 2
    )
    (broker.directory / "broker.pem").write_text(issued.whole)
    city.brokers.append(broker)
    broker.start()
    return broker


def test_a_broker_whose_certificate_is_over_is_not_believed(
    stale: TlsBroker, files: TlsFiles
) -> None:
    with watched(stale.url, files) as one:
        assert one.why() == "the broker's certificate is not trusted: certificate has expired"


def test_without_a_clock_dates_are_not_checked_and_that_is_said(
    stale: TlsBroker, files: TlsFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    with watched(stale.url, files, synchronised=False) as one:
        one.until_up()
        assert one.link.counts.undated == 1
    assert "event=certificate_dates_unchecked link=posts" in capsys.readouterr().err


def test_without_a_clock_the_name_is_checked(stale: TlsBroker, files: TlsFiles) -> None:
    url = f"mqtts://127.0.0.2:{stale.port}"
    with watched(url, files, synchronised=False) as one:
        assert "not trusted: IP address mismatch" in one.why()


def test_without_a_clock_the_chain_is_checked(stale: TlsBroker, city: City) -> None:
    other = gateway.identities.Authority.create(city.directory / "other", "Kentongan CA", wall_ms())
    files = TlsFiles(str(other.ca_file), str(city.certificates[HONEST]))
    with watched(stale.url, files, synchronised=False) as one:
        assert "not trusted" in one.why()


def test_a_broker_that_does_not_take_our_certificate_is_said_in_words(
    city: City, files: TlsFiles
) -> None:
    city.authority.revoke(HONEST, wall_ms())
    (city.posts_broker.directory / "crl.pem").write_bytes(city.authority.crl_file.read_bytes())
    city.posts_broker.start()
    hint = "connection lost before a word: the broker may not accept our certificate"
    with watched(city.posts_broker.url, files) as one:
        # Whether an attempt ends in the handshake or after it is a race between two processes.
        until("the hint", lambda: hint in one.downs, 15.0)
        assert one.ups == 0


@pytest.mark.parametrize("damage", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_certificate_that_does_not_work_gives_way_to_the_one_before(
    city: City, files: TlsFiles, damage: str
) -> None:
    city.posts_broker.start()
    assert files.certificate is not None
    bad = city.keep("bad", damage)
    with watched(
        city.posts_broker.url, TlsFiles(city.ca, str(bad), None, files.certificate)
    ) as one:
        one.until_up()
        assert len(one.downs) == 1


def test_a_certificate_that_works_is_used_whatever_lies_beside_it(
    city: City, files: TlsFiles
) -> None:
    city.posts_broker.start()
    bad = city.keep("bad", "")
    with watched(
        city.posts_broker.url, TlsFiles(city.ca, files.certificate, None, str(bad))
    ) as one:
        one.until_up()
        assert one.downs == []


def test_a_file_that_is_missing_is_named(city: City) -> None:
    nowhere = str(city.directory / "nowhere.pem")
    with watched("mqtts://localhost:1", TlsFiles(city.ca, nowhere)) as one:
        assert nowhere in one.why()
