"""Who is silent, and who is not: the supervision of posts alone, and in the gateway's core."""

from __future__ import annotations

import pytest

from gateway.core import POSTS_LINK, Registered
from gateway.posts import BOOTS_MAX, Post
from gateway.supervision import Supervision
from process.core import Drop, LinkUp, Publish
from protocol.messages import Health, MccPost
from protocol.topics import Address
from tests.gateway.rig import POST, TOPICS, Rig, some_id

SECOND_US = 1_000_000
NAMES = [f"mlg-rw{n:03}" for n in range(1000)]


def s(seconds: float) -> int:
    return int(seconds * SECOND_US)


def hearing(*names: str, silent_after_s: int = 90) -> Supervision:
    supervision = Supervision(silent_after_s)
    supervision.hears(names, 0)
    return supervision


@pytest.mark.parametrize(("setting_s", "ends_s"), [(90, 89.5), (20, 19.5)])
def test_a_window_ends_in_time_for_the_command_centre_to_show_it(
    setting_s: int, ends_s: float
) -> None:
    supervision = hearing("a", silent_after_s=setting_s)
    supervision.heard("a", s(10))
    assert supervision.next_us() == s(10 + ends_s)
    assert supervision.due(s(10 + ends_s) - 1) == []
    assert supervision.due(s(10 + ends_s)) == ["a"]
    assert (len(supervision), supervision.next_us()) == (0, None)


def test_a_heartbeat_moves_one_window_and_the_order_stays_that_of_their_ends() -> None:
    supervision = hearing("a", "b", "c")
    supervision.heard("a", s(5))
    supervision.heard("c", s(6))
    assert supervision.next_us() == s(89.5)
    assert supervision.due(s(200)) == ["b", "a", "c"]


@pytest.mark.parametrize(("setting_s", "ends_s"), [(90, 20), (20, 9.75)])
def test_a_will_shortens_the_window_and_alone_is_no_silence(setting_s: int, ends_s: float) -> None:
    supervision = hearing("a", silent_after_s=setting_s)
    supervision.left("a", s(1))
    assert supervision.due(s(1 + ends_s) - 1) == []
    assert supervision.due(s(1 + ends_s)) == ["a"]


def test_who_is_back_after_a_will_has_a_whole_window() -> None:
    supervision = hearing("a")
    supervision.left("a", s(1))
    supervision.heard("a", s(20))
    assert supervision.due(s(109)) == []


def test_a_second_will_and_one_near_the_end_of_the_window_change_nothing() -> None:
    supervision = hearing("a")
    supervision.left("a", s(1))
    supervision.left("a", s(15))
    assert supervision.due(s(21)) == ["a"]
    supervision = hearing("a")
    supervision.left("a", s(80))
    assert supervision.due(s(89.4)) == []


def test_while_we_are_deaf_nobody_is_silent_and_then_everybody_has_a_whole_window() -> None:
    supervision = hearing(*NAMES)
    supervision.deaf()
    supervision.watch("new", s(100))
    assert supervision.due(s(3600)) == []
    assert supervision.next_us() is None
    supervision.hears([*NAMES, "new"], s(3600))
    assert supervision.due(s(3689)) == []
    assert len(supervision.due(s(3690))) == 1001


def test_while_we_did_not_run_nobodys_window_went_on() -> None:
    supervision = hearing("a")
    supervision.heard("b", s(80))
    supervision.stalled(s(60))
    assert supervision.due(s(149.9)) == []
    assert supervision.due(s(150)) == ["a"]
    supervision.heard("b", s(150))
    assert supervision.due(s(239)) == []


def test_a_will_before_we_did_not_run_counts_no_more() -> None:
    supervision = hearing("a")
    supervision.left("a", s(1))
    supervision.stalled(s(15))
    assert supervision.due(s(104.9)) == []  # it may have come back unheard
    assert supervision.due(s(105)) == ["a"]


def test_watching_again_gives_no_new_window_and_who_is_forgotten_is_never_silent() -> None:
    supervision = hearing("a", "b")
    supervision.watch("a", s(80))
    supervision.left("b", s(1))
    supervision.forget("b")
    assert "b" not in supervision
    assert supervision.due(s(100)) == ["a"]


# --- in the core ---------------------------------------------------------------------------


