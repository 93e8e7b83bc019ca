"""Settings files: TOML in, a msgspec struct out, or every mistake in it named in one go.

Each problem is one line with file, key, what was found, what is allowed and the nearest known
key, so that a technician with an editor can mend all of them before the next try. A mistake in a
file never gives a traceback, and no line ever holds a password.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta, inspect

from process.local_socket import LocalSocketError, check_path
from process.log import Format, masked

FILE_BYTES_MAX = 256 * 1024
PROBLEMS_MAX = 50
FOUND_CHARACTERS_MAX = 80

IN_THE_CLEAR = "without TLS only this machine itself may be spoken to; use mqtts://"
MQTT_PORT = 1883
MQTTS_PORT = 8883

MqttUrl = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        description="mqtt://host[:port] or mqtts://host[:port], with user:password@ if needed",
        extra={"is": "mqtt_url"},
    ),
]

FilePath = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]+\Z",
        max_length=1024,
        description="a path, without control characters",
    ),
]

Model = TypeVar("Model", bound=msgspec.Struct)

_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?\Z")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_MATCHING = " matching "
_SECRET_NAMES = frozenset({"password", "secret", "token"})


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[log]: the form of a line, `logfmt` (for people and grep) or `json` (for programs)."""

    format: Format = "logfmt"


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[metrics]: where Prometheus may ask; nowhere if not set. It asks no password and has no TLS.

    `beyond_loopback`: an address of this machine that others reach is meant.
    """

    listen: (
        Annotated[
            str,
            Meta(
                pattern=r"^(?:localhost|[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}\Z",
                max_length=64,
                description="address:port",
                examples=["127.0.0.1:9464"],
            ),
        ]
        | None
    ) = None
    beyond_loopback: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no address, and one that others reach unless that is said."""
        if self.listen is None:
            if self.beyond_loopback:
                raise ValueError("beyond_loopback says nothing without listen")
            return
        host, _, port = self.listen.rpartition(":")
        if int(port) > 65_535:
            raise ValueError(f"listen: {port} is no port: 0 to 65535")
        if host == "localhost":
            return
        address = ipaddress.ip_address(host.strip("[]"))
        if not address.is_loopback and not self.beyond_loopback:
            raise ValueError(
                f"listen: {host} is reached by others, who are asked for no password there: a"
                " loopback address, or beyond_loopback = true behind a firewall or a VPN"
            )


class SettingsError(Exception):
    """The settings cannot be used; `problems` says why, one printable line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Broker:
    """Where an MQTT broker listens and as whom to speak to it."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def in_the_clear(self) -> bool:
        """Whether it would be spoken to without TLS over a wire: never, by the design."""
        if self.tls or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    def describe(self) -> str:
        """The URL as it may be shown: without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.username is None else f"{self.username}@"
        if self.password is not None:
            user = f"{self.username}:***@"
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}"


class TlsFiles(msgspec.Struct, frozen=True):
    """Paths of the trusted authority and of our own certificate and key, PEM.

    Without `ca` the system's authorities count. Without `key` it is in the certificate's file.
    `previous` is a file with the certificate and key of before, which may not be there: after a
    failed attempt the next one is made with it, in turn.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    previous: str | None = None


