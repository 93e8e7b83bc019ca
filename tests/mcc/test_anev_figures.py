"""Every figure of a generated year's week, and an independent count of it by SQL."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcc.anev import rows as read
from mcc.anev.figures import (
    CITY,
    HOUR_MS,
    STEPS,
    TREND_WEEKS,
    WEEK_MS,
    Case,
    FaultSpan,
    Limits,
    Number,
    PostRow,
    Report,
    Rows,
    Scope,
    Visit,
    report,
    week_name,
    week_named,
    week_of,
)
from mcc.cases.models import Alarm, Entry
from mcc.registers.models import Post
from mcc.settings import MccFile, MqttSettings
from mcc.visits import models as visited
from tests.mcc.conftest import YEAR_ENDS_MS
from tests.mcc.rig import uid

BEGIN_MS = YEAR_ENDS_MS - WEEK_MS
MADE_MS = YEAR_ENDS_MS + 30 * 3_600_000
SETTINGS = MccFile(mqtt=MqttSettings(url="mqtt://127.0.0.1"))
LIMITS = read.limits_of(SETTINGS)

# --- the year against SQL -----------------------------------------------------------------------

# Which posts and calls each scope has, the moments of each call, and what was seen of each post,
# by SQLite's own functions for JSON and dates: nothing of the code under test.
_VIEWS = """
CREATE TEMP TABLE area AS
  SELECT 'city' AS scope, post_id AS post FROM registers_post
  UNION SELECT 'city', post FROM cases_alarm UNION SELECT 'city', post FROM cases_postdocument
  UNION SELECT 'city', substr(owner, 6) FROM cases_faultlife WHERE owner LIKE 'post/%'
  UNION SELECT 'kel/' || kelurahan_id, post_id FROM registers_post WHERE kelurahan_id NOT NULL
  UNION SELECT 'kec/' || k.kecamatan_id, post_id FROM registers_post JOIN registers_kelurahan k
    ON k.code = kelurahan_id
  UNION SELECT 'officer/' || o.id, p.post_id FROM registers_officer o
    JOIN registers_post p ON p.kelurahan_id = o.kelurahan_id;
CREATE TEMP TABLE step_ms AS WITH text AS (
  SELECT alarm_id, json_extract(body, '$.raised.at') AS raised,
    json_extract(body, '$.raised.known') AS known,
    json_extract(body, '$.reached.received.at') AS received,
    json_extract(body, '$.reached.acknowledged.at') AS acknowledged,
    json_extract(body, '$.reached.dispatched.at') AS sent,
    json_extract(body, '$.reached.resolved.at') AS resolved FROM cases_alarm)
  SELECT alarm_id, CASE WHEN known = 'before' THEN NULL ELSE MS(raised) END AS press,
    MS(received) AS received, coalesce(MS(acknowledged), MS(sent), MS(resolved)) AS acknowledged,
    MS(sent) AS sent, (SELECT min(at_ms) FROM cases_entry e WHERE e.alarm_id = text.alarm_id
      AND action = 'on_scene') AS on_scene FROM text;
CREATE TEMP TABLE call AS SELECT scope, a.alarm_id AS id, a.post, kind, is_open, raised_ms,
    CASE WHEN is_open THEN 'open' WHEN outcome = '' THEN 'none' ELSE outcome END AS ended,
    press, received, acknowledged, sent, on_scene
  FROM cases_alarm a JOIN area ON area.post = a.post JOIN step_ms m ON m.alarm_id = a.alarm_id;
CREATE TEMP TABLE mine AS SELECT * FROM call WHERE raised_ms >= :begin AND raised_ms < :end;
CREATE TEMP TABLE known AS
  SELECT post_id AS post, 'kel/' || kelurahan_id AS kel FROM registers_post
  UNION SELECT post, NULL FROM cases_postdocument d
    WHERE NOT EXISTS (SELECT 1 FROM registers_post WHERE post_id = d.post);
CREATE TEMP TABLE post_state AS SELECT scope, known.post AS id,
    d.post IS NULL AS unheard,
    (SELECT max(raised_ms) FROM cases_alarm a WHERE a.post = known.post AND kind <> 'selftest'
      AND raised_ms < :end) AS pressed,
    MS(json_extract(d.body, '$.selftest.proven_at')) AS proven
  FROM known JOIN area ON area.post = known.post LEFT JOIN cases_postdocument d
    ON d.post = known.post;
