"""The record of what people did is only ever added to: the database itself refuses the rest."""

from __future__ import annotations

from django.db import migrations

from mcc.cases.record import guard, unguard


class Migration(migrations.Migration):
    dependencies = [("cases", "0001_initial")]

    operations = [
        migrations.RunPython(
            lambda _apps, schema: guard(schema.connection),
            lambda _apps, schema: unguard(schema.connection),
        )
    ]