def parse_mqtt_url(url: str) -> Broker:
    """Read `mqtt://[user[:password]@]host[:port]` or `mqtts://…`; IPv6 hosts in brackets.

    User and password may be percent-encoded. Port 1883, or 8883 for mqtts, unless given.

    Raises:
        ValueError: it is no such URL; the text says why and holds no part of the password.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in ("mqtt", "mqtts"):
        raise ValueError("it must begin with mqtt:// or mqtts://")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("it holds a blank or a control character")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("its brackets do not enclose an IPv6 address") from None
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        raise ValueError("after host and port nothing may follow (in a password: %2F %3F %23)")
    host = _host(parts.netloc)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("its port is not a number from 1 to 65535")
    if parts.username == "" or (parts.username is None and parts.password is not None):
        raise ValueError("it has a password or '@' but no user")
    tls = scheme == "mqtts"
    return Broker(
        host=host,
        port=port if port is not None else MQTTS_PORT if tls else MQTT_PORT,
        tls=tls,
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def require_tls_fits(url: str, ca: str | None, certificate: str | None, key: str | None) -> None:
    """For a table's `__post_init__`: files for TLS that would not be used, or are not enough.

    Raises:
        ValueError: saying which keys do not go together.
    """
    if not url.startswith("mqtts://"):
        given = [n for n, v in (("ca", ca), ("certificate", certificate), ("key", key)) if v]
        if given:
            raise ValueError(
                f"{', '.join(given)} would not be used: url does not begin with mqtts://"
            )
    elif key and not certificate:
        raise ValueError("key needs certificate")
    elif certificate and not ca:
        raise ValueError("certificate needs ca, the authority that the broker's comes from")


def require_second_fits(url: str, second_url: str | None) -> None:
    """For a table's `__post_init__`: a second broker that is no other, or not as safe.

    Raises:
        ValueError: saying so.
    """
    if second_url is None:
        return
    first, second = parse_mqtt_url(url), parse_mqtt_url(second_url)
    if (first.host, first.port) == (second.host, second.port):
        raise ValueError("second_url leads to the same broker as url")
    if first.tls != second.tls:
        raise ValueError("url and second_url must both begin with mqtts://, or neither")


def unreadable_files(files: Mapping[str, str | None]) -> list[str]:
    """Files that are to be read, by their keys; a line for each that this user cannot read."""
    problems = []
    for key, path in files.items():
        if path is None:
            continue
        try:
            Path(path).open("rb").close()
        except OSError as error:
            problems.append(f"{key} = {_found(path)}: {error.strerror or error}")
    return problems


def unusable_places(files: Mapping[str, str | None]) -> list[str]:
    """Files that are to be made, by their keys; a line for each that has no place to be.

    A directory that is not there yet is no problem: it is made at the start.
    """
    problems = []
    for key, path in files.items():
        if path is None:
            continue
        parent = Path(path).absolute().parent
        try:
            above = next(each for each in (parent, *parent.parents) if each.exists())
            if Path(path).is_dir():
                wrong = "this is a directory, not a file"
            elif not above.is_dir():
                wrong = f"{above} is not a directory"
            elif above == parent and not os.access(parent, os.W_OK | os.X_OK):
                wrong = f"nothing can be made in {parent} by this user"
            else:
                continue
        except OSError as error:
            wrong = str(error.strerror or error)
        problems.append(f"{key} = {_found(path)}: {wrong}")
    return problems


def unusable_sockets(sockets: Mapping[str, str | None]) -> list[str]:
    """Sockets that are to be made, by their keys; a line for each whose path no socket can have."""
    problems = []
    for key, path in sockets.items():
        try:
            if path is not None:
                check_path(Path(path))
        except LocalSocketError as error:
            problems.append(f"{key} = {_found(path)}: {error}")
    return problems


def read_settings(path: Path, model: type[Model]) -> Model:
    """Read the TOML file at `path` as `model`, a struct whose fields are keys and tables.

    Raises:
        SettingsError: with a line for every problem found (at most 50).
    """
    data = _read_toml(path)
    problems = list(_table_problems(model, data, "", _known_tables(model)))
    if not problems:
        try:
            return msgspec.convert(data, model)
        except msgspec.ValidationError as error:
            # A rule that spans several tables (the model's __post_init__).
            problems = [str(error)]
    surplus = len(problems) - PROBLEMS_MAX
    if surplus > 0:
        problems = [*problems[:PROBLEMS_MAX], f"and {surplus} more"]
    raise SettingsError([f"{path}: {problem}" for problem in problems])


def describe_settings(settings: msgspec.Struct) -> str:
    """What would run: every key with its value, defaults included, passwords masked; TOML-like."""
    lines: list[str] = []
    tables: list[tuple[str, msgspec.Struct]] = [("", settings)]
    for name, table in tables:
        if name:
            lines += ["", f"[{name}]"]
        for item in msgspec.structs.fields(table):
            value = getattr(table, item.name)
            key = item.encode_name
            if isinstance(value, msgspec.Struct):
                tables.append((f"{name}.{key}" if name else key, value))
            elif value is None:
                lines.append(f"# {key} is not set")
            else:
                lines.append(f"{key} = {_shown(item, value)}")
    return "\n".join(lines).strip("\n")


def _host(netloc: str) -> str:
    address = netloc.rpartition("@")[2]
    if address.startswith("["):
        inside, bracket, after = address[1:].partition("]")
        try:
            ipaddress.IPv6Address(inside.partition("%")[0])
        except ValueError:
            bracket = ""
        if not bracket or (after and not after.startswith(":")):
            raise ValueError("its brackets do not enclose an IPv6 address")
        return inside
    host, _, port = address.partition(":")
    if ":" in port:
        raise ValueError("an IPv6 address must stand in brackets")
    if not host:
        raise ValueError("it names no host")
    if not _HOST_NAME.match(host):
        raise ValueError("its host is neither a name nor an address")
    return host


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise SettingsError([f"{path}: there is no such file"]) from None
    except IsADirectoryError:
        raise SettingsError([f"{path}: this is a directory, not a file"]) from None
    except PermissionError:
        raise SettingsError([f"{path}: may not be read by this user"]) from None
    except (OSError, ValueError) as error:
        raise SettingsError([f"{path}: cannot be read: {error}"]) from None
    if len(raw) > FILE_BYTES_MAX:
        raise SettingsError([f"{path}: larger than {FILE_BYTES_MAX // 1024} KiB, no settings file"])
    try:
        # An editor on Windows begins the file with a byte order mark.
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{path}: line {line}: not UTF-8; save the file as UTF-8"]) from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SettingsError([f"{path}: nested too deep"]) from None
    except ValueError as error:
        raise SettingsError([f"{path}: {_toml_problem(str(error), text)}"]) from None


def _toml_problem(message: str, text: str) -> str:
    place = _TOML_PLACE.search(message)
    if place is None:
        return f"not valid TOML: {message}"
    lines = text.split("\n")
    line = place[1] or len(lines)
    column = place[2] or len(lines[-1]) + 1
    return f"line {line}, column {column}: not valid TOML: {message[: place.start()]}"


def _known_tables(model: type[msgspec.Struct], path: str = "") -> dict[str, list[str]]:
    """Every table's path with its keys."""
    tables = {path: [item.encode_name for item in msgspec.structs.fields(model)]}
    for item in msgspec.structs.fields(model):
        inner = _struct_of(item)
        if inner is not None:
            tables |= _known_tables(inner, _join(path, item.encode_name))
    return tables