CREATE TEMP TABLE life AS SELECT scope, f.id, substr(owner, 6) AS post, fault, raised_ms, cleared_ms
  FROM cases_faultlife f JOIN area ON 'post/' || area.post = f.owner WHERE raised_ms < :end;
"""
_TEXT_MS = "(CAST(strftime('%s', {0}) AS INTEGER) * 1000 + CAST(substr({0}, 21, 3) AS INTEGER))"
# Scope, name, event. A number is the count of its events.
_COUNTS = (
    "SELECT scope, 'calls.' || kind, id FROM mine",
    "SELECT scope, 'calls.' || kind || '.' || ended, id FROM mine",
    "SELECT scope, 'false.alarms', id FROM mine WHERE kind = 'panic' AND ended IN"
    " ('false', 'prank')",
    "SELECT scope, 'false.counted', id FROM mine"
    " WHERE kind = 'panic' AND ended IN ('real', 'false', 'prank')",
    "SELECT scope, 'false.post.' || post, id FROM mine"
    " WHERE kind = 'panic' AND ended IN ('false', 'prank')",
    "SELECT scope, 'time.unknown', id FROM mine WHERE kind = 'panic' AND press IS NULL",
    "SELECT scope, 'heat.' || ((strftime('%w', raised_ms / 1000 + 25200, 'unixepoch') + 6) % 7)"
    " || '.' || CAST(strftime('%H', raised_ms / 1000 + 25200, 'unixepoch') AS INTEGER), id"
    " FROM call WHERE kind = 'panic' AND raised_ms >= :first AND raised_ms < :end",
    *(
        f"SELECT scope, 'trend.' || ((:end - 1 - raised_ms) / 604800000) || '.{name}', id FROM call"
        f" WHERE kind = 'panic' AND raised_ms >= :first AND raised_ms < :end AND ended IN ({words})"
        for name, words in (
            ("calls", "'real', 'false', 'prank', 'test', 'none', 'open'"),
            ("real", "'real'"),
            ("false", "'false', 'prank'"),
        )
    ),
    *(
        f"SELECT scope, 'target.{name}.counted', id FROM mine WHERE kind = 'panic' AND ({of})"
        f" AND {begin} IS NOT NULL AND ({end} IS NOT NULL OR :made - {begin} > {limit})"
        for name, begin, end, limit, of in (
            ("acknowledge", "press", "acknowledged", 30_000, "1"),
            ("acknowledge_late", "press", "acknowledged", 60_000, "1"),
            ("dispatch", "acknowledged", "sent", 60_000, "sent NOT NULL OR is_open"),
            ("on_scene", "press", "on_scene", 900_000, "sent NOT NULL OR on_scene NOT NULL"),
        )
    ),
    *(
        f"SELECT scope, 'target.{name}.within', id FROM mine"
        f" WHERE kind = 'panic' AND {end} - {begin} <= {limit}"
        for name, begin, end, limit in (
            ("acknowledge", "press", "acknowledged", 30_000),
            ("acknowledge_late", "press", "acknowledged", 60_000),
            ("dispatch", "acknowledged", "sent", 60_000),
            ("on_scene", "press", "on_scene", 900_000),
        )
    ),
    "SELECT scope, 'posts.registered', id FROM post_state",
    "SELECT scope, 'posts.unheard', id FROM post_state WHERE unheard",
    "SELECT scope, 'posts.not_pressed', id FROM post_state"
    " WHERE coalesce(pressed, 0) < :end - 90 * 86400000",
    "SELECT scope, 'posts.not_proven', id FROM post_state"
    " WHERE max(coalesce(pressed, 0), coalesce(proven, 0)) < :end - 30 * 86400000",
    "SELECT scope, 'posts.standing.' || fault, CAST(id AS TEXT) FROM life"
    " WHERE coalesce(cleared_ms, :end) >= :end",
    "SELECT DISTINCT scope, 'posts.out_of_order', post FROM life JOIN post_state p USING (scope)"
    " WHERE p.id = life.post AND coalesce(cleared_ms, :end) >= :end",
    "SELECT DISTINCT scope, 'posts.silent', post FROM life JOIN post_state p USING (scope)"
    " WHERE p.id = life.post AND fault = 'silent' AND coalesce(cleared_ms, :end) > :begin",
    *(
        f"SELECT v.scope, 'visits.made', v.id FROM ({visits}) v"
        " WHERE at_ms >= :begin AND at_ms < :end"
        for visits in (
            "SELECT 'city' AS scope, visit_id AS id, visited_ms AS at_ms FROM visits_visit"
            " UNION ALL SELECT 'kel/' || kelurahan_id, visit_id, visited_ms FROM visits_visit"
            " UNION ALL SELECT 'officer/' || officer_id, visit_id, visited_ms FROM visits_visit"
            " UNION ALL SELECT 'kec/' || k.kecamatan_id, visit_id, visited_ms FROM visits_visit"
            " JOIN registers_kelurahan k ON k.code = kelurahan_id",
        )
    ),
)
# Posts that were checked: those of an officer are the ones that this officer checked.
_CHECKED = """SELECT DISTINCT area.scope, v.post FROM visits_visit v JOIN area ON area.post = v.post
  WHERE visited_ms >= :begin AND visited_ms < :end
  AND (area.scope NOT LIKE 'officer/%' OR area.scope = 'officer/' || v.officer_id)
  AND (area.scope NOT LIKE 'kel/%' OR area.scope = 'kel/' || v.kelurahan_id)"""
# The officer says that it was pressed, and no press came then or since; a visit's time may be off
# by two hours, also at the end of the week.
_UNHEARD = """ AND v.pressed AND NOT EXISTS (SELECT 1 FROM cases_alarm a WHERE a.post = v.post
  AND kind IN ('panic', 'test') AND raised_ms >= visited_ms - 7200000
  AND raised_ms <= :end + 7200000)"""
_HOURS = """SELECT scope, 'posts.silent_hours', round(sum(min(coalesce(cleared_ms, :end), :end)
  - max(raised_ms, :begin)) / 3600000.0, 1), group_concat(id)
  FROM life WHERE fault = 'silent' AND coalesce(cleared_ms, :end) > :begin GROUP BY scope"""
_OUTAGES = """SELECT 'city', 'gateways.silent_hours',
  round(sum(min(coalesce(cleared_ms, :end), :end) - max(raised_ms, :begin)) / 3600000.0, 1),
  group_concat(id) FROM cases_faultlife WHERE owner LIKE 'gateway/%' AND fault = 'gateway_silent'
  AND raised_ms < :end AND coalesce(cleared_ms, :end) > :begin"""
_STEP = """SELECT scope, id, max(0, {end} - {begin}) AS took,
  row_number() OVER (PARTITION BY scope ORDER BY max(0, {end} - {begin}), id) AS place,
  count(*) OVER (PARTITION BY scope) AS n
  FROM {of} WHERE kind = 'panic' AND {end} IS NOT NULL AND {begin} IS NOT NULL"""

# SQLite has the ids of visits without their dashes.
_AS_STORED = dict.fromkeys(("alarm", "post", "fault"), str) | {
    "visit": lambda one: one.replace("-", "")
}

Counted = dict[tuple[str, str], tuple[float | None, tuple[str, ...]]]


def counted(path: Path, begin_ms: int, made_ms: int) -> Counted:
    """Every number but those that are nothing, by scope and name, as SQL counts it."""
    base = sqlite3.connect(path)
    first_ms = begin_ms - TREND_WEEKS * WEEK_MS
    moments = {"begin": begin_ms, "end": begin_ms + WEEK_MS, "first": first_ms, "made": made_ms}

    def asked(query: str) -> list[tuple[Any, ...]]:
        names = {name: value for name, value in moments.items() if f":{name}" in query}
        return base.execute(query, names).fetchall()

    for made in written_out(_VIEWS).split(";\n"):
        asked(made)
    found: Counted = {}
    for query in _COUNTS:
        events: dict[tuple[str, str], set[str]] = {}
        for scope, name, event in asked(query):
            events.setdefault((scope, name), set()).add(event)
        for key, ids in events.items():
            assert key not in found, key
            found[key] = (len(ids), tuple(sorted(ids)))
    checked: dict[str, set[str]] = {}
    for scope, post in asked(_CHECKED):
        checked.setdefault(scope, set()).add(post)
    for scope, posts in checked.items():
        found[scope, "visits.posts"] = (len(posts), tuple(sorted(posts)))
    claimed: dict[str, set[str]] = {}
    for scope, post in asked(_CHECKED + _UNHEARD):
        claimed.setdefault(scope, set()).add(post)
    for scope, posts in claimed.items():
        found[scope, "visits.unheard"] = (len(posts), tuple(sorted(posts)))
    for scope, name, hours, ids in asked(_HOURS) + asked(_OUTAGES):
        found[scope, name] = (hours, tuple(sorted(ids.split(","))))
    found |= _times_by_sql(asked)
    return found


def _times_by_sql(asked: Any) -> Iterator[tuple[tuple[str, str], tuple[float, tuple[str, ...]]]]:
    found: Counted = {}
    for step in STEPS:
        begin, end = step.split("_", 1)
        ranked = _STEP.format(begin=begin, end=end, of="mine")
        for scope, event, took, place, n in asked(ranked):
            _, ids = found.get((scope, f"time.{step}.n"), (0, ()))
            found[scope, f"time.{step}.n"] = (n, tuple(sorted((*ids, event))))
            if n < 5:
                found[scope, f"time.{step}.{place}"] = (took, (event,))
            elif place == (n * 50 + 99) // 100:
                found[scope, f"time.{step}.median"] = (took, (event,))
            if n >= 5 and place == (n * 90 + 99) // 100:
                found[scope, f"time.{step}.p90"] = (took, (event,))
    for back in range(TREND_WEEKS + 1):
        of = (
            f"(SELECT * FROM call WHERE raised_ms >= :begin - {back * WEEK_MS}"
            f" AND raised_ms < :end - {back * WEEK_MS})"
        )
        ranked = _STEP.format(begin="press", end="acknowledged", of=of)
        for scope, event, took, place, n in asked(ranked):
            if n >= 5 and place == (n * 50 + 99) // 100:
                found[scope, f"trend.{back}.median"] = (took, (event,))
    return found  # type: ignore[return-value]


def written_out(query: str) -> str:
    """The moment of a text of the contract, in SQLite's own words, in the place of MS(…)."""
    return re.sub(
        r"\bMS\(((?:[^()]|\([^()]*\))*)\)", lambda one: _TEXT_MS.format(one.group(1)), query
    )


