from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0009_truthful_counts")]

    operations = [
        migrations.AddField(
            model_name="deployment",
            name="lock",
            field=models.TextField(
                help_text="What workers install, each package with one version and its hashes; empty: nothing.",
                null=True,
            ),
        )
    ]
