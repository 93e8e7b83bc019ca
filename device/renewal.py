"""Keeps the post's certificate from ending: a new key, a request over the link, and the answer.

The new key is made here and never leaves this machine; certificate and key are one file, replaced
as a whole, and the one before is kept beside it in case a broker does not take the new one. The
`openssl` program, which every Debian carries, does the cryptography, so that the firmware needs no
further library. Never on the main loop: it starts programs and waits for disks. Never by a clock
that is not synchronised.
"""

from __future__ import annotations

import base64
import binascii
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from device.core import FaultSeen
from device.openssl import Unavailable, openssl, openssl_output
from process.files import SECRET_MODE, replace_file
from process.log import log
from protocol.messages import Certificate, Renewal

DAY_S = 86_400
# Certificates last 730 days: half a year for a post that is away, or a gateway that is.
RENEW_BEFORE_S = 180 * DAY_S
WARN_BEFORE_S = 60 * DAY_S
LOOK_EVERY_S = 6 * 3600.0
UNSYNCHRONISED_PAUSE_S = 60.0
ASK_PAUSE_FIRST_S = 5.0
ASK_PAUSE_MAX_S = 3600.0
ANSWERS_MAX = 4
FAULT = "certificate_expiring"


class CertificateKeeper:
    """One certificate file, one thread. `deliver` takes events and must not raise.

    It gets a `Renewal` to publish, a `FaultSeen`, and a `Renewed` when the file has been replaced.
    """

    def __init__(
        self,
        post: str,
        *,
        ca: Path,
        identity: Path,
        deliver: Callable[[object], None],
        synchronised: Callable[[], bool],
    ) -> None:
        """Take the authority's file and the file that holds certificate and key."""
        self._post = post
        self._ca = ca
        self._identity = identity
        self._new_key = identity.with_name(identity.name + ".new-key")
        self._deliver = deliver
        self._synchronised = synchronised
        self._answers: SimpleQueue[Certificate | None] = SimpleQueue()
        self._asked = 0
        self._expiring = False
        self._said: str | None = None
        self._thread = threading.Thread(target=self._run, name="certificate", daemon=True)

    def start(self) -> None:
        """Begin to look at the date, now and every few hours."""
        self._thread.start()

    def take(self, certificate: Certificate) -> None:
        """Hand over an answer of the gateway; more than a few at once are passed over."""
        if self._answers.qsize() < ANSWERS_MAX:
            self._answers.put(certificate)

    def stop(self, timeout_s: float) -> None:
        """End the thread; one that waits for a disk is left behind."""
        self._answers.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            pause_s = self._guarded(self._look)
            try:
                answer = self._answers.get(timeout=pause_s)
            except Empty:
                continue
            if answer is None:
                return
            self._guarded(functools.partial(self._install, answer))

    def _guarded(self, step: Callable[[], float]) -> float:
        """Whatever goes wrong is said once, and tried again later: the post works without."""
        try:
            pause_s = step()
        except Exception as error:  # noqa: BLE001 - a thread that died would renew nothing, unseen
            if str(error) != self._said:
                self._said = str(error)
                log("certificate_not_renewed", level="warning", why=error)
            return ASK_PAUSE_MAX_S
        self._said = None
        return pause_s

    def _look(self) -> float:
        """Look at the date, ask when it is time; seconds until the next look."""
        if not self._synchronised():
            return UNSYNCHRONISED_PAUSE_S
        expiring = self._ends_within(WARN_BEFORE_S)
        if expiring != self._expiring:
            self._expiring = expiring
            self._deliver(FaultSeen(FAULT, present=expiring))
        if not self._ends_within(RENEW_BEFORE_S):
            self._asked = 0
            return LOOK_EVERY_S
        request = base64.b64encode(self._request()).decode("ascii")
        self._deliver(Renewal(post=self._post, request=request))
        self._asked += 1
        return float(min(ASK_PAUSE_MAX_S, ASK_PAUSE_FIRST_S * 2 ** min(self._asked - 1, 10)))

    def _ends_within(self, seconds: int) -> bool:
        command = ("x509", "-in", str(self._identity), "-noout", "-checkend", str(seconds))
        code, _, said = openssl(*command)
        if code not in (0, 1) or b"Certificate will" not in said:
            raise Unavailable(f"{self._identity}: its certificate cannot be read")
        return code == 1

    def _request(self) -> bytes:
        if not self._new_key.exists():
            curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
            replace_file(self._new_key, openssl_output("genpkey", *curve), SECRET_MODE)
        subject = ("-subj", f"/CN={self._post}", "-outform", "DER", "-sha256")
        return openssl_output("req", "-new", "-key", str(self._new_key), *subject)

    def _install(self, answer: Certificate) -> float:
        import ssl  # not at the start: a post hears presses before it has loaded it

        try:
            der = base64.b64decode(answer.certificate, validate=True)
        except binascii.Error:
            raise Unavailable("the gateway's answer is not base64") from None
        if not self._new_key.exists():
            return ASK_PAUSE_FIRST_S  # answered twice
        whole = ssl.DER_cert_to_PEM_cert(der).encode("ascii") + self._new_key.read_bytes()
        candidate = self._identity.with_name(self._identity.name + ".new")
        replace_file(candidate, whole, SECRET_MODE)
        try:
            # Refuses a certificate that is not for our key.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(candidate)
            purpose = ("-purpose", "sslclient", "-no_check_time")
            openssl_output("verify", "-CAfile", str(self._ca), *purpose, str(candidate))
            replace_file(previous_of(self._identity), self._identity.read_bytes(), SECRET_MODE)
            replace_file(self._identity, whole, SECRET_MODE)
            self._new_key.unlink()
        finally:
            candidate.unlink(missing_ok=True)
        log("certificate_renewed", post=self._post)
        self._deliver(Renewed())
        return 0.0


class Renewed:
    """The certificate's file has been replaced; the next connection shows the new one."""


def previous_of(identity: Path) -> Path:
    """Where the certificate before this one is kept."""
    return identity.with_name(identity.name + ".previous")
