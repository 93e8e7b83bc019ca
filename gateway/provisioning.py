"""What a person does with identities: `ca init`, `provision`, `revoke`, `renew`, `list`, and so on.

It words what `identities` and `broker_config` do, and says what to do next. A private key goes into
the one bundle that is asked for, and nowhere else.

Exit codes: 0 done, 1 done in part (it says which part is not), 2 not done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.identities import Authority, Identity, Issued, Standing
    from gateway.settings import GatewayFile

COMMANDS = ("ca", "provision", "revoke", "renew", "list", "attempts", "broker-config", "unpack")
DONE, IN_PART, NOT_DONE = 0, 1, 2


class _Wrong(Exception):
    """The person at the keyboard has to change something; the text says what."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommands of `COMMANDS`, for the parser of `kentongan-gateway`."""
    ca = _command(commands, "ca", "make the certificate authority")
    ca.add_argument("verb", choices=("init",))
    ca.add_argument("--name", default="Kentongan CA", help="(Kentongan CA)")

    provision = _command(
        commands, "provision", "register somebody, and write the bundle that lets him in"
    )
    provision.add_argument("role", choices=("post", "console", "gateway", "broker"))
    provision.add_argument("id", metavar="ID", help="the name: lower-case letters, digits, '-'")
    provision.add_argument("--out", type=Path, help="the bundle's file (ID.kentongan)")
    provision.add_argument("--name", help="what people call it, such as 'Pos RW 05 Dinoyo'")
    provision.add_argument("--lat", type=float, help="of a post: the surveyed place, WGS 84")
    provision.add_argument("--lon", type=float)
    provision.add_argument("--kelurahan", help="of a post")
    provision.add_argument("--url", help="of a post: its broker, if not the gateway's [posts] url")
    provision.add_argument(
        "--gps",
        nargs="?",
        const="/dev/serial0",
        metavar="DEVICE",
        help="of a post: it has a receiver, at its header's UART (/dev/serial0) or at DEVICE",
    )
    provision.add_argument(
        "--settings", type=Path, help="of a post: TOML that is added to its settings"
    )
    provision.add_argument(
        "--network", type=Path, help="of a post: TOML that says how its card reaches the network"
    )
    provision.add_argument(
        "--may", dest="console_role", choices=("operator", "technician", "viewer"),
        help="of a console: what it may command (viewer: nothing)",
    )  # fmt: skip
    provision.add_argument(
        "--host", action="append", default=[], help="of a broker: a name or address it is found at"
    )

    revoke = _command(commands, "revoke", "shut somebody out, at once")
    revoke.add_argument("id", metavar="ID")
    renew = _command(commands, "renew", "write a bundle with new certificates; the old ones go on")
    renew.add_argument("id", metavar="ID")
    renew.add_argument("--out", type=Path, help="the bundle's file (ID.kentongan)")
    listing = _command(commands, "list", "show who is in the register")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")

    attempts = _command(
        commands, "attempts", "count who tried what he may not, from a broker's and a gateway's log"
    )
    attempts.add_argument("log", type=Path, nargs="*", help="files with the lines (standard input)")
    attempts.add_argument("--json", action="store_true", help="one JSON object a line")

    broker = _command(commands, "broker-config", "write the configuration of a mosquitto broker")
    broker.add_argument("--bundle", type=Path, required=True, help="of `provision broker`")
    broker.add_argument("--to", type=Path, required=True, help="the directory to write")
    broker.add_argument(
        "--serve", choices=("posts", "mcc", "both", "districts"), default="both",
        help="districts: command centres and the gateways of many districts (both)",
    )  # fmt: skip
    broker.add_argument("--port", type=int, default=8883, help="for TLS (8883)")
    broker.add_argument("--plain-port", type=int, help="a loopback listener that can only read")
    broker.add_argument("--owner", help="the user that mosquitto runs as")

    unpack = commands.add_parser(
        "unpack", help="lay down the bundle of a gateway", description="Lay down a bundle's files."
    )
    unpack.add_argument("bundle", type=Path)
    unpack.add_argument("--to", type=Path, required=True, help="the directory for its files")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.add_argument("--config", required=True, type=Path, help="the gateway's settings, TOML")
    return parser


