"""The simulator's own test: every promise that is broken on purpose is caught.

Each within `SEEDS_MAX` seeds from its first one, which stands here only to save time. All of them
are seeds that hold when nothing is broken: `test_seeds.py` runs them.
"""

from __future__ import annotations

import pytest

from simulation.mutations import MUTATIONS, mutated
from simulation.world import run_seed
from tests.simulation.test_seeds import SEEDS

SEEDS_MAX = 60
FIRST = {
    "do_not_mend_documents": 2,
    "do_not_repair_a_gateway": 2,
    "obey_the_latest_document": 2,
    "never_ask_a_deaf_link_again": 2,
    "tests_by_arrival": 3,
    "offer_upwards_once": 3,
    "answer_unseen_calls": 3,
    "armed_without_a_link": 4,
    "do_not_write_that_it_sounded": 4,
    "believe_receipts_of_an_older_journal": 4,
    "let_the_last_outcome_win": 4,
    "open_tests_however_old": 4,
    "do_not_repeat_commands": 4,
    "take_retained_presses": 5,
    "trust_puback": 5,
    "ignore_a_new_store": 9,
    "sound_only_for_acknowledged": 9,
    "skip_the_fsync": 11,
    "do_not_publish_what_differs": 13,
    "believe_any_will": 36,
    "wall_clock_in_the_window": 43,
}
NAMED = {
    "skip_the_fsync",
    "trust_puback",
    "acknowledge_before_commit",
    "do_not_deduplicate",
    "do_not_resubscribe",
    "let_documents_sound",
    "wall_clock_in_the_window",
    "obey_the_latest_document",
    "believe_receipts_of_an_older_journal",
    "ignore_a_new_store",
    "end_a_command_on_its_sending",
    "acknowledge_whatever_number",
    "count_a_stored_listing",
    "do_not_repeat_commands",
    "drop_the_oldest_when_full",
    "believe_a_retained_presence",
}


def test_there_are_enough_of_them_and_those_that_broke_other_systems_are_among_them() -> None:
    assert len(MUTATIONS) >= 18
    assert set(MUTATIONS) >= NAMED


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_promise_is_caught(name: str) -> None:
    first = FIRST.get(name, 1)
    for seed in range(first, first + SEEDS_MAX):
        with mutated(name):
            broken = run_seed(seed, trace_lines_max=1).broken
        if broken is not None:
            assert broken.startswith("P"), f"{name} was caught by a crash: {broken}"
            assert seed in SEEDS
            return
    pytest.fail(f"{name} survived {SEEDS_MAX} seeds: a hole in the checkers")
