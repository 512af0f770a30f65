from django.db import migrations, models


class Migration(migrations.Migration):
    """Rows that are there keep null: the first save after them counts once, and no table is rewritten."""

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