def run(options: argparse.Namespace) -> int:
    """Do one of `COMMANDS`; the exit code."""
    from gateway.identities import IdentitiesError
    from process.bundle import BundleError
    from process.settings import SettingsError

    try:
        if options.command == "unpack":
            return _unpack(options)
        return _with_register(options)
    except SettingsError as error:
        for problem in error.problems:
            _say(problem)
    except (IdentitiesError, BundleError, _Wrong) as error:
        _say(str(error))
    return NOT_DONE


def _with_register(options: argparse.Namespace) -> int:
    from gateway.identities import Authority
    from gateway.settings import GatewayFile
    from process.settings import read_settings

    settings = read_settings(options.config, GatewayFile)
    if settings.identities.directory is None:
        raise _Wrong(
            f"{options.config}: [identities] directory is missing; it names where the CA is"
        )
    directory = Path(settings.identities.directory)
    if options.command == "ca":
        Authority.create(directory, options.name, _wall_ms()).close()
        _print(f"made the authority in {directory}; keep a copy of it where nobody else comes")
        return DONE
    with Authority(directory) as authority:
        match options.command:
            case "provision":
                return _provision(authority, settings, options)
            case "revoke":
                return _revoke(authority, settings, options.id)
            case "renew":
                return _renew(authority, settings, options)
            case "list":
                return _list(authority, as_json=options.json)
            case "attempts":
                return _attempts(authority, settings, options)
            case _:
                return _broker_config(authority, settings, options)


# --- provision, renew, revoke ------------------------------------------------------------------


def _provision(authority: Authority, settings: GatewayFile, options: argparse.Namespace) -> int:
    identities = _wanted(options)
    out = options.out or Path(f"{options.id}.kentongan")
    extra = _files_of_post(settings, options) if options.role == "post" else {}
    # Before a certificate is made, and another revoked for it.
    if out.is_dir() or not os.access(out.parent, os.W_OK | os.X_OK):
        raise _Wrong(f"--out {out}: it cannot be written there")
    issued = [authority.provision(identity, _wall_ms()) for identity in identities]
    _write_bundle(authority, options.role, options.id, issued, extra, out)
    wrong = bring_about(
        authority, settings, [one.identity for one in _standings(authority, options.id)],
        put_out=any(one.replaced for one in issued),
    )  # fmt: skip
    if any(one.replaced for one in issued):
        _print(f"{options.id}: the certificate that it had is revoked")
    _print(f"wrote {out}, with its private key: take it there, then delete it here")
    return report(wrong)


def _wanted(options: argparse.Namespace) -> list[Identity]:
    from gateway.identities import GATEWAY_LINKS, Identity

    _refuse_strangers(options)
    if options.role == "gateway":
        return [Identity(f"{options.id}-{link}", "gateway") for link in GATEWAY_LINKS]
    if options.role == "post" and (options.lat is None or options.lon is None):
        raise _Wrong("a post needs its surveyed place: --lat and --lon, WGS 84 degrees")
    return [
        Identity(
            options.id,
            options.role,
            label=options.name,
            lat=options.lat,
            lon=options.lon,
            kelurahan=options.kelurahan,
            console_role=(options.console_role or "viewer") if options.role == "console" else None,
            hosts=tuple(options.host),
        )
    ]


_ONLY_OF = {
    "post": ("lat", "lon", "kelurahan", "url", "gps", "settings", "network"),
    "console": ("console_role",),
    "gateway": (),
    "broker": ("host",),
}


def _refuse_strangers(options: argparse.Namespace) -> None:
    import msgspec

    from process.settings import FilePath
    from protocol.values import Label, Latitude, Longitude

    for role, names in _ONLY_OF.items():
        for name in names:
            if role != options.role and getattr(options, name) not in (None, []):
                option = "may" if name == "console_role" else name
                raise _Wrong(f"--{option} is for a {role}, not for a {options.role}")
    for name, kind in (
        ("name", Label), ("kelurahan", Label), ("lat", Latitude), ("lon", Longitude),
        ("gps", FilePath),
    ):  # fmt: skip
        value = getattr(options, name)
        try:
            if value is not None:
                msgspec.convert(value, kind)
                json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (msgspec.ValidationError, ValueError) as error:
            raise _Wrong(f"--{name} {value!r}: {error}") from None


