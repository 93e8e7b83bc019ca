"""A stand-in for msgspec where there is none: PyPy, whose simulated days are much the faster.

msgspec is written for CPython alone. `install` puts this under its name: structs, the constraints
and the JSON of our own messages, as far as the cores and the simulator use them. The real one is
the judge: a seed has the same trace hash on both (tests/simulation/test_pypy.py). No service ever
runs on this; it does not freeze what is frozen, and its refusals are worded otherwise.
"""

from __future__ import annotations

import json
import re
import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal


class MsgspecError(Exception):
    """What is not JSON, or not what was asked for."""


class ValidationError(MsgspecError):
    """JSON that is not what was asked for."""


class Meta:
    """Bounds of a value, as an annotation."""

    def __init__(
        self,
        *,
        ge: float | None = None,
        le: float | None = None,
        pattern: str | None = None,
        min_length: int = 0,
        max_length: int | None = None,
        **_described: Any,
    ) -> None:
        """Take the bounds; descriptions and examples are for schemas."""
        self._ge, self._le = ge, le
        self._matches = re.compile(pattern).search if pattern else None
        self._min_length, self._max_length = min_length, max_length

    def require(self, value: Any, path: str) -> None:
        """Raise `ValidationError` when a value is out of bounds."""
        if (
            (self._ge is not None and value < self._ge)
            or (self._le is not None and value > self._le)
            or (self._matches is not None and not self._matches(value))
            or (self._min_length and len(value) < self._min_length)
            or (self._max_length is not None and len(value) > self._max_length)
        ):
            raise ValidationError(f"out of bounds - at `{path}`")


class _Made(typing.NamedTuple):
    made: Callable[[], Any]


def field(*, default_factory: Callable[[], Any]) -> Any:
    """A default that is empty. One for all records: nothing in a simulated day writes into it."""
    return _Made(default_factory)


_SAME: Any = object()
_Check = Callable[[Any, str], Any]


class _StructType(type):
    """Makes a class of its annotations: fields, constructor, equality, hash, copy with changes."""

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kw_only: bool = False,
        omit_defaults: bool = False,
        forbid_unknown_fields: bool = False,
        tag_field: str | None = None,
        tag: str | int | None = None,
        frozen: bool = False,  # not held here
    ) -> _StructType:
        fields: dict[str, bool] = {}  # and whether it is by keyword only
        defaults: dict[str, Any] = {}
        for base in reversed(bases):
            fields |= getattr(base, "_keyword_only", {})
            defaults |= getattr(base, "_defaults", {})
        for field in namespace.get("__annotations__", {}):
            fields[field] = kw_only
            defaults.pop(field, None)
            if field in namespace:
                default = namespace.pop(field)
                defaults[field] = default.made() if isinstance(default, _Made) else default
        cls = super().__new__(mcs, name, bases, namespace)
        cls._keyword_only, cls._defaults = fields, defaults
        names = [each for each in fields if not fields[each]]
        keywords = [each for each in fields if fields[each]]
        cls.__struct_fields__ = (*names, *keywords)
        setattr(cls, "__match_args__", tuple(names))  # noqa: B010 - a class has it as a constant
        cls._omits = omit_defaults or getattr(cls, "_omits", False)
        cls._forbids = forbid_unknown_fields or getattr(cls, "_forbids", False)
        cls._tag_field = tag_field or getattr(cls, "_tag_field", None)
        cls._tag = tag if tag is not None else getattr(cls, "_tag", None)
        if cls._tag_field and cls._tag is None:
            cls._tag = name
        cls._checks = None
        _generate(cls, names, keywords, defaults)
        return cls

    _keyword_only: dict[str, bool]
    _defaults: dict[str, Any]
    _omits: bool
    _forbids: bool
    _tag_field: str | None
    _tag: str | int | None
    _checks: dict[str, _Check] | None
    __struct_fields__: tuple[str, ...]
    __match_args__: tuple[str, ...]


