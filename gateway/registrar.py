"""The running gateway's side of its register: reads it, signs renewals, keeps dates from passing.

One thread of its own, because a register on a disk may hang; it only ever hands events over. When
the register cannot be read, the last one that was read goes on to hold: an alarm is never refused
because a disk failed.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from gateway.broker_config import refresh
from gateway.core import FaultSeen
from gateway.gate import Register
from gateway.identities import Authority, IdentitiesError
from hardware.clock import Clock, SystemClock
from process.log import log
from protocol.messages import Certificate, Renewal

POLL_S = 1.0
LOOK_AT_DATES_S = 3600.0
RENEWALS_MAX = 64
NAMES_LOGGED_MAX = 10


class Registrar:
    """One directory, one thread. `deliver` takes events; it may block, it must not raise.

    It gets the `Register` whenever that has changed, a `Certificate` that is to be sent, and a
    `FaultSeen` for each of `register_unreadable`, `certificate_expiring`, `ca_expiring`,
    `crl_expiring` and `broker_not_reloaded` that comes or goes.
    """

    def __init__(
        self,
        directory: Path,
        deliver: Callable[[object], None],
        clock: Clock | None = None,
    ) -> None:
        """Open the authority.

        Raises:
            IdentitiesError: there is none in `directory`, or it cannot be used.
        """
        self._authority = Authority(directory)
        self._deliver = deliver
        self._clock = clock or SystemClock()
        self._renewals: SimpleQueue[Renewal | None] = SimpleQueue()
        self._faults: frozenset[str] = frozenset()
        self._version: int | None = None
        self._dates_at_s: float | None = None
        self._unreadable = False
        self._reload_failed = False
        self._expiring: dict[str, tuple[str, ...]] = {}
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)

    def read(self) -> Register | None:
        """The register as it is, before `start`; None when it cannot be read."""
        try:
            return self._authority.register(self._clock.now().wall_ms)
        except IdentitiesError:
            return None  # the thread meets the same, and makes it a fault

    def start(self) -> None:
        """Begin. The register follows at once."""
        self._thread.start()

    def renew(self, renewal: Renewal) -> bool:
        """Ask for a certificate; False when too many wait (the post asks again)."""
        if self._renewals.qsize() >= RENEWALS_MAX:
            return False
        self._renewals.put(renewal)
        return True

    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def close(self, timeout_s: float) -> None:
        """End the thread."""
        self._renewals.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._look()
            try:
                renewal = self._renewals.get(timeout=POLL_S)
            except Empty:
                continue
            if renewal is None:
                break
            self._sign(renewal)
        self._authority.close()

    def _look(self) -> None:
        now = self._clock.now()
        try:
            version = self._authority.data_version()
            changed = version != self._version
            if changed:
                self._deliver(self._authority.register(now.wall_ms))
                self._version = version
            due = self._dates_at_s is None or time.monotonic() - self._dates_at_s > LOOK_AT_DATES_S
            if changed or due:
                self._dates_at_s = time.monotonic()
                self._see_to_dates(now.wall_ms, synchronised=now.synchronised)
            self._unreadable = False
        except IdentitiesError as error:
            if not self._unreadable:
                log("register_unreadable", level="error", why=error)
            self._unreadable = True
        faults = set(self._expiring)
        if self._unreadable:
            faults.add("register_unreadable")
        if self._reload_failed:
            faults.add("broker_not_reloaded")
        for fault in sorted(faults ^ self._faults):
            self._deliver(FaultSeen(fault, present=fault in faults))
        self._faults = frozenset(faults)

    def _see_to_dates(self, wall_ms: int, *, synchronised: bool) -> None:
        # By a clock that nobody vouches for a list could be written that is not valid yet.
        if synchronised and self._authority.crl_is_due(wall_ms):
            self._authority.write_crl(wall_ms)
            log("crl_renewed", until_ms=self._authority.crl_until_ms())
        wrong = refresh(self._authority, wall_ms, reload_anyway=self._reload_failed)
        for why in wrong:
            log("broker_not_reloaded", level="warning", why=why)
        self._reload_failed = bool(wrong)
        if not synchronised:
            return
        expiring = self._authority.expiring(wall_ms)
        if expiring != self._expiring:
            for fault, names in expiring.items():
                first = ",".join(names[:NAMES_LOGGED_MAX])
                log("ends_soon", level="warning", fault=fault, count=len(names), first=first)
        self._expiring = expiring

    def _sign(self, renewal: Renewal) -> None:
        now = self._clock.now()
        try:
            if not now.synchronised:
                raise IdentitiesError("this gateway's clock is not synchronised")
            request = base64.b64decode(renewal.request, validate=True)
            der = self._authority.sign_renewal(renewal.post, request, now.wall_ms)
        except (IdentitiesError, binascii.Error) as error:
            log("renewal_refused", level="warning", post=renewal.post, why=error)
            return
        log("renewal_signed", post=renewal.post)
        encoded = base64.b64encode(der).decode("ascii")
        self._deliver(Certificate(post=renewal.post, certificate=encoded))
