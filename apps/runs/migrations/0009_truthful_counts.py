from django.db import migrations, models

# Only runs that would be shown with more attempts than they can have, or that still go on: the others need no exact count.
COUNT_EXCUSED = """
UPDATE runs_run r
SET excused_count = (
    SELECT count(*) FROM runs_attempt a
    WHERE a.run_id = r.id AND a.number > r.budget_base
      AND a.outcome IN ('lost', 'start_failed', 'suspended', 'released', 'canceled'))
WHERE r.attempt_count > r.budget_base + 1
  AND (r.attempt_count > r.budget_base + r.max_attempts OR r.finished_at IS NULL)
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0008_forget_failures")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="excused_count",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                help_text="Attempts since then that ended without using up one of `max_attempts`.",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="dead_letter_seconds",
            field=models.FloatField(
                db_default=0.0, default=0.0, help_text="How long it was a dead letter before people requeued it."
            ),
        ),
        migrations.RunSQL(COUNT_EXCUSED, migrations.RunSQL.noop),
    ]
