"""The latest self-test of each post."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("cases", "0002_record")]

    operations = [
        migrations.CreateModel(
            name="Selftest",
            fields=[
                ("post", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("alarm_id", models.CharField(max_length=36)),
                ("heard_ms", models.BigIntegerField()),
                ("body", models.TextField()),
            ],
        ),
    ]
