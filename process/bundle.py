"""A bundle: one file with everything that one party needs to speak: settings, certificate, key, CA.

Made by `kentongan-gateway provision`, taken apart by `unpack` where it is to be used. Its checksum
finds a copy that was cut short; it is no seal: whoever can write the file can write its sum. It
holds a private key, so it is written for its owner alone and never logged.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from process.files import PUBLIC_MODE, SECRET_MODE, replace_file
from protocol.values import NAME_PATTERN

BUNDLE_BYTES_MAX = 256 * 1024
# Stands for the directory in which a bundle's files come to lie, in its settings.
HERE = "@here@"

FileName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}\.(?:pem|toml)\Z", max_length=40)]
FileText = Annotated[str, Meta(max_length=64 * 1024)]


class BundleError(Exception):
    """The bundle cannot be used; the text says why."""


class BundleForAnother(BundleError):
    """It is whole, and made for another role."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The file as it is written, JSON. `name` is the identity, `role` what it may be."""

    kentongan_bundle: Annotated[int, Meta(ge=1, le=1)] = 1
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
        raise BundleError(f"{path}: {error.strerror or error}") from None
    if len(content) > BUNDLE_BYTES_MAX:
        raise BundleError(f"{path}: larger than {BUNDLE_BYTES_MAX // 1024} KiB, no bundle")
    try:
        bundle = msgspec.json.decode(content, type=Bundle)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # msgspec names the path of a wrong field, never its value.
        why = str(error) if isinstance(error, msgspec.ValidationError) else "it is cut or changed"
        raise BundleError(f"{path}: not a bundle: {why[:200]}; copy it again") from None
    if bundle.sha256 != _digest(bundle.role, bundle.name, bundle.files):
        raise BundleError(f"{path}: its checksum is wrong: it was changed; copy it again")
    if bundle.role != role:
        raise BundleForAnother(f"{path}: this bundle is for a {bundle.role}, not for a {role}")
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
        raise BundleError(f"{error.filename or directory}: {error.strerror or error}") from None
    return written


def _digest(role: str, name: str, files: dict[str, str]) -> str:
    content = msgspec.json.encode([role, name, files], order="sorted")
    return hashlib.sha256(content).hexdigest()
