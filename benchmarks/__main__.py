"""`make bench`: what the product takes, beside peers and floors, and the page that says so.

Each part is a process of its own under a time limit; one that fails is named and the rest goes on.
The last line is `press_to_mcc ratio_p50=N ratio_p99=N`. Exit codes: 0 all measured, 1 something
was not, 2 the command is wrong. It leaves no process and no file behind, but for the page.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.page import Run, in_markdown, in_words, with_output
from benchmarks.plots import svg
from benchmarks.results import Outcome
from demo.broker import mosquitto_path

# On a disk, where /tmp may be memory: hier(7) says that it survives a reboot.
DIRECTORY = "/var/tmp"
ROOMS = Path(__file__).resolve().parent.parent
PICTURES = "pictures"  # beside the page
WHOLE_S = 15 * 60 - 20  # all parts together, so that the command ends within 15 minutes
END_S = 15.0


@dataclass(frozen=True)
class Part:
    """A module of this room, what it is called on the page, and how long it may take."""

    name: str
    title: str
    within_s: float


PARTS = (
    Part("press", "Accepted press to command centre", 210),
    Part("peers", "Press to publish, and a broker that dies, beside mqtt-io", 140),
    Part("kept", "A hundred acknowledged alarms, then SIGKILL", 70),
    Part("intake", "Alarms a second, and a storm", 90),
    Part("supervision", "Supervision of many posts", 270),
    Part("growth", "A million rows at the start; what a post-year takes", 100),
    Part("firmware", "What a resting post costs", 110),
    Part("console", "The console", 170),
    Part("crowd", "The console with 5,000 posts", 90),
)


def main() -> int:
    """Measure; the exit code."""
    options = _parser().parse_args()
    mosquitto = mosquitto_path()
    if mosquitto is None:
        _say("it needs mosquitto: apt-get install mosquitto")
        return 1
    try:
        if options.write is not None:  # before the minutes that it takes, not after them
            with_output(options.write.read_text(encoding="utf-8"), "")
    except (OSError, ValueError) as error:
        _say(f"{options.write}: {error}")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = [part for part in PARTS if part.name in (options.parts or [one.name for one in PARTS])]
    try:
        run = _run(chosen, mosquitto, options)
    except KeyboardInterrupt:
        return 1
    sys.stdout.write(in_words(run) + "\n")
    if options.write is not None:
        _write(options.write, run)
    closing = "".join(
        f"\n{outcome.closing}\n" for outcome in run.outcomes.values() if outcome.closing
    )
    sys.stdout.write(closing)
    return 0 if run.is_whole else 1


def _run(chosen: list[Part], mosquitto: str, options: argparse.Namespace) -> Run:
    at, load_before = datetime.now(UTC), os.getloadavg()[0]
    until_s = time.monotonic() + WHOLE_S
    outcomes: dict[str, Outcome] = {}
    failed: dict[str, str] = {}
    for part in chosen:
        began_s = time.monotonic()
        within_s = min(part.within_s, until_s - began_s)
        _say(f"{part.name}, at most {within_s:.0f} s")
        found = _outcome(part.name, within_s, mosquitto, options)
        if isinstance(found, Outcome):
            outcomes[part.name] = found
        else:
            failed[part.name] = found
        _say(f"{part.name} took {time.monotonic() - began_s:.0f} s")
    return Run(
        at=at.strftime("%Y-%m-%d %H:%M UTC"),
        machine=_machine(mosquitto),
        load_before=load_before,
        load_after=os.getloadavg()[0],
        minutes=(time.monotonic() - until_s + WHOLE_S) / 60,
        scale="quick (figures for nobody)" if options.quick else "whole",
        titles={part.name: part.title for part in PARTS},
        outcomes=outcomes,
        failed=failed,
    )


def _outcome(
    name: str, within_s: float, mosquitto: str, options: argparse.Namespace
) -> Outcome | str:
    """What a part left, or why it left nothing."""
    if within_s <= 0:
        return "no time was left for it"
    with tempfile.TemporaryDirectory(prefix=f"kentongan-bench-{name}-", dir=DIRECTORY) as directory:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.part", name, directory, mosquitto),
                *(str(options.peers), "quick" if options.quick else "whole"),
            ],
            cwd=ROOMS,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(within_s)
            why = f"it ended with code {process.returncode}"
        except subprocess.TimeoutExpired:
            why = f"not over within {within_s:.0f} s"
        finally:
            _end(process)
        left, said = Path(directory) / "outcome.json", Path(directory) / "failed.txt"
        if left.exists():
            return msgspec.json.decode(left.read_bytes(), type=Outcome)
        return said.read_text(encoding="utf-8")[:500] if said.exists() else why


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a part, and whatever of its group is left."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _write(page: Path, run: Run) -> None:
    pictures = page.parent / PICTURES
    pictures.mkdir(exist_ok=True)
    for plot in run.plots:
        (pictures / f"{plot.name}.svg").write_text(svg(plot), encoding="utf-8")
    whole = with_output(page.read_text(encoding="utf-8"), in_markdown(run, PICTURES))
    page.write_text(whole, encoding="utf-8")


def _machine(mosquitto: str) -> str:
    # `mosquitto -h` names its version and ends with 3.
    told = subprocess.run([mosquitto, "-h"], capture_output=True, text=True, check=False).stdout
    broker = " ".join(told.split()[:3])
    system = f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}"
    python = f"Python {platform.python_version()}"
    return f"{system}, {os.cpu_count()} cores, {python}, {broker}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join(part.name for part in PARTS)
    parser.add_argument("parts", nargs="*", type=_name, help=f"only these of {names}")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    parser.add_argument("--write", type=Path, help="a page whose marked part takes the output")
    parser.add_argument(
        "--peers", type=Path, default=ROOMS / "build" / "peers", help="where make put the peers"
    )
    return parser


def _name(text: str) -> str:
    if text not in (part.name for part in PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {text}")
    return text


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
