"""What was reported of each week, as it was reported. Times are Unix milliseconds.

`mcc.anev.editions` alone writes here, and never a second time: another look at the same week is an
edition of its own.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models


class Edition(models.Model):
    """The anev of one week as it stood when it was made; `body` is a `figures.Report`, JSON.

    `made_by` is empty where the schedule made it. The record's line `anev_made` has the digest of
    `body`: one that was changed afterwards does not fit it.
    """

    week = models.CharField(max_length=8)
    number = models.PositiveSmallIntegerField()
    made_ms = models.BigIntegerField()
    made_by = models.CharField(max_length=48, default="", blank=True)
    body = models.TextField()

    class Meta:
        """Each number of a week once, whoever makes it at the same time."""

        ordering = ["-week", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["week", "number"], name="one_edition_of_a_number")
        ]

    def __str__(self) -> str:
        """Week and number."""
        return f"{self.week}/{self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write it, once.

        Raises:
            TypeError: it is written already.
        """
        if not self._state.adding:
            raise TypeError("an edition is never changed: make another one")
        super().save(*args, **kwargs)

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse.

        Raises:
            TypeError: always.
        """
        raise TypeError("an edition is never deleted")
