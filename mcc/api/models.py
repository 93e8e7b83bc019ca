"""Tokens that let other systems in, and hooks by which they are told of alarms."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Token(models.Model):
    """A key for one other system; it does what its account's role may, and no more.

    Only a digest is kept: the token itself is shown once. `start` is what people tell tokens apart
    by. Without `may_act` it only reads.
    """

    name = models.CharField(_("name"), max_length=64)
    user = models.ForeignKey(
        "people.User", models.CASCADE, related_name="tokens", verbose_name=_("account")
    )
    may_act = models.BooleanField(_("may act on alarms"), default=False)
    start = models.CharField(_("begins with"), max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    created_ms = models.BigIntegerField()
    expires_ms = models.BigIntegerField(null=True, blank=True)
    revoked_ms = models.BigIntegerField(null=True, blank=True)
    used_ms = models.BigIntegerField(null=True, blank=True)

    class Meta:
        """The newest first."""

        ordering = ["-id"]
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        """Its name and beginning."""
        return f"{self.name} ({self.start}…)"


class Hook(models.Model):
    """An address that is told of every alarm that changes, in order, from `cursor` on.

    `secret` signs what is sent. `lease_ms`: until then one worker is sending.
    """

    name = models.CharField(_("name"), max_length=64, unique=True)
    url = models.URLField(_("address"), max_length=500)
    secret = models.CharField(max_length=64)
    enabled = models.BooleanField(_("enabled"), default=True)
    cursor = models.BigIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    next_ms = models.BigIntegerField(default=0)
    why = models.CharField(_("last failure"), max_length=200, default="", blank=True)

    class Meta:
        """In the order of the names."""

        ordering = ["name"]
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")

    def __str__(self) -> str:
        """Its name."""
        return self.name
