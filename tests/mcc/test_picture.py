"""What console and API show: the present state, from both databases."""

from __future__ import annotations

import gzip
import json
import time

import msgspec
import pytest
from django.test import Client

from mcc.alarms import Verdict
from mcc.cases import picture as picture_module
from mcc.cases.actions import act
from mcc.cases.models import (
    Alarm,
    Command,
    Fault,
    GatewayDocument,
    PostDocument,
    Process,
)
from mcc.cases.picture import (
    CLOSED_SHOWN_MAX,
    alarm_picture,
    history,
    picture,
    post_card,
    post_picture,
)
from mcc.registers import malang
from mcc.registers.area import posts_of
from mcc.registers.models import Kecamatan, Kelurahan, Officer, Post, Unit
from protocol import messages
from protocol.messages import MccPost, Place, Raised
from protocol.values import timestamp
from tests.mcc.rig import POST, START_MS, gateway, post, uid
from tests.mcc.test_actions import DINOYO, FROM, a_user, registered, stored

pytestmark = pytest.mark.usefixtures("database")


def said(shown: MccPost) -> None:
    PostDocument.objects.create(
        post=shown.post,
        gateway=shown.gateway,
        connection=shown.connection,
        body=msgspec.json.encode(shown).decode(),
    )


def test_a_picture_of_many_posts_is_small_on_its_way() -> None:
    for n in range(1_000):
        said(post(post=f"mlg-klojen-rw{n}"))
    client = Client()
    client.force_login(a_user(), backend="django.contrib.auth.backends.ModelBackend")
    plain = client.get("/picture")
    packed = client.get("/picture", headers={"accept-encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip"
    assert packed["Cache-Control"] == plain["Cache-Control"]
    assert len(packed.content) < len(plain.content) / 5
    shown = json.loads(gzip.decompress(packed.content))
    assert len(shown["posts"]) == 1_000


def test_an_empty_command_centre_has_a_picture_and_it_is_json() -> None:
    shown = json.loads(json.dumps(picture()))
    assert (shown["alarms"], shown["posts"], shown["gateways"]) == ([], [], [])
    assert shown["sequence"] == 0
    assert [one["name"] for one in shown["units"]][:2] == [
        "Polresta Malang Kota",
        "Polsek Blimbing",
    ]


def test_an_alarm_shows_its_times_people_calls_and_what_is_being_sent() -> None:
    registered()
    stored(1, "received", repeats=2)
    stored(2, "resolved", follows=uid(1))
    act(a_user(), "acknowledge", alarm_id=uid(1), repeats=2, **FROM)
    act(a_user("siti"), "on_the_way", alarm_id=uid(1), **FROM)
    shown = picture()
    assert [one["alarm_id"] for one in shown["alarms"]] == [uid(1), uid(2)]
    first = shown["alarms"][0]
    assert first["reached"]["received"]["at_ms"] == START_MS
    assert first["reached"]["acknowledged"] is None
    assert (first["repeats"], first["late_repeats"], first["is_answered"]) == (2, 0, False)
    assert [(one["action"], one["operator"]) for one in first["sending"]] == [
        ("acknowledge", "budi")
    ]
    assert [one["operator"] for one in first["on_the_way"]] == ["siti"]
    assert first["default_unit"] == "polsek-lowokwaru"
    assert shown["alarms"][1]["outcome"] == "real"
    assert shown["sequence"] == 2


def test_an_alarm_says_which_one_it_follows_and_which_follow_it() -> None:
    stored(1, "acknowledged", repeats=3, answered_repeats=1)
    first = alarm_picture(uid(1))
    assert first is not None
    assert first["late_repeats"] == 2
    stored(2)
    Alarm.objects.filter(alarm_id=uid(2)).update(follows=uid(1))
    first = alarm_picture(uid(1))
    assert first is not None
    assert (first["followed_by"], first["late_repeats"]) == ([uid(2)], 0)


def test_an_alarm_that_was_heard_long_after_the_press_says_so() -> None:
    stored(1)
    stored(2)
    stored(3, raised=Raised(at=timestamp(START_MS), known="before"))
    Alarm.objects.filter(alarm_id=uid(2)).update(heard_ms=START_MS + 61_000)
    late = {one["alarm_id"]: (one["is_late"], one["late_s"]) for one in picture()["alarms"]}
    assert late == {uid(1): (False, 0), uid(2): (True, 61), uid(3): (True, 0)}


def test_a_refusal_is_shown_for_a_while_with_who_was_first() -> None:
    stored()
    verdict = Verdict(refused="already", why="already acknowledged", first_operator="sari")
    for n, age_s in ((1, 5), (2, 3600)):
        Command.objects.create(
            command_id=uid(n),
            action="acknowledge",
            alarm_id=uid(1),
            operator="budi",
            body="{}",
            state=Command.State.REFUSED,
            verdict=msgspec.json.encode(verdict).decode(),
            created_ms=0,
            settled_ms=int((time.time() - age_s) * 1000),
        )
    shown = alarm_picture(uid(1))
    assert shown is not None
    [refusal] = shown["refusals"]
    assert (refusal["refused"], refusal["first_operator"]) == ("already", "sari")


def test_a_post_is_placed_by_its_register_else_its_gateway_else_its_kelurahan() -> None:
    registered()
    shown = post_picture(POST)
    assert shown is not None
    assert (shown["place_source"], shown["connection"]) == ("kelurahan", None)
    said(post(place=Place(lat=-7.9, lon=112.6), connection="silent", faults=("button_stuck",)))
    shown = post_picture(POST)
    assert shown is not None
    assert (shown["place_source"], shown["lat"], shown["lon"]) == ("gateway", -7.9, 112.6)
    assert (shown["connection"], shown["faults"]) == ("silent", ["button_stuck"])
    Post.objects.update(lat=-7.94, lon=112.61)
    shown = post_picture(POST)
    assert shown is not None
    assert (shown["place_source"], shown["lat"]) == ("register", -7.94)
    assert shown["kelurahan"] == {"code": DINOYO, "name": "Dinoyo"}
    assert shown["unit"] == "polsek-lowokwaru"


def test_a_post_that_no_register_knows_is_shown_too() -> None:
    said(post(name="Pos RW 05"))
    [shown] = picture()["posts"]
    assert (shown["post"], shown["name"], shown["is_registered"]) == (POST, "Pos RW 05", False)
    assert shown["unit"] is None


def test_the_card_of_a_post_has_outcomes_contacts_and_officers_on_duty() -> None:
    registered()
    Post.objects.update(contacts="Pak RW 0812")
    Officer.objects.create(name="Agus", rank="Aipda", number="1", kelurahan_id=DINOYO, on_duty=True)
    Officer.objects.create(name="Rina", number="2", kelurahan_id=DINOYO)
    for n, outcome in enumerate(("false", "false", "real"), 1):
        stored(n, "resolved", outcome=outcome)
        Alarm.objects.filter(alarm_id=uid(n)).update(outcome=outcome)
    card = post_card(POST)
    assert card is not None
    assert card["outcomes"] == {"false": 2, "real": 1}
    assert card["contacts"] == "Pak RW 0812"
    assert [one["name"] for one in card["officers"]] == ["Agus"]
    assert post_card("nobody-knows-it") is None


def test_open_test_windows_are_listed_and_over_when_their_time_is() -> None:
    for name, until_ms in (("open", time.time_ns() // 1_000_000 + 60_000), ("over", START_MS // 2)):
        window = messages.TestWindow(until=timestamp(until_ms), opened_by="Tono", command_id=uid(1))
        said(post(post=name, test_window=window))
    [window_shown] = picture()["test_windows"]
    assert (window_shown["post"], window_shown["opened_by"]) == ("open", "Tono")


def test_gateways_processes_and_faults_stand_in_it() -> None:
    told = gateway(faults=("disk_failing",))
    body = msgspec.json.encode(told).decode()
    GatewayDocument.objects.create(gateway=told.gateway, body=body)
    [shown] = picture()["gateways"]
    assert (shown["liveness"], shown["faults"]) == ("unknown", ["disk_failing"])
    now_ms = time.time_ns() // 1_000_000
    Process.objects.create(
        name="ingest", beat=7, at_ms=now_ms, body={"gateways": {told.gateway: "online"}}
    )
    Fault.objects.create(name="nobody_on_shift", since_ms=now_ms)
    shown_all = picture()
    assert shown_all["gateways"][0]["liveness"] == "online"
    assert shown_all["processes"][0]["age_s"] < 60
    assert [one["name"] for one in shown_all["faults"]] == ["nobody_on_shift"]


def test_the_age_of_a_beat_is_counted_on_ones_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ages = picture_module._Ages()
    now_s = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    wrong_ms = 10  # a process whose wall clock stands at 1970
    ages.age_s("site", 1, wrong_ms)
    assert ages.age_s("site", 2, wrong_ms) == 0
    now_s += 30
    assert ages.age_s("site", 2, wrong_ms) == 30


def test_an_area_sees_its_own_alarms_and_posts_only() -> None:
    registered()
    stored(1)
    stored(2, post="mlg-klojen-rw01")
    said(post(post="mlg-klojen-rw01"))
    area = posts_of(Unit.objects.get(slug="polsek-lowokwaru"))
    shown = picture(posts=area)
    assert [one["alarm_id"] for one in shown["alarms"]] == [uid(1)]
    assert [one["post"] for one in shown["posts"]] == [POST]


def test_a_row_that_cannot_be_read_hides_no_other() -> None:
    stored(1)
    stored(2)
    Alarm.objects.filter(alarm_id=uid(1)).update(body="{")
    PostDocument.objects.create(post="broken", gateway="mlg", connection="online", body="{}")
    shown = picture()
    assert [one["alarm_id"] for one in shown["alarms"]] == [uid(2)]
    assert [one["post"] for one in shown["posts"]] == ["broken"]


def test_the_newest_closed_alarms_are_shown_and_every_open_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for n in range(CLOSED_SHOWN_MAX + 5):
        stored(n + 10, "resolved", raised=Raised(at=timestamp(START_MS + n), known="computed"))
    for n in range(3):
        stored(n + 1, raised=Raised(at=timestamp(START_MS + n), known="computed"))
    monkeypatch.setattr(picture_module, "OPEN_SHOWN_MAX", 2)
    shown = picture()
    ids = [one["alarm_id"] for one in shown["alarms"]]
    assert ids[:3] == [uid(1), uid(2), uid(CLOSED_SHOWN_MAX + 4 + 10)]
    assert len(ids) == 2 + CLOSED_SHOWN_MAX
    assert shown["alarms_left_out"] == 1


def test_posts_beyond_the_bound_are_counted_and_those_that_are_not_well_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for n in range(4):
        said(post(post=f"rw{n}", connection="silent" if n == 3 else "online"))
    monkeypatch.setattr(picture_module, "POSTS_SHOWN_MAX", 3)
    shown = picture()
    assert shown["posts"][0]["post"] == "rw3"
    assert (len(shown["posts"]), shown["posts_left_out"]) == (3, 1)


def test_the_history_is_the_record_newest_first_and_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored()
    user = a_user()
    for n in range(4):
        act(user, "note", alarm_id=uid(1), note=f"note {n}", **FROM)
    act(user, "note", note="of another thing", **FROM)
    monkeypatch.setattr(picture_module, "HISTORY_SHOWN_MAX", 3)
    assert [one["detail"]["note"] for one in history(alarm_id=uid(1))] == [
        "note 3",
        "note 2",
        "note 1",
    ]
    assert len(history()) == 3
    assert history(post="another") == []


# --- the registers that come with the project ---------------------------------------------------


def test_the_city_has_five_kecamatan_fifty_seven_kelurahan_and_six_units() -> None:
    assert Kecamatan.objects.count() == 5
    assert Kelurahan.objects.count() == 57
    counts = [one.kelurahan_set.count() for one in Kecamatan.objects.all()]
    assert counts == [11, 11, 12, 11, 12]
    assert sorted(Unit.objects.values_list("slug", flat=True)) == [
        "polresta",
        "polsek-blimbing",
        "polsek-kedungkandang",
        "polsek-klojen",
        "polsek-lowokwaru",
        "polsek-sukun",
    ]


def test_every_place_lies_in_the_city() -> None:
    for place in malang.places():
        assert -8.06 < place.lat < -7.90
        assert 112.56 < place.lon < 112.70


def test_loading_again_leaves_what_people_have_changed() -> None:
    Kelurahan.objects.filter(code=DINOYO).update(name="Dinoyo Raya")
    Unit.objects.filter(slug="polsek-klojen").update(phone="0341 110")
    malang.load()
    assert Kelurahan.objects.get(code=DINOYO).name == "Dinoyo Raya"
    assert Unit.objects.get(slug="polsek-klojen").phone == "0341 110"
    assert Unit.objects.count() == 6
