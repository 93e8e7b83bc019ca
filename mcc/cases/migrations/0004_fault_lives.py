"""The lives of faults: raised, acknowledged, shelved, cleared."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("cases", "0003_selftest"),
    ]

    operations = [
        migrations.CreateModel(
            name="FaultLife",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("owner", models.CharField(max_length=72)),
                ("gateway", models.CharField(blank=True, default="", max_length=64)),
                ("fault", models.CharField(max_length=32)),
                ("raised_ms", models.BigIntegerField()),
                ("cleared_ms", models.BigIntegerField(null=True)),
                ("count", models.PositiveIntegerField(default=1)),
                ("group", models.CharField(blank=True, default="", max_length=24)),
                ("acknowledged_ms", models.BigIntegerField(null=True)),
                ("acknowledged_by", models.CharField(blank=True, default="", max_length=48)),
                ("shelved_until_ms", models.BigIntegerField(null=True)),
                ("shelved_by", models.CharField(blank=True, default="", max_length=48)),
                ("shelved_why", models.CharField(blank=True, default="", max_length=200)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["owner", "cleared_ms"], name="fault_owner_cleared")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("cleared_ms", None)),
                        fields=("owner", "fault"),
                        name="one_life_stands",
                    )
                ],
            },
        ),
    ]
