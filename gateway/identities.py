"""Who is who: the gateway's own certificate authority and the register of everyone it let in.

A directory holds `ca.pem`, `ca.key` (0600), `crl.pem` and `register.db`, an SQLite file with the
posts, consoles, gateways and brokers and every certificate that was issued for them. Each has one
name, and the name is the certificate's common name, by which brokers know them. What a person does
to one of them is written down in the transaction that does it.

Private keys of others are made here, handed over once, and never kept; no key is ever logged.
Nothing is issued while the clock stands before the authority's own birth. Every change is one
transaction, so that the command line and a running gateway may work at the same time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.gate import ConsoleRole, PostEntry, Register
from gateway.posts import Maintained
from process.files import PUBLIC_MODE, SECRET_MODE, replace_file
from protocol.values import NAME_PATTERN, timestamp

Role = Literal["post", "console", "gateway", "broker"]
ROLES: tuple[Role, ...] = get_args(Role)
# A gateway has a connection to each broker; a broker lets a name be connected once.
GATEWAY_LINKS = ("posts", "mcc")

DAY_MS = 86_400_000
CA_DAYS = 20 * 365
CERTIFICATE_DAYS = 730
# Clocks of brokers may be behind ours by this much.
BACKDATED_DAYS = 1
# A list past its date locks everybody out, so it is renewed when half of its time is left.
CRL_DAYS = 400
CRL_RENEW_DAYS = 200
CRL_WARN_DAYS = 60
CERTIFICATE_WARN_DAYS = 60
CA_WARN_DAYS = 365
IDENTITIES_MAX = 200_000
CERTIFICATES_PER_NAME_MAX = 64
# A post asks once for each of its keys; one that asks for more is broken or hostile.
RENEWAL_PAUSE_MS = DAY_MS
BUSY_TIMEOUT_S = 5.0
# What is written down of one name; the oldest beyond it go.
RECORDS_PER_NAME_MAX = 500
# A planned silence is for a visit or a repair, not for good.
MAINTENANCE_HOURS_MAX = 72
SCHEMA_VERSION = 2

_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,9}\Z")
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE identities (
  name TEXT PRIMARY KEY, role TEXT NOT NULL, label TEXT, lat REAL, lon REAL, kelurahan TEXT,
  console_role TEXT, hosts TEXT NOT NULL DEFAULT '');
CREATE TABLE certificates (
  serial TEXT PRIMARY KEY, name TEXT NOT NULL REFERENCES identities, issued_ms INTEGER NOT NULL,
  ends_ms INTEGER NOT NULL, revoked_ms INTEGER, public_key TEXT NOT NULL, pem TEXT NOT NULL,
  renewal INTEGER NOT NULL DEFAULT 0);
CREATE INDEX certificates_by_name ON certificates (name);
CREATE TABLE brokers (directory TEXT PRIMARY KEY, serves TEXT NOT NULL, root TEXT NOT NULL);
"""
# Version 2: the life of a post. A step is never changed afterwards.
_STEP_2 = (
    "CREATE TABLE records (n INTEGER PRIMARY KEY, name TEXT NOT NULL REFERENCES identities,"
    " at_ms INTEGER NOT NULL, what TEXT NOT NULL, by TEXT, why TEXT)",
    "CREATE INDEX records_by_name ON records (name, n)",
    "CREATE TABLE maintenance (name TEXT PRIMARY KEY REFERENCES identities,"
    " from_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL, by TEXT NOT NULL, why TEXT NOT NULL)",
    "CREATE TABLE retired (name TEXT PRIMARY KEY REFERENCES identities, at_ms INTEGER NOT NULL)",
    "UPDATE meta SET value = '2' WHERE key = 'schema'",
)


class IdentitiesError(Exception):
    """It cannot be done; the text says why and what to do."""


@dataclass(frozen=True)
class Identity:
    """One row of the register: what is known of a name besides its certificates.

    `label` is what people call it; `hosts` are the DNS names and addresses of a broker.
    """

    name: str
    role: Role
    label: str | None = None
    lat: float | None = None
    lon: float | None = None
    kelurahan: str | None = None
    console_role: ConsoleRole | None = None
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """An identity with how it stands: its newest certificate that counts, if it has one."""

    identity: Identity
    serial: str | None
    ends_ms: int | None
    revoked: int

    @property
    def live(self) -> bool:
        """Whether it may speak."""
        return self.serial is not None


