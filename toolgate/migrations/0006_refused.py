from django.db import migrations, models


class Migration(migrations.Migration):
    """What was refused is found without looking at what was not."""

    dependencies = [("toolgate", "0005_grant_list")]

    operations = [
        migrations.AddIndex(
            "decisionrecord",
            models.Index(
                fields=["-id", "agent_id", "skill_id"], name="decision_refused", condition=models.Q(effect="deny")
            ),
        ),
    ]
