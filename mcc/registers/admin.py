"""The registers' pages: posts with their photos, units, kelurahan, officers."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import Error, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _

from mcc.people.admin_site import RoleAdmin, site
from mcc.registers import sheets
from mcc.registers.models import Kecamatan, Kelurahan, Officer, Post, Unit
from mcc.registers.photos import Unusable, prepared


class _Importable(RoleAdmin):
    """A register that can be filled from a CSV file: looked at first, then put in."""

    change_list_template = "admin/registers/importable_list.html"
    sheet: sheets.Kind

    def get_urls(self) -> list[URLPattern]:
        """The page of the import beside those of the register."""
        name = f"registers_{self.opts.model_name}_import"
        view = self.admin_site.admin_view(self.import_page)
        return [path("import/", view, name=name), *super().get_urls()]

    def import_page(self, request: HttpRequest) -> HttpResponse:
        """A file is sent, looked at, and put in by a second step."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        shown: dict[str, Any] = {"columns": ", ".join(self.sheet.columns)}
        if request.method == "POST":
            content = _sent(request)
            if content is None:
                shown["problems"] = [_("Choose a file.")]
            elif "put_in" in request.POST:
                done = self._put_in(request, content, shown)
                if done is not None:
                    return done
            else:
                shown |= _preview(sheets.read(self.sheet, content), content)
        context = {**self.admin_site.each_context(request), "title": _("Import from CSV"), **shown}
        return TemplateResponse(request, "admin/registers/import.html", context)

    def _put_in(
        self, request: HttpRequest, content: bytes, shown: dict[str, Any]
    ) -> HttpResponse | None:
        try:
            done = sheets.save(self.sheet, content)
        except Error:
            shown["problems"] = [_("The database refuses it; nothing was changed.")]
            return None
        if done.problems:
            shown |= _preview(done, content)
            return None
        for row in (*done.new, *done.changed):
            self.log_change(request, row, "CSV")
        count = len(done.new) + len(done.changed)
        messages.success(request, _("%(count)s lines were put in.") % {"count": count})
        return HttpResponseRedirect("../")


def _sent(request: HttpRequest) -> bytes | None:
    """The file, or the one that was looked at; one byte over the bound tells that it is over."""
    file = request.FILES.get("file")
    if isinstance(file, UploadedFile):
        return bytes(file.read(sheets.FILE_BYTES_MAX + 1))
    content = request.POST.get("content")
    return None if content is None else content.encode()


def _preview(sheet: sheets.Sheet, content: bytes) -> dict[str, Any]:
    if sheet.problems:
        return {"problems": sheet.problems, "left_out": sheet.problems_left_out}
    return {
        "looked_at": True,
        "new": len(sheet.new),
        "changed": len(sheet.changed),
        "same": sheet.same,
        "first": (*sheet.new, *sheet.changed)[:20],
        "content": content.decode("utf-8-sig"),
    }


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
class PostAdmin(_Importable):
    """Posts, by whoever puts them up."""

    sheet = sheets.POSTS
    keep_right = "posts"
    form = _PostForm
    list_display = ("post_id", "name", "kelurahan", "rw", "has_place", "has_photo")
    list_filter = ("kelurahan__kecamatan",)
    list_select_related = ("kelurahan",)
    search_fields = ("post_id", "name", "address", "kelurahan__name")

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
class OfficerAdmin(_Importable):
    """Officers, with who is on duty now."""

    sheet = sheets.OFFICERS
    list_display = ("name", "rank", "number", "unit", "kelurahan", "phone", "on_duty")
    list_editable = ("on_duty",)
    list_filter = ("on_duty", "unit")
    list_select_related = ("unit", "kelurahan")
    search_fields = ("name", "number", "kelurahan__name")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A box with its name: in the list no label stands beside it."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "on_duty" and field is not None:
            field.widget.attrs["aria-label"] = db_field.verbose_name
        return field


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
