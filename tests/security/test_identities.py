"""The authority and its register: what is issued, for whom, for how long, and what is refused."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import gateway.identities
from gateway.identities import (
    CERTIFICATE_DAYS,
    CERTIFICATES_PER_NAME_MAX,
    CRL_DAYS,
    CRL_RENEW_DAYS,
    CRL_WARN_DAYS,
    DAY_MS,
    Authority,
    IdentitiesError,
    Identity,
)

WALL_MS = 1_790_000_000_000
POST = Identity("mlg-rw01", "post", label="Pos RW 01", lat=-7.9, lon=112.6, kelurahan="Dinoyo")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "register", "CA", WALL_MS)


def request_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "x") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return csr.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_a_certificate_names_its_owner_his_role_and_what_it_is_for(authority: Authority) -> None:
    issued = authority.provision(POST, WALL_MS)
    certificate = x509.load_pem_x509_certificate(issued.certificate.encode())
    name = certificate.subject
    assert name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "mlg-rw01"
    assert name.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value == "post"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    lasts = certificate.not_valid_after_utc - dt.datetime.fromtimestamp(WALL_MS // 1000, dt.UTC)
    assert lasts == dt.timedelta(days=CERTIFICATE_DAYS)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)


def test_a_broker_has_its_host_names_and_may_only_serve(authority: Authority) -> None:
    broker = Identity("broker-1", "broker", hosts=("mqtt.malangkota.go.id", "10.1.2.3", "::1"))
    issued = authority.provision(broker, WALL_MS)
    certificate = x509.load_pem_x509_certificate(issued.certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mqtt.malangkota.go.id"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3", "::1"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_files_with_keys_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Authority.create(tmp_path / "register", "CA", WALL_MS).close()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "register").iterdir()}
    assert modes == {"ca.key": 0o600, "register.db": 0o600, "ca.pem": 0o644, "crl.pem": 0o644}
    assert (tmp_path / "register").stat().st_mode & 0o777 == 0o700


def test_no_key_but_the_authoritys_own_stays_in_the_directory(authority: Authority) -> None:
    issued = authority.provision(POST, WALL_MS)
    body = issued.key.splitlines()[2].encode()  # the first line begins alike for every key
    for path in authority.directory.iterdir():
        assert body not in path.read_bytes()
    assert body.decode() not in repr(issued)


def test_a_second_authority_in_the_same_place_is_refused(authority: Authority) -> None:
    key = (authority.directory / "ca.key").read_bytes()
    with pytest.raises(IdentitiesError, match="there is one already"):
        Authority.create(authority.directory, "CA", WALL_MS)
    assert (authority.directory / "ca.key").read_bytes() == key


def test_a_new_card_revokes_the_old_one_and_a_revoked_name_is_denied(authority: Authority) -> None:
    first = authority.provision(POST, WALL_MS)
    second = authority.provision(POST, WALL_MS + 1000)
    assert second.replaced == 1
    assert listed(authority) == {first.serial}
    assert authority.register(WALL_MS).denied == frozenset()
    assert authority.revoke(POST.name, WALL_MS + 2000) == 1
    assert listed(authority) == {first.serial, second.serial}
    assert authority.register(WALL_MS).denied == {POST.name}
    authority.provision(POST, WALL_MS + 3000)
    assert authority.register(WALL_MS).denied == frozenset()


def listed(authority: Authority) -> set[str]:
    crl = x509.load_pem_x509_crl(authority.crl_file.read_bytes())
    return {f"{entry.serial_number:x}" for entry in crl}


def test_no_two_lists_of_revoked_certificates_have_the_same_date(authority: Authority) -> None:
    dates = []
    for _ in range(3):
        authority.write_crl(WALL_MS)
        crl = x509.load_pem_x509_crl(authority.crl_file.read_bytes())
        dates.append(crl.last_update_utc)
    assert len(set(dates)) == 3
    assert dates == sorted(dates)


def test_the_list_is_due_when_half_its_time_is_over_or_it_lacks_somebody(
    authority: Authority,
) -> None:
    assert not authority.crl_is_due(WALL_MS + (CRL_DAYS - CRL_RENEW_DAYS - 1) * DAY_MS)
    assert authority.crl_is_due(WALL_MS + (CRL_DAYS - CRL_RENEW_DAYS + 1) * DAY_MS)
    before = authority.crl_file.read_bytes()
    authority.provision(POST, WALL_MS)
    authority.revoke(POST.name, WALL_MS)
    assert not authority.crl_is_due(WALL_MS)
    authority.crl_file.write_bytes(before)  # as after a crash between the two writes
    assert authority.crl_is_due(WALL_MS)
    authority.crl_file.unlink()
    assert authority.crl_is_due(WALL_MS)


def test_what_ends_soon_is_named_long_before(authority: Authority) -> None:
    authority.provision(POST, WALL_MS)
    assert authority.expiring(WALL_MS) == {}
    late_ms = WALL_MS + (CERTIFICATE_DAYS - 59) * DAY_MS
    authority.write_crl(late_ms)
    assert authority.expiring(late_ms) == {"certificate_expiring": (POST.name,)}
    authority.renew(POST.name, late_ms)
    assert authority.expiring(late_ms) == {}
    list_ends_ms = late_ms + (CRL_DAYS - CRL_WARN_DAYS + 1) * DAY_MS
    assert set(authority.expiring(list_ends_ms)) == {"crl_expiring"}
    old_ms = WALL_MS + (20 * 365 - 364) * DAY_MS
    assert "ca_expiring" in authority.expiring(old_ms)


def test_a_name_has_one_role(authority: Authority) -> None:
    authority.provision(POST, WALL_MS)
    with pytest.raises(IdentitiesError, match="already the name of a post"):
        authority.provision(Identity(POST.name, "console", console_role="operator"), WALL_MS)


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (Identity("UPPER", "post"), "is no name"),
        (Identity("a/b", "post"), "is no name"),
        (Identity("#", "post"), "is no name"),
        (Identity("a" * 65, "post"), "is no name"),
        (Identity("b", "broker"), "--host"),
        (Identity("b", "broker", hosts=("no host!",)), "neither a host name"),
    ],
)
def test_who_cannot_be_is_not_registered(
    authority: Authority, identity: Identity, says: str
) -> None:
    with pytest.raises(IdentitiesError, match=says):
        authority.provision(identity, WALL_MS)
    assert authority.standings(WALL_MS) == []


@pytest.mark.parametrize("wall_ms", [0, WALL_MS - 400 * DAY_MS, WALL_MS + 21 * 365 * DAY_MS])
def test_a_mad_clock_issues_nothing(authority: Authority, wall_ms: int) -> None:
    with pytest.raises(IdentitiesError, match="clock"):
        authority.provision(POST, wall_ms)
    assert authority.standings(WALL_MS) == []


def test_a_clock_of_1970_makes_no_authority(tmp_path: Path) -> None:
    with pytest.raises(IdentitiesError, match="clock is wrong"):
        Authority.create(tmp_path / "register", "CA", 1000)
    assert not (tmp_path / "register").exists()


# --- renewals ------------------------------------------------------------------------------------


def test_a_renewal_is_for_the_key_of_the_request_and_the_name_of_the_post(
    authority: Authority,
) -> None:
    authority.provision(POST, WALL_MS)
    key = p256()
    der = authority.sign_renewal(POST.name, request_of(key, "mlg-gw1-posts"), WALL_MS)
    certificate = x509.load_der_x509_certificate(der)
    assert certificate.public_key() == key.public_key()
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [one.value for one in common] == [POST.name]


def test_the_same_request_gets_the_same_certificate_and_another_waits_a_day(
    authority: Authority,
) -> None:
    authority.provision(POST, WALL_MS)
    request = request_of(p256())
    first = authority.sign_renewal(POST.name, request, WALL_MS)
    assert authority.sign_renewal(POST.name, request, WALL_MS + 1000) == first
    with pytest.raises(IdentitiesError, match="within the last day"):
        authority.sign_renewal(POST.name, request_of(p256()), WALL_MS + 1000)
    assert authority.sign_renewal(POST.name, request_of(p256()), WALL_MS + DAY_MS) != first


def test_a_renewal_is_refused_for_who_is_shut_out_or_is_no_post(authority: Authority) -> None:
    authority.provision(POST, WALL_MS)
    authority.provision(Identity("console", "console", console_role="operator"), WALL_MS)
    authority.revoke(POST.name, WALL_MS)
    for name, says in (
        (POST.name, "is revoked"),
        ("console", "not a post"),
        ("nobody", "not in the register"),
    ):
        with pytest.raises(IdentitiesError, match=says):
            authority.sign_renewal(name, request_of(p256()), WALL_MS)


def test_a_key_that_was_revoked_or_is_anothers_is_not_signed_again(authority: Authority) -> None:
    other = Identity("mlg-rw02", "post")
    authority.provision(POST, WALL_MS)
    authority.provision(other, WALL_MS)
    request = request_of(p256())
    authority.sign_renewal(POST.name, request, WALL_MS)
    with pytest.raises(IdentitiesError, match="used before"):
        authority.sign_renewal(other.name, request, WALL_MS)
    authority.provision(POST, WALL_MS)
    with pytest.raises(IdentitiesError, match="used before"):
        authority.sign_renewal(POST.name, request, WALL_MS + 2 * DAY_MS)


def _tampered() -> bytes:
    request = bytearray(request_of(p256()))
    request[-1] ^= 1
    return bytes(request)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\x30\x03\x02\x01\x00",
        b"\xff" * 1000,
        request_of(ec.generate_private_key(ec.SECP384R1())),
        request_of(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        _tampered(),
    ],
    ids=["empty", "another structure", "noise", "P-384", "RSA", "tampered"],
)
def test_what_is_no_request_that_we_sign_is_refused(
    authority: Authority, request_bytes: bytes
) -> None:
    authority.provision(POST, WALL_MS)
    with pytest.raises(IdentitiesError):
        authority.sign_renewal(POST.name, request_bytes, WALL_MS)


def test_certificates_of_one_name_are_bounded(authority: Authority) -> None:
    authority.provision(POST, WALL_MS)
    for _ in range(CERTIFICATES_PER_NAME_MAX - 1):
        authority.renew(POST.name, WALL_MS)
    with pytest.raises(IdentitiesError, match="provision it anew"):
        authority.renew(POST.name, WALL_MS)
    assert authority.provision(POST, WALL_MS).replaced == CERTIFICATES_PER_NAME_MAX


def test_names_are_bounded(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.identities, "IDENTITIES_MAX", 2)
    for n in range(2):
        authority.provision(Identity(f"mlg-rw{n}", "post"), WALL_MS)
    with pytest.raises(IdentitiesError, match="register is full"):
        authority.provision(Identity("mlg-rw2", "post"), WALL_MS)
    authority.provision(Identity("mlg-rw0", "post"), WALL_MS)  # a new card is always possible


# --- the directory --------------------------------------------------------------------------------


def test_two_processes_may_change_the_register_at_once(authority: Authority) -> None:
    wrong: list[Exception] = []

    def fill(prefix: str) -> None:
        try:
            with Authority(authority.directory) as mine:
                for n in range(10):
                    mine.provision(Identity(f"{prefix}-{n}", "post"), WALL_MS)
        except IdentitiesError as error:
            wrong.append(error)

    threads = [threading.Thread(target=fill, args=(prefix,)) for prefix in "abc"]
    before = authority.data_version()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert authority.data_version() != before
    assert len(authority.standings(WALL_MS)) == 30


@pytest.mark.parametrize("name", ["ca.key", "ca.pem", "register.db"])
def test_a_directory_that_lacks_a_file_is_named_with_what_to_do(
    authority: Authority, name: str
) -> None:
    authority.close()
    (authority.directory / name).unlink()
    with pytest.raises(IdentitiesError, match=f"{name}.*ca init"):
        Authority(authority.directory)


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
def test_a_damaged_file_is_named(authority: Authority, name: str) -> None:
    authority.close()
    (authority.directory / name).write_text("-----BEGIN NOTHING-----\n")
    with pytest.raises(IdentitiesError, match="cannot be used"):
        Authority(authority.directory)


def test_a_damaged_register_is_an_error_of_its_own_and_no_traceback(authority: Authority) -> None:
    authority.close()
    (authority.directory / "register.db").write_bytes(b"not a database, by no means " * 200)
    with pytest.raises(IdentitiesError, match=r"cannot be (?:read|used)"):
        Authority(authority.directory).standings(WALL_MS)


def test_openssl_agrees_that_the_list_and_the_certificates_are_right(
    authority: Authority, tmp_path: Path
) -> None:
    good, bad = authority.provision(POST, WALL_MS), authority.provision(POST, WALL_MS)
    good, bad = bad, good
    for name, issued in (("good", good), ("bad", bad)):
        (tmp_path / name).write_text(issued.certificate)
        done = subprocess.run(
            ["openssl", "verify", "-crl_check", "-attime", str(WALL_MS // 1000 + 60)]
            + ["-CAfile", str(authority.ca_file), "-CRLfile", str(authority.crl_file)]
            + ["-purpose", "sslclient", str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == (name == "good"), done.stderr
        assert ("certificate revoked" in done.stderr) == (name == "bad")