@dataclass(frozen=True)
class LifeRecord:
    """One line of what happened to a name: when (Unix ms), what, by whom and why."""

    at_ms: int
    what: str
    by: str | None
    why: str | None


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, PEM. `key` must reach its owner and nobody else.

    `replaced` is how many certificates of the name were revoked for it.
    """

    name: str
    serial: str
    ends_ms: int
    certificate: str
    key: str
    replaced: int = 0

    def __repr__(self) -> str:
        """Without the key, wherever this ends up."""
        return f"Issued({self.name}, {self.serial})"

    @property
    def whole(self) -> str:
        """Certificate and key as one PEM file, so that they are replaced together."""
        return self.certificate + self.key


@dataclass(frozen=True)
class BrokerPlace:
    """Where a broker's configuration lies on this machine, and what it serves."""

    directory: Path
    serves: frozenset[str]
    root: str


class Authority:
    """The directory, opened. Use from one thread; other processes may have it open too."""

    def __init__(self, directory: Path) -> None:
        """Open what `create` made.

        Raises:
            IdentitiesError: there is none, or it cannot be used.
        """
        self.directory = directory
        try:
            self._certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            key = serialization.load_pem_private_key(
                (directory / "ca.key").read_bytes(), password=None
            )
            self._db = _connect(directory / "register.db")
            _bring_up(self._db)
        except FileNotFoundError as error:
            raise IdentitiesError(
                f"{error.filename}: not there; make it with: kentongan-gateway ca init"
            ) from None
        except (OSError, ValueError, UnsupportedAlgorithm, sqlite3.Error) as error:
            raise IdentitiesError(f"{directory} cannot be used: {_why(error)}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IdentitiesError(f"{directory / 'ca.key'}: not a P-256 key")
        self._key = key

    @classmethod
    def create(cls, directory: Path, name: str, wall_ms: int) -> Authority:
        """Make a new authority; `name` is shown in its certificate.

        Raises:
            IdentitiesError: there is one already, or the directory cannot be written.
        """
        if (directory / "ca.key").exists():
            raise IdentitiesError(
                f"{directory / 'ca.key'}: there is one already; a new one would lock everybody out"
            )
        if wall_ms < dt.datetime(2024, 1, 1, tzinfo=dt.UTC).timestamp() * 1000:
            raise IdentitiesError("this machine's clock is wrong; set it first")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kentongan"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        now = _moment(wall_ms)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=BACKDATED_DAYS))
            .not_valid_after(now + dt.timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            directory.chmod(0o700)
            replace_file(directory / "ca.key", _key_pem(key).encode(), SECRET_MODE)
            replace_file(directory / "ca.pem", _pem(certificate).encode(), PUBLIC_MODE)
            os.close(os.open(directory / "register.db", os.O_CREAT | os.O_RDWR, SECRET_MODE))
            with contextlib.closing(_connect(directory / "register.db")) as db:
                # In one transaction: a register that was cut short has no tables, and says so.
                db.executescript(
                    f"BEGIN; {_TABLES} INSERT INTO meta VALUES ('schema', '1'); COMMIT"
                )
        except (OSError, sqlite3.Error) as error:
            raise IdentitiesError(f"{directory} cannot be written: {_why(error)}") from None
        authority = cls(directory)
        authority.write_crl(wall_ms)
        return authority

    def close(self) -> None:
        """Let go of the register."""
        self._db.close()

    def __enter__(self) -> Authority:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ca_file(self) -> Path:
        """The authority's certificate, which everyone needs."""
        return self.directory / "ca.pem"

    @property
    def crl_file(self) -> Path:
        """The list of revoked certificates."""
        return self.directory / "crl.pem"

    # --- reading ---------------------------------------------------------------------------

    def data_version(self) -> int:
        """Changes when another process has changed the register; cheap to ask.

        Raises:
            IdentitiesError: the register cannot be read.
        """
        with self._reading():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def standings(self, wall_ms: int) -> list[Standing]:
        """Everyone in the register, by name.

        Raises:
            IdentitiesError: the register cannot be read.
        """
        with self._reading():
            return self._standings(wall_ms)

    def _standings(self, wall_ms: int) -> list[Standing]:
        newest: dict[str, tuple[str, int]] = {}
        revoked: dict[str, int] = {}
        rows = self._db.execute(
            "SELECT name, serial, ends_ms, revoked_ms FROM certificates ORDER BY ends_ms"
        )
        for name, serial, ends_ms, revoked_ms in rows:
            if revoked_ms is not None:
                revoked[name] = revoked.get(name, 0) + 1
            else:
                # Also when its date is over: a clock that is wrong must not shut anyone out here.
                # Brokers look at dates.
                newest[name] = (serial, ends_ms)
        found = []
        for row in self._db.execute("SELECT * FROM identities ORDER BY name"):
            identity = _identity(row)
            serial, ends_ms = newest.get(identity.name, (None, None))
            found.append(Standing(identity, serial, ends_ms, revoked.get(identity.name, 0)))
        return found

    def register(self, wall_ms: int) -> Register:
        """Who may speak, as the gateway's gate wants it.

        Raises:
            IdentitiesError: the register cannot be read.
        """
        posts: dict[str, PostEntry] = {}
        consoles: dict[str, ConsoleRole] = {}
        denied: set[str] = set()
        for standing in self.standings(wall_ms):
            identity = standing.identity
            if not standing.live:
                denied.add(identity.name)
            if identity.role == "post":
                posts[identity.name] = PostEntry(
                    identity.label, identity.lat, identity.lon, identity.kelurahan
                )
            elif identity.role == "console":
                consoles[identity.name] = identity.console_role or "viewer"
        with self._reading():
            rows = self._db.execute("SELECT * FROM maintenance WHERE until_ms > ?", (wall_ms,))
            maintained = {name: Maintained(*rest) for name, *rest in rows}
            retired = frozenset(row[0] for row in self._db.execute("SELECT name FROM retired"))
        return Register(
            posts={name: entry for name, entry in posts.items() if name not in retired},
            consoles=consoles,
            denied=frozenset(denied),
            maintained=maintained,
            retired=retired,
        )

    def expiring(self, wall_ms: int) -> dict[str, tuple[str, ...]]:
        """What ends soon: fault name -> the names concerned, those that end first in front.

        Raises:
            IdentitiesError: the register cannot be read.
        """
        soon: dict[str, tuple[str, ...]] = {}
        warn_ms = wall_ms + CERTIFICATE_WARN_DAYS * DAY_MS
        ending = [
            (standing.ends_ms, standing.identity.name)
            for standing in self.standings(wall_ms)
            if standing.ends_ms is not None and standing.ends_ms < warn_ms
        ]
        if ending:
            soon["certificate_expiring"] = tuple(name for _, name in sorted(ending))
        if _ms(self._certificate.not_valid_after_utc) < wall_ms + CA_WARN_DAYS * DAY_MS:
            soon["ca_expiring"] = ("ca",)
        until_ms = self.crl_until_ms()
        if until_ms is None or until_ms < wall_ms + CRL_WARN_DAYS * DAY_MS:
            soon["crl_expiring"] = ("crl",)
        return soon

    # --- issuing ---------------------------------------------------------------------------

    def provision(self, identity: Identity, wall_ms: int) -> Issued:
        """Register a name, or take it up anew, with a new key and certificate.

        Certificates that it had are revoked: a new card replaces the old one. The list of revoked
        certificates is written.

        Raises:
            IdentitiesError: the name belongs to another role, or something is missing in it.
        """
        _check(identity)
        with self._writing():
            known = self._db.execute(
                "SELECT role FROM identities WHERE name = ?", (identity.name,)
            ).fetchone()
            if known is not None and known[0] != identity.role:
                raise IdentitiesError(f"{identity.name} is already the name of a {known[0]}")
            if known is None and self._count("identities") >= IDENTITIES_MAX:
                raise IdentitiesError(f"the register is full: {IDENTITIES_MAX} names")
            self._db.execute(
                "INSERT INTO identities VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET label = excluded.label, lat = excluded.lat,"
                " lon = excluded.lon, kelurahan = excluded.kelurahan,"
                " console_role = excluded.console_role, hosts = excluded.hosts",
                (
                    identity.name,
                    identity.role,
                    identity.label,
                    identity.lat,
                    identity.lon,
                    identity.kelurahan,
                    identity.console_role,
                    ",".join(identity.hosts),
                ),
            )
            replaced = self._revoke(identity.name, wall_ms)
            issued = self._issue(identity, wall_ms)
            self._db.execute("DELETE FROM retired WHERE name = ?", (identity.name,))
            self._write_down(identity.name, wall_ms, "provisioned")
        self.write_crl(wall_ms)
        return replace(issued, replaced=replaced)

    def renew(self, name: str, wall_ms: int) -> Issued:
        """A new key and certificate for a name that has one; the old ones count until they end.

        Raises:
            IdentitiesError: nobody of that name may speak.
        """
        with self._writing():
            return self._issue(self._live(name), wall_ms)

    def sign_renewal(self, post: str, request: bytes, wall_ms: int) -> bytes:
        """The certificate (DER) for a post's own new key; the same again for the same request.

        `request` is a PKCS #10 request, DER; of what it says only its key counts.

        Raises:
            IdentitiesError: no such post may speak, or the request is none that we sign.
        """
        public_key = _requested_key(request)
        digest = _key_digest(public_key)
        with self._writing():
            identity = self._live(post)
            if identity.role != "post":
                raise IdentitiesError(f"{post} is a {identity.role}, not a post")
            known = self._db.execute(
                "SELECT pem, name, revoked_ms FROM certificates WHERE public_key = ?", (digest,)
            ).fetchone()
            if known is not None:
                if known[1] != post or known[2] is not None:
                    raise IdentitiesError(f"the key that {post} asks for was used before")
                return _der(x509.load_pem_x509_certificate(known[0].encode()))
            last_ms = self._db.execute(
                "SELECT max(issued_ms) FROM certificates WHERE name = ? AND renewal = 1", (post,)
            ).fetchone()[0]
            if last_ms is not None and 0 <= wall_ms - last_ms < RENEWAL_PAUSE_MS:
                raise IdentitiesError(f"{post} has had a certificate within the last day")
            certificate = self._sign(identity, public_key, wall_ms, renewal=True)
        return _der(certificate)

    def passing(self, name: str, wall_ms: int) -> Issued:
        """A certificate of ten minutes in somebody's name, to take his connection from him.

        It is not in the register and is never written down.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        identity = Identity(name, "post")
        certificate = self._certify(identity, key.public_key(), wall_ms, dt.timedelta(minutes=10))
        return _issued(name, certificate, key)

    def _issue(self, identity: Identity, wall_ms: int) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(identity, key.public_key(), wall_ms, renewal=False)
        return _issued(identity.name, certificate, key)

    def _sign(
        self,
        identity: Identity,
        public_key: ec.EllipticCurvePublicKey,
        wall_ms: int,
        *,
        renewal: bool,
    ) -> x509.Certificate:
        # What has been over for long need not be revoked nor known any more.
        self._db.execute("DELETE FROM certificates WHERE ends_ms < ?", (wall_ms - 400 * DAY_MS,))
        held = self._db.execute(
            "SELECT count(*) FROM certificates WHERE name = ? AND revoked_ms IS NULL",
            (identity.name,),
        ).fetchone()[0]
        if held >= CERTIFICATES_PER_NAME_MAX:
            raise IdentitiesError(
                f"{identity.name} has {held} certificates; revoke it and provision it anew"
            )
        days = dt.timedelta(days=CERTIFICATE_DAYS)
        certificate = self._certify(identity, public_key, wall_ms, days)
        self._db.execute(
            "INSERT INTO certificates VALUES (?, ?, ?, ?, NULL, ?, ?, ?)",
            (
                f"{certificate.serial_number:x}",
                identity.name,
                wall_ms,
                _ms(certificate.not_valid_after_utc),
                _key_digest(public_key),
                _pem(certificate),
                int(renewal),
            ),
        )
        return certificate

    def _certify(
        self,
        identity: Identity,
        public_key: ec.EllipticCurvePublicKey,
        wall_ms: int,
        lasts: dt.timedelta,
    ) -> x509.Certificate:
        now = _moment(wall_ms)
        born = self._certificate.not_valid_before_utc
        ends = min(now + lasts, self._certificate.not_valid_after_utc)
        if now < born or ends <= now:
            raise IdentitiesError(
                f"this machine's clock says {now:%Y-%m-%d}, outside the authority's life; set it"
            )
        is_broker = identity.role == "broker"
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if is_broker else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(
                x509.Name(
                    [
                        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kentongan"),
                        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, identity.role),
                        x509.NameAttribute(NameOID.COMMON_NAME, identity.name),
                    ]
                )
            )
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(born, now - dt.timedelta(days=BACKDATED_DAYS)))
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            # A post cannot pose as a broker, nor a broker as a post.
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(self._authority_key(), critical=False)
        )
        if is_broker:
            names = x509.SubjectAlternativeName([_general_name(host) for host in identity.hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _authority_key(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    # --- revoking --------------------------------------------------------------------------

    def revoke(self, name: str, wall_ms: int) -> int:
        """Shut a name out: every certificate of it is revoked; how many were.

        Raises:
            IdentitiesError: there is no such name.
        """
        with self._writing():
            if self._find(name) is None:
                raise IdentitiesError(self._unknown(name))
            count = self._revoke(name, wall_ms)
            self._write_down(name, wall_ms, "revoked")
        self.write_crl(wall_ms)
        return count

    def _revoke(self, name: str, wall_ms: int) -> int:
        return self._db.execute(
            "UPDATE certificates SET revoked_ms = ? WHERE name = ? AND revoked_ms IS NULL",
            (wall_ms, name),
        ).rowcount

    def crl_until_ms(self) -> int | None:
        """When the list of revoked certificates ends (Unix ms); None when there is none."""
        try:
            crl = x509.load_pem_x509_crl(self.crl_file.read_bytes())
        except (OSError, ValueError):
            return None
        return None if crl.next_update_utc is None else _ms(crl.next_update_utc)

    def crl_is_due(self, wall_ms: int) -> bool:
        """Whether half of the list's time is over, or a crash has left it behind the register.

        Raises:
            IdentitiesError: the register cannot be read.
        """
        until_ms = self.crl_until_ms()
        if until_ms is None or until_ms - wall_ms < CRL_RENEW_DAYS * DAY_MS:
            return True
        crl = x509.load_pem_x509_crl(self.crl_file.read_bytes())
        listed = {f"{entry.serial_number:x}" for entry in crl}
        with self._reading():
            rows = self._db.execute(
                "SELECT serial FROM certificates WHERE revoked_ms IS NOT NULL"
            ).fetchall()
        return any(serial not in listed for (serial,) in rows)

    def write_crl(self, wall_ms: int) -> None:
        """Write the list of revoked certificates, valid from now on.

        Raises:
            IdentitiesError: the disk failed.
        """
        with self._writing():
            # A broker whose clock is behind must believe it too. A broker that has read two of
            # them goes by the later date, so no two may have the same.
            from_ms = max(
                wall_ms - BACKDATED_DAYS * DAY_MS, int(self._meta("crl_from_ms") or 0) + 1000
            )
            number = 1 + int(self._meta("crl_number") or 0)
            for key, value in (("crl_number", number), ("crl_from_ms", from_ms)):
                self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(value)))
            builder = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(self._certificate.subject)
                .last_update(_moment(from_ms))
                .next_update(_moment(wall_ms) + dt.timedelta(days=CRL_DAYS))
                .add_extension(x509.CRLNumber(number), critical=False)
                .add_extension(self._authority_key(), critical=False)
            )
            rows = self._db.execute(
                "SELECT serial, revoked_ms FROM certificates WHERE revoked_ms IS NOT NULL"
            )
            for serial, revoked_ms in rows:
                builder = builder.add_revoked_certificate(
                    x509.RevokedCertificateBuilder()
                    .serial_number(int(serial, 16))
                    .revocation_date(_moment(revoked_ms))
                    .build()
                )
            crl = builder.sign(self._key, hashes.SHA256())
            # Inside the transaction: of two writers the later one has the longer list.
            replace_file(self.crl_file, crl.public_bytes(serialization.Encoding.PEM), PUBLIC_MODE)

    # --- the life of a post ----------------------------------------------------------------

    def rename(self, post: str, label: str, *, by: str, wall_ms: int) -> str | None:
        """Give a post another name for people; the one it had. Its id stays.

        Raises:
            IdentitiesError: there is no such post, or it is retired.
        """
        with self._writing():
            before = self._post(post)
            self._db.execute("UPDATE identities SET label = ? WHERE name = ?", (label, post))
            what = f"renamed from {before.label or '(no name)'} to {label}"
            self._write_down(post, wall_ms, what, by)
        return before.label

    def move(self, post: str, lat: float, lon: float, *, by: str, why: str, wall_ms: int) -> None:
        """Write down a new survey (WGS 84 degrees).

        Raises:
            IdentitiesError: there is no such post, or it is retired.
        """
        with self._writing():
            before = self._post(post)
            self._db.execute(
                "UPDATE identities SET lat = ?, lon = ? WHERE name = ?", (lat, lon, post)
            )
            what = f"moved from {_place(before.lat, before.lon)} to {_place(lat, lon)}"
            self._write_down(post, wall_ms, what, by, why)

    def maintain(self, post: str, until_ms: int, *, by: str, why: str, wall_ms: int) -> None:
        """Plan a post's silence until then (Unix ms), at most 72 h; one that runs is replaced.

        Raises:
            IdentitiesError: there is no such post, it is retired, or the end is not to be had.
        """
        hours = (until_ms - wall_ms) / 3_600_000
        if not 0 < hours <= MAINTENANCE_HOURS_MAX:
            raise IdentitiesError(
                f"maintenance ends within {MAINTENANCE_HOURS_MAX} hours; this would be {hours:.1f}"
            )
        with self._writing():
            self._post(post)
            self._db.execute(
                "INSERT OR REPLACE INTO maintenance VALUES (?, ?, ?, ?, ?)",
                (post, wall_ms, until_ms, by, why),
            )
            what = f"maintenance until {timestamp(until_ms)}"
            self._write_down(post, wall_ms, what, by, why)

    def end_maintenance(self, post: str, *, by: str, wall_ms: int) -> bool:
        """End it now; False when there was none.

        Raises:
            IdentitiesError: there is no such post, or it is retired.
        """
        with self._writing():
            self._post(post)
            ended = self._db.execute(
                "DELETE FROM maintenance WHERE name = ? AND until_ms > ?", (post, wall_ms)
            ).rowcount
            if ended:
                self._write_down(post, wall_ms, "maintenance ended", by)
        return bool(ended)

    def retire(self, post: str, *, by: str, why: str, wall_ms: int) -> int:
        """Take a post out of service for good: its certificates are revoked; how many were.

        The register keeps it with its record; `provision` takes the name up anew.

        Raises:
            IdentitiesError: there is no such post, or it is retired.
        """
        with self._writing():
            self._post(post)
            count = self._revoke(post, wall_ms)
            self._db.execute("DELETE FROM maintenance WHERE name = ?", (post,))
            self._db.execute("INSERT INTO retired VALUES (?, ?)", (post, wall_ms))
            self._write_down(post, wall_ms, "retired", by, why)
        self.write_crl(wall_ms)
        return count

    def is_retired(self, name: str) -> bool:
        """Whether it is out of service for good.

        Raises:
            IdentitiesError: the register cannot be read.
        """
        with self._reading():
            return self._is_retired(name)

    def life_of(self, name: str) -> list[LifeRecord]:
        """What has happened to a name, the oldest first.

        Raises:
            IdentitiesError: there is no such name, or the register cannot be read.
        """
        with self._reading():
            if self._find(name) is None:
                raise IdentitiesError(self._unknown(name))
            rows = self._db.execute(
                "SELECT at_ms, what, by, why FROM records WHERE name = ? ORDER BY n", (name,)
            )
            return [LifeRecord(*row) for row in rows]

    def _post(self, name: str) -> Identity:
        identity = self._find(name)
        if identity is None:
            raise IdentitiesError(self._unknown(name))
        if identity.role != "post":
            raise IdentitiesError(f"{name} is a {identity.role}, not a post")
        if self._is_retired(name):
            raise IdentitiesError(f"{name} is retired; `provision post` takes the name up anew")
        return identity

    def _is_retired(self, name: str) -> bool:
        row = self._db.execute("SELECT 1 FROM retired WHERE name = ?", (name,)).fetchone()
        return row is not None

    def _write_down(
        self, name: str, wall_ms: int, what: str, by: str | None = None, why: str | None = None
    ) -> None:
        self._db.execute(
            "INSERT INTO records (name, at_ms, what, by, why) VALUES (?, ?, ?, ?, ?)",
            (name, wall_ms, what, by, why or None),
        )
        self._db.execute(
            "DELETE FROM records WHERE name = ? AND n <= (SELECT n FROM records WHERE name = ?"
            " ORDER BY n DESC LIMIT 1 OFFSET ?)",
            (name, name, RECORDS_PER_NAME_MAX),
        )

    # --- brokers on this machine -----------------------------------------------------------

    def add_broker(self, place: BrokerPlace) -> None:
        """Remember where a broker's files lie, so that later changes reach them.

        Raises:
            IdentitiesError: the register cannot be written.
        """
        with self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO brokers VALUES (?, ?, ?)",
                (str(place.directory), ",".join(sorted(place.serves)), place.root),
            )

    def brokers(self) -> list[BrokerPlace]:
        """The brokers on this machine.

        Raises:
            IdentitiesError: the register cannot be read.
        """
        with self._reading():
            rows = self._db.execute("SELECT directory, serves, root FROM brokers ORDER BY 1")
            return [BrokerPlace(Path(row[0]), frozenset(row[1].split(",")), row[2]) for row in rows]

    # --- the register ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise IdentitiesError(f"{self.directory} cannot be written: {_why(error)}") from None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise IdentitiesError(f"{self.directory} cannot be read: {_why(error)}") from None

    def _meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _count(self, table: Literal["identities"]) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def _find(self, name: str) -> Identity | None:
        if not re.match(NAME_PATTERN, name):
            return None  # nobody can have it, and it may not even be text that SQLite takes
        row = self._db.execute("SELECT * FROM identities WHERE name = ?", (name,)).fetchone()
        return None if row is None else _identity(row)

    def _live(self, name: str) -> Identity:
        identity = self._find(name)
        if identity is None:
            raise IdentitiesError(self._unknown(name))
        live = self._db.execute(
            "SELECT 1 FROM certificates WHERE name = ? AND revoked_ms IS NULL", (name,)
        ).fetchone()
        if live is None:
            raise IdentitiesError(f"{name} is revoked; provision it anew")
        return identity

    def _unknown(self, name: str) -> str:
        return f"{name} is not in the register; `kentongan-gateway list` shows who is"


# --- small pieces ------------------------------------------------------------------------------


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(2, "not there", str(path))
    db = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    # A rollback journal: no further files, and a reader may be another user's.
    db.execute("PRAGMA synchronous=FULL").fetchall()
    return db


def _bring_up(db: sqlite3.Connection) -> None:
    """A register of an older version gets what it lacks; one of a newer is left alone."""
    if _version(db) == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db)  # somebody else may have been quicker
        if version > SCHEMA_VERSION:
            raise ValueError(f"the register is of version {version}, made by a newer program")
        for statement in _STEP_2 if version == 1 else ():
            db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return int(row[0])


def _place(lat: float | None, lon: float | None) -> str:
    return "nowhere" if lat is None or lon is None else f"{lat:.5f},{lon:.5f}"


def _identity(row: Sequence[object]) -> Identity:
    name, role, label, lat, lon, kelurahan, console_role, hosts = row
    return Identity(
        name=str(name),
        role=next(known for known in ROLES if known == role),
        label=None if label is None else str(label),
        lat=lat if isinstance(lat, float) else None,
        lon=lon if isinstance(lon, float) else None,
        kelurahan=None if kelurahan is None else str(kelurahan),
        console_role=next(
            (known for known in get_args(ConsoleRole) if known == console_role), None
        ),
        hosts=tuple(str(hosts).split(",")) if hosts else (),
    )


def _check(identity: Identity) -> None:
    if len(identity.name) > 64 or not re.match(NAME_PATTERN, identity.name):
        raise IdentitiesError(
            f"{identity.name!r} is no name: up to 64 lower-case letters, digits and '-'"
        )
    if identity.role == "broker":
        if not identity.hosts:
            raise IdentitiesError("a broker needs the host name that others connect to: --host")
        for host in identity.hosts:
            _general_name(host)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if _HOST.match(host):
            return x509.DNSName(host)
        raise IdentitiesError(f"{host!r} is neither a host name nor an address") from None


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    try:
        csr = x509.load_der_x509_csr(request)
        key = csr.public_key()
        signed = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise IdentitiesError(f"not a certificate request: {_why(error)}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise IdentitiesError("the request's key is not a P-256 key")
    if not signed:
        raise IdentitiesError("the request is not signed with its key")
    return key


def _key_digest(key: ec.EllipticCurvePublicKey) -> str:
    content = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    return digest.finalize().hex()


def _issued(name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    return Issued(
        name=name,
        serial=f"{certificate.serial_number:x}",
        ends_ms=_ms(certificate.not_valid_after_utc),
        certificate=_pem(certificate),
        key=_key_pem(key),
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode("ascii")


def _moment(wall_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(wall_ms // 1000, dt.UTC)


def _ms(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 1000


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return f"{type(error).__name__}: {error}"[:300]
