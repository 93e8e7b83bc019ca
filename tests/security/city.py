"""A small city under real TLS: a register, a real mosquitto from `broker-config`, a real gateway.

Every certificate is made when the test runs. Two posts, three consoles, one gateway; and whatever
certificates an attacker may have got hold of.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from demo import stage
from gateway import broker_config
from gateway.attempts import Attempt, Attempts
from gateway.identities import Authority, BrokerPlace, Identity, Issued
from process.bundle import Bundle
from protocol.topics import DEFAULT_ROOT, Topics
from tests.broker import free_port

HONEST, THIEF = "mlg-klojen-rw01", "mlg-klojen-rw02"
OPERATOR, TECHNICIAN, VIEWER = "console", "teknisi-1", "layar-1"
GATEWAY = "mlg-gw1"
OTHER_GATEWAY = "mlg-gw2-posts"  # another gateway's place at the posts' broker: it reads all posts
DAY_MS = 86_400_000
SETTLED_S = 0.3  # loopback: what was to be delivered has been
PATIENCE_S = 40.0  # of a test on a machine that has much else to do; nothing is promised by it
T = TypeVar("T")


def until(what: str, look: Callable[[], T | None], timeout_s: float = PATIENCE_S) -> T:
    """`demo.stage.until`, with more patience."""
    return stage.until(what, look, timeout_s)


def wall_ms() -> int:
    """Now."""
    return time.time_ns() // 1_000_000


class TlsBroker:
    """A mosquitto as `broker-config` writes it, with every line of its log."""

    def __init__(
        self, authority: Authority, directory: Path, serves: frozenset[str], *, plain: bool = False
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.plain_port = free_port() if plain else None
        self._authority = authority
        name = directory.name
        # The last is this machine as a guest of QEMU sees it.
        hosts = ("localhost", "127.0.0.1", "10.0.2.2")
        issued = authority.provision(Identity(name, "broker", hosts=hosts), wall_ms())
        bundle = Bundle(
            role="broker",
            name=name,
            files={"ca.pem": authority.ca_file.read_text(), "broker.pem": issued.whole},
            sha256="0" * 64,
        )
        broker_config.install(
            authority,
            BrokerPlace(directory, serves, DEFAULT_ROOT),
            bundle,
            port=self.port,
            plain_port=self.plain_port,
            owner=_user(),
            wall_ms=wall_ms(),
        )
        config = directory / "mosquitto.conf"
        text = config.read_text()
        assert "#log_type debug" in text
        # Refusals of single publishes are lines of type debug.
        config.write_text(text.replace("#log_type debug", "log_type debug"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtts://localhost:{self.port}"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        program = "/usr/sbin/mosquitto"
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", str(self.directory / "mosquitto.conf")], stdout=log, stderr=log
            )
        until("the broker listens", lambda: " running" in self.log)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(5)

    def said(self, *parts: str, since: int = 0) -> str | None:
        """The first line of the log from character `since` on that holds all of this."""
        for line in self.log[since:].splitlines():
            if all(part in line for part in parts):
                return line
        return None


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


class City:
    """Everything in one directory; `with City(path) as city:` ends what it started."""

    def __init__(self, directory: Path, *, two_brokers: bool = False, plain: bool = False) -> None:
        self.directory = directory
        self.register = directory / "register"
        self.authority = Authority.create(self.register, "Kentongan CA", wall_ms())
        self.ca = str(self.authority.ca_file)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.certificates: dict[str, Path] = {}
        for name in (HONEST, THIEF):
            self.provision(Identity(name, "post", label=f"Pos {name[-4:]}", lat=-7.98, lon=112.63))
        self.provision(Identity(OPERATOR, "console", console_role="operator"))
        self.provision(Identity("console-2", "console", console_role="operator"))
        self.provision(Identity(TECHNICIAN, "console", console_role="technician"))
        self.provision(Identity(VIEWER, "console", console_role="viewer"))
        for link in ("posts", "mcc"):
            self.provision(Identity(f"{GATEWAY}-{link}", "gateway"))
        self.provision(Identity(OTHER_GATEWAY, "gateway"))
        both = frozenset(("posts", "mcc"))
        if two_brokers:
            self.posts_broker = TlsBroker(
                self.authority, directory / "posts-broker", frozenset(("posts",))
            )
            self.mcc_broker = TlsBroker(
                self.authority, directory / "mcc-broker", frozenset(("mcc",))
            )
            self.brokers = [self.posts_broker, self.mcc_broker]
        else:
            self.posts_broker = TlsBroker(self.authority, directory / "broker", both, plain=plain)
            self.mcc_broker = self.posts_broker
            self.brokers = [self.posts_broker]
        self.config = directory / "gateway.toml"
        self.config.write_text(
            f'gateway_id = "{GATEWAY}"\n'
            + "".join(
                f'[{link}]\nurl = "{broker.url}"\nkeepalive_s = 5\nca = "{self.ca}"\n'
                f'certificate = "{self.certificates[f"{GATEWAY}-{link}"]}"\n'
                for link, broker in (("posts", self.posts_broker), ("mcc", self.mcc_broker))
            )
            + f'[journal]\nurl = "sqlite:///{directory / "journal.db"}"\n'
            f'[identities]\ndirectory = "{self.register}"\n'
        )

    def provision(self, identity: Identity) -> Issued:
        """Register somebody; his certificate lies in `certificates`."""
        issued = self.authority.provision(identity, wall_ms())
        self.certificates[identity.name] = self.keep(identity.name, issued.whole)
        return issued

    def keep(self, name: str, pem: str) -> Path:
        """Write a PEM file of somebody."""
        path = self.directory / f"{name}.identity.pem"
        path.write_text(pem)
        return path

    # --- processes -------------------------------------------------------------------------

    def __enter__(self) -> City:
        try:
            for broker in self.brokers:
                broker.start()
            self.start_gateway()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_gateway(self) -> None:
        """Run the gateway and wait until it is on both brokers with its register."""
        self.run("gateway", "gateway.cli", "run", "--config", str(self.config))
        for word in ("event=link_up link=posts", "event=link_up link=mcc", "event=register_read"):
            until(word, functools.partial(self._gateway_said, word), 30.0)

    def _gateway_said(self, word: str) -> bool:
        return word in self.log_of("gateway")

    def run(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a process of the project; its words go to NAME.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.environment(),
            )
        self._processes.append(process)
        return process

    def environment(self) -> dict[str, str]:
        rooms = str(Path(__file__).resolve().parents[2])
        return {**os.environ, "PYTHONPATH": rooms, "KENTONGAN_CLOCK": "synchronised"}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`kentongan-gateway ...` as a person runs it."""
        return subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.directory,
            env=self.environment(),
        )

    def log_of(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def attempts(self) -> Counter[Attempt]:
        """What `kentongan-gateway attempts` counts in the logs until now."""
        everybody = [one.identity for one in self.authority.standings(wall_ms())]
        attempts = Attempts(everybody, Topics())
        for log in (*(broker.log for broker in self.brokers), self.log_of("gateway")):
            for line in log.splitlines():
                attempts.read(line)
        return attempts.counts

    @contextlib.contextmanager
    def counting(self, what: str, who: str | None = None) -> Iterator[None]:
        """What is done inside is counted as an attempt of `who` (None: whoever it was)."""

        def count() -> int:
            return sum(
                count
                for attempt, count in self.attempts().items()
                if attempt.what == what and who in (None, attempt.who)
            )

        before = count()
        yield
        until(f"{what} of {who} is counted", lambda: count() > before)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.wait(10)

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            process.wait(10)
        for broker in self.brokers:
            broker.stop()
        self.authority.close()

    # --- anybody with a certificate --------------------------------------------------------

    @contextlib.contextmanager
    def client(self, who: str, **options: Any) -> Iterator[Client]:
        """Somebody connected with the certificate of `who`."""
        options.setdefault("port", self.posts_broker.port)
        client = Client(self.ca, self.certificates[who], client_id=who, **options)
        try:
            client.connect()
            yield client
        finally:
            client.close()


class Client:
    """An MQTT client that does what an attacker wants, and remembers what it was told."""

    def __init__(
        self,
        ca: str,
        certificate: Path | None,
        *,
        port: int,
        client_id: str,
        username: str | None = None,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.ended: str | None = None
        self.accepted = False
        self._port = port
        self._answers: dict[int, str] = {}
        self._granted: dict[int, list[int]] = {}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate)
        self._client.tls_set_context(context)
        if username is not None:
            self._client.username_pw_set(username, "x")
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=True)
        self._client.max_inflight_messages_set(0)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe

    def connect(self) -> Client:
        """Connect, or find out that it does not work (`accepted` stays False)."""
        try:
            self._client.connect("localhost", self._port, keepalive=10)
        except OSError as error:
            self.ended = str(error)
            return self
        self._client.loop_start()
        until("an answer to CONNECT", lambda: self.accepted or self.ended is not None)
        return self

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """The broker's answer to a QoS 1 publish."""
        packet_id = self.send(topic, payload, retain=retain)
        return until("a PUBACK", lambda: self._answers.get(packet_id) or self.ended)

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish and do not wait."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def subscribe(self, topic: str) -> list[int]:
        """The broker's answer to a SUBSCRIBE."""
        _, packet_id = self._client.subscribe(topic, options=SubscribeOptions(qos=1))
        assert packet_id is not None
        return until("a SUBACK", lambda: self._granted.get(packet_id))

    def die(self) -> None:
        """Break the connection so that the broker speaks the will."""
        transport = self._client.socket()
        assert isinstance(transport, socket.socket)
        transport.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """DISCONNECT."""
        self._client.disconnect(properties=Properties(PacketTypes.DISCONNECT))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, *arguments: Any) -> None:
        reason = arguments[3]
        self.accepted = not reason.is_failure
        if reason.is_failure:
            self.ended = str(reason)

    def _on_disconnect(self, *arguments: Any) -> None:
        self.ended = str(arguments[3])

    def _on_message(self, *arguments: Any) -> None:
        message = arguments[2]
        self.received.append((message.topic, message.payload))

    def _on_publish(self, *arguments: Any) -> None:
        self._answers[arguments[2]] = str(arguments[3])

    def _on_subscribe(self, *arguments: Any) -> None:
        self._granted[arguments[2]] = [reason.value for reason in arguments[3]]


# --- certificates that nobody should have --------------------------------------------------------


def self_signed(name: str) -> str:
    """A certificate in somebody's name that its holder made himself, with its key."""
    return foreign(name, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))


def foreign(name: str, issuer: x509.Name) -> str:
    """A certificate in somebody's name from an authority that has the right name only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if issuer == subject else ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=100))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return _pem(certificate, key)


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> str:
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (certificate.public_bytes(encoding) + private).decode("ascii")


def new_directory() -> Path:
    """One that the caller removes."""
    return Path(tempfile.mkdtemp(prefix="kentongan-city-"))
