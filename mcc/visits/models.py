"""Visits and their follow-ups. Times are Unix milliseconds.

A visit is written on a telephone, often without a network: its key is made there, and `digest` says
which content came under it. `removed_ms` set: whatever said whom it was about has been removed
(`mcc.visits.personal`), and only what is counted is left.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from mcc.registers.models import Kelurahan, Officer

NAME_CHARS_MAX = 64
PHONE_CHARS_MAX = 32
ADDRESS_CHARS_MAX = 200
FINDINGS_CHARS_MAX = 2_000
FOLLOW_UP_CHARS_MAX = 200


class Visit(models.Model):
    """One visit of one officer, as it came."""

    class Kind(models.TextChoices):
        """Who or what was visited."""

        HOUSEHOLD = "household", _("household")
        SHOP = "shop", _("shop or business")
        POST = "post", _("guard post")
        OTHER = "other", _("other")

    class Purpose(models.TextChoices):
        """Why the officer came."""

        GREETING = "greeting", _("getting to know each other")
        ADVICE = "advice", _("advice on safety")
        COMPLAINT = "complaint", _("to hear a complaint")
        MEDIATION = "mediation", _("to settle a dispute")
        POST = "post", _("check of the guard post")
        FOLLOW_UP = "follow_up", _("follow-up of an earlier visit")
        OTHER = "other", _("other")

    visit_id = models.UUIDField(primary_key=True)
    digest = models.CharField(max_length=64, blank=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="visits")
    officer = models.ForeignKey(Officer, models.PROTECT, related_name="visits")
    kelurahan = models.ForeignKey(Kelurahan, models.PROTECT, related_name="visits")
    visited_ms = models.BigIntegerField(db_index=True)
    received_ms = models.BigIntegerField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    # Personal from here on.
    name = models.CharField(max_length=NAME_CHARS_MAX, blank=True)
    phone = models.CharField(max_length=PHONE_CHARS_MAX, blank=True)
    address = models.CharField(max_length=ADDRESS_CHARS_MAX, blank=True)
    findings = models.TextField(max_length=FINDINGS_CHARS_MAX, blank=True)
    lat = models.FloatField(null=True)
    lon = models.FloatField(null=True)
    accuracy_m = models.FloatField(null=True)
    photo = models.ImageField(upload_to="visits/", blank=True)
    signature = models.ImageField(upload_to="visits/", blank=True)
    removed_ms = models.BigIntegerField(null=True)
    # The check of a guard post; None: not looked at.
    post = models.CharField(max_length=64, blank=True, db_index=True)
    pressed = models.BooleanField(null=True)
    lamp = models.BooleanField(null=True)
    poster = models.BooleanField(null=True)

    class Meta:
        """The newest first. In a check something was looked at."""

        ordering = ["-visited_ms", "visit_id"]
        indexes = [models.Index(fields=["kelurahan", "visited_ms"], name="visit_kelurahan_when")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(post="") | ~models.Q(pressed=None, lamp=None, poster=None),
                name="no_empty_check",
            )
        ]


class FollowUp(models.Model):
    """What is to be done after a visit, until when, and who did it."""

    visit = models.ForeignKey(Visit, models.CASCADE, related_name="follow_ups")
    # Personal; empty once it has been removed.
    text = models.CharField(max_length=FOLLOW_UP_CHARS_MAX, blank=True)
    due = models.DateField(db_index=True)
    done_ms = models.BigIntegerField(null=True)
    done_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )

    class Meta:
        """The most urgent first."""

        ordering = ["due", "id"]