def shown(rig: Rig, name: str = POST) -> str:
    return rig.post_document(name).connection


def test_a_late_will_of_an_older_connection_is_ignored() -> None:
    rig = Rig()
    rig.heartbeat(connection=some_id(0xC1))
    rig.presence(online=True, connection=some_id(0xC2))
    rig.heartbeat(connection=some_id(0xC2))
    rig.presence(online=False, connection=some_id(0xC1))
    rig.advance(60)
    assert shown(rig) == "online"


def test_words_of_an_earlier_connection_do_not_bring_it_back_for_its_will_to_count() -> None:
    rig = Rig()
    before, now = some_id(0xC1), some_id(0xC2)
    rig.heartbeat(connection=before)
    late = rig.said
    assert late is not None
    rig.presence(online=True, connection=now)
    rig.heartbeat(connection=now)
    rig.hear(late, Address("posts", "health", POST))
    rig.presence(online=True, connection=before)
    rig.presence(online=False, connection=before)
    rig.advance(60)
    assert shown(rig) == "online"


def test_a_heartbeat_that_comes_again_is_no_sign_of_life() -> None:
    rig = Rig()
    rig.presence(online=True)
    rig.heartbeat()
    late = rig.said
    assert late is not None
    rig.advance(60)
    rig.hear(late, Address("posts", "health", POST))
    rig.presence(online=True)
    rig.advance(30)
    assert shown(rig) == "silent"


def test_a_word_that_somebody_comes_is_no_sign_of_life_and_names_the_firmware() -> None:
    rig = Rig()
    rig.presence(online=True, firmware="1.2.3")
    assert shown(rig) == "unknown"
    rig.heartbeat()
    assert (shown(rig), rig.post_document().firmware) == ("online", "1.2.3")
    rig.advance(60)
    rig.presence(online=True, firmware="1.2.4")
    assert rig.post_document().firmware == "1.2.4"
    rig.advance(30)
    assert shown(rig) == "silent"


def beat(boot: int, uptime_ms: int, n: int, connection: int = 0xC1) -> Health:
    return Health(
        post=POST,
        n=n,
        boot_id=some_id(boot),
        connection=some_id(connection),
        at="2027-01-15T08:00:00.000Z",
        clock="synchronised",
        uptime_ms=uptime_ms,
    )


def test_heartbeats_come_in_the_order_of_their_boot_whatever_connection_they_were_on() -> None:
    post = Post(POST, "2027-01-15T08:00:00.000Z")
    assert post.beats(beat(1, 60_000, 2, connection=0xC2))
    assert not post.beats(beat(1, 30_000, 1, connection=0xC1))
    assert post.connection == some_id(0xC2)
    # A process that starts anew counts from one; the machine's uptime goes on.
    assert post.beats(beat(1, 90_000, 1, connection=0xC3))
    assert (post.connection, post.heartbeat) == (some_id(0xC3), 1)


def test_two_cards_that_both_go_on_are_both_alive() -> None:
    post = Post(POST, "2027-01-15T08:00:00.000Z")
    for n in range(1, 5):
        assert post.beats(beat(1, n * 30_000, n))
        assert post.beats(beat(2, n * 30_000, n))
        assert not post.beats(beat(1, n * 30_000, n))


def test_so_many_boots_are_remembered() -> None:
    post = Post(POST, "2027-01-15T08:00:00.000Z")
    for boot in range(BOOTS_MAX + 1):
        assert post.beats(beat(boot, 60_000, 2))
    assert len(post.boots) == BOOTS_MAX
    assert not post.beats(beat(1, 30_000, 1))
    assert post.beats(beat(0, 30_000, 1))


def test_a_gateway_that_was_frozen_accuses_nobody_and_says_so() -> None:
    rig = Rig()
    for name in NAMES[:20]:
        rig.heartbeat(post=name)
    rig.advance(60)
    rig.pass_days(300 / 86_400)  # SIGSTOP, a suspended machine, a disk that hung
    assert {shown(rig, name) for name in NAMES[:20]} == {"online"}
    assert rig.gateway_document().faults == ("stalled",)
    rig.advance(10)
    for name in NAMES[:20]:
        rig.heartbeat(post=name)
    rig.advance(60)
    assert rig.gateway_document().faults == ()
    assert {shown(rig, name) for name in NAMES[:20]} == {"online"}


