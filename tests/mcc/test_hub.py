"""The hub of the console's streams: order, bounds, what happens when a reader or database fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from asgiref.sync import ThreadSensitiveContext
from django.db import connection

from mcc.cases.changes import changes, reading
from mcc.cases.models import Change
from mcc.console import hub as hubs
from mcc.console.hub import (
    BACKLOG_MAX,
    END,
    STREAMS_MAX,
    WAITING_MAX,
    Hub,
    Pulse,
    Steps,
    Subscriber,
    steps_after,
)
from mcc.settings import DatabaseSettings


def run(what: Callable[[], Awaitable[None]]) -> None:
    async def in_a_thread_of_its_own() -> None:
        # Else Django's thread for asynchronous code keeps the database of the test before.
        async with ThreadSensitiveContext():
            await what()

    asyncio.run(in_a_thread_of_its_own())


def test_a_stream_begins_with_a_pulse_and_gets_what_follows_in_its_order() -> None:
    async def story() -> None:
        hub = Hub()
        one = hub.subscribe()
        assert one is not None
        hub._give(Steps(1, ()))
        hub._give(Steps(2, ()))
        assert isinstance(await one.take(), Pulse)
        assert [await one.take(), await one.take()] == [Steps(1, ()), Steps(2, ())]

    run(story)


def test_one_stream_too_many_is_refused_and_there_is_room_again_when_one_ends() -> None:
    async def story() -> None:
        hub = Hub()
        streams = [hub.subscribe() for _ in range(STREAMS_MAX)]
        assert None not in streams
        assert hub.subscribe() is None
        assert streams[0] is not None
        hub.unsubscribe(streams[0])
        assert hub.subscribe() is not None

    run(story)


def test_a_reader_that_does_not_keep_up_is_ended_and_never_thinned() -> None:
    async def story() -> None:
        one = Subscriber()
        for n in range(WAITING_MAX + 5):
            one.offer(Steps(n, ()))
        assert await one.take() == END

    run(story)


def test_the_end_of_the_process_ends_every_stream_and_takes_no_new_one() -> None:
    async def story() -> None:
        hub = Hub()
        one = hub.subscribe()
        assert one is not None
        hub.end()
        assert await one.take() == END
        assert hub.subscribe() is None

    run(story)


def test_a_database_that_fails_is_said_in_the_pulse_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hubs, "PULSE_S", 0.0)
    tried: list[int] = []

    def fails() -> hubs.Watch:
        tried.append(1)
        raise OSError("no such file")

    async def story() -> None:
        hub = Hub(open_watch=fails)
        one = hub.subscribe()
        assert one is not None
        following = asyncio.create_task(hub.follow())
        await one.take()
        pulse = await asyncio.wait_for(one.take(), 10)
        assert isinstance(pulse, Pulse)
        assert pulse.database is False
        assert tried
        following.cancel()

    run(story)


@pytest.mark.usefixtures("database")
def test_what_changed_is_named_once_with_its_present_value_and_its_newest_number() -> None:
    with changes() as change:
        change.note("fault", "")
        change.note("alarm", "00000000-0000-4000-8000-000000000001")
    with changes() as change:
        change.note("fault", "")
    with reading():
        steps = steps_after(0, 3)
    assert steps is not None
    # An alarm that is not there (any more) has no value.
    assert [(one.kind, one.value) for one in steps] == [("alarm", b"null"), ("fault", b"[]")]


@pytest.mark.usefixtures("database")
def test_who_is_too_far_behind_takes_the_whole_anew() -> None:
    with reading():
        assert steps_after(0, BACKLOG_MAX + 1) is None
        assert steps_after(5, 4) is None


@pytest.mark.usefixtures("database")
def test_where_the_feed_has_been_cut_the_whole_is_taken_anew() -> None:
    with changes() as change:
        change.note("fault", "")
        change.note("store", "")
    Change.objects.filter(sequence=1).delete()
    with reading():
        assert steps_after(0, 2) is None
        assert steps_after(1, 2) is not None


def test_a_commit_reaches_a_stream_on_either_database(database: DatabaseSettings) -> None:
    def watch() -> hubs.Watch:
        if database.file is not None:
            return hubs.SqliteWatch(str(database.file))
        return hubs.PostgresWatch(database.server)

    def commit() -> None:
        with changes() as change:
            change.note("fault", "")
        connection.close()

    async def next_steps(one: Subscriber) -> Steps:
        while True:
            item = await one.take()
            if isinstance(item, Steps):
                return item

    async def story() -> None:
        hub = Hub(open_watch=watch)
        one = hub.subscribe()
        assert one is not None
        following = asyncio.create_task(hub.follow())
        # The first pulse that the database has answered: from now on commits are followed.
        while True:
            item = await asyncio.wait_for(one.take(), 20)
            if isinstance(item, Pulse) and item.database:
                break
        await asyncio.to_thread(commit)
        seen = await asyncio.wait_for(next_steps(one), 20)
        assert seen.sequence == 1
        assert [(step.kind, step.value) for step in seen.steps] == [("fault", b"[]")]
        hub.end()
        await asyncio.wait_for(following, 20)

    run(story)
