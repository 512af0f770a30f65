"""What Django's admin shows of queues."""

from django.contrib import admin

from apps.queues.dead_letters.admin import DeadLetterAdmin
from apps.queues.models import DeadLetter

admin.site.register(DeadLetter, DeadLetterAdmin)
