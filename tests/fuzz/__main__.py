"""`python -m tests.fuzz`; the processes that it starts know `campaign` by that name."""

from __future__ import annotations

import sys

from tests.fuzz.campaign import main

if __name__ == "__main__":
    sys.exit(main())
