"""Which runs of the log were archived, and what of a person is still to be erased."""

from django.db import migrations, models

from audit.fields import JsonText


class Migration(migrations.Migration):
    dependencies = [("audit", "0004_trail_runs")]

    operations = [
        migrations.AddField("TreeHead", "thinned_size", models.BigIntegerField(default=0)),
        migrations.CreateModel(
            "ArchivedSegment",
            [
                ("to_seq", models.BigIntegerField(primary_key=True, serialize=False)),
                ("after_seq", models.BigIntegerField()),
                ("root", models.CharField(max_length=64)),
                ("file", models.CharField(max_length=200)),
                ("sha256", models.CharField(max_length=64)),
                ("archived_at", models.DateTimeField()),
                ("cleared", models.BooleanField(default=False)),
            ],
        ),
        migrations.CreateModel(
            "Erasure",
            [
                ("subject", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("seqs", JsonText()),
                ("archived", JsonText()),
                ("tasks", JsonText()),
                ("settled", models.BooleanField(default=False)),
            ],
        ),
    ]