def shown(made: Report) -> Counted:
    """The report's numbers in the same form; shares are looked at apart."""
    return {
        (scope, name): (number.value, tuple(sorted(map(_AS_STORED[number.of], number.ids))))
        for scope, section in made.sections.items()
        for name, number in section.items()
        if number.unit != "percent" and number.value
    }


def test_every_figure_of_a_year_of_city_life_is_what_sql_counts(year: Path) -> None:
    made = report(read.rows(BEGIN_MS), LIMITS, BEGIN_MS, MADE_MS)
    by_sql = {key: said for key, said in counted(year, BEGIN_MS, MADE_MS).items() if said[0]}
    mine = shown(made)
    different = {
        key: (mine.get(key), by_sql.get(key))
        for key in mine.keys() | by_sql.keys()
        if mine.get(key) != by_sql.get(key)
    }
    assert different == {}
    # It was worth counting: every scope, every family, figures of more than a few events.
    assert len(made.sections) == 1 + 5 + 57 + 59
    city = made.sections["city"]
    assert 20 < city["calls.panic"].n < 50
    assert len({name.split(".")[0] for _, name in mine}) == 9
    assert all(city[f"time.{step}.p90"].value for step in STEPS)
    assert city["posts.standing.silent"].n > 3
    assert {f"trend.{back}.calls" for back in range(13)} <= city.keys()
    assert city["heat.5.20"].n > 3