def _generate(
    cls: _StructType, names: list[str], keywords: list[str], defaults: dict[str, Any]
) -> None:
    every = [*names, *keywords]

    def taken(fields: list[str]) -> list[str]:
        return [f"{one}=_defaults[{one!r}]" if one in defaults else one for one in fields]

    def mine(form: str) -> str:
        return " ".join(form.format(one) for one in every)

    parameters = ", ".join(["self", *taken(names), *(["*"] if keywords else []), *taken(keywords)])
    changes = ", ".join(["self", *(["*"] if every else []), *(f"{one}=_SAME" for one in every)])
    settings = [f"    self.{one} = {one}" for one in every]
    if hasattr(cls, "__post_init__"):
        settings.append("    self.__post_init__()")
    source = "\n".join(
        [
            f"def __init__({parameters}):",
            *(settings or ["    pass"]),
            "def __eq__(self, other):",
            "    if other.__class__ is not self.__class__:",
            "        return NotImplemented",
            f"    return True {mine('and self.{0} == other.{0}')}",
            "def __hash__(self):",
            f"    return hash(({mine('self.{0},')}))",
            f"def _replaced({changes}):",
            f"    return _cls({mine('{0}=self.{0} if {0} is _SAME else {0},')})",
        ]
    )
    made: dict[str, Any] = {}
    exec(source, {"_defaults": defaults, "_SAME": _SAME, "_cls": cls}, made)
    for name, function in made.items():
        setattr(cls, name, function)


class Struct(metaclass=_StructType):
    """A record of its annotations."""

    def __repr__(self) -> str:
        """Name every field."""
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in asdict(self).items())})"


def replace(record: Any, /, **changes: Any) -> Any:
    """A copy with these fields changed."""
    return record._replaced(**changes)


def asdict(record: Any) -> dict[str, Any]:
    """Its fields by name."""
    return {name: getattr(record, name) for name in record.__struct_fields__}


def astuple(record: Any) -> tuple[Any, ...]:
    """Its fields in order."""
    return tuple(getattr(record, name) for name in record.__struct_fields__)


# --- out -------------------------------------------------------------------------------------


def to_builtins(value: Any) -> Any:
    """Structs become dicts, their defaults left out; tuples become lists."""
    cls = type(value)
    if cls in (str, int, float, bool) or value is None:
        return value
    if cls in (tuple, list):
        return [to_builtins(one) for one in value]
    if cls is dict:
        return {key: to_builtins(one) for key, one in value.items()}
    if not isinstance(cls, _StructType):
        raise TypeError(f"no {cls.__name__} in our messages")
    built = {cls._tag_field: cls._tag} if cls._tag_field else {}
    defaults = cls._defaults if cls._omits else {}
    for name in cls.__struct_fields__:
        one = getattr(value, name)
        if name in defaults and defaults[name] == one:
            continue
        built[name] = to_builtins(one)
    return built


def encode(value: Any, *, order: Literal["sorted"] | None = None) -> bytes:
    """Compact JSON in UTF-8."""
    if order == "sorted":
        value = _sorted(to_builtins(value))
    return _written(value).encode()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


# PyPy's own writer is slow with anything but its defaults.
def _written(value: Any) -> str:
    cls = type(value)
    if cls is str:
        plain = _NOT_PLAIN.search(value) is None
        return f'"{value}"' if plain else json.dumps(value, ensure_ascii=False)
    if cls is int:
        return str(value)
    if isinstance(cls, _StructType):
        return _written(to_builtins(value))
    if cls is dict:
        return "{" + ",".join([f'"{key}":{_written(one)}' for key, one in value.items()]) + "}"
    if cls in (list, tuple):
        return "[" + ",".join([_written(one) for one in value]) + "]"
    return json.dumps(value)


_NOT_PLAIN = re.compile(r'[\x00-\x1f"\\]')


class Encoder:
    """Writes JSON."""

    def encode(self, value: Any) -> bytes:
        """As `encode`."""
        return encode(value)


# --- in --------------------------------------------------------------------------------------


