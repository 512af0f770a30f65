"""Whether the code that saved something differs from the code that would go on with it.

Source hashes are stored with each deployment, one per segment between resume points. Where a deployment has none the
answer is None: unknown.
"""

from collections.abc import Sequence
from uuid import UUID

from apps.checkpoints.models import Checkpoint
from apps.checkpoints.resume import Choice, SavedEntry
from apps.runs.models import Attempt, Run, TaskVersion

LINEAGE_DEPTH = 20
"""Replays of replays that are followed back to the code that made an entry; beyond it is unknown."""


class CodeChanges:
    """Compares the code behind a run's entries with the chosen deployment's. Reads what it needs when it is made."""

    def __init__(self, run: Run, choice: Choice, entries: Sequence[SavedEntry]) -> None:
        self._chosen = choice.version
        self._entries = entries
        self._neighbours = _neighbours(entries)
        self._makers = _makers(run, entries)
        wanted = {found for found in (*self._makers.values(), run.deployment_id) if found is not None}
        versions = TaskVersion.objects.filter(task_id=run.task_id, deployment_id__in=wanted)
        self._versions = {version.deployment_id: version for version in versions}
        self._own = None if run.deployment_id is None else self._versions.get(run.deployment_id)

    def of_entry(self, entry: SavedEntry) -> bool | None:
        """Whether the code that made the entry is another one now."""
        maker = self._maker(entry)
        after, following = self._neighbours[entry.index]
        until = entry.key if entry.is_checkpoint else following or _next_in_source(maker, after)
        return _is_changed(maker, self._chosen, after, until)

    def of_segment(self, after: str | None, until: str | None, made: SavedEntry | None) -> bool | None:
        """The same for a segment of the chosen code; `made` is the reused entry that ends it, None: it runs again."""
        return _is_changed(self._own if made is None else self._maker(made), self._chosen, after, until)

    def of_all(self) -> bool | None:
        """Whether any entry's code changed; None where none is known to have, and one is unknown."""
        found = {self.of_entry(entry) for entry in self._entries}
        return True if True in found else None if None in found else False

    def _maker(self, entry: SavedEntry) -> TaskVersion | None:
        deployment_id = self._makers.get(entry.index)
        return None if deployment_id is None else self._versions.get(deployment_id)


def _makers(run: Run, entries: Sequence[SavedEntry]) -> dict[int, UUID | None]:
    """The deployment that saved each entry, by its index.

    What a replay brought along is always the head of its entries, and stands at the same indices in the run before it.
    """
    makers: dict[int, UUID | None] = {}
    attempts = [(entry.index, entry.attempt) for entry in entries]
    current = run.id
    ancestor = run.replay_of_id
    for _ in range(LINEAGE_DEPTH):
        numbers = {number for _, number in attempts if number}
        found = Attempt.objects.filter(run_id=current, number__in=numbers).values_list("number", "deployment_id")
        deployments = dict(found) if numbers else {}
        makers |= {index: deployments.get(number) for index, number in attempts if number}
        brought = [index for index, number in attempts if not number]
        if not brought or ancestor is None:
            break
        rows = Checkpoint.objects.filter(run_id=ancestor, index__lte=max(brought))
        attempts = list(rows.values_list("index", "attempt"))
        current = ancestor
        ancestor = Run.objects.filter(id=current).values_list("replay_of_id", flat=True).first()
    return makers


def _neighbours(entries: Sequence[SavedEntry]) -> dict[int, tuple[str | None, str | None]]:
    """The checkpoints before and behind each entry, by its index."""
    before: dict[int, str | None] = {}
    behind: dict[int, str | None] = {}
    for found, ordered in ((before, entries), (behind, reversed(entries))):
        latest: str | None = None
        for entry in ordered:
            found[entry.index] = latest
            latest = entry.key if entry.is_checkpoint else latest
    return {index: (before[index], behind[index]) for index in before}


def _is_changed(made: TaskVersion | None, chosen: TaskVersion, after: str | None, until: str | None) -> bool | None:
    if made is None:
        return None
    if made.deployment_id == chosen.deployment_id:
        return False
    if not made.segments or not chosen.segments:
        return None
    return _hashes(made, after, until) != _hashes(chosen, after, until) or not _hashes(chosen, after, until)


def _hashes(version: TaskVersion, after: str | None, until: str | None) -> list[str]:
    """Of the source from one resume point to another; empty where the version lacks one of them."""
    keys = [point["key"] for point in version.resume_points]
    if (after is not None and after not in keys) or (until is not None and until not in keys):
        return []
    first = 0 if after is None else keys.index(after) + 1
    last = len(keys) if until is None else keys.index(until)
    return list(version.segments[first : last + 1])


def _next_in_source(version: TaskVersion | None, after: str | None) -> str | None:
    keys = [point["key"] for point in version.resume_points] if version is not None else []
    place = keys.index(after) + 1 if after in keys else 0
    return keys[place] if place < len(keys) else None
