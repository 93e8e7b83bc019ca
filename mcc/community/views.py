"""Posters, practice days and false alarms: plain pages for those who work with the posts.

They word and ask; what a drill is stands in `drills`, what is fair in `fairness`.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from django import forms
from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from mcc.alarms import AlarmRecord
from mcc.cases import picture
from mcc.cases.actions import Refused, act
from mcc.cases.models import Alarm, Entry
from mcc.community import drills as practice
from mcc.community.fairness import LADDER, Case, Decision, review
from mcc.community.models import NAME_CHARS_MAX, Drill
from mcc.community.posters import POSTERS_MAX, Poster, posters_pdf
from mcc.people.address import client_address
from mcc.people.gate import needs, person
from mcc.registers.models import Kecamatan, Post
from protocol.values import wall_ms

_DRILLS_LISTED = 100
_CASES_LISTED = 500
_RECORD = msgspec.json.Decoder(AlarmRecord)
_MONTH_MS = 30.4375 * 86_400_000
# The steps of the ladder, and the outcomes, in the words of people.
STEPS = {
    "none": gettext_lazy("looked at: nothing is to be done"),
    "talk": gettext_lazy("talk with the people of the RW"),
    "poster": gettext_lazy("put up a poster"),
    "practice": gettext_lazy("a practice day"),
    "cover": gettext_lazy("a cover over the button"),
}
OUTCOMES = {
    "real": gettext_lazy("real"),
    "false": gettext_lazy("false"),
    "prank": gettext_lazy("prank"),
    "test": gettext_lazy("test"),
}
PARTS = (
    gettext_lazy("0-6 h"),
    gettext_lazy("6-12 h"),
    gettext_lazy("12-18 h"),
    gettext_lazy("18-24 h"),
)


def _place(request: HttpRequest) -> dict[str, Any]:
    return {"address": client_address(request), "screen": ""}


def _done(request: HttpRequest, where: str, what: Callable[[], Any]) -> HttpResponse:
    """Do it, or say on the page why not."""
    try:
        what()
    except Refused as error:
        messages.error(request, error.why)
    return HttpResponseRedirect(where)


# --- posters ------------------------------------------------------------------------------------


@require_GET
@never_cache
@needs("practice")
def posters(request: HttpRequest) -> HttpResponse:
    """Choose posts and a size."""
    rows = Post.objects.select_related("kelurahan").order_by("name")
    shown = {
        "kecamatan": Kecamatan.objects.all(),
        "posts": rows,
        "public_url": settings.MCC.community.public_url,
    }
    return render(request, "community/posters.html", shown)


@require_GET
@never_cache
@needs("practice")
def poster_file(request: HttpRequest) -> HttpResponse:
    """The PDF: `post` or `kecamatan`, `size` A4 or A3."""
    rows = Post.objects.select_related("kelurahan__kecamatan__unit").order_by("post_id")
    post, kecamatan = request.GET.get("post", ""), request.GET.get("kecamatan", "")
    if post:
        rows, name = rows.filter(post_id=post), post
    else:
        rows, name = rows.filter(kelurahan__kecamatan=kecamatan), kecamatan
    chosen = list(rows[: POSTERS_MAX + 1])
    if not chosen:
        raise Http404
    if len(chosen) > POSTERS_MAX:
        said = _("A file has at most %(max)s posters.") % {"max": POSTERS_MAX}
        messages.error(request, said)
        return HttpResponseRedirect(reverse("posters"))
    size = "A3" if request.GET.get("size") == "A3" else "A4"
    # It hangs in Malang, whatever language its printer reads.
    with translation.override(settings.LANGUAGE_CODE):
        made = posters_pdf(_posters(request, chosen), size)  # type: ignore[arg-type]
    answer = HttpResponse(made, content_type="application/pdf")
    safe = re.sub(r"[^a-z0-9.-]", "", name)
    answer.headers["Content-Disposition"] = f'attachment; filename="poster-{safe}-{size}.pdf"'
    return answer


def _posters(request: HttpRequest, posts: list[Post]) -> list[Poster]:
    community = settings.MCC.community
    base = (community.public_url or request.build_absolute_uri("/")).rstrip("/")
    days = practice.next_day([one.post_id for one in posts], timezone.localdate())
    return [_poster(one, base, days.get(one.post_id), community.practice_day) for one in posts]


def _poster(post: Post, base: str, day: dt.date | None, usual: str) -> Poster:
    ward = post.kelurahan
    unit = getattr(ward.kecamatan, "unit", None) if ward else None
    return Poster(
        post=post.post_id,
        name=post.name,
        place=", ".join((ward.name, ward.kecamatan.name)) if ward else "",
        unit=unit.name if unit else _("Your Polsek"),
        phone=unit.phone if unit else "",
        address=base + reverse("information-post", args=[post.post_id]),
        practice=f"{day:%d-%m-%Y}" if day else usual,
    )


# --- practice days ------------------------------------------------------------------------------


class _Plan(forms.Form):
    name = forms.CharField(max_length=NAME_CHARS_MAX)
    day = forms.DateField()
    posts = forms.MultipleChoiceField()

    def __init__(self, data: Any, known: Iterable[str]) -> None:
        super().__init__(data)
        self.fields["posts"].choices = [(one, one) for one in known]  # type: ignore[attr-defined]


@never_cache
@needs("practice")
def drills(request: HttpRequest) -> HttpResponse:
    """The practice days, and a form to plan one."""
    posts = list(Post.objects.select_related("kelurahan__kecamatan").order_by("name"))
    form = None
    if request.method == "POST":
        form = _Plan(request.POST, [one.post_id for one in posts])
        if form.is_valid():
            said = form.cleaned_data
            try:
                made = practice.plan(
                    person(request), said["name"], said["day"], said["posts"], **_place(request)
                )
            except Refused as error:
                messages.error(request, error.why)
            else:
                return HttpResponseRedirect(reverse("drill", args=[made.pk]))
    shown = {
        "drills": Drill.objects.select_related("planned_by")[:_DRILLS_LISTED],
        "posts": posts,
        "form": form,
        "today": timezone.localdate(),
        "chosen": request.POST.getlist("posts"),
    }
    return render(request, "community/drills.html", shown)


@require_GET
@never_cache
@needs("practice")
def drill(request: HttpRequest, pk: int) -> HttpResponse:
    """One practice day: each post with its window, its presses, and who practised."""
    one = get_object_or_404(Drill.objects.select_related("planned_by"), pk=pk)
    rows = practice.practised(one)
    known = picture.post_pictures([row.post for row in rows])
    now_ms = time.time_ns() // 1_000_000
    shown = []
    for row in rows:
        said = known.get(row.post) or {}
        window = said.get("test_window")
        is_open = window is not None and window["until_ms"] > now_ms
        shown.append(
            {
                "row": row,
                "until_ms": window["until_ms"] if is_open and window else None,
                "connection": said.get("connection") or "unknown",
            }
        )
    done = sum(row.answered > 0 for row in rows)
    page = {"drill": one, "rows": shown, "done": done, "may_open": person(request).may("open_test")}
    return render(request, "community/drill.html", page)


@require_POST
@needs("practice")
def drill_open(request: HttpRequest, pk: int) -> HttpResponse:
    """Open a window for the chosen posts."""
    one = get_object_or_404(Drill, pk=pk)
    posts = request.POST.getlist("posts")[: practice.DRILL_POSTS_MAX]

    def ask() -> None:
        refused = practice.open_windows(person(request), one, posts, **_place(request))
        for post, why in refused.items():
            messages.error(request, f"{post}: {why}")

    return _done(request, reverse("drill", args=[pk]), ask)


@require_POST
@needs("practice")
def drill_end(request: HttpRequest, pk: int) -> HttpResponse:
    """End the practice day."""
    one = get_object_or_404(Drill, pk=pk)
    where = reverse("drill", args=[pk])
    return _done(request, where, lambda: practice.end(person(request), one, **_place(request)))


@require_POST
@needs("practice")
def drill_names(request: HttpRequest, pk: int) -> HttpResponse:
    """Write down who practised at one post: a name a line."""
    one = get_object_or_404(Drill, pk=pk)
    names = request.POST.get("names", "").splitlines()
    post = request.POST.get("post", "")
    where = reverse("drill", args=[pk])
    return _done(
        request,
        where,
        lambda: practice.write_down(person(request), one, post, names, **_place(request)),
    )


# --- false alarms -------------------------------------------------------------------------------


def _since_ms() -> int:
    months = settings.MCC.community.review_months
    return int(time.time_ns() / 1_000_000 - months * _MONTH_MS)


def _cases(rows: QuerySet[Alarm]) -> list[Case]:
    return [case for _post, case in _cases_by_post(rows)]


def _cases_by_post(rows: QuerySet[Alarm]) -> Iterator[tuple[str, Case]]:
    rows = rows.filter(is_open=False, kind="panic", raised_ms__gte=_since_ms())
    columns = ("post", "alarm_id", "raised_ms", "outcome", "body")
    for post, alarm_id, raised_ms, outcome, body in rows.values_list(*columns).iterator():
        record = _RECORD.decode(body)
        resolved = record.reached.resolved
        closed = resolved.at if resolved else record.closed_here
        closed_ms = raised_ms if closed is None else wall_ms(closed)
        yield post, Case(alarm_id, raised_ms, closed_ms, outcome)


def _decisions(**which: Any) -> dict[str, list[Decision]]:
    rows = Entry.objects.filter(action="measure", at_ms__gte=_since_ms(), **which).order_by("id")
    found: dict[str, list[Decision]] = defaultdict(list)
    for row in rows:
        step, why = str(row.detail.get("result", "")), str(row.detail.get("note", ""))
        found[row.post or ""].append(Decision(row.at_ms, step, row.operator, why))
    return found


@require_GET
@never_cache
@needs("practice")
def false_alarms(request: HttpRequest) -> HttpResponse:
    """Every post that raised a false alarm in those months; what wants a decision first."""
    cases: dict[str, list[Case]] = defaultdict(list)
    for post, case in _cases_by_post(Alarm.objects.all()):
        cases[post].append(case)
    decisions = _decisions()
    community = settings.MCC.community
    found = [
        (post, review(own, decisions[post], due_after=community.review_after))
        for post, own in cases.items()
    ]
    names = dict(Post.objects.filter(post_id__in=cases).values_list("post_id", "name"))
    shown = [
        {"post": post, "name": names.get(post, post), "review": one}
        for post, one in found
        if one.alarms
    ]
    shown.sort(key=lambda one: (not one["review"].is_due, -one["review"].alarms, one["name"]))  # type: ignore[attr-defined]
    page = {"posts": shown, "months": community.review_months, "due_after": community.review_after}
    return render(request, "community/false_alarms.html", page)


@require_GET
@never_cache
@needs("practice")
def false_alarms_of(request: HttpRequest, post: str) -> HttpResponse:
    """One post: its cases, their pattern, the ladder with what was decided."""
    rows = Alarm.objects.filter(post=post).order_by("-raised_ms")
    register = Post.objects.filter(post_id=post).first()
    if register is None and not rows.exists():
        raise Http404
    cases, decided = _cases(rows), _decisions(post=post)[post]
    community = settings.MCC.community
    one = review(cases, decided, due_after=community.review_after)
    page = {
        "post": post,
        "name": register.name if register else post,
        "review": one,
        "months": community.review_months,
        "cases": [
            {"case": case, "outcome": OUTCOMES.get(case.outcome, case.outcome)}
            for case in cases[:_CASES_LISTED]
        ],
        "pattern": list(zip(PARTS, one.by_part, strict=True)),
        "decisions": [
            {"decision": case, "step": STEPS.get(case.step, case.step)} for case in decided[::-1]
        ],
        "ladder": [(name, STEPS[name]) for name in (*LADDER, "none")],
        "next_step": STEPS[one.next_step] if one.next_step else None,
        "may_decide": person(request).may("measure"),
    }
    return render(request, "community/false_alarms_of.html", page)


@require_POST
@needs("practice")
def decide(request: HttpRequest, post: str) -> HttpResponse:
    """Write down what a person decided, with the reason."""
    if not person(request).may("measure"):
        return HttpResponse(status=403)
    step, why = request.POST.get("step", ""), " ".join(request.POST.get("why", "").split())
    return _done(
        request,
        reverse("false-alarms-of", args=[post]),
        lambda: act(
            person(request), "measure", post=post, result=step, note=why, **_place(request)
        ),
    )
