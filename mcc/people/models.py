"""Accounts, shifts and screens. What a role may do stands in `mcc.people.roles`, not here."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from mcc.people.roles import OWN_AREA_ONLY, has_right, may
from protocol.values import LABEL_CHARS_MAX


class User(AbstractUser):
    """One person. There is no default account; `kentongan-mcc setup` makes the first."""

    class RoleChoice(models.TextChoices):
        """The roles of `mcc.people.roles`, in the words of people."""

        OPERATOR = "operator", _("operator")
        PICKET = "picket", _("picket")
        SUPERVISOR = "supervisor", _("supervisor")
        TECHNICIAN = "technician", _("technician")
        ADMINISTRATOR = "administrator", _("administrator")
        BHABINKAMTIBMAS = "bhabinkamtibmas", "Bhabinkamtibmas"

    role = models.CharField(_("role"), max_length=16, choices=RoleChoice.choices)
    # A picket's unit: its area is what the picket sees.
    unit = models.ForeignKey(
        "registers.Unit", models.PROTECT, verbose_name=_("unit"), null=True, blank=True
    )

    # Who a Bhabinkamtibmas is in the register of officers, which also says of which kelurahan.
    officer = models.OneToOneField(
        "registers.Officer",
        models.PROTECT,
        verbose_name=_("officer"),
        null=True,
        blank=True,
        related_name="account",
    )

    # The password was chosen by somebody else and has to be changed at the first use.
    password_given = models.BooleanField(_("has to choose a password"), default=False)

    class Meta:
        """A picket without a unit would see nothing; the form says so before the database does."""

        verbose_name = _("account")
        verbose_name_plural = _("accounts")

    def clean(self) -> None:
        """Refuse a picket without a unit, and a Bhabinkamtibmas whom the register does not know.

        Raises:
            ValidationError: there is none.
        """
        super().clean()
        if self.role in OWN_AREA_ONLY and self.unit_id is None:
            raise ValidationError({"unit": _("A picket needs a unit: its area is what it sees.")})

        if has_right(self.role, "visit") and self.officer_id is None:
            raise ValidationError(
                {"officer": _("A Bhabinkamtibmas needs a line in the register of officers.")}
            )

    @property
    def label(self) -> str:
        """The name that goes on the wire and into the record."""
        return (self.get_full_name() or self.get_username())[:LABEL_CHARS_MAX]

    def may(self, action: str) -> bool:
        """Whether this person's role allows an action."""
        return self.is_active and may(self.role, action)

    def has_right(self, right: str) -> bool:
        """Whether this person's role allows to look at something."""
        return self.is_active and has_right(self.role, right)


class Shift(models.Model):
    """From when to when somebody answered for the calls that come in."""

    user = models.ForeignKey(User, models.PROTECT, related_name="shifts")
    began_ms = models.BigIntegerField()
    ended_ms = models.BigIntegerField(null=True, blank=True)
    handed_to = models.ForeignKey(
        User, models.PROTECT, null=True, blank=True, related_name="shifts_taken"
    )

    class Meta:
        """One open shift for each person."""

        constraints = [
            models.UniqueConstraint(
                fields=["user"], condition=models.Q(ended_ms=None), name="one_open_shift"
            )
        ]


class Screen(models.Model):
    """One browser in which the console is open, as it last said of itself.

    `sound`: its audio is running, so that a call would be heard.
    """

    screen_id = models.CharField(max_length=36, primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="screens")
    seen_ms = models.BigIntegerField(db_index=True)
    sound = models.BooleanField(default=False)
