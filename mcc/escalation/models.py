"""What people are to be told outside the command centre, until they have been or need not be."""

from __future__ import annotations

from django.db import models


class Notice(models.Model):
    """One thing to tell to one target of the settings; durable, and told once.

    `call` is `alarm/ID`, `fault/NAME/SINCE` or `anev/WEEK/EDITION`. `target` is a digest of the
    target's URL, which is a secret and stands in the settings alone; `label` is what may be shown
    of it.
    """

    class State(models.TextChoices):
        """What became of it. `stopped`: it was answered, or mended, before anybody was told."""

        WAITING = "waiting"
        SENDING = "sending"
        SENT = "sent"
        STOPPED = "stopped"
        FAILED = "failed"

    call = models.CharField(max_length=80)
    rung = models.CharField(max_length=16)
    unit = models.CharField(max_length=40, default="", blank=True)
    target = models.CharField(max_length=16)
    label = models.CharField(max_length=80)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    # When it may be tried (again), and, while it is being sent, when its sender counts as dead.
    next_ms = models.BigIntegerField()
    created_ms = models.BigIntegerField()
    settled_ms = models.BigIntegerField(null=True)

    class Meta:
        """One of a call for each target: of two workers, and of one that starts anew."""

        indexes = [models.Index(fields=["state", "next_ms"], name="notice_state_next")]
        constraints = [
            models.UniqueConstraint(fields=["call", "target"], name="one_notice_of_a_call")
        ]