def _files_of_post(settings: GatewayFile, options: argparse.Namespace) -> dict[str, str]:
    """What goes into a post's bundle beside its identity."""
    files = {"post.toml": _settings_of_post(settings, options)}
    if options.network is not None:
        from process.network import NetworkFile
        from process.settings import read_settings

        read_settings(options.network, NetworkFile)  # its mistakes are said here, not at the wall
        files["network.toml"] = options.network.read_text(encoding="utf-8")
    return files


def _settings_of_post(settings: GatewayFile, options: argparse.Namespace) -> str:
    from process.bundle import HERE
    from process.settings import parse_mqtt_url

    url = options.url or settings.posts.url
    try:
        broker = parse_mqtt_url(url)
    except ValueError as error:
        raise _Wrong(f"--url: {error}") from None
    if not broker.tls:
        raise _Wrong(f"{broker.describe()}: a post with a certificate needs mqtts://")
    lines = [
        f"post_id = {json.dumps(options.id)}",
        "",
        "[location]",
        f"lat = {float(options.lat)!r}",
        f"lon = {float(options.lon)!r}",
        *(() if options.gps is None else ('source = "gps"', f"device = {json.dumps(options.gps)}")),
        "",
        "[mqtt]",
        f"url = {json.dumps(url)}",
        f"topic_root = {json.dumps(settings.topic_root)}",
        f'ca = "{HERE}/ca.pem"',
        f'certificate = "{HERE}/identity.pem"',
        f'key = "{HERE}/identity.pem"',
        "",
    ]
    text = "\n".join(lines)
    if options.settings is not None:
        try:
            text += "\n" + options.settings.read_text(encoding="utf-8")
            tomllib.loads(text)
        except (OSError, ValueError) as error:
            raise _Wrong(f"--settings {options.settings}: {error}") from None
    return text


def _write_bundle(
    authority: Authority,
    role: str,
    name: str,
    issued: list[Issued],
    extra: dict[str, str],
    out: Path,
) -> None:
    from process.bundle import pack
    from process.files import SECRET_MODE, replace_file

    files = {"ca.pem": authority.ca_file.read_text(encoding="ascii")}
    if role == "gateway":
        for one in issued:
            files[f"{one.name.rpartition('-')[2]}.pem"] = one.whole
    else:
        files["broker.pem" if role == "broker" else "identity.pem"] = issued[0].whole
    files |= extra
    try:
        replace_file(out, pack(role, name, files), SECRET_MODE)
    except OSError as error:
        raise _Wrong(
            f"{out}: {error.strerror}; nothing of the new certificate is kept: provision it again"
        ) from None


def _renew(authority: Authority, settings: GatewayFile, options: argparse.Namespace) -> int:
    standings = _standings(authority, options.id)
    role = standings[0].identity.role
    if role == "post":
        raise _Wrong("a post renews its own certificate; for a new card: provision post")
    issued = [authority.renew(one.identity.name, _wall_ms()) for one in standings]
    out = options.out or Path(f"{options.id}.kentongan")
    _write_bundle(authority, role, options.id, issued, {}, out)
    _print(f"wrote {out}, with its private key: take it there, then delete it here")
    return DONE


def _revoke(authority: Authority, settings: GatewayFile, name: str) -> int:
    standings = _standings(authority, name)
    count = sum(authority.revoke(one.identity.name, _wall_ms()) for one in standings)
    wrong = bring_about(authority, settings, [one.identity for one in standings], put_out=True)
    _print(f"{name} is shut out; certificates revoked: {count}")
    return report(wrong)


def _standings(authority: Authority, name: str) -> list[Standing]:
    """The one of that name; of a gateway, its two."""
    from gateway.identities import GATEWAY_LINKS

    standings = authority.standings(_wall_ms())
    names = {name, *(f"{name}-{link}" for link in GATEWAY_LINKS)}
    found = [one for one in standings if one.identity.name == name]
    found = found or [
        one for one in standings if one.identity.role == "gateway" and one.identity.name in names
    ]
    if not found:
        raise _Wrong(f"{name} is not in the register; `kentongan-gateway list` shows who is")
    return found


