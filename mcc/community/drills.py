"""Practice days: test windows that a named person opens, and who practised in them.

A drill opens nothing by itself: whoever looks at its page asks for each window, of at most 15
minutes, by the one door for what people do (`mcc.cases.actions`). Whether a press in it is a test
is the gateway's to say; three more within 30 s make it a call for help, drill or not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from mcc.cases.actions import Refused, act
from mcc.cases.changes import changes
from mcc.cases.models import Alarm, Entry
from mcc.community.models import Drill, DrillPost, DrillWindow, Participant
from mcc.people.models import User
from mcc.registers.models import Post
from protocol.messages import TEST_WINDOW_MINUTES_MAX

# Each asks for a command: the outbox holds far more.
DRILL_POSTS_MAX = 100
PARTICIPANTS_MAX = 500
# An order has to reach the gateway before it counts; a press comes back by as long a way.
_SLACK_MS = 60_000


@dataclass(frozen=True)
class Practised:
    """What one post did in a drill.

    `tests`: presses that came as practice; `answered`: those that a person answered; `calls`: real
    calls for help in the same time.
    """

    post: str
    name: str
    windows: int
    tests: int
    answered: int
    calls: int
    names: tuple[str, ...]


def plan(
    user: User, name: str, day: dt.date, posts: Sequence[str], *, address: str, screen: str = ""
) -> Drill:
    """Write a drill down; it is open until it is ended.

    Raises:
        Refused: too many posts, none, or some that nobody knows.
    """
    wanted = sorted(set(posts))
    if not wanted:
        raise Refused("wrong", _("Choose at least one post."))
    if len(wanted) > DRILL_POSTS_MAX:
        raise Refused("wrong", _("A drill has at most %(max)s posts.") % {"max": DRILL_POSTS_MAX})
    if Post.objects.filter(post_id__in=wanted).count() != len(wanted):
        raise Refused("unknown", _("There is no such post."))
    with changes() as change:
        drill = Drill.objects.create(name=name.strip(), day=day, planned_by=user)
        DrillPost.objects.bulk_create(DrillPost(drill=drill, post=one) for one in wanted)
        line = _Line(user, drill, address, screen)
        line.write("drill_planned", change.at_ms, day=day.isoformat(), posts=len(wanted))
    return drill


def open_windows(
    user: User, drill: Drill, posts: Iterable[str], *, address: str, screen: str = ""
) -> dict[str, str]:
    """Ask for a window for each of these posts of the drill; the refusals, by post, in words.

    Raises:
        Refused: the drill has ended.
    """
    if drill.ended_ms is not None:
        raise Refused("wrong", _("This drill has ended."))
    refused = {}
    minutes = TEST_WINDOW_MINUTES_MAX
    for post in sorted(set(posts) & set(_posts_of(drill))):
        try:
            with changes() as change:
                act(user, "open_test", post=post, minutes=minutes, address=address, screen=screen)
                DrillWindow.objects.create(
                    drill=drill,
                    post=post,
                    asked_ms=change.at_ms,
                    minutes=minutes,
                    operator=user.label,
                )
        except Refused as error:
            refused[post] = error.why
    return refused


def end(user: User, drill: Drill, *, address: str, screen: str = "") -> None:
    """End the drill and close the windows that may still be open."""
    with changes() as change:
        if drill.ended_ms is not None:
            return
        drill.ended_ms = change.at_ms
        drill.save()
        _Line(user, drill, address, screen).write("drill_ended", change.at_ms)
    for window in drill.windows.filter(asked_ms__gt=drill.ended_ms - _length_ms()):
        try:
            act(user, "close_test", post=window.post, address=address, screen=screen)
        except Refused:
            # It is being closed, or nobody knows of it: it ends by itself in any case.
            continue


def write_down(
    user: User,
    drill: Drill,
    post: str,
    names: Iterable[str],
    *,
    address: str,
    screen: str = "",
) -> None:
    """Keep the names of those who practised at a post, instead of those that were kept.

    The record says how many, and never who.

    Raises:
        Refused: the post is not in the drill, or there are too many.
    """
    wanted = list(dict.fromkeys(name for one in names if (name := _as_kept(one))))
    if post not in _posts_of(drill):
        raise Refused("unknown", _("There is no such post."))
    if len(wanted) > PARTICIPANTS_MAX:
        raise Refused("wrong", _("At most %(max)s names a post.") % {"max": PARTICIPANTS_MAX})
    with changes() as change:
        Participant.objects.filter(drill=drill, post=post).delete()
        Participant.objects.bulk_create(
            Participant(drill=drill, post=post, name=one) for one in wanted
        )
        line = _Line(user, drill, address, screen)
        line.write("drill_names", change.at_ms, post=post, names=len(wanted))


def _as_kept(name: str) -> str:
    """One name in one line: what no column holds or nobody sees is left out, not the name."""
    longest = Participant._meta.get_field("name").max_length or 0
    spaced = " ".join(name.split())
    return "".join(one for one in spaced if one.isprintable()).strip()[:longest]


@dataclass(frozen=True)
class _Line:
    """A line of the record about a drill: who did it and from where."""

    user: User
    drill: Drill
    address: str
    screen: str

    def write(self, action: str, at_ms: int, *, post: str | None = None, **detail: object) -> None:
        """Inside the transaction that does it."""
        Entry(
            at_ms=at_ms,
            action=action,
            post=post,
            operator=self.user.label,
            role=self.user.role,
            user_id=self.user.pk,
            address=self.address[:45],
            screen=self.screen.replace("\x00", "")[:36],
            detail={"drill": self.drill.pk, **detail},
        ).save()


def practised(drill: Drill) -> list[Practised]:
    """What each post of the drill did in its windows."""
    posts = _posts_of(drill)
    spans: dict[str, list[tuple[int, int]]] = {post: [] for post in posts}
    for window in drill.windows.all():
        end_ms = window.asked_ms + window.minutes * 60_000
        spans[window.post].append((window.asked_ms, end_ms + _SLACK_MS))
    every = [span for of_post in spans.values() for span in of_post]
    alarms = []
    if every:
        first, last = min(span[0] for span in every), max(span[1] for span in every)
        rows = Alarm.objects.filter(post__in=posts, raised_ms__gte=first, raised_ms__lte=last)
        alarms = [
            row
            for row in rows.only("post", "kind", "is_answered", "raised_ms")
            if any(begin <= row.raised_ms <= end for begin, end in spans[row.post])
        ]
    labels = dict(Post.objects.filter(post_id__in=posts).values_list("post_id", "name"))
    names: dict[str, list[str]] = {post: [] for post in posts}
    for one in drill.participants.order_by("id"):
        names[one.post].append(one.name)
    shown = []
    for post in posts:
        own = [row for row in alarms if row.post == post]
        tests = [row for row in own if row.kind == "test"]
        shown.append(
            Practised(
                post=post,
                name=labels.get(post, post),
                windows=len(spans[post]),
                tests=len(tests),
                answered=sum(row.is_answered for row in tests),
                calls=sum(row.kind == "panic" for row in own),
                names=tuple(names[post]),
            )
        )
    return shown


def next_day(posts: Iterable[str], today: dt.date) -> dict[str, dt.date]:
    """The day of the next drill of each post that has one planned."""
    rows = DrillPost.objects.filter(
        post__in=list(posts), drill__day__gte=today, drill__ended_ms=None
    )
    days: dict[str, dt.date] = {}
    for post, day in rows.order_by("-drill__day").values_list("post", "drill__day"):
        days[post] = day
    return days


def _posts_of(drill: Drill) -> list[str]:
    return list(drill.posts.order_by("post").values_list("post", flat=True))


def _length_ms() -> int:
    return TEST_WINDOW_MINUTES_MAX * 60_000 + _SLACK_MS
