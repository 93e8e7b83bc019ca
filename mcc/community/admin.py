"""The register of the information page's texts."""

from __future__ import annotations

from django.contrib import admin

from mcc.community.models import Section
from mcc.people.admin_site import RoleAdmin, site


@admin.register(Section, site=site)
class SectionAdmin(RoleAdmin):
    """Texts for the public, by those who keep the registers."""

    see_right = keep_right = "registers"
    list_display = ("title", "order", "as_of", "responsible", "verified_by")
