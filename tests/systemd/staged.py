"""Runs the programs' own `install` and `uninstall` on a directory instead of a host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from process.install import Service


def install(
    service: Service, root: Path, *options: str, command: str = "install"
) -> subprocess.CompletedProcess[str]:
    """What a technician types, with `--root`."""
    program = Path(sys.executable).parent / service.program
    return subprocess.run(
        [str(program), command, "--root", str(root), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def uninstall(service: Service, root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The way back."""
    return install(service, root, *options, command="uninstall")
