"""What the office writes for the public, and practice. Times are Unix milliseconds.

What people decided about false alarms stands in the record (`mcc.cases.models.Entry`), not here.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from protocol.values import LABEL_CHARS_MAX

NAME_CHARS_MAX = 64


class Section(models.Model):
    """A text of the information page, in both languages, dated, with who answers for it.

    `verified_by` empty: nobody of the office has confirmed it, and the page says so.
    """

    slug = models.SlugField(_("short name"), max_length=40, primary_key=True)
    order = models.PositiveSmallIntegerField(_("place on the page"), default=100)
    title = models.CharField(_("title (Indonesian)"), max_length=120)
    text = models.TextField(_("text (Indonesian)"), max_length=4000)
    title_en = models.CharField(_("title (English)"), max_length=120)
    text_en = models.TextField(_("text (English)"), max_length=4000)
    as_of = models.DateField(_("as of"))
    responsible = models.CharField(_("responsible"), max_length=64)
    verified_by = models.CharField(_("confirmed by"), max_length=64, blank=True)

    class Meta:
        """As they stand on the page."""

        ordering = ["order", "slug"]
        verbose_name = _("text of the information page")
        verbose_name_plural = _("texts of the information page")

    def __str__(self) -> str:
        """Its title."""
        return self.title


class Drill(models.Model):
    """A practice day of some posts: planned, begun by a person, ended."""

    name = models.CharField(_("name"), max_length=NAME_CHARS_MAX)
    day = models.DateField(_("day"), db_index=True)
    planned_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="drills", verbose_name=_("by")
    )
    ended_ms = models.BigIntegerField(null=True, blank=True)

    class Meta:
        """The newest first."""

        ordering = ["-day", "-id"]

    def __str__(self) -> str:
        """Its name."""
        return self.name


class DrillPost(models.Model):
    """A post that is to practise."""

    drill = models.ForeignKey(Drill, models.CASCADE, related_name="posts")
    post = models.CharField(max_length=64)

    class Meta:
        """Each once."""

        constraints = [models.UniqueConstraint(fields=["drill", "post"], name="post_once_a_drill")]


class DrillWindow(models.Model):
    """A test window that a named person asked for; whether it opened is the gateway's to say."""

    drill = models.ForeignKey(Drill, models.CASCADE, related_name="windows")
    post = models.CharField(max_length=64)
    asked_ms = models.BigIntegerField()
    minutes = models.PositiveSmallIntegerField()
    operator = models.CharField(max_length=LABEL_CHARS_MAX)


class Participant(models.Model):
    """Somebody who practised, as written down on the spot: personal data."""

    drill = models.ForeignKey(Drill, models.CASCADE, related_name="participants")
    post = models.CharField(max_length=64)
    name = models.CharField(max_length=NAME_CHARS_MAX)