def test_a_gateway_that_was_late_by_seconds_reads_before_it_accuses() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(88)
    rig.pass_days(3 / 86_400)
    assert shown(rig) == "online"
    assert rig.gateway_document().faults == ()
    rig.heartbeat()
    rig.advance(80)
    assert shown(rig) == "online"


def test_many_small_stalls_are_a_fault_too() -> None:
    rig = Rig()
    for _ in range(10):
        rig.heartbeat()
        rig.advance(1)
        rig.pass_days(13 / 86_400)  # three seconds late for its own beat, at the least
    assert rig.gateway_document().faults == ("stalled",)


def test_a_silence_does_not_wait_behind_what_is_only_said_again() -> None:
    rig = Rig()
    names = [f"mlg-crowd-rw{n}" for n in range(20_000)]
    rig.heartbeat()
    rig.advance(60)
    rig.send(Registered(dict.fromkeys(names, (None, None)), {}, frozenset()))
    rig.advance(25)
    rig.disconnect("mcc")
    rig.connect("mcc")  # every document goes out again, 2,000 a second
    rig.forget()
    rig.advance(5)
    (said,) = (one for one in rig.done(Publish) if one.topic == TOPICS.mcc("posts", POST))
    assert isinstance(said.message, MccPost)
    assert said.message.connection == "silent"


def test_a_name_that_is_taken_up_again_while_its_old_alarm_is_open_is_watched() -> None:
    rig = Rig()
    rig.send(Registered({POST: (None, None)}, {}, frozenset()))
    rig.heartbeat()
    rig.offer()
    rig.receive()
    rig.send(Registered({}, {}, frozenset((POST,))))
    rig.advance(30)
    rig.send(Registered({POST: (None, None)}, {}, frozenset()))
    assert shown(rig) == "unknown"
    rig.advance(91)
    assert shown(rig) == "silent"


def test_who_is_gone_all_the_same_is_silent_after_what_is_left_of_the_window() -> None:
    rig = Rig()
    rig.heartbeat()
    rig.advance(60)
    rig.pass_days(300 / 86_400)
    rig.advance(31)
    assert shown(rig) == "silent"


def test_many_posts_that_become_silent_together_are_one_group_and_still_listed() -> None:
    rig = Rig()
    for name in NAMES:
        rig.heartbeat(post=name)
    rig.advance(30)
    rig.heartbeat(post=NAMES[0])
    rig.advance(62)
    (group,) = rig.gateway_document().silent_groups
    assert group.posts == 999
    assert {rig.post_document(name).silent_with for name in NAMES[1:]} == {group.since}
    assert rig.post_document(NAMES[1]).connection == "silent"
    assert rig.post_document(NAMES[0]).silent_with is None
    for name in NAMES:
        rig.heartbeat(post=name)
    rig.advance(1)
    assert rig.gateway_document().silent_groups == ()
    assert rig.post_document(NAMES[1]).silent_with is None


def test_a_thousand_silences_are_told_with_few_words_of_the_gateway() -> None:
    rig = Rig()
    for name in NAMES:
        rig.heartbeat(post=name)
    rig.advance(88)
    rig.forget()
    rig.advance(4)
    assert len([one for one in rig.published(MccPost) if one.connection == "silent"]) <= 1004
    assert len(rig.gateway_document().silent_groups) == 1


def test_a_silence_that_outlasts_a_restart_is_the_same_silence() -> None:
    rig = Rig()
    for name in NAMES[:6]:
        rig.heartbeat(post=name)
    rig.advance(100)
    before = {name: rig.post_document(name) for name in NAMES[:6]}
    assert {one.connection for one in before.values()} == {"silent"}
    rig.restart()
    assert shown(rig, NAMES[0]) == "unknown"
    rig.heartbeat(post=NAMES[5])
    rig.advance(89.6)
    for name in NAMES[:5]:
        assert rig.post_document(name) == before[name]
    (group,) = rig.gateway_document().silent_groups
    assert (group.since, group.posts) == (before[NAMES[0]].silent_with, 5)


