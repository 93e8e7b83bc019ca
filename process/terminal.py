"""What a command says on standard output, be that a terminal, a pipe, a full disk or nothing.

Only the three commands' mains use it. Their services speak through `process.log`, which never
raises. It must never let a screen that cannot show a name end what a person has asked for.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

P = ParamSpec("P")

UNHEARD = 1
INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


def speaking(program: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Wrap the `main` of a command, so that no words of it end in a traceback.

    What the terminal's encoding does not have is written as an escape. When the words cannot be
    written, or the machine fails in a way that nobody has foreseen (an OSError), one line on
    stderr says so and the exit code is 1; nothing is said when whoever read them has gone.
    Ctrl-C ends it as quietly; the services take it as their signal to stop.
    """

    def wrap(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def wrapped(*arguments: P.args, **options: P.kwargs) -> int:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if stream is None:  # `>&-`
                    setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - while we live
                elif isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors="backslashreplace")
            try:
                try:
                    return main(*arguments, **options)
                finally:
                    sys.stdout.flush()  # not at the interpreter's end, where it cannot be told
            except OSError as error:
                return _unheard(program, error)
            except KeyboardInterrupt:
                return INTERRUPTED

        return wrapped

    return wrap


def _unheard(program: str, error: OSError) -> int:
    if not isinstance(error, BrokenPipeError):
        sys.stderr.write(f"{program}: {error.strerror or error}")
        sys.stderr.write(f": {error.filename}\n" if error.filename else "\n")
    with contextlib.suppress(OSError, ValueError):  # a stdout that is no file
        # What lies in its buffer would fail once more at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNHEARD
