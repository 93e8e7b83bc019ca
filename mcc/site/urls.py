"""Which view answers which address; each app declares its own."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from mcc.site.health import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("health", health),
    path("", include("mcc.console.urls")),
]
