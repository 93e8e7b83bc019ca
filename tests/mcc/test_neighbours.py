"""Help across a border: near cases are seen, asked ones are worked on, all others stay hidden."""

from __future__ import annotations

import math

import pytest

from mcc.cases.actions import Refused, act
from mcc.cases.models import Alarm
from mcc.cases.neighbours import distance_m, neighbouring_posts
from mcc.cases.picture import SAID_SHOWN_MAX, alarm_picture
from mcc.console.seen import posts_seen
from mcc.registers.malang import places
from mcc.registers.models import Unit
from protocol.messages import Location
from tests.mcc.rig import POST, uid
from tests.mcc.test_actions import FROM, a_user, registered, stored

WARDS = [(one.kecamatan, one.lat, one.lon) for one in places() if not one.is_kecamatan]
KLOJEN, LOWOKWARU, SUKUN = "35.73.02", "35.73.05", "35.73.04"
# In Lowokwaru: about 40 m, and about 2 km, from Klojen as the map draws it.
NEAR, FAR = (-7.9615, 112.6205), (-7.9300, 112.5950)


def test_inside_it_is_nought_and_beyond_the_line_it_grows() -> None:
    for kecamatan, lat, lon in WARDS:
        assert distance_m(lat, lon, WARDS, kecamatan) == 0
    # Half of the way between two centroids lies on the line, so 100 m on it are 100 m.
    two = [("a", -7.9, 112.6), ("b", -7.9, 112.6 + 2000 / 111_320 / math.cos(math.radians(7.9)))]
    east = 900 / 111_320 / math.cos(math.radians(7.9))
    assert distance_m(-7.9, 112.6 + east, two, "b") == pytest.approx(100, abs=1)
    assert distance_m(-7.9, 112.6, two, "c") == math.inf


def place(at: tuple[float, float]) -> Location:
    return Location(lat=at[0], lon=at[1], source="surveyed")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("database")
class TestSeen:
    """What a picket of Klojen sees of Lowokwaru."""

    def test_an_open_case_near_the_border_is_seen_and_a_far_one_is_not(self) -> None:
        registered()
        near, far = distance_m(*NEAR, WARDS, KLOJEN), distance_m(*FAR, WARDS, KLOJEN)
        assert near < 500 < far
        stored(1, location=place(FAR))
        picket = a_user("dewi", "picket", "polsek-klojen")
        assert posts_seen(picket) == frozenset()
        stored(2, location=place(NEAR))
        assert posts_seen(picket) == frozenset((POST,))
        Alarm.objects.update(is_open=False)
        assert posts_seen(picket) == frozenset()

    def test_a_neighbour_writes_messages_and_whoever_was_asked_also_goes(self) -> None:
        registered()
        stored(1, location=place(NEAR))
        picket = a_user("dewi", "picket", "polsek-klojen")
        act(picket, "message", alarm_id=uid(1), note="we hear it from here", **FROM)
        with pytest.raises(Refused) as refused:
            act(picket, "on_the_way", alarm_id=uid(1), **FROM)
        assert refused.value.code == "not_allowed"
        act(a_user(), "ask_assist", alarm_id=uid(1), unit="polsek-klojen", **FROM)
        act(picket, "on_the_way", alarm_id=uid(1), **FROM)
        shown = alarm_picture(uid(1))
        assert shown is not None
        assert [one["note"] for one in shown["messages"]] == ["we hear it from here"]
        assert [one["unit_name"] for one in shown["assists"]] == ["Polsek Klojen"]
        assert shown["unit"] is None

    def test_a_unit_that_was_asked_sees_a_far_case_until_it_is_over(self) -> None:
        registered()
        stored(1, location=place(FAR))
        sukun = Unit.objects.get(slug="polsek-sukun")
        picket = a_user("agus", "picket", "polsek-sukun")
        with pytest.raises(Refused):
            act(picket, "message", alarm_id=uid(1), note="what is it?", **FROM)
        act(a_user(), "ask_assist", alarm_id=uid(1), unit="polsek-sukun", **FROM)
        assert neighbouring_posts(sukun) == {POST}
        Alarm.objects.update(is_open=False)
        assert neighbouring_posts(sukun) == frozenset()
        with pytest.raises(Refused):
            act(picket, "on_scene", alarm_id=uid(1), **FROM)

    def test_a_thread_shows_the_newest_messages(self) -> None:
        stored(1)
        user = a_user()
        for n in range(SAID_SHOWN_MAX + 1):
            act(user, "message", alarm_id=uid(1), note=str(n), **FROM)
        shown = alarm_picture(uid(1))
        assert shown is not None
        assert [one["note"] for one in shown["messages"]] == [
            str(n) for n in range(1, SAID_SHOWN_MAX + 1)
        ]

    def test_a_unit_that_is_not_there_is_not_asked(self) -> None:
        stored(1)
        with pytest.raises(Refused) as refused:
            act(a_user(), "ask_assist", alarm_id=uid(1), unit="polsek-atlantis", **FROM)
        assert refused.value.code == "unknown"
