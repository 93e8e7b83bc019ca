"""docs/security.md is run as it is written: every shell block, in order, in one empty directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.broker import free_port

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ROOMS = Path(__file__).parents[2]


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_the_page_leads_from_an_empty_directory_to_a_press_and_shuts_a_thief_out(
    tmp_path: Path,
) -> None:
    page = "\n".join(blocks())
    assert page.count("PORT=8883\n") == 1
    script = tmp_path / "page.sh"
    script.write_text(
        # Whatever was started in the background ends with the page, also when it fails.
        "set -eu\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\nmkdir here && cd here\n"
        + page.replace("PORT=8883\n", f"PORT={free_port()}\n")
        + '\necho "to the end"\n'
    )
    commands = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}:/usr/sbin"},
    )
    logs = "".join(
        f"--- {path.name}\n{path.read_text()[-2000:]}" for path in (tmp_path / "here").glob("*.log")
    )
    assert done.stdout.endswith("to the end\n"), done.stdout + done.stderr + logs
    assert "mlg-dinoyo-rw05 is shut out" in done.stdout
    assert "Traceback" not in done.stderr + logs


def test_the_page_names_the_figures_of_the_code() -> None:
    from device.renewal import RENEW_BEFORE_S
    from gateway.gate import POST_PACE
    from gateway.identities import (
        CA_DAYS,
        CERTIFICATE_DAYS,
        CERTIFICATE_WARN_DAYS,
        CRL_DAYS,
        CRL_RENEW_DAYS,
    )

    text = PAGE.read_text()
    for figure in (
        f"{CERTIFICATE_DAYS} days | by the post itself, from {RENEW_BEFORE_S // 86_400} days",
        f"{CERTIFICATE_WARN_DAYS} days before",
        f"{CRL_DAYS} days | by the running gateway, when {CRL_RENEW_DAYS} are left",
        f"{CA_DAYS // 365} years",
        f"more than {POST_PACE.burst:.0f} messages at once or {POST_PACE.per_second:.0f} a second",
    ):
        assert figure in text, figure
