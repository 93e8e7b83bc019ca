"""Counts, from the lines of a broker's and a gateway's log, who tried what he may not. Pure.

A broker refuses without telling anybody but its log, so its log is where its refusals are counted.
It reads what attackers have named: it believes only the beginning of a line, never what follows.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.broker_config import CONSOLE_READS, GATEWAY_READS_MCC, GATEWAY_READS_POSTS, POST_READS
from gateway.identities import Identity
from protocol.topics import Topics

# Names beyond this are counted together: who can invent names must not fill the memory.
NAMES_MAX = 10_000
NOBODY = "?"  # one who did not get so far as to say a name

# What journald may put before a line. Nothing else may stand there: an attacker chooses topics.
_BEFORE = r"(?:(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\S+) \S+ [^\s:\[]+(?:\[\d+\])?: )?"
_BROKER = re.compile(_BEFORE + r"\d{9,11}: (?P<said>.*)")
_GATEWAY = re.compile(
    _BEFORE + r"at=\S+(?: part=\w+)? level=\w+ event=(?P<event>\w+)(?P<fields>.*)"
)
# The same line where [log] format = "json".
_GATEWAY_JSON = re.compile(_BEFORE + r'(?P<line>\{"at": ".*\})\s*\Z')
_FIELD = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*"|\S*)')
_DENIED = re.compile(r"Denied PUBLISH from (\S+) \(")
_SUBSCRIBED = re.compile(r"(\S+) [012] (\S+)\Z")
_CONNECTED = re.compile(r"New client connected from \S+ as (\S+) \(")
_WILL = re.compile(r"Will message specified ")
_WILL_TOPIC = re.compile(r"\t(.+)")
_OVERSIZE = re.compile(r"Client (\S+) disconnected due to oversize packet")
_TLS = re.compile(r"(?:Client connection from (\S+) failed: |OpenSSL Error\[\d+\]: )error:(.*)")
_NO_CERTIFICATE = ("certificate verify failed", "peer did not return a certificate")
_NO_TLS = ("wrong version number", "unsupported protocol", "no shared cipher", "http request")


@dataclass(frozen=True)
class Attempt:
    """What was tried, and by whom: a name of the register, an address, or `NOBODY`."""

    what: str
    who: str


def own_filters(identity: Identity, topics: Topics) -> frozenset[str]:
    """What this one subscribes to when nobody has tampered with it."""
    root, name = topics.root, identity.name
    if identity.role == "post":
        return frozenset(f"{root}/posts/{name}/{what}" for what in POST_READS)
    if identity.role == "gateway":
        if name.endswith("-posts"):
            return frozenset(f"{root}/posts/+/{what}" for what in GATEWAY_READS_POSTS)
        return frozenset(f"{root}/{topic}" for topic in GATEWAY_READS_MCC)
    if identity.role == "console":
        own = frozenset(f"{root}/{topic}" for topic in CONSOLE_READS)
        return own | {topics.mcc("answers", name)}
    return frozenset()


class Attempts:
    """Reads lines in their order, of several logs one after the other."""

    def __init__(self, identities: Iterable[Identity], topics: Topics) -> None:
        """Take the register and the topic root."""
        everybody = list(identities)
        self.counts: Counter[Attempt] = Counter()
        self._topics = topics
        self._filters = {one.name: own_filters(one, topics) for one in everybody}
        self._wills = {
            one.name: topics.post(one.name, "presence") for one in everybody if one.role == "post"
        } | {
            one.name: topics.mcc("gateways", one.name.removesuffix("-mcc"))
            for one in everybody
            if one.role == "gateway"
        }
        self._connected = NOBODY  # whose CONNECT the last lines are about
        self._told: dict[Attempt, int] = {}  # of counters in lines: the highest of this run

    def read(self, line: str) -> None:
        """Count what a line tells; most tell nothing."""
        if (ours := _GATEWAY.match(line)) is not None:
            self._gateway(ours["event"], _fields(ours["fields"]))
        elif (ours := _GATEWAY_JSON.match(line)) is not None:
            fields = _object(ours["line"])
            self._gateway(fields.get("event", ""), fields)
        elif (theirs := _BROKER.match(line.rstrip("\n"))) is not None:
            self._broker(theirs["said"])

    def _broker(self, said: str) -> None:
        if denied := _DENIED.match(said):
            self._count("publish_denied", denied[1])
        elif oversize := _OVERSIZE.match(said):
            self._count("packet_too_large", oversize[1])
        elif connected := _CONNECTED.match(said):
            self._connected = connected[1]
        elif failed := _TLS.match(said):
            who, why = failed[1] or NOBODY, failed[2]
            if any(word in why for word in _NO_CERTIFICATE):
                self._count("no_certificate", who)
            elif any(word in why for word in _NO_TLS):
                self._count("no_tls", who)
        elif not _WILL.match(said):
            will, subscribed = _WILL_TOPIC.fullmatch(said), _SUBSCRIBED.fullmatch(said)
            who, self._connected = self._connected, NOBODY
            if will is not None and who != NOBODY:
                if will[1] != self._wills.get(who):
                    self._count("will_of_another", who)
            elif subscribed is not None and subscribed[2] not in self._filters.get(
                subscribed[1], frozenset()
            ):
                self._count("subscription", subscribed[1])

    def _gateway(self, event: str, fields: dict[str, str]) -> None:
        match event:
            case "gateway_ready":
                self._told.clear()  # its counters begin anew
            case "not_admitted":
                # A line for the 1st, 2nd, 4th, 8th, ... only: the line has the number.
                attempt = Attempt(fields.get("why", ""), fields.get("who", NOBODY))
                count = _number(fields.get("count"))
                self._add(attempt, max(0, count - self._told.get(attempt, 0)))
                if attempt in self._told or len(self._told) < NAMES_MAX:
                    self._told[attempt] = max(count, self._told.get(attempt, 0))
            case "message_refused":
                self._count(fields.get("reason", ""), self._name_in(fields.get("topic", "")))
            case "messages_refused_unlogged":
                self._add(Attempt("message_refused", NOBODY), _number(fields.get("count")))
            case "refused" if fields.get("what", "").startswith("command_"):
                self._count(fields["what"], fields.get("console", NOBODY))
            case "control_refused":
                # Of this machine: the kernel says which user it was.
                self._count("control", f"uid {fields.get('user', NOBODY)}")
            case "renewal_refused":
                self._count("renewal", fields.get("post", NOBODY))

    def _name_in(self, topic: str) -> str:
        try:
            return self._topics.parse(topic).name
        except ValueError:
            return NOBODY

    def _count(self, what: str, who: str) -> None:
        self._add(Attempt(what, who), 1)

    def _add(self, attempt: Attempt, count: int) -> None:
        if attempt not in self.counts and len(self.counts) >= NAMES_MAX:
            attempt = Attempt("others", NOBODY)
        self.counts[attempt] += count


def _fields(text: str) -> dict[str, str]:
    return {name: _plain(value) for name, value in _FIELD.findall(text)}


def _object(text: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in json.loads(text).items()}
    except (ValueError, RecursionError):
        return {}  # not as our log writes it


def _plain(value: str) -> str:
    if value[:1] != '"':
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value  # not as our log writes it


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else 0
