"""Dead letters: runs that failed for good and wait for a person. The verbs, for whoever is inside Django."""

from apps.queues.dead_letters.many import discard_many as discard_many
from apps.queues.dead_letters.many import requeue_many as requeue_many
from apps.queues.dead_letters.one import discard as discard
from apps.queues.dead_letters.one import requeue as requeue
