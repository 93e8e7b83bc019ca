"""The registers of tokens and hooks, for administrators. A secret is shown once: when made."""

from __future__ import annotations

import secrets
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mcc.api import hooks, tokens
from mcc.api.models import Hook, Token
from mcc.people.admin_site import RoleAdmin, site

DAYS_MAX = 3_650


class _NewToken(forms.ModelForm):  # type: ignore[type-arg]
    days = forms.IntegerField(
        label=_("Days until it ends (empty: until revoked)"),
        min_value=1,
        max_value=DAYS_MAX,
        required=False,
    )

    class Meta:
        """Whose it is and what it may."""

        model = Token
        fields = ("name", "user", "may_act")


@admin.register(Token, site=site)
class TokenAdmin(RoleAdmin):
    """Tokens are made and revoked, never changed."""

    see_right = keep_right = "accounts"
    form = _NewToken
    list_display = ("name", "start", "user", "may_act", "is_revoked")
    list_select_related = ("user",)
    actions = ("revoke",)

    @admin.display(boolean=True, description=_("revoked"))
    def is_revoked(self, token: Token) -> bool:
        """Whether it counts no more."""
        return token.revoked_ms is not None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only the list, for its action."""
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: the record names it."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Make the token and show it, once."""
        said = form.cleaned_data
        made, text = tokens.make(
            said["name"], said["user"], may_act=said["may_act"], days=said["days"]
        )
        obj.pk = made.pk
        obj.__dict__.update(made.__dict__)
        words = _("This is the token. It is not shown again: %(token)s") % {"token": text}
        messages.warning(request, words)

    @admin.action(description=_("Revoke"))
    def revoke(self, request: HttpRequest, chosen: QuerySet[Token]) -> None:
        """Let these count no more."""
        for token in chosen:
            tokens.revoke(token)
            self.log_change(request, token, "revoked")


class _HookForm(forms.ModelForm):  # type: ignore[type-arg]
    url = forms.URLField(label=_("address"), max_length=500, assume_scheme="https")

    def clean_url(self) -> str:
        """Only where alarms do not go in the clear."""
        url = str(self.cleaned_data["url"])
        hooks.check_url(url)
        return url


@admin.register(Hook, site=site)
class HookAdmin(RoleAdmin):
    """Addresses that are told of alarms."""

    see_right = keep_right = "accounts"
    form = _HookForm
    fields = ("name", "url", "enabled")
    list_display = ("name", "url", "enabled", "failures", "why")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Keep it; a new one gets its secret, which is shown once."""
        if not change:
            obj.secret = secrets.token_urlsafe(32)
            obj.cursor = hooks.newest()
            words = _("The secret that signs. It is not shown again: %(secret)s")
            messages.warning(request, words % {"secret": obj.secret})
        obj.next_ms = 0
        super().save_model(request, obj, form, change)