def _table_problems(
    model: type[msgspec.Struct], data: dict[str, Any], path: str, known: dict[str, list[str]]
) -> Iterator[str]:
    fields = {item.encode_name: item for item in msgspec.structs.fields(model)}
    for key, value in data.items():
        if key not in fields:
            yield _unknown(path, key, value, known)
    for key, item in fields.items():
        inner = _struct_of(item)
        if key not in data:
            if item.required:
                yield _missing(path, key, item, inner)
        elif inner is None:
            yield from _value_problems(path, key, item, data[key])
        elif not isinstance(data[key], dict):
            # Without the value: a URL with a password may have been put here.
            what = type(data[key]).__name__
            yield f"{_key(path, key)}: found a {what}, expected the table [{_join(path, key)}]"
        else:
            found = list(_table_problems(inner, data[key], _join(path, key), known))
            yield from found or _rule_problems(inner, data[key], _join(path, key))


def _rule_problems(model: type[msgspec.Struct], data: dict[str, Any], path: str) -> Iterator[str]:
    """What spans several keys of one table: its `__post_init__` raises ValueError."""
    try:
        msgspec.convert(data, model)
    except msgspec.ValidationError as error:
        yield f"[{path}]: {error}"


def _value_problems(
    path: str, key: str, item: msgspec.structs.FieldInfo, value: Any
) -> Iterator[str]:
    kind = inspect.type_info(item.type)
    head = f"{_key(path, key)} = {_short(_shown(item, value))}"
    try:
        msgspec.convert(value, item.type)
    except (msgspec.ValidationError, OverflowError):
        yield f"{head}: expected {_allowed(kind)}"
        return
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{head}: expected {_allowed(kind)}"
    elif _is_mqtt_url(kind):
        try:
            broker = parse_mqtt_url(value)
        except ValueError as error:
            yield f"{head}: {error}; expected {_allowed(kind)}"
        else:
            if broker.in_the_clear:
                yield f"{head}: {IN_THE_CLEAR}"


