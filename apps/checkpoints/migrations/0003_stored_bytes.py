from django.db import migrations, models


class Migration(migrations.Migration):
    """Existing rows keep null: the next save counts them once, and the table is not rewritten."""

    dependencies = [
        ("checkpoints", "0002_steps_and_edits"),
    ]

    operations = [
        migrations.AddField(
            model_name="checkpoint",
            name="stored_bytes",
            field=models.BigIntegerField(
                help_text="Of the run's entries up to this one; null for one that is older than this count.", null=True
            ),
        ),
    ]
