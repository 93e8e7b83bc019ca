"""`python -m image`: builds the card's image below build/image."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path

from image.build import build
from image.debian import ROOT, BuildError

# 2025-11-28: the day of the release; a build of the same state gives the same bytes.
EPOCH = 1_764_288_000


def main() -> int:
    """Build, and say what came of it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m image", description=__doc__)
    parser.add_argument("--suite", choices=("bookworm", "trixie"), default="bookworm")
    parser.add_argument("--out", type=Path, default=ROOT / "build/image")
    parser.add_argument("--cache", type=Path, default=ROOT / "build/image/cache")
    options = parser.parse_args()
    began_s = time.monotonic()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))
    try:
        built = build(options.suite, options.out.absolute(), options.cache.absolute(), epoch)
    except BuildError as error:
        sys.stderr.write(f"image: {error}\n")
        return 1
    with built.image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (built.image.parent / f"{built.image.name}.sha256").write_text(
        f"{digest}  {built.image.name}\n"
    )
    took_s = time.monotonic() - began_s
    sys.stdout.write(f"{built.image}\nsha256 {digest}\nbuilt in {took_s:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
