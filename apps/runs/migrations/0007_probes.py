from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0006_log_lines_without_a_lock")]

    operations = [
        migrations.AddField(
            model_name="taskcontrol",
            name="probe_run",
            field=models.UUIDField(help_text="The last run that was claimed while the task cooled down.", null=True),
        ),
        migrations.AddField(
            model_name="taskcontrol",
            name="probe_until",
            field=models.DateTimeField(help_text="Until then it holds back the next one while it runs.", null=True),
        ),
    ]
