from django.db import migrations, models


class Migration(migrations.Migration):
    """A worker says how many tasks it runs at once."""

    dependencies = [("agents", "0008_callback")]

    operations = [
        migrations.AddField("worker", "slots", models.PositiveIntegerField(default=0, db_default=0)),
    ]
