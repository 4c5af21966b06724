from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0002_agent_runs"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("workflow_step", ""), _negated=True),
                fields=("parent_task_id", "workflow_step"),
                name="task_step_once",
            ),
        ),
    ]
