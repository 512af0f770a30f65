"""Variables of task sets, such as secrets: encrypted, never shown again."""

from django.db import models
from django.db.models.functions import Now


class Variable(models.Model):
    """One variable of a task set, or of all of them. What was unset keeps its row, so that its version goes on."""

    task_set = models.CharField(max_length=128, blank=True, help_text="Empty: every task set.")
    name = models.CharField(max_length=128)
    value = models.BinaryField(null=True, help_text="Encrypted by the site's secret key; null: unset.")
    version = models.PositiveIntegerField(default=1, help_text="Counts its changes from 1.")
    changed_by = models.CharField(max_length=150)
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task_set", "name"], name="variable_name_is_unique")]

    def __str__(self) -> str:
        return f"{self.name} of {self.task_set or 'all task sets'}"
