"""A document that a full link did not take is said again, however full everything else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import MCC_LINK, POSTS_LINK, NotSent
from gateway.service import QUEUE_LIMIT, QUEUE_RESERVED, Service
from gateway.settings import GatewayFile, JournalSettings, MccSettings, PostsSettings
from process.core import Publish
from protocol.messages import MccPost


class FullLink:
    """Is up, and takes nothing more."""

    connection = "a connection"

    def publish(self, *_: object, **__: object) -> bool:
        return False


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    url = "mqtt://127.0.0.1:1"
    service = Service(
        GatewayFile(
            gateway_id="mlg-test",
            posts=PostsSettings(url=url),
            mcc=MccSettings(url=url),
            journal=JournalSettings(url=f"sqlite:///{tmp_path / 'journal.db'}"),
        )
    )
    real: dict[str, Any] = dict(service._links)
    service._links.update({link: FullLink() for link in (MCC_LINK, POSTS_LINK)})  # type: ignore[misc]
    yield service
    service._links.update(real)
    service._close()


def test_a_document_that_no_link_took_is_told_to_the_core_when_the_queue_is_full_of_messages(
    service: Service,
) -> None:
    messages = QUEUE_LIMIT - QUEUE_RESERVED
    assert all(service._queue.offer(number, droppable=True) for number in range(messages))
    assert not service._queue.offer("one more", droppable=True)
    shown = MccPost(post="a-post", gateway="mlg-test", connection="online", at=_AT)
    service._perform(Publish(MCC_LINK, "kentongan/v1/mcc/posts/a-post", shown, retain=True))
    events = [service._queue.take(0) for _ in range(messages + 1)]
    assert events[-1] == NotSent(MCC_LINK, "kentongan/v1/mcc/posts/a-post")


_AT = "2026-11-29T01:00:00.000Z"
