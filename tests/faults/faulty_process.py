"""Runs one of our processes with exceptions thrown in some of its functions, for the fault rows.

KENTONGAN_FAULTY names a directory. The name of each file in it is a function, such as
`device.service:Service._from_link`; what stands in the file says how many more of its calls are to
raise, so that a test can begin when all is well, and so that a restarted process does not begin
anew. It changes nothing else.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ThrownOnPurpose(Exception):
    """No code of ours knows this exception, so none can expect it."""


def raising(function: Callable[..., Any], left: Path) -> Callable[..., Any]:
    """The function, after it has raised as often as the file says."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        count = int(left.read_text() or "0")
        if count > 0:
            left.write_text(str(count - 1))
            raise ThrownOnPurpose(function.__qualname__)
        return function(*arguments, **named)

    return wrapped


def main() -> int:
    """Patch, then be the process named by the first argument (`device.cli`, ...)."""
    for left in Path(os.environ["KENTONGAN_FAULTY"]).iterdir():
        module_name, _, path = left.name.partition(":")
        owner: Any = importlib.import_module(module_name)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, name, raising(getattr(owner, name), left))
    program = importlib.import_module(sys.argv.pop(1))
    code: int = program.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
