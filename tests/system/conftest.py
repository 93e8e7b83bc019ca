"""The ground of the system tests: a real mosquitto and the real processes, each test its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stage import Stage
from tests.broker import Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A mosquitto that forgets everything when it is killed."""
    with Mosquitto() as running:
        yield running


@pytest.fixture
def stage(broker: Mosquitto, tmp_path: Path) -> Iterator[Stage]:
    """Post, gateway and command centre, all started, the lamp armed."""
    ground = Stage(tmp_path, broker.url)
    try:
        ground.start_gateway()
        ground.start_mcc()
        ground.start_post()
        ground.until_lamp("armed")
        yield ground
    finally:
        ground.close()
