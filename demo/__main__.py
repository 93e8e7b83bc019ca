"""`make demo`: the main job on this machine, with keys on a terminal, by itself without one.

Ends with `demo: ok` and exit code 0, or names the step that is missing and exits 1. Leaves no
process and no file behind.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from demo.broker import Broker, mosquitto_path
from demo.desk import Desk
from demo.live import Live
from demo.receiver import Receiver
from demo.stage import NotSeen, Stage
from demo.story import Story
from hardware.panel import PanelError


def main() -> int:
    """Play it; the exit code."""
    with tempfile.TemporaryDirectory(prefix="kentongan-demo-") as name:
        directory = Path(name)
        receiver = Receiver()
        with (directory / "broker.log").open("wb") as broker_log:
            broker = Broker(directory, broker_log, mosquitto_path())
            stage = Stage(directory, broker.url, gps_device=receiver.device, console="terminal")
            desk = Desk(stage)
            try:
                if sys.stdin.isatty() and sys.stdout.isatty():
                    Live(stage, broker, desk).play()
                else:
                    Story(stage, broker, desk).tell()
            except (NotSeen, PanelError, RuntimeError) as error:
                sys.stdout.write(f"demo: failed: {error}\n")
                for process in ("post", "gateway", "mcc", "ingest", "site"):
                    for line in stage.log_of(process).splitlines()[-15:]:
                        sys.stderr.write(f"{process}: {line}\n")
                return 1
            except KeyboardInterrupt:
                return 130
            finally:
                stage.close()
                broker.kill()
                receiver.close()
    sys.stdout.write("demo: ok\n")
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    """Let whoever ends us still see everything cleared away; a second time changes nothing."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _leave)
    sys.exit(main())
