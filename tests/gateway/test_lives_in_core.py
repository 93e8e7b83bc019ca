"""The life of a post as the core sees it: moved, maintained, retired; and a window opened here."""

from __future__ import annotations

import msgspec
import pytest

from gateway.core import CloseWindow, OpenWindow, Registered, Told
from gateway.posts import Maintained
from process.core import Publish
from protocol.codec import decode, encode
from protocol.messages import Alarm, Health, Location, MccPost, Place, Sounded
from protocol.topics import Address
from protocol.values import timestamp
from tests.gateway.rig import ALARM, BOOT, POST, TOPICS, Rig, held, make_alarm, some_id

HOUR_MS = 3_600_000
HOUR_S = 3_600
OLD, NEW = Place(lat=-7.944, lon=112.611), Place(lat=-7.951, lon=112.625)
WINDOW = some_id(0xD0)


def registered(
    rig: Rig, place: Place | None = OLD, *, maintained: Maintained | None = None
) -> None:
    plan = {} if maintained is None else {POST: maintained}
    rig.send(Registered({POST: ("Pos RW 01", place)}, plan))


def retired(rig: Rig) -> None:
    rig.send(Registered({}, retired=frozenset((POST,))))


def plan(rig: Rig, hours: float) -> Maintained:
    now_ms = rig.now.wall_ms
    return Maintained(now_ms, now_ms + round(hours * HOUR_MS), "Ani", "kabel baru")


def heartbeat_from(rig: Rig, location: Location) -> None:
    health = Health(
        post=POST,
        n=rig.next_n(),
        boot_id=BOOT,
        connection=some_id(0xC1),
        at=timestamp(rig.now.wall_ms),
        clock="synchronised",
        uptime_ms=rig.at_us // 1000,
        location=location,
    )
    rig.hear(health, Address("posts", "health", POST))


