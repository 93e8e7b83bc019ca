"""One office and one board for each file of this room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import free_port
from tests.image.machine import Machine, copy_image, missing_programs
from tests.image.office import Office

IMAGE = Path(
    os.environ.get(
        "KENTONGAN_IMAGE", Path(__file__).parents[2] / "build/image/kentongan-bookworm.img"
    )
).absolute()
SUITE = IMAGE.stem.partition("-")[2]


@pytest.fixture(scope="module")
def image() -> Path:
    """What ships."""
    missing = missing_programs()
    assert not missing, f"{', '.join(missing)} missing: make image-packages"
    assert IMAGE.exists(), f"{IMAGE} is missing: make image"
    return IMAGE


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One office for all of the story."""
    office = Office(tmp_path_factory.mktemp("office"))
    with office.city:
        try:
            office.open()
            yield office
        finally:
            office.close()


@pytest.fixture(scope="module")
def machine(
    image: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Machine]:
    """A new card in a new board; still without a bundle. Its log stays beside the image."""
    work = tmp_path_factory.mktemp("board")
    card = copy_image(image, work / "card.img")
    kernel, initrd = image.with_name(f"{SUITE}.vmlinuz"), image.with_name(f"{SUITE}.initrd")
    name = request.module.__name__.rpartition(".")[2]
    log = image.with_name(f"{SUITE}-{name}.log")
    log.unlink(missing_ok=True)
    machine = Machine(work, card, kernel, initrd, free_port(), log)
    try:
        yield machine
    finally:
        machine.cut()
