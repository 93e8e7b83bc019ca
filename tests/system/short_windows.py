"""`python -m tests.system.short_windows`: the gateway's program with test windows a tenth as long.

How long a minute is, the core's own tests hold; a real one here would be waiting and no more.
"""

from __future__ import annotations

import sys

from gateway.cli import main
from gateway.core import Gateway
from gateway.posts import Post
from protocol.messages import TestWindow


class TenthOf(int):
    """Minutes that last six seconds each."""

    def __mul__(self, factor: int) -> int:
        """As many as that, of a tenth."""
        return int(self) * factor // 10


_open_window = Gateway._open_window


def _open_short_window(
    core: Gateway, post: Post, minutes: int, opened_by: str, command_id: str
) -> TestWindow:
    return _open_window(core, post, TenthOf(minutes), opened_by, command_id)


if __name__ == "__main__":
    Gateway._open_window = _open_short_window  # type: ignore[method-assign,assignment]
    sys.exit(main())
