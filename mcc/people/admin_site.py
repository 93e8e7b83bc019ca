"""The registers' pages (Django's admin), behind our own signing in and our own roles.

What a role may keep up there stands in `mcc.people.roles`; Django's groups, permissions, `is_staff`
and `is_superuser` say nothing here.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from mcc.people.models import User


class RegistersSite(admin.AdminSite):
    """One site with the pages that signing in has elsewhere taken out."""

    site_header = _("Kentongan: registers")
    site_title = "Kentongan"
    index_title = _("Registers")

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether this person comes in at all."""
        return isinstance(request.user, User) and request.user.has_right("admin")

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the one page where people sign in.

        Raises:
            PermissionDenied: somebody has, whose role does not come in.
        """
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied
        wanted = request.GET.get("next", reverse("admin:index"))
        return redirect_to_login(wanted, reverse("people-sign-in"))

    def logout(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the one page where people sign out; a POST stays one."""
        return HttpResponseRedirect(reverse("people-sign-out"), preserve_request=True)

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the one page where people change their passwords."""
        return HttpResponseRedirect(reverse("people-password"))


site = RegistersSite()


class RoleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A register that `see_right` lets people see and `keep_right` lets them keep up."""

    see_right = "posts"
    keep_right = "registers"

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether it is named in the list of registers."""
        return _has(request, self.see_right)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether it is seen."""
        return _has(request, self.see_right) or _has(request, self.keep_right)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether a line is added."""
        return _has(request, self.keep_right)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether a line is changed."""
        return _has(request, self.keep_right)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether a line is deleted."""
        return _has(request, self.keep_right)


def _has(request: HttpRequest, right: str) -> bool:
    return isinstance(request.user, User) and request.user.has_right(right)
