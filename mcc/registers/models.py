"""The registers. Which unit answers for a post follows from its registered kelurahan alone.

Never from geometry: the map's borders are approximate.
"""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from protocol.values import LABEL_CHARS_MAX, NAME_PATTERN

_NAME = RegexValidator(NAME_PATTERN, _("lower-case letters, digits and '-'"))
_LATITUDE = [MinValueValidator(-90.0), MaxValueValidator(90.0)]
_LONGITUDE = [MinValueValidator(-180.0), MaxValueValidator(180.0)]


class Kecamatan(models.Model):
    """A district of the city, by its code of the Ministry of Home Affairs (35.73.01)."""

    code = models.CharField(_("code"), max_length=13, primary_key=True)
    name = models.CharField(_("name"), max_length=64)

    class Meta:
        """In the order of the codes."""

        ordering = ["code"]
        verbose_name = _("kecamatan")
        verbose_name_plural = _("kecamatan")

    def __str__(self) -> str:
        """Its name."""
        return self.name


class Kelurahan(models.Model):
    """A ward. Its centroid places a post that nobody has surveyed, and is labelled so."""

    code = models.CharField(_("code"), max_length=13, primary_key=True)
    name = models.CharField(_("name"), max_length=64)
    kecamatan = models.ForeignKey(Kecamatan, models.PROTECT, verbose_name=_("kecamatan"))
    lat = models.FloatField(_("latitude"), validators=_LATITUDE)
    lon = models.FloatField(_("longitude"), validators=_LONGITUDE)

    class Meta:
        """In the order of the codes."""

        ordering = ["code"]
        verbose_name = _("kelurahan")
        verbose_name_plural = _("kelurahan")

    def __str__(self) -> str:
        """Its name."""
        return self.name


class Unit(models.Model):
    """Who can be sent: a Polsek with its kecamatan, or a picket of the Polresta for all of them."""

    class Kind(models.TextChoices):
        """What it is."""

        POLSEK = "polsek", "Polsek"
        POLRESTA = "polresta", "Polresta"

    slug = models.CharField(_("short name"), max_length=40, primary_key=True, validators=[_NAME])
    # What goes on the wire as the unit that was sent.
    name = models.CharField(_("name"), max_length=LABEL_CHARS_MAX, unique=True)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    kecamatan = models.OneToOneField(
        Kecamatan, models.PROTECT, verbose_name=_("kecamatan"), null=True, blank=True
    )
    phone = models.CharField(_("telephone"), max_length=32, blank=True)

    class Meta:
        """In the order of the names; a Polsek has a kecamatan."""

        ordering = ["name"]
        verbose_name = _("unit")
        verbose_name_plural = _("units")
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(kind="polsek", kecamatan=None), name="polsek_has_kecamatan"
            )
        ]

    def __str__(self) -> str:
        """Its name."""
        return self.name


class Post(models.Model):
    """A post as it was registered; what it says of itself is `mcc.cases.models.PostDocument`."""

    post_id = models.CharField(_("post"), max_length=64, primary_key=True, validators=[_NAME])
    name = models.CharField(_("name"), max_length=64)
    kelurahan = models.ForeignKey(
        Kelurahan, models.PROTECT, verbose_name=_("kelurahan"), null=True, blank=True
    )
    rw = models.CharField(_("RW"), max_length=8, blank=True)
    address = models.CharField(_("address"), max_length=200, blank=True)
    lat = models.FloatField(_("latitude"), null=True, blank=True, validators=_LATITUDE)
    lon = models.FloatField(_("longitude"), null=True, blank=True, validators=_LONGITUDE)
    contacts = models.TextField(_("contacts"), max_length=1000, blank=True)
    photo = models.ImageField(_("photo of the site"), upload_to="posts/", blank=True)
    notes = models.TextField(_("notes"), max_length=2000, blank=True)

    class Meta:
        """In the order of their ids."""

        ordering = ["post_id"]
        verbose_name = _("post")
        verbose_name_plural = _("posts")

    def __str__(self) -> str:
        """Its name."""
        return self.name


class Officer(models.Model):
    """An officer of a unit; with a kelurahan, its Bhabinkamtibmas."""

    name = models.CharField(_("name"), max_length=64)
    rank = models.CharField(_("rank"), max_length=32, blank=True)
    number = models.CharField(_("service number"), max_length=32, unique=True)
    phone = models.CharField(_("telephone"), max_length=32, blank=True)
    unit = models.ForeignKey(Unit, models.PROTECT, verbose_name=_("unit"), null=True, blank=True)
    kelurahan = models.ForeignKey(
        Kelurahan, models.PROTECT, verbose_name=_("kelurahan"), null=True, blank=True
    )
    on_duty = models.BooleanField(_("on duty"), default=False)

    class Meta:
        """In the order of the names."""

        ordering = ["name"]
        verbose_name = _("officer")
        verbose_name_plural = _("officers")

    def __str__(self) -> str:
        """Rank and name."""
        return f"{self.rank} {self.name}".strip()