def test_every_share_is_that_of_its_parts(year: Path) -> None:
    made = report(read.rows(BEGIN_MS), LIMITS, BEGIN_MS, MADE_MS)
    wholes = {
        "false.percent": ("false.alarms", "false.counted"),
        "visits.coverage": ("visits.posts", "posts.registered"),
    }
    for name in ("acknowledge", "acknowledge_late", "dispatch", "on_scene"):
        wholes[f"target.{name}.percent"] = (f"target.{name}.within", f"target.{name}.counted")
    for section in made.sections.values():
        shares = {name for name, number in section.items() if number.unit == "percent"}
        assert shares == set(wholes)
        for name, (part, whole) in wholes.items():
            few = section[whole].n < 5
            wanted = None if few else round(100 * section[part].n / section[whole].n, 1)
            assert section[name].value == wanted, name
            assert set(section[name].ids) == set(section[whole].ids)


def test_every_number_names_events_that_the_report_has(year: Path) -> None:
    made = report(read.rows(BEGIN_MS), LIMITS, BEGIN_MS, MADE_MS)
    events = {
        "alarm": made.cases.keys(),
        "post": made.posts.keys(),
        "fault": made.faults.keys(),
        "visit": made.visits.keys(),
    }
    for section in made.sections.values():
        for name, number in section.items():
            assert set(number.ids) <= events[number.of], name
            if number.unit == "count":
                assert number.value == number.n, name


