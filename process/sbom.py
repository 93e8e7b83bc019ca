"""The software bill of materials: what `pip install kentongan[EXTRA]` brings, as CycloneDX JSON.

`python -m process.sbom DIRECTORY` (`make sbom`) writes one file for each program, from the metadata
of what is installed here. It never leaves out what cannot be installed here (the pins of a Pi): its
version is then the one of constraints.txt. Python itself and Debian's packages are not in it.
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata, requires, version
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

PROJECT = "kentongan"
# File and extra: what goes on a post's card, and what each of the others runs.
BILLS = {"device": "pi", "gateway": "gateway", "mcc": "mcc"}
# A requirement of any of these is listed; the rest of a marker is decided where this runs.
MACHINES = ("aarch64", "x86_64")
NAME_CHARACTERS = 80  # longer is no licence's name
_NOTHING = ("", "UNKNOWN")
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


class Unlisted(Exception):
    """Something is required of which no version is known; the text names it."""


@dataclass(frozen=True)
class Part:
    """One distribution: its name as its maker writes it, its version, and what it needs."""

    name: str
    version: str
    needs: frozenset[str]  # normalised names
    metadata: PackageMetadata | None  # None: it is not installed here


def normalised(name: str) -> str:
    """A distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parts(extra: str, constraints: Path = CONSTRAINTS) -> dict[str, Part]:
    """The project with one extra and all that this brings, by normalised name.

    Raises:
        Unlisted: something is neither installed nor in the constraints.
    """
    pinned = _pinned(constraints)
    wanted: dict[str, set[str]] = {PROJECT: {extra}}
    found: dict[str, Part] = {}
    waiting = [PROJECT]
    while waiting:
        name = waiting.pop()
        needs = _needs(name, wanted[name])
        found[name] = _part(name, frozenset(needs) - {name}, pinned)
        for need, extras in needs.items():
            if need not in wanted or not extras <= wanted[need]:
                wanted.setdefault(need, set()).update(extras)
                waiting.append(need)
    return found


def bill(extra: str) -> Bom:
    """The bill of the project with one extra.

    Raises:
        Unlisted: see `parts`.
    """
    listed = parts(extra)
    components = {name: _component(part) for name, part in listed.items()}
    root = components[PROJECT]
    root.type = ComponentType.APPLICATION
    bom = Bom(components=[one for one in components.values() if one is not root])
    bom.metadata.component = root
    for name, part in listed.items():
        bom.register_dependency(components[name], [components[need] for need in part.needs])
    # The same parts have the same number, wherever and whenever it is written.
    words = [extra, *sorted(f"{part.name}=={part.version}" for part in listed.values())]
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(words))
    return bom


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the bills into a directory; 2 when that cannot be done."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1:
        sys.stderr.write("usage: python -m process.sbom DIRECTORY\n")
        return 2
    directory = Path(given[0])
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for program, extra in BILLS.items():
            bom = bill(extra)
            path = directory / f"kentongan-{program}.cdx.json"
            path.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n", encoding="utf-8")
            sys.stdout.write(f"wrote {path}: {len(bom.components)} packages\n")
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 2
    except Unlisted as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _needs(name: str, extras: set[str]) -> dict[str, set[str]]:
    """What a distribution with these extras requires: normalised name -> its extras."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return {}
    found: dict[str, set[str]] = {}
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({"extra": extra, "platform_machine": machine})
            for extra in extras | {""}
            for machine in MACHINES
        ):
            found.setdefault(normalised(requirement.name), set()).update(requirement.extras)
    # `kentongan[pi]` requires `kentongan[device]`: the same distribution with another extra.
    for extra in found.pop(name, set()) - extras:
        for need, more in _needs(name, extras | {extra}).items():
            found.setdefault(need, set()).update(more)
    return found


def _part(name: str, needs: frozenset[str], pinned: dict[str, tuple[str, str]]) -> Part:
    try:
        return Part(str(metadata(name)["Name"]), version(name), needs, metadata(name))
    except PackageNotFoundError:
        if name not in pinned:
            raise Unlisted(f"{name} is neither installed here nor in constraints.txt") from None
        return Part(*pinned[name], needs, None)


def _pinned(constraints: Path) -> dict[str, tuple[str, str]]:
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {normalised(name): (name, pinned) for name, pinned in pairs}


def _component(part: Part) -> Component:
    name = normalised(part.name)
    return Component(
        name=part.name,
        version=part.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}=={part.version}",
        purl=PackageURL("pypi", None, name, part.version),
        description=_said(part.metadata, "Summary") or None,
        licenses=_licences(part.metadata),
    )


def _said(found: PackageMetadata | None, field: str) -> str:
    return str(found[field]) if found is not None and field in found else ""


def _licences(found: PackageMetadata | None) -> list[License]:
    """What the maker says, as it is said; a whole text in the field is no name of a licence."""
    said = _said(found, "License-Expression") or _said(found, "License")
    if said in _NOTHING or len(said) > NAME_CHARACTERS or "\n" in said:
        classified = (found.get_all("Classifier") or []) if found is not None else []
        names = [one.rpartition(" :: ")[2] for one in classified if one.startswith("License :: ")]
        said = names[0] if names else ""
    declared = LicenseAcknowledgement.DECLARED
    made = LicenseFactory()
    return [made.make_from_string(said, license_acknowledgement=declared)] if said else []


if __name__ == "__main__":
    sys.exit(main())
