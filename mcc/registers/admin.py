"""The registers' pages: posts with their photos, units, kelurahan, officers."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mcc.people.admin_site import RoleAdmin, site
from mcc.registers.models import Kecamatan, Kelurahan, Officer, Post, Unit
from mcc.registers.photos import Unusable, prepared


class _PostForm(forms.ModelForm):  # type: ignore[type-arg]
    """A post; its photo is made small and stripped of what its camera wrote into it."""

    def clean_photo(self) -> Any:
        """The photo as it will be kept."""
        photo = self.cleaned_data.get("photo")
        if not isinstance(photo, UploadedFile):
            return photo
        try:
            return prepared(photo)
        except Unusable as error:
            raise ValidationError(str(error)) from None


@admin.register(Post, site=site)
class PostAdmin(RoleAdmin):
    """Posts, by whoever puts them up."""

    keep_right = "posts"
    form = _PostForm
    list_display = ("post_id", "name", "kelurahan", "rw", "has_place", "has_photo")
    list_filter = ("kelurahan__kecamatan",)
    list_select_related = ("kelurahan",)
    search_fields = ("post_id", "name", "address", "kelurahan__name")
    autocomplete_fields = ("kelurahan",)

    @admin.display(boolean=True, description=_("place"))
    def has_place(self, post: Post) -> bool:
        """Whether somebody has surveyed it."""
        return post.lat is not None and post.lon is not None

    @admin.display(boolean=True, description=_("photo"))
    def has_photo(self, post: Post) -> bool:
        """Whether there is a photo of the site."""
        return bool(post.photo)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The id of a post is that of its certificate and stays."""
        return ("post_id",) if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Keep it; a photo that was replaced or taken away goes from the disk."""
        before = Post.objects.filter(pk=obj.pk).first() if change else None
        super().save_model(request, obj, form, change)
        if before is not None and before.photo and before.photo != obj.photo:
            old = before.photo
            transaction.on_commit(lambda: old.storage.delete(str(old.name)))


@admin.register(Unit, site=site)
class UnitAdmin(RoleAdmin):
    """Who can be sent."""

    list_display = ("name", "slug", "kind", "kecamatan", "phone")
    list_select_related = ("kecamatan",)
    search_fields = ("name", "slug")


@admin.register(Officer, site=site)
class OfficerAdmin(RoleAdmin):
    """Officers, with who is on duty now."""

    list_display = ("name", "rank", "number", "unit", "kelurahan", "phone", "on_duty")
    list_editable = ("on_duty",)
    list_filter = ("on_duty", "unit")
    list_select_related = ("unit", "kelurahan")
    search_fields = ("name", "number", "kelurahan__name")
    autocomplete_fields = ("unit", "kelurahan")


@admin.register(Kelurahan, site=site)
class KelurahanAdmin(RoleAdmin):
    """The wards that came with the project; their names and centroids can be mended."""

    list_display = ("code", "name", "kecamatan")
    list_filter = ("kecamatan",)
    search_fields = ("code", "name")


@admin.register(Kecamatan, site=site)
class KecamatanAdmin(RoleAdmin):
    """The districts that came with the project."""

    list_display = ("code", "name")
    search_fields = ("code", "name")
