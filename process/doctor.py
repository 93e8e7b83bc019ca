"""The command `doctor` of every program: its options, and findings printed as they come.

It decides nothing: the program says what to look at, `process.findings` what that means.

Exit codes: 0 all is well, 1 it works, with warnings, 2 something fails. What could not be looked at
is said so and changes none of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from process.findings_texts import LANGUAGES

if TYPE_CHECKING:
    from process.findings import Finding


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """The subcommand `doctor`; `what` it looks at, for the help."""
    doctor = commands.add_parser(
        "doctor",
        help=f"find out what is wrong with {what}",
        description=f"Look at every part of {what} in order; say what is wrong and what to do."
        " Harmless beside a running service. Exit: 0 all is well, 1 warnings, 2 failures.",
    )
    doctor.add_argument("--config", required=True, type=Path, help="the settings, TOML")
    doctor.add_argument(
        "--lang", choices=LANGUAGES, help="id or en; without it by $LANG, Indonesian if not English"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object, for programs")
    doctor.add_argument("--quiet", action="store_true", help="let the buzzer be silent")


def run(options: argparse.Namespace, findings: Iterable[Finding]) -> int:
    """Print what is found as it comes; the exit code."""
    from process.findings import as_json, choose_language, exit_code, lines, summary

    language = choose_language(options.lang, os.environ)
    seen: list[Finding] = []
    try:
        # The parts that are tried write their own log lines, which here would only confuse.
        with contextlib.redirect_stderr(io.StringIO()):
            for finding in findings:
                seen.append(finding)
                if not options.json:
                    sys.stdout.write("\n".join(lines(finding, language)) + "\n")
                    sys.stdout.flush()
    except KeyboardInterrupt:
        return 2
    last = as_json(str(options.config), seen, language) if options.json else summary(seen, language)
    sys.stdout.write(last + "\n")
    return exit_code(seen)


def write_pages(directory: Path) -> None:
    """Write the table of all findings anew at the end of docs/doctor.*.md, below its heading."""
    from process.findings import page

    for language in LANGUAGES:
        path = directory / f"doctor.{language}.md"
        before, heading, rest = path.read_text(encoding="utf-8").rpartition("\n## ")
        title = rest.partition("\n")[0]
        text = f"{before}{heading}{title}\n\n{page(language)}\n"
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
