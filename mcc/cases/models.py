"""The tables that ingest and site share. Times are Unix milliseconds, ids are the contract's.

`body` is what the contract or the core says, as JSON, and the truth; the other columns are derived
from it to be searched. Nothing writes here but `store` (what was heard), `actions` (what people
did) and whoever holds a `changes()`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models


class Store(models.Model):
    """The one row of this database: its id, the number of its newest change.

    `reason`: why nothing gets through to a gateway just now, in words; empty when it does.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    store_id = models.CharField(max_length=36)
    sequence = models.BigIntegerField(default=0)
    reason = models.CharField(max_length=300, default="", blank=True)


class Alarm(models.Model):
    """One alarm; `body` is a `mcc.alarms.AlarmRecord`.

    `rings` counts how often it has called for attention: a screen that has not sounded for the
    number it sees has to. `heard_ms`: when it was first committed here.
    """

    alarm_id = models.CharField(max_length=36, primary_key=True)
    post = models.CharField(max_length=64, db_index=True)
    gateway = models.CharField(max_length=64)
    is_open = models.BooleanField()
    is_answered = models.BooleanField()
    kind = models.CharField(max_length=16)
    state = models.CharField(max_length=16)
    outcome = models.CharField(max_length=16, default="", blank=True)
    raised_ms = models.BigIntegerField()
    repeats = models.PositiveIntegerField(default=0)
    follows = models.CharField(max_length=36, null=True, blank=True, db_index=True)
    rings = models.PositiveIntegerField(default=0)
    heard_ms = models.BigIntegerField()
    body = models.TextField()

    class Meta:
        """Open ones and the newest are what is looked for."""

        indexes = [models.Index(fields=["is_open", "raised_ms"], name="alarm_open_raised")]


class PostDocument(models.Model):
    """The newest document about a post; `body` is a `protocol.messages.MccPost`."""

    post = models.CharField(max_length=64, primary_key=True)
    gateway = models.CharField(max_length=64)
    connection = models.CharField(max_length=16)
    body = models.TextField()


class Selftest(models.Model):
    """The latest self-test of a post that was answered here; `body` is a `mcc.alarms.AlarmRecord`.

    The gateway's word on it, with every hop, is in the post's document.
    """

    post = models.CharField(max_length=64, primary_key=True)
    alarm_id = models.CharField(max_length=36)
    heard_ms = models.BigIntegerField()
    body = models.TextField()


class GatewayDocument(models.Model):
    """The newest lasting word of a gateway; `body` is a `protocol.messages.MccGateway`.

    Whether it lives is in the ingest's `Process` row.
    """

    gateway = models.CharField(max_length=64, primary_key=True)
    body = models.TextField()


class Command(models.Model):
    """The durable outbox; `body` is a `protocol.messages.Command`, `verdict` a core's `Verdict`.

    It is `sending` until a document shows it or a refusal comes.
    """

    class State(models.TextChoices):
        """What became of it."""

        SENDING = "sending"
        DONE = "done"
        REFUSED = "refused"

    command_id = models.CharField(max_length=36, primary_key=True)
    action = models.CharField(max_length=16)
    alarm_id = models.CharField(max_length=36, null=True, db_index=True)
    post = models.CharField(max_length=64, null=True, db_index=True)
    operator = models.CharField(max_length=48)
    body = models.TextField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.SENDING)
    verdict = models.TextField(null=True)
    created_ms = models.BigIntegerField()
    settled_ms = models.BigIntegerField(null=True)

    class Meta:
        """The oldest being sent goes first. One answer of a kind is on its way at a time."""

        indexes = [models.Index(fields=["state", "created_ms"], name="command_state_created")]
        constraints = [
            models.UniqueConstraint(
                fields=["alarm_id", "action"],
                condition=models.Q(state="sending", action__in=["acknowledge", "resolve"]),
                name="one_answer_being_sent",
            )
        ]


class Entry(models.Model):
    """One line of the record of what people did: never changed, never deleted.

    The database itself refuses to (triggers of the first migrations). `user_id` is a number and no
    key, so that the record outlives the account.
    """

    at_ms = models.BigIntegerField(db_index=True)
    action = models.CharField(max_length=32)
    alarm_id = models.CharField(max_length=36, null=True, db_index=True)
    post = models.CharField(max_length=64, null=True, db_index=True)
    operator = models.CharField(max_length=48)
    role = models.CharField(max_length=16)
    user_id = models.BigIntegerField(null=True)
    address = models.CharField(max_length=45, default="")
    screen = models.CharField(max_length=36, default="")
    command_id = models.CharField(max_length=36, null=True, db_index=True)
    detail = models.JSONField(default=dict)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write it, once.

        Raises:
            TypeError: it is written already.
        """
        if not self._state.adding:
            raise TypeError("the record is only ever added to")
        super().save(*args, **kwargs)

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse.

        Raises:
            TypeError: always.
        """
        raise TypeError("the record is only ever added to")


class Change(models.Model):
    """One line of the feed: something that a screen shows has changed.

    It says what, never how: a reader takes the present state. Numbers have no gaps and come in the
    order of the commits (`mcc.cases.changes`).
    """

    sequence = models.BigIntegerField(primary_key=True)
    kind = models.CharField(max_length=16)
    key = models.CharField(max_length=64)
    at_ms = models.BigIntegerField()


class Process(models.Model):
    """A process of the command centre and its pulse.

    `beat` counts up while it lives. How old a beat is, a reader tells by when it saw the number
    change, on its own monotonic clock: `at_ms` is for people.
    """

    name = models.CharField(max_length=32, primary_key=True)
    beat = models.BigIntegerField(default=0)
    at_ms = models.BigIntegerField()
    body = models.JSONField(default=dict)


class Fault(models.Model):
    """A fault of the command centre itself, such as `nobody_on_shift`; gone when it is mended."""

    name = models.CharField(max_length=32, primary_key=True)
    since_ms = models.BigIntegerField()
    detail = models.CharField(max_length=200, default="", blank=True)


class FaultLife(models.Model):
    """One fault of a post or gateway from its raising on; the columns are a `lives.Life`.

    `owner` is `post/…` or `gateway/…`. While `cleared_ms` is null it stands.
    """

    owner = models.CharField(max_length=72)
    gateway = models.CharField(max_length=64, default="", blank=True)
    fault = models.CharField(max_length=32)
    raised_ms = models.BigIntegerField()
    cleared_ms = models.BigIntegerField(null=True)
    count = models.PositiveIntegerField(default=1)
    group = models.CharField(max_length=24, default="", blank=True)
    acknowledged_ms = models.BigIntegerField(null=True)
    acknowledged_by = models.CharField(max_length=48, default="", blank=True)
    shelved_until_ms = models.BigIntegerField(null=True)
    shelved_by = models.CharField(max_length=48, default="", blank=True)
    shelved_why = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        """A fault stands once. Those that are over are looked for by when that was."""

        indexes = [models.Index(fields=["owner", "cleared_ms"], name="fault_owner_cleared")]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "fault"],
                condition=models.Q(cleared_ms=None),
                name="one_life_stands",
            )
        ]