def test_what_people_wrote_stands_with_its_case_and_once(year: Path) -> None:
    made = report(read.rows(BEGIN_MS), LIMITS, BEGIN_MS, MADE_MS)
    calls = [made.cases[one] for one in made.sections["city"]["calls.panic"].ids]
    said = [remark.text for one in calls for remark in one.remarks]
    assert "ditelepon: aman" in said
    for one in calls:
        closing = [remark.text for remark in one.remarks if remark.text != "ditelepon: aman"]
        assert len(closing) == len(set(closing)) <= 1
    base = sqlite3.connect(year)
    wanted = base.execute(
        "SELECT count(*) FROM cases_alarm WHERE kind = 'panic' AND json_extract(body, '$.note')"
        " IS NOT NULL AND raised_ms >= ? AND raised_ms < ?",
        (BEGIN_MS, YEAR_ENDS_MS),
    ).fetchone()[0]
    assert wanted == sum(text != "ditelepon: aman" for text in said) > 3


def test_more_calls_than_a_report_holds_make_none(
    year: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "CASES_MAX", 100)
    with pytest.raises(read.TooMany, match="more than 100 calls"):
        read.rows(BEGIN_MS)


def test_of_what_people_wrote_about_a_case_the_first_lines_stand_in_the_report(
    year: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "REMARKS_MAX", 2)
    mine = [one for one in read.rows(BEGIN_MS).cases if one.raised_ms >= BEGIN_MS]
    alarm_id = next(one.alarm_id for one in mine if not one.remarks)
    for n in range(5):
        Entry(at_ms=n, action="note", alarm_id=alarm_id, operator="x",
              detail={"note": f"line {n}"}).save()  # fmt: skip
    one = next(one for one in read.rows(BEGIN_MS).cases if one.alarm_id == alarm_id)
    assert [remark.text for remark in one.remarks] == ["line 0", "line 1"]


# --- small ones by hand -------------------------------------------------------------------------


def case(n: int, at_ms: int = BEGIN_MS, **fields: Any) -> Case:
    usual: dict[str, Any] = {"post": "p", "kind": "panic", "outcome": "false"}
    moments = {"raised_ms": at_ms, "pressed_ms": at_ms}
    return Case(alarm_id=f"a{n}", **(usual | moments | fields))


def made_of(cases: list[Case], made_ms: int = MADE_MS, **fields: Any) -> dict[str, Number]:
    usual: dict[str, Any] = {
        "scopes": (Scope(key="city", name=""),),
        "posts": (PostRow(post="p", name="P"),),
        "cases": tuple(cases),
        "faults": (),
        "visits": (),
        "began_ms": 0,
    }
    rows = Rows(**(usual | fields))
    return report(rows, LIMITS, BEGIN_MS, made_ms).sections["city"]


def answered(*seconds: int) -> list[Case]:
    return [case(n, acknowledged_ms=BEGIN_MS + 1000 * after) for n, after in enumerate(seconds, 1)]


def test_of_four_calls_each_time_is_named_and_there_is_no_median_and_no_share() -> None:
    found = made_of(answered(40, 10, 30, 20))
    step = "time.press_acknowledged"
    assert found[f"{step}.median"].value is found[f"{step}.p90"].value is None
    assert [found[f"{step}.{place}"].value for place in (1, 2, 3, 4)] == [
        10_000, 20_000, 30_000, 40_000,
    ]  # fmt: skip
    assert found["false.percent"].value is None
    assert found["target.acknowledge.percent"].value is None
    assert found["target.acknowledge.within"].value == 3


def test_of_five_calls_the_median_and_the_90th_percentile_are_the_times_of_real_calls() -> None:
    found = made_of(answered(50, 10, 30, 20, 40))
    step = "time.press_acknowledged"
    assert (found[f"{step}.median"].value, found[f"{step}.median"].ids) == (30_000, ("a3",))
    assert (found[f"{step}.p90"].value, found[f"{step}.p90"].ids) == (50_000, ("a1",))
    assert f"{step}.1" not in found
    assert found["false.percent"].value == 100.0


