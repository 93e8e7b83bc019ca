"""The app: its signals are connected once the models are there."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PeopleConfig(AppConfig):
    """Accounts, roles, shifts."""

    name = "mcc.people"
    verbose_name = _("People")

    def ready(self) -> None:
        """Hear who signs in and out."""
        from mcc.people.signing import connect

        connect()
