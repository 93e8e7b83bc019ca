"""The running gateway and its register: changes, dates, renewals, and a register that fails."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.core import FaultSeen
from gateway.gate import Register
from gateway.identities import DAY_MS, Authority, IdentitiesError, Identity
from gateway.registrar import RENEWALS_MAX, Registrar
from hardware.clock import Now
from protocol.messages import Certificate, Renewal
from tests.security.city import until
from tests.security.test_identities import POST, WALL_MS, p256, request_of


@dataclass
class StoppedClock:
    """A clock that a test sets."""

    wall_ms: int = WALL_MS
    synchronised: bool = True

    def now(self) -> Now:
        return Now(1, self.wall_ms, self.synchronised)

    def boot_id(self) -> str:
        return "0b8f3c52-5f0e-4d1e-9a76-2f4f6d1f9a01"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.create(tmp_path / "register", "CA", WALL_MS)
    made.provision(POST, WALL_MS)
    return made


@contextmanager
def registrar(
    authority: Authority, clock: StoppedClock
) -> Iterator[tuple[Registrar, list[object]]]:
    events: list[object] = []
    one = Registrar(authority.directory, events.append, clock)
    one.start()
    try:
        yield one, events
    finally:
        one.close(5.0)
        assert not one.alive()


def seen(events: list[object], fault: str) -> list[bool]:
    return [one.present for one in events if isinstance(one, FaultSeen) and one.fault == fault]


def test_the_register_is_read_at_once_and_again_when_somebody_changes_it(
    authority: Authority,
) -> None:
    with registrar(authority, StoppedClock()) as (_, events):
        first = until("the register", lambda: events[:1])[0]
        assert isinstance(first, Register)
        entry = first.posts[POST.name]
        assert (entry.label, entry.kelurahan) == ("Pos RW 01", "Dinoyo")
        authority.revoke(POST.name, WALL_MS)
        until(
            "the change",
            lambda: [
                one for one in events if isinstance(one, Register) and POST.name in one.denied
            ],
        )


def test_a_list_whose_time_is_half_over_is_renewed_and_a_fault_comes_only_when_it_is_not(
    authority: Authority,
) -> None:
    later_ms = WALL_MS + 250 * DAY_MS
    with registrar(authority, StoppedClock(later_ms)) as (_, events):
        until("a new list", lambda: not authority.crl_is_due(later_ms))
        until("the register", lambda: events)
    assert seen(events, "crl_expiring") == []


def test_by_a_clock_that_nobody_vouches_for_nothing_is_signed(authority: Authority) -> None:
    before = authority.crl_file.read_bytes()
    renewal = Renewal(post=POST.name, request=base64.b64encode(request_of(p256())).decode())
    clock = StoppedClock(WALL_MS + 5_000 * DAY_MS, synchronised=False)
    with registrar(authority, clock) as (one, events):
        assert one.renew(renewal)
        until("the register", lambda: events)
    assert authority.crl_file.read_bytes() == before
    assert not [event for event in events if isinstance(event, Certificate)]
    assert seen(events, "certificate_expiring") == []


def test_what_ends_soon_is_a_fault_until_it_is_renewed(authority: Authority) -> None:
    late_ms = WALL_MS + 700 * DAY_MS
    with registrar(authority, StoppedClock(late_ms)) as (_, events):
        until("the fault", lambda: seen(events, "certificate_expiring") == [True])
        authority.provision(POST, late_ms)
        until("its end", lambda: seen(events, "certificate_expiring") == [True, False])


def test_a_renewal_is_answered_with_a_certificate(authority: Authority) -> None:
    renewal = Renewal(post=POST.name, request=base64.b64encode(request_of(p256())).decode())
    with registrar(authority, StoppedClock()) as (one, events):
        assert one.renew(renewal)
        answer = until("an answer", lambda: [e for e in events if isinstance(e, Certificate)])[0]
    assert answer.post == POST.name


@pytest.mark.parametrize("request_text", ["AAAA", "A", base64.b64encode(b"x" * 900).decode()])
def test_a_renewal_that_is_none_is_refused_and_said(
    authority: Authority, request_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with registrar(authority, StoppedClock()) as (one, events):
        assert one.renew(Renewal(post=POST.name, request=request_text))
        until("the register", lambda: events)
    assert f"event=renewal_refused post={POST.name}" in capsys.readouterr().err
    assert not [event for event in events if isinstance(event, Certificate)]


def test_renewals_that_wait_are_bounded(authority: Authority) -> None:
    one = Registrar(authority.directory, lambda _event: None, StoppedClock())
    renewal = Renewal(post=POST.name, request="AAAA")
    taken = [one.renew(renewal) for _ in range(RENEWALS_MAX + 5)]
    assert taken == [True] * RENEWALS_MAX + [False] * 5
    one.start()
    one.close(5.0)


def test_a_register_that_fails_is_a_fault_and_the_last_one_goes_on_to_hold(
    authority: Authority,
) -> None:
    with registrar(authority, StoppedClock()) as (one, events):
        until("the register", lambda: events)
        file = authority.directory / "register.db"
        whole = file.read_bytes()
        file.write_bytes(b"x" * len(whole))
        until("the fault", lambda: seen(events, "register_unreadable") == [True])
        assert one.alive()
        assert [event for event in events if isinstance(event, Register)] == events[:1]
        file.write_bytes(whole)
        until("its end", lambda: seen(events, "register_unreadable") == [True, False])


def test_without_an_authority_the_gateway_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IdentitiesError, match="kentongan-gateway ca init"):
        Registrar(tmp_path, lambda _event: None, StoppedClock())


def test_an_identity_that_nobody_holds_is_of_no_interest(authority: Authority) -> None:
    """A console that was shut out years ago is no certificate that ends soon."""
    authority.provision(Identity("console", "console", console_role="viewer"), WALL_MS)
    authority.revoke("console", WALL_MS)
    late_ms = WALL_MS + 700 * DAY_MS
    assert authority.expiring(late_ms)["certificate_expiring"] == (POST.name,)
