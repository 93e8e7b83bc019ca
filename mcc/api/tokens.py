"""Making, knowing and revoking tokens. A token is 256 random bits; its digest needs no salt."""

from __future__ import annotations

import hashlib
import secrets
import time

from mcc.api.models import Token
from mcc.people.models import User

PREFIX = "ktg_"
_DAY_MS = 86_400_000
# How exactly it is known when a token was last used; each note is a write.
_USED_EVERY_MS = 60_000
TOKEN_CHARS_MAX = 100


def make(name: str, user: User, *, may_act: bool, days: int | None) -> tuple[Token, str]:
    """A new token, and the text of it that is never shown again; `days` None: until revoked."""
    text = PREFIX + secrets.token_urlsafe(32)
    now_ms = time.time_ns() // 1_000_000
    token = Token.objects.create(
        name=name,
        user=user,
        may_act=may_act,
        start=text[:10],
        digest=_digest(text),
        created_ms=now_ms,
        expires_ms=None if days is None else now_ms + days * _DAY_MS,
    )
    return token, text


def known(text: str) -> Token | None:
    """The token with this text, if it still counts and its account is open."""
    if not text.startswith(PREFIX) or len(text) > TOKEN_CHARS_MAX:
        return None
    token = Token.objects.select_related("user").filter(digest=_digest(text)).first()
    now_ms = time.time_ns() // 1_000_000
    if token is None or token.revoked_ms is not None or not token.user.is_active:
        return None
    if token.expires_ms is not None and token.expires_ms <= now_ms:
        return None
    if (token.used_ms or 0) < now_ms - _USED_EVERY_MS:
        Token.objects.filter(pk=token.pk).update(used_ms=now_ms)
    return token


def revoke(token: Token) -> None:
    """Let it count no more, from the next request on."""
    Token.objects.filter(pk=token.pk, revoked_ms=None).update(
        revoked_ms=time.time_ns() // 1_000_000
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
