"""The register of the information page's texts."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.translation import gettext as _

from mcc.community.models import Section
from mcc.people.admin_site import RoleAdmin, site

# What somebody confirms.
_CONFIRMED = ("title", "text", "title_en", "text_en")


@admin.register(Section, site=site)
class SectionAdmin(RoleAdmin):
    """Texts for the public, by those who keep the registers."""

    see_right = keep_right = "registers"
    list_display = ("title", "order", "as_of", "responsible", "verified_by")

    def save_model(self, request: HttpRequest, obj: Section, form: Any, change: bool) -> None:
        """Save it; a text that has become another one is confirmed by nobody yet."""
        said = form.cleaned_data
        # Browsers end lines otherwise than files do: that alone is no other text.
        is_other = change and any(
            str(form.initial.get(name, "")).split() != said.get(name, "").split()
            for name in _CONFIRMED
        )
        if is_other and obj.verified_by and "verified_by" not in form.changed_data:
            obj.verified_by = ""
            messages.warning(request, _("The text has changed: it has to be confirmed anew."))
        super().save_model(request, obj, form, change)