def offer_from(rig: Rig, location: Location) -> None:
    alarm = msgspec.structs.replace(make_alarm(rig.at_us // 1000), location=location)
    rig.hear(decode(Alarm, encode(alarm)), Address("posts", "alarms", POST))


# --- move ----------------------------------------------------------------------------------


def test_after_a_move_an_alarm_carries_the_new_survey() -> None:
    rig = Rig()
    registered(rig, NEW)
    rig.heartbeat()
    rig.offer()
    shown = rig.alarm_document().location
    assert (shown.lat, shown.lon, shown.source) == (NEW.lat, NEW.lon, "surveyed")
    assert rig.logged("place_overruled")


def test_a_posts_own_fix_is_believed_wherever_it_was_surveyed() -> None:
    rig = Rig()
    registered(rig, NEW)
    rig.heartbeat()
    offer_from(rig, Location(lat=-7.9, lon=112.6, source="gps", age_s=1, accuracy_m=5.0))
    shown = rig.alarm_document().location
    assert (shown.lat, shown.lon, shown.source) == (-7.9, 112.6, "gps")


def test_a_post_whose_settings_say_another_place_has_a_fault_until_they_agree() -> None:
    rig = Rig()
    registered(rig, NEW)
    heartbeat_from(rig, Location(lat=OLD.lat, lon=OLD.lon, source="surveyed"))
    assert rig.post_document().faults == ("place_differs",)
    assert rig.post_document().place == NEW
    heartbeat_from(rig, Location(lat=NEW.lat, lon=NEW.lon, source="surveyed"))
    assert rig.post_document().faults == ()


def test_a_fix_of_its_own_says_nothing_about_a_posts_settings() -> None:
    rig = Rig()
    registered(rig, NEW)
    fix = Location(lat=OLD.lat, lon=OLD.lon, source="gps", age_s=1, accuracy_m=5.0)
    heartbeat_from(rig, fix)
    assert rig.post_document().faults == ()


# --- maintain ------------------------------------------------------------------------------


def test_a_planned_silence_is_no_silence_until_it_ends_by_itself() -> None:
    rig = Rig()
    rig.heartbeat()
    registered(rig, maintained=plan(rig, 2))
    shown = rig.post_document().maintenance
    assert shown is not None
    assert (shown.by, shown.why) == ("Ani", "kabel baru")
    rig.advance(2 * HOUR_S - 10)
    assert rig.post_document().connection == "unknown"
    rig.advance(20)
    assert rig.post_document().connection == "silent"
    assert rig.post_document().maintenance is None


def test_a_press_during_maintenance_is_an_alarm_all_the_same() -> None:
    rig = Rig()
    rig.heartbeat()
    registered(rig, maintained=plan(rig, 2))
    rig.offer()
    assert rig.alarm_document().kind == "panic"
    assert rig.sounds == ["alarm"]


def test_a_silence_that_is_there_is_planned_from_now_on() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(91)
    assert rig.post_document().connection == "silent"
    registered(rig, maintained=plan(rig, 1))
    assert rig.post_document().connection == "unknown"


def test_maintenance_that_is_called_off_leaves_a_silent_post_silent() -> None:
    rig = Rig()
    rig.heartbeat()
    registered(rig, maintained=plan(rig, 2))
    rig.advance(200)
    assert rig.post_document().connection == "unknown"
    registered(rig)
    assert rig.post_document().connection == "silent"
    assert rig.post_document().maintenance is None


def test_maintenance_that_is_called_off_leaves_a_post_that_is_heard_online() -> None:
    rig = Rig()
    rig.heartbeat()
    registered(rig, maintained=plan(rig, 2))
    registered(rig)
    assert rig.post_document().connection == "online"
    assert rig.post_document().maintenance is None


def test_a_new_end_replaces_the_old_one() -> None:
    rig = Rig()
    rig.heartbeat()
    registered(rig, maintained=plan(rig, 1))
    rig.advance(60)
    registered(rig, maintained=plan(rig, 3))
    rig.advance(2 * HOUR_S)
    assert rig.post_document().connection == "unknown"
    rig.advance(HOUR_S + 20)
    assert rig.post_document().connection == "silent"


def test_without_a_clock_a_plan_lasts_as_long_as_it_was_made_for() -> None:
    rig = Rig(synchronised=False)
    rig.heartbeat()
    # Made by a clock that is a year ahead of the gateway's.
    ahead_ms = rig.now.wall_ms + 365 * 24 * HOUR_MS
    registered(rig, maintained=Maintained(ahead_ms, ahead_ms + HOUR_MS, "Ani"))
    rig.advance(HOUR_S - 10)
    assert rig.post_document().connection == "unknown"
    rig.advance(20)
    assert rig.post_document().connection == "silent"


def test_after_a_restart_of_the_gateway_a_plan_goes_on() -> None:
    rig = Rig()
    rig.heartbeat()
    planned = plan(rig, 2)
    registered(rig, maintained=planned)
    rig.advance(HOUR_S)
    rig.restart()
    registered(rig, maintained=planned)
    rig.advance(HOUR_S - 10)
    assert rig.post_document().connection == "unknown"
    rig.advance(20)
    assert rig.post_document().connection == "silent"


# --- retire --------------------------------------------------------------------------------


def test_the_documents_of_a_retired_post_are_cleared_and_its_silence_is_none() -> None:
    rig = Rig()
    rig.presence(online=True)
    rig.heartbeat()
    rig.advance(2)
    retired(rig)
    rig.advance(2)
    for topic in (TOPICS.post(POST, "state"), TOPICS.mcc("posts", POST)):
        assert topic not in rig.retained
    assert TOPICS.post(POST, "presence") in rig.cleared
    rig.forget()
    rig.advance(700)
    assert rig.published(MccPost) == []


def test_an_open_alarm_of_a_retired_post_stays_until_it_is_over() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.offer()
    retired(rig)
    assert rig.alarm_document().state == "received"
    rig.receive()
    rig.command("acknowledge")
    rig.command("resolve")
    rig.receive()
    assert rig.alarm_document().state == "resolved"
    rig.pass_days(8)
    assert not rig.is_shown()
    assert rig.gateway.records == []


def test_a_retired_post_stays_away_over_a_restart_whatever_the_broker_kept() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(2)
    before = dict(rig.retained)
    retired(rig)
    rig.advance(2)
    rig.restart(connect=False)
    rig.retained.update(before)  # the broker was killed and brought them back
    retired(rig)
    rig.connect()
    rig.advance(2)
    assert TOPICS.mcc("posts", POST) not in rig.retained
    assert TOPICS.post(POST, "state") not in rig.retained


def test_a_name_that_is_taken_up_anew_is_a_post_again() -> None:
    rig = Rig()
    rig.heartbeat()
    retired(rig)
    rig.advance(2)
    registered(rig)
    assert rig.post_document().connection == "unknown"
    rig.heartbeat()
    assert rig.post_document().connection == "online"


# --- a window opened at the gateway --------------------------------------------------------


def told(rig: Rig) -> Told:
    return rig.done(Told)[-1]


def test_a_technician_at_the_gateway_opens_a_window_and_presses_in_it_are_a_test() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(1)
    rig.send(OpenWindow(7, POST, 10, "Ani", WINDOW))
    assert (told(rig).asked, told(rig).refused, told(rig).connection) == (7, None, "online")
    window = rig.state_document().test_window
    assert window is not None
    assert (window.opened_by, window.command_id, window.until) == ("Ani", WINDOW, told(rig).until)
    rig.advance(10)
    rig.offer(age_s=1)
    assert rig.alarm_document().kind == "test"


def test_a_window_opened_here_ends_by_itself_when_it_is_closed_and_with_a_restart() -> None:
    def opened() -> Rig:
        rig = Rig()
        rig.heartbeat()
        rig.advance(1)
        rig.send(OpenWindow(1, POST, 10, "Ani", WINDOW))
        assert rig.state_document().test_window is not None
        return rig

    by_itself, closed, restarted = opened(), opened(), opened()
    by_itself.advance(601)
    closed.send(CloseWindow(2, POST, "Ani"))
    assert told(closed) == Told(2, connection="online")
    restarted.restart()
    for rig in (by_itself, closed, restarted):
        rig.advance(2)
        rig.heartbeat()
        rig.offer(age_s=1)
        rig.advance(2)
        assert rig.state_document().test_window is None
        assert rig.alarm_document().kind == "panic"


def test_closing_a_window_here_keeps_an_older_order_to_open_one_out() -> None:
    rig = Rig()
    rig.advance(120)
    rig.heartbeat()
    rig.send(CloseWindow(1, POST, "Ani"))
    rig.command("open_test", age_s=5)
    assert [answer.refused for answer in rig.refusals] == ["too_old"]


@pytest.mark.parametrize("is_retired", [False, True])
def test_a_window_for_nobody_is_refused_in_words(is_retired: bool) -> None:
    rig = Rig()
    if is_retired:
        rig.heartbeat()
        retired(rig)
    rig.send(OpenWindow(1, POST, 10, "Ani", WINDOW))
    assert told(rig).refused == f"{POST}: no such post has been heard of"
    if not is_retired:
        rig.send(CloseWindow(2, POST, "Ani"))
        assert told(rig).asked == 2
        assert told(rig).refused is not None
    windows = [p.message.test_window for p in rig.done(Publish) if isinstance(p.message, MccPost)]
    assert windows == [None] * len(windows)


# --- the buzzer was heard ------------------------------------------------------------------


def answered(rig: Rig) -> None:
    rig.heartbeat()
    rig.offer()
    rig.receive()
    rig.command("acknowledge")


def say_sounded(rig: Rig, alarm_id: str, ago_s: float) -> None:
    health = Health(
        post=POST,
        n=rig.next_n(),
        boot_id=BOOT,
        connection=some_id(0xC1),
        at=timestamp(rig.now.wall_ms),
        clock="synchronised",
        uptime_ms=rig.at_us // 1000,
        alarms=(held(alarm_id, "acknowledged", answered=0),),
        sounded=Sounded(alarm_id=alarm_id, uptime_ms=rig.at_us // 1000 - round(ago_s * 1000)),
    )
    rig.hear(health, Address("posts", "health", POST))


def test_the_moment_at_which_the_buzzer_sounded_is_recorded_once() -> None:
    rig = Rig()
    answered(rig)
    rig.advance(10)
    at = timestamp(rig.now.wall_ms - 4000)
    say_sounded(rig, ALARM, 4)
    assert rig.alarm_document().sounded_at == at
    rig.advance(30)
    say_sounded(rig, ALARM, 1)
    assert rig.alarm_document().sounded_at == at


def test_a_sound_for_what_nobody_has_answered_or_for_anothers_alarm_is_not_recorded() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.offer()
    say_sounded(rig, ALARM, 0)
    assert rig.alarm_document().sounded_at is None
    say_sounded(rig, some_id(0xEE), 0)  # nobody knows it
    assert rig.alarm_document().sounded_at is None
