"""The simulator in a process of its own: on this Python, and on PyPy where `make pypy` has been."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPY = ROOT / "build/pypy/bin/pypy"


def run(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with the libraries of this Python, which are pure Python but for msgspec."""
    libraries = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    return subprocess.run(
        [python, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": libraries, "PYPY_GC_NURSERY": "32M"},
        capture_output=True,
        text=True,
        check=False,
    )