def test_a_fault_that_outlasts_a_restart_stands_since_it_came() -> None:
    rig = Rig()
    rig.heartbeat(faults=("gps_lost",))
    before = rig.post_document()
    rig.advance(60)
    rig.heartbeat(faults=("gps_lost",))
    rig.restart()
    rig.advance(5)
    rig.heartbeat(faults=("gps_lost", "tamper"))
    after = rig.post_document()
    assert after.faults == ("gps_lost", "tamper")
    assert after.faults_since[0] == before.faults_since[0]
    assert after.faults_since[1] > before.faults_since[0]


def test_a_chattering_fault_of_a_post_is_one_fault_with_a_count() -> None:
    rig = Rig()
    for n in range(12):
        rig.heartbeat(faults=("mains_lost",) if n % 2 == 0 else ())
        rig.advance(5)
    told = [one for one in rig.published(MccPost) if one.connection == "online"]
    assert len(told) <= 9
    assert rig.post_document().faults == ("mains_lost",)
    assert rig.post_document().faults_count[0] >= 5
    for _ in range(3):
        rig.advance(30)
        rig.heartbeat()
    assert rig.post_document().faults == ()


def test_a_gateway_that_hears_nothing_on_any_connection_says_so_throughout() -> None:
    """A broker that takes the subscriptions and delivers nothing, not even our own documents."""
    rig = Rig()
    rig.heartbeat()
    shown_faults = []
    for _ in range(60):
        rig.forget()
        rig.beat()
        rig.advance(10)
        if any(drop.link == POSTS_LINK for drop in rig.done(Drop)):
            rig.disconnect("posts")
            rig.connections["posts"] = rig.new_id()  # and not one document comes back
            rig.send(LinkUp(POSTS_LINK, rig.connections["posts"]))
        shown_faults.append(rig.gateway_document().faults)
    deaf = shown_faults.index(("posts_link_down",))
    assert deaf <= 6
    assert set(shown_faults[deaf:]) == {("posts_link_down",)}
    assert shown(rig) == "online"  # nobody is accused of it
    rig.heartbeat(post=NAMES[1])
    assert rig.gateway_document().faults == ("posts_link_down",)  # it fell ten times
    rig.advance(91)
    assert shown(rig) == "silent"  # and from now on he is


def test_a_chattering_fault_of_the_gateway_is_one_fault_and_still_tells_posts_the_truth() -> None:
    rig = Rig()
    for _ in range(4):
        rig.disconnect("posts")
        rig.advance(1)
        rig.connect("posts")
        rig.advance(1)
    document = rig.gateway_document()
    assert document.faults == ("posts_link_down",)
    assert document.faults_count[0] >= 3
    rig.advance(550)
    assert rig.gateway_document().faults == ("posts_link_down",)  # not one to rely on yet
    rig.advance(120)
    assert rig.gateway_document().faults == ()


def test_the_strict_setting_shows_a_silence_within_twenty_seconds() -> None:
    rig = Rig()
    rig.settings = rig.settings.__class__("mlg", silent_after_s=20)
    rig.restart()
    rig.heartbeat()
    rig.advance(19.4)
    assert shown(rig) == "online"
    rig.advance(0.1)
    assert shown(rig) == "silent"


def test_at_the_strict_setting_a_deaf_link_is_found_before_a_post_is_accused() -> None:
    rig = Rig()
    rig.settings = rig.settings.__class__("mlg", silent_after_s=20)
    rig.restart()
    rig.heartbeat()
    rig.advance(15)
    assert {drop.link for drop in rig.done(Drop)} == {"posts", "mcc"}
    assert shown(rig) == "online"


def test_what_a_broker_replays_is_taken_up_once_and_not_at_every_connection() -> None:
    rig = Rig()
    rig.heartbeat(faults=("gps_lost",))
    stale = rig.post_document()
    rig.restart()
    rig.heartbeat(faults=())
    rig.advance(1)
    rig.hear(stale, Address("mcc", "posts", POST), retained=True)
    rig.advance(2)
    assert rig.post_document().faults == ()


def test_too_many_starts_are_the_gateways_own_fault_for_ten_minutes() -> None:
    rig = Rig(connected=False)
    rig.restart(connect=False, faults=("restart_loop",))
    rig.connect()
    assert rig.gateway_document().faults == ("restart_loop",)
    rig.advance(599)
    assert rig.gateway_document().faults == ("restart_loop",)
    rig.advance(2)
    assert rig.gateway_document().faults == ()
