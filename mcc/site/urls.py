"""Which view answers which address; each app declares its own."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

# Imported for what they register.
import mcc.api.admin
import mcc.community.admin
import mcc.people.admin
import mcc.registers.admin  # noqa: F401
from mcc.api.routes import urls as api_urls
from mcc.cases.proofs import shown as proofs
from mcc.escalation.views import shown as figures
from mcc.people.admin_site import site as registers
from mcc.site.health import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", registers.urls),
    path("health", health),
    path("api/v1/", include(api_urls())),
    path("figures/", figures, name="figures"),
    path("proofs/", proofs, name="proofs"),
    path("", include("mcc.anev.urls")),
    path("", include("mcc.community.urls")),
    path("visits/", include("mcc.visits.urls")),
    path("", include("mcc.people.urls")),
    path("", include("mcc.console.urls")),
]