def bring_about(
    authority: Authority, settings: GatewayFile, identities: list[Identity], *, put_out: bool
) -> list[str]:
    """Let the brokers know; what could not be done."""
    from gateway.broker_config import evict, refresh

    wrong = refresh(authority, _wall_ms(), reload_anyway=True)
    if not put_out:
        return wrong
    for identity in identities:
        if identity.role == "broker":
            continue
        serves = identity.name.rpartition("-")[2] if identity.role == "gateway" else None
        if identity.role == "post" or serves == "posts":
            url = settings.posts.url
        else:
            url = settings.mcc.url
        said = evict(authority, url, identity.name)
        if said is not None:
            wrong.append(said)
    return wrong


def report(wrong: list[str]) -> int:
    """Say what could not be done; the exit code."""
    for why in wrong:
        _say(f"not done: {why}")
    return IN_PART if wrong else DONE


# --- the rest ----------------------------------------------------------------------------------


def _list(authority: Authority, *, as_json: bool) -> int:
    from protocol.values import timestamp

    standings = authority.standings(_wall_ms())
    for one in standings:
        identity = one.identity
        ends = None if one.ends_ms is None else timestamp(one.ends_ms)
        if as_json:
            shown = {
                "name": identity.name,
                "role": identity.role,
                "console_role": identity.console_role,
                "label": identity.label,
                "lat": identity.lat,
                "lon": identity.lon,
                "kelurahan": identity.kelurahan,
                "hosts": list(identity.hosts),
                "serial": one.serial,
                "ends_at": ends,
                "revoked": one.revoked,
                "retired": authority.is_retired(identity.name),
            }
            _print(json.dumps(shown, ensure_ascii=False))
        else:
            until = "SHUT OUT" if ends is None else f"until {ends[:10]}"
            until = "RETIRED" if authority.is_retired(identity.name) else until
            role = identity.console_role or ""
            _print(f"{identity.role:8} {identity.name:40} {until:16} {identity.label or role}")
    if not standings and not as_json:
        _say("the register is empty; `kentongan-gateway provision` fills it")
    return DONE


def _attempts(authority: Authority, settings: GatewayFile, options: argparse.Namespace) -> int:
    from gateway.attempts import Attempts
    from protocol.topics import Topics

    everybody = [one.identity for one in authority.standings(_wall_ms())]
    attempts = Attempts(everybody, Topics(settings.topic_root))
    try:
        for path in options.log or [Path("/dev/stdin")]:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    attempts.read(line)
    except OSError as error:
        raise _Wrong(f"{error.filename}: {error.strerror}") from None
    for attempt, count in attempts.counts.most_common():
        if options.json:
            shown = {"what": attempt.what, "who": attempt.who, "count": count}
            _print(json.dumps(shown, ensure_ascii=False))
        else:
            _print(f"{count:8} {attempt.what:20} {attempt.who}")
    if not attempts.counts and not options.json:
        _say("nobody tried anything, by these lines")
    return DONE


def _broker_config(authority: Authority, settings: GatewayFile, options: argparse.Namespace) -> int:
    from gateway.broker_config import CONFIG, SERVES, install
    from gateway.identities import BrokerPlace
    from process.bundle import read_bundle

    for name in ("port", "plain_port"):
        port = getattr(options, name)
        if port is not None and not 1 <= port <= 65535:
            raise _Wrong(f"--{name.replace('_', '-')} {port}: allowed: 1 to 65535")
    serves = frozenset(SERVES if options.serve == "both" else (options.serve,))
    bundle = read_bundle(options.bundle, "broker")
    place = BrokerPlace(options.to, serves, settings.topic_root)
    for path in install(
        authority, place, bundle, port=options.port, plain_port=options.plain_port,
        owner=options.owner, wall_ms=_wall_ms(),
    ):  # fmt: skip
        _print(f"wrote {path}")
    _print(f"start it with: mosquitto -c {options.to.resolve() / CONFIG}")
    return DONE


def _unpack(options: argparse.Namespace) -> int:
    from process.bundle import read_bundle, unpack

    for path in unpack(read_bundle(options.bundle, "gateway"), options.to):
        _print(f"wrote {path}")
    return DONE


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _say(text: str) -> None:
    sys.stderr.write(f"kentongan-gateway: {text}\n")