def test_the_90th_percentile_of_ten_is_the_ninth() -> None:
    found = made_of(answered(*range(10, 110, 10)))
    assert found["time.press_acknowledged.p90"].value == 90_000
    assert found["time.press_acknowledged.median"].value == 50_000


def test_a_call_that_nobody_has_answered_counts_once_its_time_is_over() -> None:
    waits = [case(1, MADE_MS - 29_000, is_open=True), case(2, MADE_MS - 31_000, is_open=True)]
    made = report(
        Rows(scopes=(Scope(key="city", name=""),), posts=(), cases=tuple(waits), faults=(),
             visits=(), began_ms=0),
        LIMITS, week_of(MADE_MS), MADE_MS,
    ).sections["city"]  # fmt: skip
    assert made["target.acknowledge.counted"].ids == ("a2",)
    assert made["target.acknowledge.within"].ids == ()


def test_clocks_that_disagree_make_no_negative_time() -> None:
    found = made_of([case(1, received_ms=BEGIN_MS - 500)])
    assert found["time.press_received.1"].value == 0


def test_a_week_before_the_first_record_is_no_quiet_week() -> None:
    found = made_of([case(1)], began_ms=BEGIN_MS - 3 * WEEK_MS)
    assert found["trend.3.calls"].value == 0
    assert "trend.4.calls" not in found
    assert "trend.2.calls" not in made_of([case(1)], began_ms=BEGIN_MS - 2 * WEEK_MS + 1)
    assert "trend.0.calls" in made_of([], began_ms=None)


def test_silence_is_counted_within_the_week_only() -> None:
    hour = 3_600_000
    lives = (
        FaultSpan(fault_id="1", post="p", fault="silent", raised_ms=BEGIN_MS - hour,
                  cleared_ms=BEGIN_MS + hour),
        FaultSpan(fault_id="2", post="p", fault="silent", raised_ms=YEAR_ENDS_MS - hour),
        FaultSpan(fault_id="3", post="p", fault="tamper", raised_ms=BEGIN_MS,
                  cleared_ms=BEGIN_MS + 1),
    )  # fmt: skip
    found = made_of([], faults=lives)
    assert (found["posts.silent_hours"].value, found["posts.silent_hours"].ids) == (2.0, ("1", "2"))
    assert found["posts.standing.silent"].ids == ("2",)
    assert "posts.standing.tamper" not in found


def test_visits_count_for_their_officer_and_their_ward_and_cover_the_posts_that_were_checked() -> (
    None
):
    scopes = (
        Scope(key="city", name=""),
        Scope(key="kec/1", name="K", parent="city"),
        Scope(key="kel/1.1", name="L", parent="kec/1"),
        Scope(key="kel/1.2", name="M", parent="kec/1"),
        Scope(key="officer/7", name="O", parent="kel/1.1"),
    )
    posts = tuple(PostRow(post=f"p{n}", name="P", kelurahan="1.1") for n in range(5))
    visits = tuple(
        Visit(visit_id=f"v{n}", officer=officer, kelurahan=ward, at_ms=at_ms, post=post)
        for n, (officer, ward, at_ms, post) in enumerate(
            (
                ("7", "1.1", BEGIN_MS, "p0"),
                ("7", "1.2", BEGIN_MS + 5, None),
                ("8", "1.1", YEAR_ENDS_MS - 1, "p0"),
                ("7", "1.1", YEAR_ENDS_MS, "p1"),
                ("7", "1.1", BEGIN_MS - 1, "p1"),
            )
        )
    )
    rows = Rows(scopes=scopes, posts=posts, cases=(), faults=(), visits=visits, began_ms=0)
    made = report(rows, LIMITS, BEGIN_MS, MADE_MS).sections
    by_scope = {key: section["visits.made"].ids for key, section in made.items()}
    assert by_scope == {
        "city": ("v0", "v1", "v2"),
        "kec/1": ("v0", "v1", "v2"),
        "kel/1.1": ("v0", "v2"),
        "kel/1.2": ("v1",),
        "officer/7": ("v0", "v1"),
    }
    assert made["kel/1.1"]["visits.posts"].ids == ("p0",)
    assert made["kel/1.1"]["visits.coverage"].value == 20.0
    assert made["kel/1.2"]["visits.coverage"].value is None


