from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0007_bulk"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="callback_url",
            field=models.CharField(blank=True, db_default="", default="", max_length=2048),
        ),
    ]
