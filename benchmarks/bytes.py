"""`python -m benchmarks.bytes`: what a post's connection costs on a link that is paid by the byte.

A real post and a real gateway on mosquitto, TLS with certificates on both sides, through a relay
that counts. Bytes are those of the connection plus 52 of IPv4 and TCP for every segment, which the
kernel counts (tcp(7), TCP_INFO), acknowledgements included. A month is counted up from one
exchange; a mobile network rounds up and retransmits, so plans need room.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.centre import NotMeasured
from benchmarks.ground import Ground
from benchmarks.growth import CALL_STATES, steps
from benchmarks.kept import an_alarm
from demo.broker import free_port
from gateway.identities import Authority, Identity, Issued
from gateway.posts import Post
from gateway.record import document, new_record
from hardware.clock import Now, uptime_us
from protocol.codec import encode
from protocol.messages import Place
from protocol.values import new_id, timestamp

GATEWAY, POST = "bench-gateway", "mlg-lowokwaru-dinoyo-rw05"
HEADERS_BYTES = 52  # IPv4 20, TCP 20 with 12 of timestamps
SEGMENTS_AT = 136  # struct tcp_info: tcpi_segs_out, tcpi_segs_in (linux/tcp.h)
MONTH_S = 30 * 86_400
HEARTBEATS = 6
PING_S = 5.0
PINGS = 4
SETTLE_S = 3.0
MB = 1_000_000
# Heartbeat and keepalive in seconds, and what the gateway's window is then.
SETTINGS = (
    ("default", 30, 20, 90),
    ("strict", 5, 20, 20),
    ("no pings", 40, 60, 90),
    ("thrifty", 80, 120, 180),
)


@dataclass(frozen=True)
class Cost:
    """Bytes and segments, both directions."""

    payload: int
    segments: int

    @property
    def wire(self) -> int:
        """With the headers."""
        return self.payload + HEADERS_BYTES * self.segments

    def since(self, before: Cost) -> Cost:
        """What has come since."""
        return Cost(self.payload - before.payload, self.segments - before.segments)


class Relay:
    """Counts what goes through to a loopback port, on the side of the post."""

    def __init__(self, to_port: int) -> None:
        """Listen."""
        self._to_port = to_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._near: socket.socket | None = None
        self._payload = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cost(self) -> Cost:
        """What the present connection has cost so far.

        Raises:
            NotMeasured: there is none.
        """
        if self._near is None:
            raise NotMeasured("the post has not connected")
        info = self._near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SEGMENTS_AT + 8)
        return Cost(self._payload, sum(struct.unpack_from("=II", info, SEGMENTS_AT)))

    def close(self) -> None:
        """End the connection and listen no more."""
        self._server.close()
        if self._near is not None:
            self._near.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to_port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._near, self._payload = near, 0
            for giver, taker in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(giver, taker), daemon=True).start()

    def _carry(self, giver: socket.socket, taker: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while portion := giver.recv(65_536):
                self._payload += len(portion)
                taker.sendall(portion)
            taker.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def _broker(directory: Path, authority: Authority) -> Iterator[tuple[int, int]]:
    """mosquitto with a TLS listener for the post and a plain one for the gateway; their ports."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise NotMeasured("it needs mosquitto: apt-get install mosquitto")
    own = _issue(authority, directory, Identity("broker", "broker", hosts=("127.0.0.1",)))
    secure, plain = free_port(), free_port()
    config = directory / "mosquitto.conf"
    config.write_text(
        f"per_listener_settings false\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n"
        f"listener {plain} 127.0.0.1\nlistener {secure} 127.0.0.1\ncafile {authority.ca_file}\n"
        f"certfile {own}\nkeyfile {own}\nrequire_certificate true\n"
    )
    with (directory / "broker.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
        try:
            yield secure, plain
        finally:
            process.kill()
            process.wait()


def _issue(authority: Authority, directory: Path, identity: Identity) -> Path:
    issued: Issued = authority.provision(identity, time.time_ns() // 1_000_000)
    path = directory / f"{identity.name}.pem"
    path.write_text(issued.whole)
    path.chmod(0o600)
    return path


def _post(ground: Ground, relay: Relay, tls: str, heartbeat_s: int, keepalive_s: int) -> None:
    config = ground.write_post(POST)
    text = config.read_text().replace(
        f'url = "mqtt://127.0.0.1:{ground.port}"\n',
        f'url = "mqtts://127.0.0.1:{relay.port}"\nheartbeat_s = {heartbeat_s}\n'
        f"keepalive_s = {keepalive_s}\n{tls}",
    )
    config.write_text(text)
    ground.start(POST, "device.cli", "run", "--config", config)
    ground.until_said(POST, "event=link_up")


def measure(directory: Path) -> str:
    """The table.

    Raises:
        NotMeasured: why.
    """
    authority = Authority.create(directory / "ca", "bench", time.time_ns() // 1_000_000)
    with contextlib.ExitStack() as ending:
        ending.callback(authority.close)
        secure, plain = ending.enter_context(_broker(directory, authority))
        own = _issue(authority, directory, Identity(POST, "post", lat=-7.944, lon=112.611))
        tls = f'ca = "{authority.ca_file}"\ncertificate = "{own}"\n'
        relay = Relay(secure)
        ending.callback(relay.close)
        ground = Ground(directory, plain)
        ending.callback(ground.close)
        ground.start(GATEWAY, "gateway.cli", "run", "--config", ground.write_gateway(GATEWAY))
        ground.until_said(GATEWAY, "link=posts connection=")

        _post(ground, relay, tls, heartbeat_s=5, keepalive_s=60)
        time.sleep(SETTLE_S)
        connecting = relay.cost()
        before = relay.cost()
        time.sleep(5.0 * HEARTBEATS)
        beat = relay.cost().since(before)
        ground.stop(POST)

        _post(ground, relay, tls, heartbeat_s=40, keepalive_s=int(PING_S))
        time.sleep(SETTLE_S)
        before = relay.cost()
        time.sleep(PING_S * PINGS + 1.0)  # within one heartbeat's pause
        ping = relay.cost().since(before)
    return _report(connecting, beat, ping)


def _report(connecting: Cost, beat: Cost, ping: Cost) -> str:
    beat_bytes, ping_bytes = beat.wire / HEARTBEATS, ping.wire / PINGS
    lines = [
        f"one heartbeat and its answer: {beat.payload / HEARTBEATS:.0f} bytes in"
        f" {beat.segments / HEARTBEATS:.1f} segments, {beat_bytes:.0f} on the wire",
        f"one ping of MQTT: {ping_bytes:.0f} on the wire",
        f"a connection until it is settled: {connecting.wire} on the wire",
        "retained at the command centre's broker: {} for a post without faults, {} for a call that"
        " is over".format(*_documents()),
        "",
        "| setting | heartbeat_s | keepalive_s | silent_after_s | MB a month | a day |",
        "|---|---|---|---|---|---|",
    ]
    for name, heartbeat_s, keepalive_s, silent_s in SETTINGS:
        pings = max(0, -(-heartbeat_s // keepalive_s) - 1)
        month = MONTH_S / heartbeat_s * (beat_bytes + pings * ping_bytes)
        lines.append(
            f"| {name} | {heartbeat_s} | {keepalive_s} | {silent_s} | {month / MB:.0f} |"
            f" {month / 30 / MB:.1f} |"
        )
    return "\n".join(lines)


def _documents() -> tuple[int, int]:
    """Bytes of a registered post's document and of a call's, as the gateway writes them."""
    now = Now(uptime_us(), time.time_ns() // 1_000_000, True)
    place = Place(lat=-7.944, lon=112.611)
    post = Post(POST, timestamp(now.wall_ms), "online", firmware="kentongan 1.0.0", place=place)
    post.name, post.shown_last_seen = "RW 5 Dinoyo", timestamp(now.wall_ms)
    alarm = msgspec.structs.replace(an_alarm(POST), presses_ms=(-1_400, -700))
    *_, over = steps(new_record(alarm, now, None), CALL_STATES)
    call = document(over, GATEWAY, new_id())
    return len(encode(post.mcc_document(GATEWAY))), len(encode(call))


def main() -> int:
    """Measure; the exit code: 0 measured, 1 not."""
    argparse.ArgumentParser(prog="python -m benchmarks.bytes", description=__doc__).parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="kentongan-bytes-", dir="/var/tmp") as name:
            sys.stdout.write(measure(Path(name)) + "\n")
    except (NotMeasured, OSError, ValueError) as error:
        sys.stderr.write(f"bytes: not measured: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
