"""The lives of faults in the database, and what operators do about them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mcc.cases import faults
from mcc.cases.actions import Refused, act
from mcc.cases.changes import changes
from mcc.cases.models import Change, Entry, FaultLife
from mcc.cases.picture import picture, post_card
from mcc.cases.store import CaseStore
from mcc.core import Commit, GatewayShown, LinkShown, Show
from protocol.values import timestamp
from tests.mcc.rig import GATEWAY, POST, gateway, post
from tests.mcc.test_actions import FROM, a_user

pytestmark = pytest.mark.usefixtures("database")
AT = timestamp(time.time_ns() // 1_000_000)


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    claimed = CaseStore(tmp_path / "anchor")
    claimed.claim()
    return claimed


def lives_of(name: str = POST) -> list[dict[str, object]]:
    [shown] = [one for one in picture()["posts"] if one["post"] == name]
    return list(shown["lives"])


def test_a_fault_of_a_post_is_on_the_screen_and_in_its_history_when_it_is_over(
    store: CaseStore,
) -> None:
    store.commit(Commit(posts=(post(faults=("tamper",), faults_since=(AT,)),)))
    [life] = lives_of()
    assert (life["fault"], life["acknowledged_ms"], life["count"]) == ("tamper", None, 1)
    store.commit(Commit(posts=(post(),)))
    assert lives_of() == []
    card = post_card(POST)
    assert card is not None
    assert [one["fault"] for one in card["past_faults"]] == ["tamper"]


def test_who_has_seen_a_fault_is_the_same_at_every_console_and_after_a_restart(
    store: CaseStore, tmp_path: Path
) -> None:
    store.commit(Commit(posts=(post(connection="silent"),)))
    [life] = lives_of()
    entry = act(a_user("sari"), "fault_acknowledge", fault=str(life["id"]), **FROM)
    assert (entry.post, entry.detail["fault"]) == (POST, "silent")
    with pytest.raises(Refused, match="sari") as refused:
        act(a_user("budi"), "fault_acknowledge", fault=str(life["id"]), **FROM)
    assert (refused.value.code, refused.value.first_operator) == ("already", "sari")
    store.close()
    again = CaseStore(tmp_path / "anchor")
    again.claim()
    again.commit(Commit(posts=(post(connection="unknown"),)))
    again.commit(Commit(posts=(post(connection="silent"),)))
    [life] = lives_of()
    assert life["acknowledged_by"] == "sari"
    assert Change.objects.filter(kind="post", key=POST).exists()


def test_a_fault_is_shelved_with_an_end_and_a_reason_and_taken_off_again(store: CaseStore) -> None:
    store.commit(Commit(posts=(post(faults=("mains_lost",)),)))
    fault = str(lives_of()[0]["id"])
    ani = a_user("ani", "technician")
    with pytest.raises(Refused) as refused:
        act(ani, "fault_shelve", fault=fault, hours=721, note="PLN", **FROM)
    assert refused.value.code == "wrong"
    with pytest.raises(Refused):
        act(ani, "fault_shelve", fault=fault, hours=8, **FROM)
    entry = act(ani, "fault_shelve", fault=fault, hours=720, note="PLN", **FROM)
    [life] = lives_of()
    assert (life["shelved_by"], life["shelved_why"]) == ("ani", "PLN")
    assert life["shelved_until_ms"] == entry.detail["until_ms"] == entry.at_ms + 720 * 3_600_000
    store.commit(Commit(posts=(post(),)))
    store.commit(Commit(posts=(post(faults=("mains_lost",), faults_since=(AT,)),)))
    [life] = lives_of()
    assert life["shelved_until_ms"] == entry.detail["until_ms"]
    act(ani, "fault_unshelve", fault=str(life["id"]), **FROM)
    assert lives_of()[0]["shelved_until_ms"] is None
    with pytest.raises(Refused) as refused:
        act(ani, "fault_unshelve", fault=str(life["id"]), **FROM)
    assert refused.value.code == "already"


def test_a_group_of_silent_posts_is_acknowledged_with_one_word(store: CaseStore) -> None:
    names = [f"mlg-rw{n:02}" for n in range(12)]
    silent = tuple(post(connection="silent", post=name, silent_with=AT) for name in names)
    store.commit(Commit(posts=silent))
    entry = act(a_user("sari"), "fault_acknowledge", fault=f"{GATEWAY} {AT}", **FROM)
    assert (entry.post, entry.detail["count"]) == (None, 12)
    for one in picture()["posts"]:
        assert [life["acknowledged_by"] for life in one["lives"]] == ["sari"]
        assert [life["group"] for life in one["lives"]] == [f"{GATEWAY} {AT}"]
    assert Entry.objects.count() == 1


@pytest.mark.parametrize("fault", ["", "0", "99", "x", "mlg", "mlg \x00", "9" * 30, "\u0663"])
def test_a_fault_that_does_not_stand_is_refused_in_words(fault: str) -> None:
    with pytest.raises(Refused) as refused:
        act(a_user(), "fault_acknowledge", fault=fault, **FROM)
    assert refused.value.code == "unknown"


def test_a_picket_acknowledges_no_fault() -> None:
    with pytest.raises(Refused) as refused:
        act(a_user("p", "picket", "polsek-klojen"), "fault_acknowledge", fault="1", **FROM)
    assert refused.value.code == "not_allowed"


def test_a_gateway_that_is_not_heard_is_a_fault_and_our_own_lost_link_is_none_of_its(
    store: CaseStore,
) -> None:
    store.commit(Commit(gateways=(gateway(),)))
    for liveness, expected in (
        ("online", []),
        ("unknown", []),
        ("silent", ["gateway_silent"]),
        ("unknown", ["gateway_silent"]),
        ("online", []),
    ):
        store.show(Show(LinkShown(liveness != "unknown")))
        store.show(Show(GatewayShown(GATEWAY, liveness)))  # type: ignore[arg-type]
        store.pulse()
        [shown] = picture()["gateways"]
        assert [one["fault"] for one in shown["lives"]] == expected, liveness


def test_a_retired_post_has_no_faults_any_more(store: CaseStore) -> None:
    store.commit(Commit(posts=(post(connection="silent"),)))
    store.commit(Commit(gone_posts=(POST,)))
    assert not FaultLife.objects.filter(cleared_ms=None).exists()


def test_what_stood_before_there_were_lives_stands_after_the_next_start(
    store: CaseStore, tmp_path: Path
) -> None:
    store.commit(Commit(posts=(post(faults=("tamper",)), post(post="mlg-rw09"))))
    FaultLife.objects.all().delete()
    CaseStore(tmp_path / "anchor").claim()
    assert [one["fault"] for one in lives_of()] == ["tamper"]


def test_the_history_of_one_party_and_of_all_is_bounded(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "HISTORY_PER_OWNER_MAX", 3)
    for n in range(5):
        store.commit(Commit(posts=(post(faults=("tamper",), faults_since=(timestamp(n),)),)))
        store.commit(Commit(posts=(post(),)))
    assert [one["raised_ms"] for one in faults.history(faults.of_post(POST))] == [4, 3, 2]
    monkeypatch.setattr(faults, "HISTORY_STORED_MAX", 1)
    with changes():
        faults.prune()
    assert FaultLife.objects.count() == 1
