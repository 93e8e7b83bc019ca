"""A bundle: one file with everything that one party needs to speak: settings, certificate, key, CA.

Made by `kentongan-gateway provision`, taken apart by `unpack` where it is to be used. Its checksum
finds a copy that was cut short; it is no seal: whoever can write the file can write its sum. It
holds a private key, so it is written for its owner alone and never logged.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from process.files import PUBLIC_MODE, SECRET_MODE, replace_file
from protocol.values import NAME_PATTERN

VERSION = 1
BUNDLE_BYTES_MAX = 256 * 1024
# Stands for the directory in which a bundle's files come to lie, in its settings.
HERE = "@here@"

FileName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}\.(?:pem|toml)\Z", max_length=40)]
FileText = Annotated[str, Meta(max_length=64 * 1024)]


# `cut` and `changed` are mended by copying it again; the last three by another bundle.
Kind = Literal["unreadable", "large", "cut", "changed", "newer", "shape", "role"]


class BundleError(Exception):
    """The bundle cannot be used; the text says why, `kind` what sort of mistake it is."""

    def __init__(self, kind: Kind, text: str) -> None:
        """Keep both."""
        super().__init__(text)
        self.kind = kind


class _Version(msgspec.Struct):
    """What is read first: a later version may have any other field."""

    kentongan_bundle: int


class _Sealed(msgspec.Struct):
    """What the checksum is over, of whatever form."""

    role: str
    name: str
    files: dict[str, str]
    sha256: str


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The file as it is written, JSON. `name` is the identity, `role` what it may be."""

    kentongan_bundle: Annotated[int, Meta(ge=VERSION, le=VERSION)] = VERSION
    role: Annotated[str, Meta(pattern=r"^[a-z]{1,16}\Z", max_length=16)]
    name: Annotated[str, Meta(pattern=NAME_PATTERN, max_length=64)]
    files: Annotated[dict[FileName, FileText], Meta(min_length=1, max_length=8)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", max_length=64)]

    def __repr__(self) -> str:
        """Without what is in the files, wherever this ends up."""
        return f"Bundle({self.role}, {self.name}, {sorted(self.files)})"


def pack(role: str, name: str, files: dict[str, str]) -> bytes:
    """Write a bundle's bytes."""
    bundle = Bundle(role=role, name=name, files=files, sha256=_digest(role, name, files))
    return msgspec.json.format(msgspec.json.encode(bundle), indent=1) + b"\n"


def read_bundle(path: Path, role: str) -> Bundle:
    """Read and check a bundle that must be for `role`.

    Raises:
        BundleError: it is not there, damaged, or for another role.
    """
    try:
        with path.open("rb") as file:
            content = file.read(BUNDLE_BYTES_MAX + 1)
    except OSError as error:
        raise BundleError("unreadable", f"{path}: {error.strerror or error}") from None
    if len(content) > BUNDLE_BYTES_MAX:
        kib = BUNDLE_BYTES_MAX // 1024
        raise BundleError("large", f"{path}: larger than {kib} KiB, no bundle")
    try:
        version = msgspec.json.decode(content, type=_Version).kentongan_bundle
        if version > VERSION:
            raise BundleError("newer", f"{path}: a bundle of version {version}, newer than this")
        sealed = msgspec.json.decode(content, type=_Sealed)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BundleError("cut", f"{path}: not a bundle: {_said(error)}; copy it again") from None
    if sealed.sha256 != _digest(sealed.role, sealed.name, sealed.files):
        why = "its checksum is wrong: it was changed; copy it again"
        raise BundleError("changed", f"{path}: {why}")
    # From here on it is what somebody made, whole.
    try:
        bundle = msgspec.json.decode(content, type=Bundle)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BundleError("shape", f"{path}: not a bundle: {_said(error)}") from None
    if bundle.role != role:
        raise BundleError("role", f"{path}: this bundle is for a {bundle.role}, not for a {role}")
    return bundle


def unpack(bundle: Bundle, directory: Path) -> list[Path]:
    """Write the files of a bundle into `directory`, keys for their owner alone.

    Raises:
        BundleError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        here = directory.resolve()
        written = []
        for name, text in bundle.files.items():
            content = text.replace(HERE, str(here)) if name.endswith(".toml") else text
            mode = SECRET_MODE if "PRIVATE KEY" in text else PUBLIC_MODE
            replace_file(directory / name, content.encode(), mode)
            written.append(directory / name)
    except OSError as error:
        where = error.filename or directory
        raise BundleError("unreadable", f"{where}: {error.strerror or error}") from None
    return written


def _said(error: Exception) -> str:
    """Msgspec names the path of a wrong field, never its value."""
    return str(error)[:200] if isinstance(error, msgspec.ValidationError) else "cut or changed"


def _digest(role: str, name: str, files: dict[str, str]) -> str:
    content = msgspec.json.encode([role, name, files], order="sorted")
    return hashlib.sha256(content).hexdigest()
