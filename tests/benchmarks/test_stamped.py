"""The stamped post is the product's own, and notes each alarm by the names its core uses today."""

from __future__ import annotations

import pytest

import benchmarks.stamped
import tests.device.rig
from tests.device.rig import Rig


def test_a_call_is_stamped_when_it_is_accepted_and_when_it_is_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tests.device.rig, "Post", benchmarks.stamped.StampedPost)
    alarms: dict[str, dict[str, int]] = {}
    presses: list[dict[str, int]] = []
    monkeypatch.setattr(benchmarks.stamped, "_alarms", alarms)
    monkeypatch.setattr(benchmarks.stamped, "_presses", presses)
    rig = Rig()
    rig.connect()
    alarm_id = rig.press3()
    stamps = alarms[alarm_id]
    assert stamps["accepted_us"] <= stamps["offered_us"]
    assert [press["accepted_us"] >= press["closed_us"] for press in presses] == [True] * 3
