"""The door: what gets in, what does not, and that a flood of it costs ten lines a second."""

from __future__ import annotations

import pytest

from process.intake import LOG_LINES_PER_SECOND_MAX, Intake
from process.link import Receipt, Received
from protocol.codec import encode
from protocol.messages import Command, Presence
from protocol.topics import Topics

ID = "00000000-0000-4000-8000-000000000001"
POST = "mlg-test-rw01"
TOPICS = Topics()
PRESENCE = Presence(
    post=POST,
    online=True,
    boot_id=ID,
    connection=ID,
    at="2026-01-01T00:00:00.000Z",
    firmware="test",
)
BEAT = Command(command_id=ID, action="beat", store_id=ID, at="2026-01-01T00:00:00.000Z")


class Door:
    """An intake whose clock stands still until it is moved."""

    def __init__(self) -> None:
        self.at_s = 100.0
        self.intake = Intake(
            TOPICS, [("posts", "presence"), ("mcc", "commands")], monotonic_s=lambda: self.at_s
        )

    def read(self, topic: str, payload: bytes, *, retained: bool = False) -> object:
        receipt = Receipt("c", 1)
        return self.intake.read(Received("link", "c", topic, payload, retained, receipt))


def test_a_message_comes_in_with_where_it_came_from() -> None:
    door = Door()
    heard = door.intake.read(
        Received("link", "c", TOPICS.post(POST, "presence"), encode(PRESENCE), True, None)
    )
    assert heard is not None
    assert (heard.link, heard.connection, heard.retained) == ("link", "c", True)
    assert heard.message == PRESENCE
    assert heard.address.name == POST
    assert door.intake.refused == 0


@pytest.mark.parametrize(
    ("topic", "payload", "retained", "reason"),
    [
        ("kentongan/v1/nothing", b"{}", False, "refused_topic"),
        ("other/v1/posts/a/presence", b"{}", False, "refused_topic"),
        (TOPICS.post(POST, "health"), b"{}", False, "refused_topic"),
        (TOPICS.mcc("commands", "console"), encode(BEAT), True, "refused_retained"),
        (TOPICS.mcc("commands", "console"), b"", False, "refused_content"),
        (TOPICS.mcc("commands", "console"), b"\xff", False, "refused_content"),
        (TOPICS.post("mlg-test-rw02", "presence"), encode(PRESENCE), False, "refused_content"),
        (TOPICS.post(POST, "presence"), b"x" * 5000, False, "refused_content"),
    ],
)
def test_what_is_not_of_the_contract_is_refused_and_counted(
    topic: str, payload: bytes, retained: bool, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    door = Door()
    assert door.read(topic, payload, retained=retained) is None
    assert door.intake.counts == {reason: 1}
    line = capsys.readouterr().err
    assert f"reason={reason}" in line
    assert f"topic={topic}" in line


def test_a_cleared_document_is_nothing_and_no_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    door = Door()
    assert door.read(TOPICS.post(POST, "presence"), b"") is None
    assert door.intake.counts == {"cleared": 1}
    assert door.intake.refused == 0
    assert capsys.readouterr().err == ""


def test_a_flood_of_refusals_is_ten_lines_a_second_and_one_that_counts_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    door = Door()
    for _ in range(1000):
        door.read("nothing", b"")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == LOG_LINES_PER_SECOND_MAX
    door.at_s += 1
    door.read("nothing", b"")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "event=messages_refused_unlogged" in lines[0]
    assert "count=990" in lines[0]
    assert "refused=1001" in lines[1]
