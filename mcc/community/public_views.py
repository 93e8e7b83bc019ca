"""The information page: for everybody, without an account, in the language of its address.

It shows what the registers hold for the public and nothing else of a post than its name, its ward
and who answers for it. It sets no cookie, so that a cache may keep it.
"""

from __future__ import annotations

from pathlib import Path

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation
from django.views.decorators.http import require_GET

from mcc.community.models import Section
from mcc.registers.models import Kecamatan, Kelurahan, Post, Unit

FRESH_S = 300
_WORKER = Path(__file__).with_name("static") / "community" / "worker.js"


@login_not_required
@require_GET
def information(request: HttpRequest, post: str | None = None) -> HttpResponse:
    """The page; the address on a poster names the post."""
    language = "en" if request.GET.get("lang") == "en" else "id"
    own = None
    if post is not None:
        rows = Post.objects.select_related("kelurahan__kecamatan__unit")
        own = rows.filter(post_id=post).first()
        if own is None:
            raise Http404
    with translation.override(language):
        page = render_to_string(
            "community/information.html",
            {
                "path": request.path,
                "language": language,
                "post": own,
                "unit": _unit(own),
                "areas": _areas(),
                "polresta": Unit.objects.filter(kind=Unit.Kind.POLRESTA).first(),
                "sections": [_shown(one, language) for one in Section.objects.all()],
            },
        )
    answer = HttpResponse(page)
    answer.headers["Content-Language"] = language
    answer.headers["Cache-Control"] = f"public, max-age={FRESH_S}"
    return answer


def _unit(post: Post | None) -> Unit | None:
    if post is None or post.kelurahan is None:
        return None
    unit: Unit | None = getattr(post.kelurahan.kecamatan, "unit", None)
    return unit


def _areas() -> list[dict[str, object]]:
    wards: dict[str, list[str]] = {}
    for name, kecamatan in Kelurahan.objects.order_by("name").values_list("name", "kecamatan_id"):
        wards.setdefault(kecamatan, []).append(name)
    return [
        {"name": one.name, "unit": getattr(one, "unit", None), "wards": wards.get(one.code, [])}
        for one in Kecamatan.objects.select_related("unit").order_by("name")
    ]


def _shown(section: Section, language: str) -> dict[str, object]:
    english = language == "en"
    text = section.text_en if english else section.text
    return {
        "slug": section.slug,
        "title": section.title_en if english else section.title,
        "lines": [line for line in text.splitlines() if line.strip()],
        "as_of": section.as_of,
        "responsible": section.responsible,
        "verified_by": section.verified_by,
    }


@login_not_required
@require_GET
def worker(_request: HttpRequest) -> HttpResponse:
    """What keeps the page on the telephone; its own address says how far it reaches: /info/."""
    answer = HttpResponse(_WORKER.read_bytes(), content_type="text/javascript; charset=utf-8")
    answer.headers["Cache-Control"] = "no-cache"
    return answer
