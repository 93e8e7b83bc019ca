"""A year of a city's life in a real database, the same for the same seed: 57 kelurahan, 300 posts.

Rates are those that public reports name: nine calls of ten are none, more come at night and at
weekends, and a few posts make most of them. Beside the random ones there are events on the very
edges of weeks, of posts that stand in no register, and of weeks before and after.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field

import msgspec

from mcc.alarms import AlarmRecord
from mcc.anev.figures import DAY_MS, HOUR_MS, WEEK_MS
from mcc.cases.models import Alarm, Entry, FaultLife, PostDocument
from mcc.people.models import User
from mcc.registers.models import Kelurahan, Officer, Post, Unit
from mcc.visits.models import Visit
from protocol.messages import Location, MccPost, Raised, Selftest, Step, Steps
from protocol.values import timestamp

POSTS = 300
WEEKS = 52
CALLS_A_WEEK = 26
PRACTICE_A_WEEK = 12
VISITS = 900  # in the last two weeks and the one after
OPERATORS = ("Sari", "Budi", "Rini")
NOTES = (
    "anak-anak bermain di pos",
    "ketua RW ditelepon, salah tekan",
    "pencurian sepeda motor, korban diantar ke Polsek",
    "=SUM(A1:A9)",
    "tombol terkena hujan; teknisi diminta datang",
    "perkelahian, sudah bubar saat petugas tiba",
    "-",
)
OUTCOMES = {"false": 78, "prank": 10, "real": 9, "test": 3}  # of a hundred
# Hour by hour, beginning at midnight.
BY_HOUR = (6, 6, 5, 3, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8, 8, 8, 7)
FAULTS = ("silent", "silent", "silent", "button_stuck", "mains_lost", "tamper", "gps_lost")


@dataclass
class Year:
    """Fills the database. `begin_ms`: the Monday with which the year begins (Unix ms)."""

    begin_ms: int
    seed: int = 1
    weeks: int = WEEKS
    _random: random.Random = field(init=False)
    _posts: list[str] = field(init=False, default_factory=list)
    _alarms: list[Alarm] = field(init=False, default_factory=list)
    _entries: list[Entry] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def end_ms(self) -> int:
        """The end of the year's last week."""
        return self.begin_ms + self.weeks * WEEK_MS

    def fill(self) -> None:
        """Write everything."""
        self._register()
        self._calls()
        self._edges()
        Alarm.objects.bulk_create(self._alarms, batch_size=500)
        Entry.objects.bulk_create(self._entries, batch_size=500)
        FaultLife.objects.bulk_create(self._faults(), batch_size=500)
        self._visits()

    # --- registers ---

    def _register(self) -> None:
        wards = list(Kelurahan.objects.select_related("kecamatan").order_by("code"))
        posts = []
        for n in range(POSTS):
            ward = wards[n % len(wards)]
            name = f"{ward.kecamatan.name}-{ward.name}".lower().replace(" ", "-")
            posts.append(
                Post(
                    post_id=f"mlg-{name}-rw{n // len(wards) + 1:02}",
                    name=f"Pos {ward.name} RW {n // len(wards) + 1:02}",
                    # Two that nobody has registered yet.
                    kelurahan=None if n in (7, 133) else ward,
                )
            )
        Post.objects.bulk_create(posts)
        self._posts = [one.post_id for one in posts]
        units = dict(Unit.objects.values_list("kecamatan", "slug"))
        Officer.objects.bulk_create(
            Officer(
                name=f"Petugas {ward.name}",
                rank="Aiptu",
                number=f"8001{n:04}",
                unit_id=units[ward.kecamatan_id],
                kelurahan=ward,
            )
            for n, ward in enumerate(wards)
        )
        # One with no kelurahan of the own, one of the Polresta's.
        Officer.objects.create(name="Danu", number="1", unit_id=units[wards[0].kecamatan_id])
        Officer.objects.create(name="Eka", number="2", unit_id="polresta")
        PostDocument.objects.bulk_create(self._documents(), batch_size=500)

    def _documents(self) -> list[PostDocument]:
        documents = []
        # Some are installed and have never been heard of; one is heard of and not registered.
        for post in (*self._posts[: POSTS - 12], "mlg-unknown-rw01"):
            days = self._random.choice((0.2, 0.4, 0.6, 0.8, 0.3, 12, 29.9, 30.1, 45, 200))
            test = Selftest(
                alarm_id=self._id(),
                ended_at=timestamp(self.end_ms - int(days * DAY_MS)),
                circuit="looped",
                on_disk=True,
                proven_at=timestamp(self.end_ms - int(days * DAY_MS)),
            )
            said = MccPost(
                post=post,
                gateway="mlg",
                connection="online",
                at=timestamp(self.end_ms),
                selftest=test if self._random.random() < 0.9 else None,
            )
            documents.append(
                PostDocument(
                    post=post,
                    gateway="mlg",
                    connection="online",
                    body=msgspec.json.encode(said).decode(),
                )
            )
        return documents

    # --- calls ---

    def _calls(self) -> None:
        # A few posts cry wolf: most of the calls come from a tenth of them.
        weights = [self._random.paretovariate(1.2) for _ in self._posts]
        # One week more than the year: what comes after it must be in no figure of it.
        for week in range(self.weeks + 1):
            begin_ms = self.begin_ms + week * WEEK_MS
            for _ in range(self._about(CALLS_A_WEEK)):
                [post] = self._random.choices(self._posts, weights)
                self._call(post, begin_ms + self._moment(), week)
            for _ in range(self._about(PRACTICE_A_WEEK)):
                at_ms = begin_ms + 5 * DAY_MS + self._random.randrange(9 * HOUR_MS, 11 * HOUR_MS)
                self._call(self._random.choice(self._posts), at_ms, week, kind="test")

    def _about(self, mean: int) -> int:
        return max(0, round(self._random.gauss(mean, mean**0.5)))

    def _moment(self) -> int:
        [day] = self._random.choices(range(7), (2, 2, 2, 2, 3, 4, 4))
        [hour] = self._random.choices(range(24), BY_HOUR)
        return day * DAY_MS + hour * HOUR_MS + self._random.randrange(HOUR_MS)

    def _after(self, at_ms: int, median_s: float, spread: float) -> int:
        return at_ms + int(1000 * median_s * self._random.lognormvariate(0, spread))

    def _call(
        self, post: str, at_ms: int, week: int, *, kind: str = "panic", **fields: object
    ) -> None:
        chance = self._random.random
        known = self._random.choices(("computed", "post_clock", "before"), (88, 10, 2))[0]
        received_ms = self._after(at_ms, 0.4, 1.0)
        acknowledged_ms = self._after(received_ms, 17, 0.7)
        # The last week has some that nobody has closed, and one that nobody has answered.
        is_open = week >= self.weeks - 1 and chance() < 0.15
        is_seen = not is_open or chance() < 0.6
        outcome = self._random.choices([*OUTCOMES], [*OUTCOMES.values()])[0]
        is_sent = kind == "panic" and is_seen and (outcome == "real" or chance() < 0.5)
        sent_ms = self._after(acknowledged_ms, 30, 0.6)
        resolved_ms = self._after(sent_ms, 1500, 0.5)
        operator = self._random.choice(OPERATORS)
        is_gone = not is_open and chance() < 0.02
        note = self._random.choice(NOTES) if chance() < 0.4 else None

        def step(at: int, by: str | None = None) -> Step:
            return Step(at=timestamp(at), operator=by)

        reached = {"received": step(received_ms), "delivered": step(received_ms + 90)}
        # Some are closed at once, without an acknowledgement before.
        if is_seen and chance() < 0.97:
            reached["acknowledged"] = step(acknowledged_ms, operator)
        if is_sent:
            reached["dispatched"] = step(sent_ms, operator)
        if not is_open and not is_gone:
            reached["resolved"] = step(resolved_ms, operator)
        state = list(reached)[-1]
        is_over = "resolved" in reached
        record = AlarmRecord(
            post=post,
            alarm_id=self._id(),
            gateway="mlg",
            kind=kind,  # type: ignore[arg-type]
            state=state,  # type: ignore[arg-type]
            raised=Raised(at=timestamp(at_ms), known=known),  # type: ignore[arg-type]
            reached=Steps(**reached),
            presses_ms=(-900, -400, 0),
            location=Location(lat=-7.94, lon=112.61, source="surveyed"),
            unit="Polsek Klojen" if is_sent else None,
            outcome=(outcome if kind == "panic" else "test") if is_over else None,  # type: ignore[arg-type]
            note=note if is_over else None,
            closed_here=timestamp(resolved_ms) if is_gone else None,
        )
        record = msgspec.structs.replace(record, **fields)
        self._alarms.append(
            Alarm(
                alarm_id=record.alarm_id,
                post=post,
                gateway="mlg",
                is_open=record.is_open,
                is_answered=record.is_answered,
                kind=record.kind,
                state=record.state,
                outcome=record.outcome or "",
                raised_ms=at_ms,
                heard_ms=received_ms + 90,
                body=msgspec.json.encode(record).decode(),
            )
        )
        if is_over and note and chance() < 0.8:
            self._entry("resolve", record, resolved_ms, operator, note)
        if chance() < 0.15:
            self._entry("note", record, acknowledged_ms + 5, operator, "ditelepon: aman")
        if is_sent and chance() < 0.85:
            there_ms = self._after(sent_ms, 480, 0.5)
            self._entry("on_scene", record, there_ms, "Dewi", "")
            if chance() < 0.2:
                self._entry("on_scene", record, there_ms + 60_000, "Agus", "")

    def _entry(self, action: str, alarm: AlarmRecord, at_ms: int, who: str, note: str) -> None:
        self._entries.append(
            Entry(
                at_ms=at_ms,
                action=action,
                alarm_id=alarm.alarm_id,
                post=alarm.post,
                operator=who,
                role="operator",
                detail={"note": note} if note else {},
            )
        )

    def _edges(self) -> None:
        """On the first and the last millisecond of weeks, one by a post nobody knows."""
        for week in (self.weeks - n for n in (14, 13, 12, 2, 1, 0)):
            at_ms = self.begin_ms + week * WEEK_MS
            self._call(self._posts[week % 40], at_ms, week)
            self._call("mlg-unknown-rw01", at_ms - 1, week - 1)
            self._call("mlg-nobody-knows-rw01", at_ms + 1, week)

    # --- faults ---

    def _faults(self) -> list[FaultLife]:
        lives = []
        standing = set()
        for _ in range(POSTS * 9):
            post = self._random.choice((*self._posts, "mlg-unknown-rw01"))
            fault = self._random.choice(FAULTS)
            raised_ms = self.begin_ms + self._random.randrange(self.weeks * WEEK_MS + DAY_MS)
            cleared_ms: int | None = self._after(raised_ms, 3 * 3600, 1.8)
            if cleared_ms is None or cleared_ms > self.end_ms + DAY_MS:
                cleared_ms = None
                if (post, fault) in standing:
                    continue
                standing.add((post, fault))
            lives.append((f"post/{post}", fault, raised_ms, cleared_ms))
        # Around the ends of a week, and one that is no post's.
        for n, (raised, cleared) in enumerate(
            ((-HOUR_MS, 0), (-HOUR_MS, 1), (WEEK_MS - 1, WEEK_MS), (WEEK_MS, None), (-1, None))
        ):
            begin_ms = self.end_ms - WEEK_MS
            ended_ms = None if cleared is None else begin_ms + cleared
            lives.append((f"post/{self._posts[50 + n]}", "silent", begin_ms + raised, ended_ms))
        for back, hours in ((7.2, 9), (4, 0.5), (0.1, None), (-0.5, 2), (60, 3)):
            raised_ms = self.end_ms - int(back * DAY_MS)
            ended_ms = None if hours is None else raised_ms + int(hours * HOUR_MS)
            lives.append(("gateway/mlg", "gateway_silent", raised_ms, ended_ms))
        lives.append(("gateway/mlg", "journal_failing", self.end_ms - HOUR_MS, None))
        return [
            FaultLife(owner=owner, fault=fault, raised_ms=raised_ms, cleared_ms=cleared_ms)
            for owner, fault, raised_ms, cleared_ms in dict.fromkeys(lives)
        ]

    # --- visits ---

    def _visits(self) -> None:
        """Of the last weeks: three of four officers go out, some posts are checked."""
        author = User.objects.create(username="author", role="supervisor")
        officers = list(Officer.objects.order_by("pk"))
        wards = {one.post_id: one.kelurahan_id for one in Post.objects.all()}
        visits = []
        for n in range(VISITS):
            officer = officers[min(int(self._random.paretovariate(1) * 9), len(officers) - 1)]
            # Now and then somebody helps out in another kelurahan.
            ward = officer.kelurahan_id if self._random.random() < 0.95 else None
            ward = ward or "35.73.01.1001"
            at_ms = self.end_ms - 2 * WEEK_MS + self._random.randrange(3 * WEEK_MS)
            if n < 4:
                at_ms = self.end_ms - WEEK_MS * (n // 2) - n % 2
            posts = [post for post, kelurahan in wards.items() if kelurahan == ward]
            post = self._random.choice(posts) if self._random.random() < 0.4 else ""
            visits.append(
                Visit(
                    visit_id=self._id(),
                    author=author,
                    officer=officer,
                    kelurahan_id=ward,
                    visited_ms=at_ms,
                    received_ms=at_ms + 60_000,
                    kind="post" if post else "household",
                    purpose="post" if post else "greeting",
                    name="Pak Slamet",
                    post=post,
                    pressed=self._random.choice((True, False, None)) if post else None,
                    lamp=True if post else None,
                )
            )
        Visit.objects.bulk_create(visits, batch_size=500)

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
