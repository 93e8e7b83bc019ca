"""`make bench`: product and floor in one run, what the firmware costs beside it, and the console.

The last line is `press_to_mcc ratio_p50=N ratio_p99=N`. Exit codes: 0 measured, 1 not, 2 the
command is wrong. It leaves no process and no file behind.
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
from pathlib import Path
from random import Random

from benchmarks import console, firmware
from benchmarks.alarms import GATEWAY, Alarms
from benchmarks.centre import Centre, NotMeasured
from benchmarks.figures import (
    CONSOLE_BEGIN,
    CONSOLE_END,
    console_report,
    report,
    with_output,
)
from benchmarks.ground import Ground
from demo.broker import Broker, mosquitto_path
from device.presses import CLOSED_US

ALARMS = 1_000
ALARMS_MAX = 10_000
# On a disk, where /tmp may be memory: hier(7) says that it survives a reboot.
DIRECTORY = "/var/tmp"


def main() -> int:
    """Measure; the exit code."""
    options = _parser().parse_args()
    mosquitto = mosquitto_path()
    if mosquitto is None:
        _say("it needs mosquitto: apt-get install mosquitto")
        return 1
    try:
        if options.write is not None:  # before the minutes that it takes, not after them
            _written(options.write.read_text(encoding="utf-8"), "", "")
    except (OSError, ValueError) as error:
        _say(f"{options.write}: {error}")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="kentongan-bench-", dir=DIRECTORY) as directory:
            of_console = _measure_console(Path(directory), mosquitto)
            output = None
            if not options.console:
                output = _measure(Path(directory), mosquitto, options.alarms)
    except (NotMeasured, RuntimeError, OSError, ValueError) as error:
        _say(f"not measured: {error}")
        return 1
    except KeyboardInterrupt:
        return 1
    sys.stdout.write("\n\n".join(filter(None, (of_console, output))) + "\n")
    if options.write is not None:
        page = _written(options.write.read_text(encoding="utf-8"), of_console, output)
        options.write.write_text(page, encoding="utf-8")
    return 0


def _written(page: str, of_console: str, output: str | None) -> str:
    page = with_output(page, of_console, CONSOLE_BEGIN, CONSOLE_END)
    return page if output is None else with_output(page, output)


def _measure_console(directory: Path, mosquitto: str) -> str:
    machine, load_before = _machine(mosquitto), os.getloadavg()[0]
    apart = directory / "console"
    apart.mkdir()
    with contextlib.ExitStack() as ending:
        ground = _ground(apart, mosquitto, ending)
        measured = console.measure(ground, Random(), _say)
    return console_report(_with_load(machine, load_before), measured)


def _ground(directory: Path, mosquitto: str, ending: contextlib.ExitStack) -> Ground:
    log = ending.enter_context((directory / "broker.log").open("wb"))
    broker = Broker(directory, log, mosquitto)
    ending.callback(broker.kill)
    broker.start()
    ground = Ground(directory, broker.port)
    ending.callback(ground.close)
    return ground


def _with_load(machine: str, before: float) -> str:
    return f"{machine}, load {before:.1f} before and {os.getloadavg()[0]:.1f} after"


def _measure(directory: Path, mosquitto: str, alarms: int) -> str:
    machine, load_before = _machine(mosquitto), os.getloadavg()[0]
    with contextlib.ExitStack() as ending:
        ground = _ground(directory, mosquitto, ending)
        centre = ending.enter_context(Centre(ground.port))
        path = Alarms(ground, centre, Random())
        path.start()
        path.measure(alarms, _say)
        measured = path.stop()
        ground.start(GATEWAY, "gateway.cli", "run", "--config", ground.write_gateway(GATEWAY))
        ground.until_said(GATEWAY, "gateway_ready")
        resting = firmware.measure(ground)
    return report(
        machine=_with_load(machine, load_before),
        product=measured.product,
        fresh=measured.fresh,
        floor=measured.floor,
        presses=measured.presses,
        debounce_us=CLOSED_US,
        firmware=resting,
    )


def _machine(mosquitto: str) -> str:
    # `mosquitto -h` names its version and ends with 3.
    told = subprocess.run([mosquitto, "-h"], capture_output=True, text=True, check=False).stdout
    broker = " ".join(told.split()[:3])
    system = f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}"
    python = f"Python {platform.python_version()}"
    return f"{system}, {os.cpu_count()} cores, {python}, {broker}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--alarms", type=_count, default=ALARMS, help=f"of product and floor each ({ALARMS})"
    )
    parser.add_argument("--console", action="store_true", help="only what the console takes")
    parser.add_argument("--write", type=Path, help="a page whose marked parts take the output")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= ALARMS_MAX:
        raise argparse.ArgumentTypeError(f"a number from 1 to {ALARMS_MAX}")
    return int(text)


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
