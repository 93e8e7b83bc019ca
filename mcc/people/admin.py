"""The register of accounts: who works here, in which role, and letting them in again."""

from __future__ import annotations

from typing import Any

from axes.utils import reset
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mcc.people import codes
from mcc.people.admin_site import RoleAdmin, site
from mcc.people.models import User


class _NewAccount(AdminUserCreationForm):  # type: ignore[type-arg]
    """Name and a first password, which its owner has to change."""

    def save(self, commit: bool = True) -> Any:
        self.instance.password_given = True
        return super().save(commit)


class _GivenPassword(AdminPasswordChangeForm):  # type: ignore[type-arg]
    """A password for somebody who forgot theirs; they have to change it."""

    def save(self, commit: bool = True) -> Any:
        self.user.password_given = True
        return super().save(commit)


@admin.register(User, site=site)
class AccountAdmin(RoleAdmin, UserAdmin):  # type: ignore[type-arg]
    """Accounts are closed and not deleted: the record names them."""

    see_right = keep_right = "accounts"
    add_form = _NewAccount
    change_password_form = _GivenPassword
    list_display = ("username", "label", "role", "unit", "is_active", "last_login")
    list_filter = ("role", "is_active", "unit")
    search_fields = ("username", "first_name", "last_name")
    ordering = ("username",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    actions = ("let_in_again", "forget_app")
    _PERSON = ("first_name", "last_name", "role", "unit", "officer")
    fieldsets = (
        (None, {"fields": ("username", "password", "password_given")}),
        (_("Person"), {"fields": _PERSON}),
        (_("Account"), {"fields": ("is_active", "last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "usable_password", "password1", "password2")}),
        (_("Person"), {"fields": _PERSON}),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Nobody takes the own rights away, so that one administrator is always left."""
        if obj is not None and obj.pk == request.user.pk:
            return (*self.readonly_fields, "role", "is_active")
        return self.readonly_fields

    @admin.action(description=_("Let in again (shut out after wrong passwords)"))
    def let_in_again(self, request: HttpRequest, accounts: QuerySet[User]) -> None:
        """End the lock-outs of these accounts."""
        for account in accounts:
            reset(username=account.username)
            self.log_change(request, account, "let in again")
        self.message_user(request, _("They can sign in again."), messages.SUCCESS)

    @admin.action(description=_("Forget the app for one-time codes (phone lost)"))
    def forget_app(self, request: HttpRequest, accounts: QuerySet[User]) -> None:
        """Let these people set up an app anew at their next signing in."""
        for account in accounts:
            codes.forget(account)
            self.log_change(request, account, "app for one-time codes forgotten")
        self.message_user(
            request, _("They set up an app at their next signing in."), messages.SUCCESS
        )