def _missing(
    path: str,
    key: str,
    item: msgspec.structs.FieldInfo,
    inner: type[msgspec.Struct] | None,
) -> str:
    if inner is None:
        return f"{_key(path, key)} is missing: expected {_allowed(inspect.type_info(item.type))}"
    needed = [each.encode_name for each in msgspec.structs.fields(inner) if each.required]
    return f"the table [{_join(path, key)}] is missing; it must hold {', '.join(needed)}"


def _unknown(path: str, key: str, value: Any, known: dict[str, list[str]]) -> str:
    what = "table" if isinstance(value, dict) else "key"
    # Never the value: a misspelt `pasword` would end up in a log.
    head = f"{_key(path, key)}: unknown {what}"
    near = difflib.get_close_matches(key.lower(), known[path], n=1)
    if near:
        return f"{head}; did you mean {_key(path, near[0])}?"
    for table, keys in known.items():
        if key in keys:
            return f"{head} here; did you mean {_key(table, key)}?"
    return f"{head}; known here: {', '.join(known[path])}"


def _struct_of(item: msgspec.structs.FieldInfo) -> type[msgspec.Struct] | None:
    kind = inspect.type_info(item.type)
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    for option in options:
        if isinstance(option, inspect.StructType):
            return option.cls
    return None


def _is_mqtt_url(kind: inspect.Type) -> bool:
    match kind:
        case inspect.Metadata(extra={"is": "mqtt_url"}):
            return True
        case inspect.UnionType(types=types):
            return any(_is_mqtt_url(each) for each in types)
    return False


def _is_secret(kind: inspect.Type) -> bool:
    match kind:
        case inspect.Metadata(type=inner, extra=extra):
            return (extra or {}).get("is") == "secret" or _is_secret(inner)
        case inspect.ListType(item_type=each) | inspect.VarTupleType(item_type=each):
            return _is_secret(each)
        case inspect.DictType(value_type=each):
            return _is_secret(each)
    return False


def _allowed(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(type=inner, extra_json_schema=schema):
            words = _allowed(inner)
            description = (schema or {}).get("description")
            examples = (schema or {}).get("examples")
            if description or examples:
                # A pattern says little to a technician; what it means or looks like says more.
                words = words.partition(_MATCHING)[0]
            if description:
                words += f" ({description})"
            return f"{words}, for example {json.dumps(examples[0])}" if examples else words
        case inspect.UnionType(types=types):
            # TOML has no null: a key that may be None may be left out.
            return " or ".join(
                _allowed(each) for each in types if not isinstance(each, inspect.NoneType)
            )
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(json.dumps(value) for value in values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=low, le=high):
            return "a whole number" + _range(low, high)
        case inspect.FloatType(ge=low, le=high):
            return "a number" + _range(low, high)
        case inspect.StrType(min_length=low, max_length=high, pattern=pattern):
            low = low or int(pattern is not None and re.search(pattern, "") is None)
            length = "" if high is None else f" of {low} to {high} characters"
            return f"a text in quotes{length}" + (f"{_MATCHING}{pattern}" if pattern else "")
        case inspect.ListType(item_type=each) | inspect.VarTupleType(item_type=each):
            return f"a list, each {_allowed(each)}"
    return type(kind).__name__.removesuffix("Type").lower()


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" of at least {low}"
    return f" of at most {high}" if low is None else f" from {low} to {high}"


def _shown(item: msgspec.structs.FieldInfo, value: Any) -> str:
    if item.encode_name in _SECRET_NAMES:
        return '"***"'
    if value and _is_secret(inspect.type_info(item.type)):
        return '"***"'
    if isinstance(value, str) and _is_mqtt_url(inspect.type_info(item.type)):
        try:
            return json.dumps(parse_mqtt_url(value).describe())
        except ValueError:
            # Whatever stands before the last '@' may be part of a password.
            _, at, rest = value.rpartition("@")
            return _found(f"***@{rest}" if at else value)
    return _found(value)


def _found(value: Any) -> str:
    try:
        return masked(json.dumps(value, default=str))
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"


def _short(text: str) -> str:
    return text if len(text) <= FOUND_CHARACTERS_MAX else text[:FOUND_CHARACTERS_MAX] + "..."


def _key(path: str, key: str) -> str:
    shown = key if _BARE_KEY.match(key) else _short(_found(key))
    return f"[{path}] {shown}" if path else shown


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
