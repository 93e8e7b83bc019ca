"""`python -m image`: builds the card's image below build/image, or an update for cards.

`build` takes the public key whose updates the card will accept; without one it takes none. With
`--pi-os` it lays the same over an image of Raspberry Pi OS Lite (64-bit).
`update` signs this state of the package (a key: `openssl genpkey -algorithm ed25519`).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path

from image.build import build, pack_firmware
from image.debian import ROOT, BuildError

# 2025-11-28: nothing in an image is younger; a build of the same state gives the same bytes.
EPOCH = 1_764_288_000


def main() -> int:
    """Build, and say what came of it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m image", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    card = commands.add_parser("build", help="the card")
    card.add_argument("--update-key", type=Path, help="a public Ed25519 key, PEM")
    card.add_argument(
        "--pi-os", type=Path, help="an image of Raspberry Pi OS Lite, .img or .img.xz"
    )
    update = commands.add_parser("update", help="a signed update")
    update.add_argument("--key", type=Path, required=True, help="the private Ed25519 key, PEM")
    for command in (card, update):
        command.add_argument("--suite", choices=("bookworm", "trixie"), default="bookworm")
        command.add_argument("--out", type=Path, default=ROOT / "build/image")
        command.add_argument("--cache", type=Path, default=ROOT / "build/image/cache")
    options = parser.parse_args()
    began_s = time.monotonic()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))
    where = (options.suite, options.out.absolute(), options.cache.absolute(), epoch)
    try:
        if options.command == "update":
            made = pack_firmware(*where, options.key)
        else:
            made = build(*where, options.update_key, options.pi_os).image
    except (BuildError, OSError) as error:
        sys.stderr.write(f"image: {error}\n")
        return 1
    with made.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    made.with_name(f"{made.name}.sha256").write_text(f"{digest}  {made.name}\n")
    took_s = time.monotonic() - began_s
    sys.stdout.write(f"{made}\nsha256 {digest}\nbuilt in {took_s:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
