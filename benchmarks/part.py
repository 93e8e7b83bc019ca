"""One part of the benchmark, in a process of its own: `python -m benchmarks.part NAME ...`.

It is started by `python -m benchmarks`, which has the directory removed and every process that is
left of this group killed, whatever happens here.
"""

from __future__ import annotations

import importlib
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.results import Outcome


@dataclass(frozen=True)
class Setting:
    """Where a part works, how large, and where the peers' own environments are.

    `quick`: small sizes of the same code, to see that it runs; its figures are for nobody.
    """

    directory: Path
    mosquitto: str
    peers: Path
    quick: bool

    def say(self, text: str) -> None:
        """How far it is, for whoever waits."""
        sys.stderr.write(f"bench: {text}\n")

    def sized(self, whole: int, quick: int) -> int:
        """A size of the whole run, or of the quick one."""
        return quick if self.quick else whole


def measured(name: str, setting: Setting) -> Outcome:
    """Let the module of this name measure."""
    outcome = importlib.import_module(f"benchmarks.{name}").part(setting)
    assert isinstance(outcome, Outcome)
    return outcome


def main(name: str, directory: str, mosquitto: str, peers: str, scale: str) -> int:
    """Measure, and leave `outcome.json` or `failed.txt` in the directory; the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    setting = Setting(Path(directory), mosquitto, Path(peers), scale == "quick")
    try:
        outcome = measured(name, setting)
    except Exception as error:  # noqa: BLE001 - whatever it was, the page says so
        lines = str(error).strip().splitlines() or ["without a word"]
        words = f"{type(error).__name__}: {lines[0]}"
        if len(lines) > 1:  # the last words of a process that ended say why
            words += f" {lines[-1]}"
        (setting.directory / "failed.txt").write_text(words, encoding="utf-8")
        setting.say(f"{name}: not measured: {words}")
        return 1
    except KeyboardInterrupt:
        return 1
    (setting.directory / "outcome.json").write_bytes(msgspec.json.encode(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