def test_a_post_that_an_officer_pressed_and_nothing_came_is_named() -> None:
    at_ms, near_ms = BEGIN_MS + 10 * HOUR_MS, 2 * HOUR_MS
    pressed = {"heard": at_ms - near_ms, "later": at_ms + WEEK_MS, "early": at_ms - near_ms - 1,
               "never": None, "not tried": None}  # fmt: skip
    posts = tuple(PostRow(post=one, name="P", pressed_ms=ms) for one, ms in pressed.items())
    visits = tuple(
        Visit(visit_id=one, officer="7", kelurahan=None, at_ms=at_ms, post=one,
              is_pressed=one != "not tried")
        for one in (*pressed, "nobody knows it")
    )  # fmt: skip
    assert made_of([], posts=posts, visits=visits)["visits.unheard"].ids == ("early", "never")


def test_a_press_shortly_after_the_week_is_that_of_a_visit_at_its_end(year: Path) -> None:
    post = Post.objects.order_by("pk")[0].pk
    Alarm.objects.filter(post=post, raised_ms__gte=YEAR_ENDS_MS - 4 * HOUR_MS).delete()
    visit = visited.Visit.objects.order_by("pk")[0].pk
    visited.Visit.objects.filter(pk=visit).update(
        visited_ms=YEAR_ENDS_MS - HOUR_MS, post=post, pressed=True
    )

    def is_unheard() -> bool:
        made = report(read.rows(BEGIN_MS), LIMITS, BEGIN_MS, MADE_MS)
        found = made.sections[CITY]["visits.unheard"].ids
        by_sql = counted(year, BEGIN_MS, MADE_MS).get((CITY, "visits.unheard"), (0, ()))
        assert tuple(sorted(found)) == by_sql[1]
        # What came after the week proves nothing else of it.
        assert (made.posts[post].pressed_ms or 0) < YEAR_ENDS_MS - 4 * HOUR_MS
        return post in found

    assert is_unheard()
    press = Alarm.objects.filter(kind="test")[0]
    press.alarm_id, press.post = uid(1), post
    press.raised_ms = YEAR_ENDS_MS + 2 * HOUR_MS + 1
    press.save(force_insert=True)
    assert is_unheard()
    Alarm.objects.filter(pk=uid(1)).update(raised_ms=YEAR_ENDS_MS + 2 * HOUR_MS)
    assert not is_unheard()


def test_an_hour_without_a_call_is_nothing_and_a_number_that_is_none_is_unknown() -> None:
    rows = Rows(scopes=(Scope(key="city", name=""),), posts=(), cases=(case(1),), faults=(),
                visits=(), began_ms=0)  # fmt: skip
    made = report(rows, LIMITS, BEGIN_MS, MADE_MS)
    assert made.number("city", "heat.0.0") == Number(value=1, ids=("a1",))
    assert made.number("city", "heat.6.23") == Number(value=0)
    assert made.number("city", "heat.7.0") is made.number("mars", "calls.panic") is None


# --- weeks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("2026-11-22T16:59:59.999", "2026-W47"),
        ("2026-11-22T17:00:00.000", "2026-W48"),
        ("2026-12-31T16:59:00.000", "2026-W53"),
        ("2027-01-03T17:00:00.000", "2027-W01"),
        ("1970-01-04T17:00:00.000", "1970-W02"),
    ],
)
def test_a_week_begins_on_monday_at_midnight_in_malang(moment: str, name: str) -> None:
    at_ms = round(dt.datetime.fromisoformat(f"{moment}+00:00").timestamp() * 1000)
    begin_ms = week_of(at_ms)
    assert week_name(begin_ms) == name
    assert week_named(name) == begin_ms
    assert 0 <= at_ms - begin_ms < WEEK_MS


@pytest.mark.parametrize(
    "name",
    ["", "2026", "2026-W54", "2025-W53", "2026-W00", "1970-W01", "x" * 99, "2026-W４8", "26-W48"],
)
def test_what_is_no_week_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"week|Invalid"):
        week_named(name)


def test_limits_are_the_settings() -> None:
    wanted = Limits(
        acknowledge_s=30,
        acknowledge_percent=80.0,
        acknowledge_late_s=60,
        acknowledge_late_percent=98.5,
        dispatch_s=60,
        on_scene_s=900,
        not_proven_days=30,
        not_pressed_days=90,
    )
    assert wanted == LIMITS
