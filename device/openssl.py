"""The `openssl` program, which every Debian carries: the firmware's cryptography beside TLS.

Never on a main loop: it starts a program and waits for it. What it says about a file that holds a
key never goes further.
"""

from __future__ import annotations

import subprocess

OPENSSL_TIMEOUT_S = 60.0


class Unavailable(Exception):
    """A step could not be done; the text says why and holds no key."""


def openssl(*arguments: str) -> tuple[int, bytes, bytes]:
    """Exit code, output, and output with what it said.

    Raises:
        Unavailable: the program is missing, or did not end in time.
    """
    try:
        done = subprocess.run(
            ["openssl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=OPENSSL_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable("the program openssl is missing: apt-get install openssl") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"openssl {arguments[0]} took over {OPENSSL_TIMEOUT_S:.0f} s") from None
    return done.returncode, done.stdout, done.stdout + done.stderr


def openssl_output(*arguments: str) -> bytes:
    """The output of a run that must succeed.

    Raises:
        Unavailable: it failed.
    """
    code, output, _ = openssl(*arguments)
    if code != 0:
        # Without what it said: nobody knows what of a key that holds.
        raise Unavailable(f"openssl {arguments[0]} failed")
    return output
