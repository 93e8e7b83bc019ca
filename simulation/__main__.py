"""`python -m simulation`: days under every fault, by seed; a day that breaks a promise replays.

Exit codes: 0 every promise held, 1 a promise was broken, a kind of fault never happened or a day
was too easy, 2 the command is wrong. It must never print a day that held.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from simulation.faults import KINDS
from simulation.world import Outcome, run_seed

PROCESSES = 2
PROGRESS_EVERY_S = 5.0
LINES_SHOWN = 60
# Fewer seeds than this may by chance leave out a kind of fault.
SEEDS_FOR_ALL_KINDS = 50
# What the brokers must have done to messages, whichever fault it was that made them.
EFFECTS = (
    "acknowledged_then_lost",
    "document_dropped",
    "duplicated",
    "expired",
    "queue_dropped",
    "reordered",
    "will_late",
)
# A day is not a day with less than this in it. (Calls that come soon are repeats of one alarm.)
CALLS_MIN, ALARMS_MIN, FAULTS_MIN = 10, 10, 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=_count, default=200, help="how many (200)")
    parser.add_argument("--first", type=_count, default=1, help="the first of them (1)")
    parser.add_argument("--seed", type=_count, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print its whole trace")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _replay(options.seed, whole=options.trace)
    return _run(range(options.first, options.first + options.seeds))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 2**31:
        raise argparse.ArgumentTypeError(f"a number from 0 to {2**31}, not {text!r}")
    return int(text)


def _replay(seed: int, *, whole: bool) -> int:
    outcome = run_seed(seed, trace_lines_max=None if whole else LINES_SHOWN)
    if whole or outcome.broken is not None:
        _say("\n".join(outcome.lines))
    _say(f"seed {seed}: trace {outcome.trace_hash}: {outcome.broken or 'every promise held'}")
    return 0 if outcome.broken is None else 1


def _run(seeds: range) -> int:
    started_s = time.monotonic()
    said_s = started_s
    totals: Counter[str] = Counter()
    broken: list[int] = []
    easy: list[int] = []
    done, post_days, few_alarms = 0, 0.0, 0
    for outcome in outcomes(seeds):
        done += 1
        post_days += outcome.post_days
        totals += outcome.counts
        few_alarms += outcome.counts["alarms"] < ALARMS_MIN
        if outcome.broken is not None:
            broken.append(outcome.seed)
            _show(outcome)
        elif is_easy(outcome):
            easy.append(outcome.seed)
        now_s = time.monotonic()
        if now_s - said_s >= PROGRESS_EVERY_S:
            said_s = now_s
            rate = post_days / (now_s - started_s) * 60
            _say(
                f"{done} of {len(seeds)} seeds, {len(broken)} broken,"
                f" {now_s - started_s:.0f} s, {rate:.0f} post-days a minute"
            )
    took_s = time.monotonic() - started_s
    _totals(totals)
    never = never_happened(totals) if len(seeds) >= SEEDS_FOR_ALL_KINDS else []
    if few_alarms:
        _say(f"{few_alarms} seeds raised fewer than {ALARMS_MIN} alarms")
    if never:
        _say(f"never happened: {', '.join(never)}")
    if easy:
        _say(f"too easy, {len(easy)} seeds, the first: {easy[0]}")
    _say(
        f"{done} seeds, {len(broken)} broken; {post_days:.0f} post-days in {took_s:.0f} s:"
        f" {post_days / took_s * 60:.0f} post-days a minute"
    )
    return 1 if broken or never or easy else 0


def never_happened(totals: Counter[str]) -> list[str]:
    """The kinds of fault, and of what brokers do to messages, that no seed has had."""
    kinds = [kind for kind in KINDS if not totals[f"fault {kind}"]]
    return kinds + [effect for effect in EFFECTS if not totals[effect]]


def is_easy(outcome: Outcome) -> bool:
    """Whether a day that held had too little in it to say anything."""
    faults = sum(n for name, n in outcome.counts.items() if name.startswith("fault "))
    return outcome.counts["calls"] < CALLS_MIN or faults < FAULTS_MIN


def outcomes(seeds: range) -> Iterator[Outcome]:
    """Run the seeds on both cores; outcomes in the order of the seeds."""
    with multiprocessing.get_context("fork").Pool(PROCESSES, _no_garbage) as pool:
        yield from pool.imap(_quietly, seeds, chunksize=4)


def _no_garbage() -> None:
    # A world is one great cycle that is dropped as a whole; looking for smaller ones costs a fifth.
    # (PyPy looks for the young ones alone.)
    if sys.implementation.name == "cpython":
        gc.freeze()
        gc.disable()


def _quietly(seed: int) -> Outcome:
    outcome = run_seed(seed, trace_lines_max=LINES_SHOWN)
    if sys.implementation.name == "cpython":
        gc.collect()
    return outcome


def _show(outcome: Outcome) -> None:
    _say("\n".join(outcome.lines))
    _say(
        f"seed {outcome.seed}: {outcome.broken}\n"
        f"trace {outcome.trace_hash}; replay: make simulate SEED={outcome.seed}"
    )


def _totals(totals: Counter[str]) -> None:
    kinds = {name.removeprefix("fault "): n for name, n in totals.items() if name[:6] == "fault "}
    _say("faults: " + ", ".join(f"{name} {n}" for name, n in sorted(kinds.items())))
    others = {name: n for name, n in totals.items() if name[:6] != "fault "}
    _say("counts: " + ", ".join(f"{name} {n}" for name, n in sorted(others.items())))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
