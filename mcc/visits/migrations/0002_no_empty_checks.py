"""A check in which nothing was looked at is none: it hid what an earlier one had seen."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

_NOTHING = {"pressed": None, "lamp": None, "poster": None}


def _mend(apps: Any, _schema_editor: Any) -> None:
    apps.get_model("visits", "Visit").objects.filter(**_NOTHING).exclude(post="").update(post="")


class Migration(migrations.Migration):
    """What came before such visits were refused (`mcc.visits.intake`) stays, as a visit."""

    dependencies = [("visits", "0001_initial")]

    operations = [
        migrations.RunPython(_mend, migrations.RunPython.noop),
        migrations.AddConstraint(
            "visit",
            models.CheckConstraint(
                condition=models.Q(post="") | ~models.Q(**_NOTHING), name="no_empty_check"
            ),
        ),
    ]