class Decoder:
    """Reads JSON as one type, and nothing else."""

    def __init__(self, wanted: Any) -> None:
        """Take the type; it is looked at when the first value comes."""
        self._wanted = wanted
        self._check: _Check | None = None

    def decode(self, content: bytes | str) -> Any:
        """Read one value.

        Raises:
            MsgspecError: not JSON, or not of the type (with the path).
        """
        try:
            value = json.loads(content)
        except ValueError as error:
            raise MsgspecError(str(error)) from None
        if self._check is None:
            self._check = _check_of(self._wanted)
        return self._check(value, "$")


def decode(content: bytes | str, *, type: Any) -> Any:
    """Read JSON as a type."""
    return Decoder(type).decode(content)


def convert(value: Any, type: Any) -> Any:
    """Read what is already out of its JSON as a type."""
    return _check_of(type)(value, "$")


_PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (float, int)}


def _check_of(wanted: Any) -> _Check:
    """What turns a value of JSON into one of this type, or raises `ValidationError`."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if isinstance(wanted, _StructType):
        return lambda value, path: _struct(wanted, value, path)
    if wanted in _PLAIN:
        return lambda value, path: wanted(_require(value, _PLAIN[wanted], path))
    if origin is Annotated:
        return _bounded(_check_of(arguments[0]), arguments[1:])
    if origin is Literal:
        return lambda value, path: _one_of(arguments, value, path)
    if origin is tuple and arguments[1:] == (...,):
        each = _check_of(arguments[0])
        return lambda value, path: tuple(
            each(one, f"{path}[...]") for one in _require(value, (list,), path)
        )
    if origin in (types.UnionType, typing.Union) and arguments[1:] == (type(None),):
        inner = _check_of(arguments[0])
        return lambda value, path: None if value is None else inner(value, path)
    raise TypeError(f"our messages have no {wanted}")


def _require(value: Any, allowed: tuple[type, ...], path: str) -> Any:
    if type(value) not in allowed:
        raise ValidationError(f"a {type(value).__name__} - at `{path}`")
    return value


def _one_of(allowed: tuple[Any, ...], value: Any, path: str) -> Any:
    for one in allowed:
        if type(one) is type(value) and one == value:
            return one
    raise ValidationError(f"none of {allowed} - at `{path}`")


def _bounded(check: _Check, bounds: tuple[Meta, ...]) -> _Check:
    def checked(value: Any, path: str) -> Any:
        value = check(value, path)
        for bound in bounds:
            bound.require(value, path)
        return value

    return checked


def _struct(cls: Any, value: Any, path: str) -> Any:
    _require(value, (dict,), path)
    if cls._checks is None:
        hints = typing.get_type_hints(cls, include_extras=True)
        cls._checks = {name: _check_of(hints[name]) for name in cls.__struct_fields__}
    if cls._tag_field and value.get(cls._tag_field, cls._tag) != cls._tag:
        raise ValidationError(f"another version - at `{path}.{cls._tag_field}`")
    if cls._forbids and (unknown := value.keys() - cls._checks.keys() - {cls._tag_field}):
        raise ValidationError(f"unknown: {sorted(unknown)} - at `{path}`")
    fields = {}
    for name, check in cls._checks.items():
        if name in value:
            fields[name] = check(value[name], f"{path}.{name}")
        elif name not in cls._defaults:
            raise ValidationError(f"missing `{name}` - at `{path}`")
    try:
        return cls(**fields)
    except ValueError as error:
        raise ValidationError(f"{error} - at `{path}`") from None


def install() -> None:
    """Be msgspec, for everything that is imported after this."""
    whole = types.ModuleType("msgspec", __doc__)
    whole.__dict__.update(
        Struct=Struct,
        Meta=Meta,
        field=field,
        MsgspecError=MsgspecError,
        ValidationError=ValidationError,
        to_builtins=to_builtins,
        convert=convert,
    )
    for name in ("structs", "json", "inspect"):
        part = types.ModuleType(f"msgspec.{name}", __doc__)
        setattr(whole, name, part)
        sys.modules[part.__name__] = part
    whole.structs.__dict__.update(replace=replace, asdict=asdict, astuple=astuple)
    whole.json.__dict__.update(encode=encode, decode=decode, Encoder=Encoder, Decoder=Decoder)
    sys.modules["msgspec"] = whole
