"""The configuration of a mosquitto 2 broker: written whole, from the register, and kept up to date.

TLS with client certificates only; a client is who its certificate says, under that name and that
client id and no other. What is not allowed is denied. Brokers elsewhere (EMQX) follow the same
table by hand: docs/emqx.md.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from gateway.gate import ConsoleRole
from gateway.identities import Authority, BrokerPlace, IdentitiesError, Standing
from process.bundle import Bundle
from process.files import PUBLIC_MODE, SECRET_MODE, replace_file

TLS_PORT = 8883
SERVES = ("posts", "mcc")
# For the gateways of many districts and their command centre: each below its own name.
DISTRICTS = "districts"
CONFIG, ACL, PLAIN_ACL, CRL, CA, IDENTITY = (
    "mosquitto.conf",
    "acl",
    "acl-plain",
    "crl.pem",
    "ca.pem",
    "broker.pem",
)
PID = "mosquitto.pid"
# What a client that does not read may make the broker hold. Without a number of messages as limit
# (at the default of 1,000 mosquitto throws away what a slow gateway has not read yet).
QUEUED_BYTES_MAX = 64 * 1024 * 1024
PACKET_BYTES_MAX = 64 * 1024
KEEPALIVE_S_MAX = 600

# --- who may do what: topics under the root ----------------------------------------------------

# A post, `%u` being its name. One rule for all posts.
POST_WRITES = ("alarms", "presence", "health", "renewal")
POST_READS = ("state", "answer", "certificate")
# A gateway's connection to the posts' broker. It reads its own documents back.
GATEWAY_READS_POSTS = ("alarms", "presence", "health", "renewal", "state")
# It writes a presence only to clear that of a post which is no more.
GATEWAY_WRITES_POSTS = ("state", "answer", "certificate", "presence")
# And its connection to the command centre's broker.
GATEWAY_READS_MCC = ("mcc/commands/+", "mcc/alarms/+", "mcc/posts/+")
# One that stands by for another looks whether that one speaks.
GATEWAY_READS_PRESENCE = "mcc/gateways/+"
GATEWAY_WRITES_MCC = ("mcc/alarms/+", "mcc/posts/+", "mcc/answers/+")
CONSOLE_READS = ("mcc/alarms/+", "mcc/posts/+", "mcc/gateways/+")


def acl_text(standings: Iterable[Standing], serves: frozenset[str], root: str) -> str:
    """The access list of a broker that serves `posts`, `mcc` or both, or `districts`."""
    lines = ["# Written by kentongan-gateway; it is written anew whenever the register changes."]
    for standing in standings:
        name, role = standing.identity.name, standing.identity.role
        if not standing.live:
            lines += ["", f"user {name}", "topic deny #"]
        elif role == "gateway":
            lines += ["", f"user {name}", *_gateway(name, serves, root)]
        elif role == "console":
            role_of_it: ConsoleRole = standing.identity.console_role or "viewer"
            lines += ["", f"user {name}", *_console(name, role_of_it, serves, root)]
    if "posts" in serves:
        lines += ["", "# every post, under its own name"]
        lines += [f"pattern write {root}/posts/%u/{what}" for what in POST_WRITES]
        lines += [f"pattern read {root}/posts/%u/{what}" for what in POST_READS]
    return "\n".join(lines) + "\n"


def _gateway(name: str, serves: frozenset[str], root: str) -> list[str]:
    gateway, _, link = name.rpartition("-")
    if link == "mcc" and DISTRICTS in serves:
        own = f"{root}/{gateway}"
        return [
            *(f"topic read {own}/{topic}" for topic in GATEWAY_READS_MCC),
            *(f"topic write {own}/{topic}" for topic in GATEWAY_WRITES_MCC),
            f"topic write {own}/mcc/gateways/{gateway}",
            f"topic read {root}/+/{GATEWAY_READS_PRESENCE}",
        ]
    if link not in serves:
        return ["topic deny #"]
    if link == "posts":
        return [
            *(f"topic read {root}/posts/+/{what}" for what in GATEWAY_READS_POSTS),
            *(f"topic write {root}/posts/+/{what}" for what in GATEWAY_WRITES_POSTS),
        ]
    return [
        f"topic deny {root}/posts/#",
        *(f"topic read {root}/{topic}" for topic in (*GATEWAY_READS_MCC, GATEWAY_READS_PRESENCE)),
        *(f"topic write {root}/{topic}" for topic in GATEWAY_WRITES_MCC),
        f"topic write {root}/mcc/gateways/{gateway}",
    ]


def _console(name: str, role: ConsoleRole, serves: frozenset[str], root: str) -> list[str]:
    if DISTRICTS in serves:
        lines = [f"topic read {root}/+/{topic}" for topic in CONSOLE_READS]
        lines.append(f"topic read {root}/+/mcc/answers/{name}")
        if role != "viewer":
            lines.append(f"topic write {root}/+/mcc/commands/{name}")
        return lines
    if "mcc" not in serves:
        return ["topic deny #"]
    lines = [
        # The rule for every post is for every name, so for this one too.
        f"topic deny {root}/posts/#",
        *(f"topic read {root}/{topic}" for topic in CONSOLE_READS),
        f"topic read {root}/mcc/answers/{name}",
    ]
    if role != "viewer":
        lines.append(f"topic write {root}/mcc/commands/{name}")
    return lines


def config_text(directory: Path, *, port: int, plain_port: int | None, owner: str) -> str:
    """`mosquitto.conf` for the files that lie in `directory`."""
    for character in str(directory):
        if character.isspace() or not character.isprintable():
            raise IdentitiesError(f"{directory}: mosquitto takes no blanks in file names")
    lines = [
        "# Written by kentongan-gateway broker-config. Start with: mosquitto -c THIS_FILE",
        f"user {owner}",
        f"pid_file {directory / PID}",
        "per_listener_settings true",
        "# A broker keeps nothing that matters: posts, gateway and command centre offer again.",
        "persistence false",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",
        "log_type subscribe",
        "# `Denied PUBLISH` is of this type, and so is every message: for an hour, not for good.",
        "#log_type debug",
        "set_tcp_nodelay true",
        "max_queued_messages 0",
        f"max_queued_bytes {QUEUED_BYTES_MAX}",
        f"max_packet_size {PACKET_BYTES_MAX}",
        f"max_keepalive {KEEPALIVE_S_MAX}",
        "",
        f"listener {port}",
        "protocol mqtt",
        "tls_version tlsv1.2",
        f"cafile {directory / CA}",
        f"certfile {directory / IDENTITY}",
        f"keyfile {directory / IDENTITY}",
        f"crlfile {directory / CRL}",
        "allow_anonymous false",
        "require_certificate true",
        "# Without both lines one post could take over another's connection, or the gateway's.",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        f"acl_file {directory / ACL}",
    ]
    if plain_port is not None:
        lines += [
            "",
            "# To look on from this machine itself. It can read and nothing else.",
            f"listener {plain_port} 127.0.0.1",
            "protocol mqtt",
            "allow_anonymous true",
            f"acl_file {directory / PLAIN_ACL}",
        ]
    return "\n".join(lines) + "\n"


# --- writing and reloading -----------------------------------------------------------------------


def install(
    authority: Authority,
    place: BrokerPlace,
    bundle: Bundle,
    *,
    port: int,
    plain_port: int | None,
    owner: str | None,
    wall_ms: int,
) -> list[Path]:
    """Write a broker's whole directory and remember it; the files.

    `owner` is the user that mosquitto runs as; by default `mosquitto` for root, else who asks.

    Raises:
        IdentitiesError: it cannot be written, or there is no such user.
    """
    directory = place.directory.resolve()
    place = BrokerPlace(directory, place.serves, place.root)
    user = owner or _default_owner()
    config = config_text(directory, port=port, plain_port=plain_port, owner=user)
    secrets = {IDENTITY: bundle.files[IDENTITY]}
    public = {CONFIG: config, CA: bundle.files[CA]}
    if plain_port is not None:
        public[PLAIN_ACL] = f"topic read {place.root}/#\n"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        for name, text in secrets.items():
            replace_file(directory / name, text.encode(), SECRET_MODE)
        for name, text in public.items():
            replace_file(directory / name, text.encode(), PUBLIC_MODE)
        _write_lists(authority, place, wall_ms)
        files = [directory / name for name in (*public, *secrets, ACL, CRL)]
        if os.getuid() == 0:
            for path in (directory, *files):
                shutil.chown(path, user)
    except LookupError:
        raise IdentitiesError(f"there is no user {user!r} on this machine: --owner") from None
    except OSError as error:
        raise IdentitiesError(f"{error.filename or directory}: {error.strerror}") from None
    authority.add_broker(place)
    said = _reload(directory)  # one that runs already gets its new certificate so
    if said is not None:
        raise IdentitiesError(said)
    return files


def refresh(authority: Authority, wall_ms: int, *, reload_anyway: bool = False) -> list[str]:
    """Bring every broker on this machine up to date with the register; what went wrong, in words.

    A broker that runs is told to read its lists again when they have changed, or `reload_anyway`:
    another process may have written them that could not tell it.
    """
    wrong: list[str] = []
    for place in authority.brokers():
        try:
            if _write_lists(authority, place, wall_ms) or reload_anyway:
                said = _reload(place.directory)
                if said is not None:
                    wrong.append(said)
        except OSError as error:
            wrong.append(f"{error.filename or place.directory}: {error.strerror}")
    return wrong


def _write_lists(authority: Authority, place: BrokerPlace, wall_ms: int) -> bool:
    acl = acl_text(authority.standings(wall_ms), place.serves, place.root).encode()
    crl = authority.crl_file.read_bytes()
    changed = False
    # The list of certificates first: a broker that reads in between lets nobody in too much.
    for name, content, mode in ((CRL, crl, PUBLIC_MODE), (ACL, acl, SECRET_MODE)):
        path = place.directory / name
        if not path.exists() or path.read_bytes() != content:
            replace_file(path, content, mode)
            changed = True
    return changed


def _reload(directory: Path) -> str | None:
    """SIGHUP to the mosquitto of this directory; why not, if that failed."""
    try:
        pid = int((directory / PID).read_text())
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None  # it does not run; it reads the lists when it starts
    if command != "mosquitto":
        return None  # left behind by one that was killed
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return None
    except PermissionError:
        return f"{directory}: mosquitto ({pid}) is another user's; let it reload by itself"
    return None


def _default_owner() -> str:
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    try:
        return pwd.getpwnam("mosquitto").pw_name
    except KeyError:
        return "root"


# --- a connected one is put out ------------------------------------------------------------------

# mosquitto takes up a SIGHUP within a turn of its loop, at most about a second.
RELOAD_S = 1.0
EVICT_TRIES = 2
EVICT_TIMEOUT_S = 3.0


def evict(authority: Authority, url: str, name: str) -> str | None:
    """Take the connection of `name` at a broker away from whoever has it; why not, if that failed.

    A broker reads its lists but goes on with who is connected. So we connect in his name, with a
    certificate of ten minutes: a broker lets a name be there once, and drops the other. He comes
    back and meets the list of revoked certificates. Call after `refresh`.
    """
    from process.settings import parse_mqtt_url

    broker = parse_mqtt_url(url)
    if not broker.tls:
        return f"{broker.describe()} is without TLS: nobody there is who he says"
    said: str | None = None
    for _ in range(EVICT_TRIES):
        time.sleep(RELOAD_S)
        said = _take_over(authority, broker.host, broker.port, name)
    return said


def _take_over(authority: Authority, host: str, port: int, name: str) -> str | None:
    import ssl
    import tempfile

    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    issued = authority.passing(name, time.time_ns() // 1_000_000)
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The ssl module reads keys from files only.
    with tempfile.NamedTemporaryFile(prefix="kentongan-") as file:
        file.write(issued.whole.encode())
        file.flush()
        context.load_cert_chain(file.name)
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        protocol=mqtt.MQTTv5,
        reconnect_on_failure=False,
    )
    client.tls_set_context(context)
    client.connect_timeout = EVICT_TIMEOUT_S
    try:
        client.connect(host, port, keepalive=10, clean_start=True)
        until_s = time.monotonic() + EVICT_TIMEOUT_S
        while not client.is_connected() and time.monotonic() < until_s:
            if client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS:
                break
        if not client.is_connected():
            return f"{host}:{port} does not let us take over the connection of {name}"
        client.disconnect()
    except (OSError, ValueError) as error:
        return f"{host}:{port} cannot be reached to put {name} out: {error}"
    return None
