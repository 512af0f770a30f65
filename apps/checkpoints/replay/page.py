"""What the replay form shows: where it can begin, what can be edited, and what would come of it. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar
from uuid import UUID

from apps.checkpoints.errors import CheckpointNotFound, DeploymentNotFound
from apps.checkpoints.inspector.queries import Entry, entries_of, grouped
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.replay.effect import Effect, effect_of
from apps.checkpoints.replay.forms import (
    DEPLOYMENT_FIELD,
    FORM,
    FROM_FIELD,
    PAYLOAD_FIELD,
    FieldNote,
    Notes,
    TypedReplay,
    data_field_name,
    notes_of,
)
from apps.checkpoints.replay.plan import ReplayRequest
from apps.checkpoints.replay.preview import preview
from apps.checkpoints.resume import LATEST, ORIGINAL
from apps.runs.models import Deployment, Run, RunValue
from apps.runs.reads import find_run
from apps.runs.states import RunState
from apps.runs.values.text import pretty, pretty_entries
from apps.runs.values.tree import Pairs, parse, printable

EDITOR_BYTES = 64_000
"""A larger value is put into an editor only when a person asks for it."""

EDITOR_ROWS = (3, 16)
EDITOR_OPEN_ROWS = 10
PLACES_SHOWN = 200
FOLD_FROM = 5
FOLD_SHOWN = 50
"""Places of the form, the newest; every entry has a button of its own in the state inspector."""


@dataclass(frozen=True, slots=True)
class Editor:
    """The text of a JSON value as a person edits it."""

    name: str
    label: str
    text: str
    carried: Sequence[str] = ()

    @property
    def rows(self) -> int:
        least, most = EDITOR_ROWS
        return min(most, max(least, self.text.count("\n") + 1))

    @property
    def is_short(self) -> bool:
        return self.text.count("\n") < EDITOR_OPEN_ROWS


@dataclass(frozen=True, slots=True)
class StartPoint:
    """A checkpoint or step that a replay may begin after, and whose data it may change."""

    is_fold: ClassVar[bool] = False

    entry: Entry
    is_chosen: bool
    editor: Editor | None
    notes: Sequence[FieldNote]

    @property
    def name(self) -> str:
        return data_field_name(self.entry.index)

    @property
    def is_pinned(self) -> bool:
        """It is shown wherever it stands."""
        return self.is_chosen or self.editor is not None


@dataclass(frozen=True, slots=True)
class Fold:
    """Many steps in a row, folded away."""

    is_fold: ClassVar[bool] = True

    count: int
    hidden_count: int
    places: Sequence[StartPoint]

    @property
    def is_open(self) -> bool:
        return any(place.is_pinned for place in self.places)


@dataclass(frozen=True, slots=True)
class DeploymentOption:
    value: str
    name: str
    note: str
    is_chosen: bool
    is_proposed: bool = False


@dataclass(slots=True)
class ReplayPage:
    """The form with what was typed. `outcome` is None where not even a preview can be made."""

    run_id: str
    task: str
    typed: TypedReplay
    is_start_chosen: bool
    track: Sequence[StartPoint | Fold]
    hidden_count: int
    options: Sequence[DeploymentOption]
    payload: Editor | None
    payload_bytes: int
    outcome: Effect | None
    notes: Notes = field(default_factory=dict)

    @property
    def refusal_count(self) -> int:
        return sum(map(len, self.notes.values()))

    @property
    def form_notes(self) -> Sequence[FieldNote]:
        return self.notes.get(FORM, ())

    @property
    def from_notes(self) -> Sequence[FieldNote]:
        return self.notes.get(FROM_FIELD, ())

    @property
    def deployment_notes(self) -> Sequence[FieldNote]:
        return self.notes.get(DEPLOYMENT_FIELD, ())

    @property
    def payload_notes(self) -> Sequence[FieldNote]:
        return self.notes.get(PAYLOAD_FIELD, ())

    @property
    def data_notes(self) -> Sequence[tuple[str, Sequence[FieldNote]]]:
        """Of each value that was sent along, also where there is nothing to complain of."""
        names = map(data_field_name, self.typed.data)
        return [(name, self.notes.get(name, ())) for name in names]


def first_page(run_id: UUID, from_key: str, edited: Sequence[int] = ()) -> ReplayPage:
    """The form as it opens; raises RunNotFound. A dead letter is offered the newest code where that can go on."""
    run = find_run(run_id, Run.objects.with_deployments())
    entries = entries_of(run.id)
    keys = {entry.key for entry in entries}
    typed = TypedReplay(
        from_key=from_key if from_key in keys else "",
        deployment=LATEST if _proposes_newest(run) else ORIGINAL,
        data={index: editor.text for index in edited if (editor := data_editor(run.id, index))},
    )
    page = build_page(run, entries, typed)
    if page.deployment_notes and typed.deployment == LATEST:
        page = build_page(run, entries, TypedReplay(from_key=typed.from_key, deployment=ORIGINAL, data=typed.data))
    return page


def typed_page(run_id: UUID, typed: TypedReplay) -> ReplayPage:
    """The form with what was typed into it; raises RunNotFound."""
    run = find_run(run_id, Run.objects.with_deployments())
    return build_page(run, entries_of(run.id), typed)


def build_page(run: Run, entries: Sequence[Entry], typed: TypedReplay) -> ReplayPage:
    payload = RunValue.objects.only("payload").get(run_id=run.id).payload
    request, notes = typed.request(run.id, {entry.index: entry.key for entry in entries}, payload)
    outcome = _preview(request, entries, notes)
    track, hidden_count = _track(entries, typed, notes)
    payload_bytes = len(payload.encode())
    text = typed.payload if typed.payload is not None or payload_bytes > EDITOR_BYTES else pretty(parse(payload))
    return ReplayPage(
        run_id=run.public_id,
        task=run.task_id,
        typed=typed,
        is_start_chosen=not typed.from_key,
        track=track,
        hidden_count=hidden_count,
        options=_options(run, typed.deployment),
        payload=None if text is None else Editor(PAYLOAD_FIELD, "Payload", printable(text)),
        payload_bytes=payload_bytes,
        outcome=outcome,
        notes=notes,
    )


def payload_editor(run_id: UUID) -> Editor:
    """The payload to edit, however large; raises RunNotFound."""
    return Editor(PAYLOAD_FIELD, "Payload", pretty(parse(find_run(run_id).value.payload)))


def data_editor(run_id: UUID, index: int) -> Editor | None:
    """What is stored there to edit, with the values that it carries; None where there is nothing."""
    row = Checkpoint.objects.filter(run_id=run_id, index=index).first()
    if row is None:
        return None
    value = None if row.carried is None else parse(row.carried)
    carried = [name for name, _ in value] if isinstance(value, Pairs) else []
    return Editor(data_field_name(index), f"Data of {row.key}", pretty_entries(row.data, row.carried), carried)


def _preview(request: ReplayRequest, entries: Sequence[Entry], notes: Notes) -> Effect | None:
    """What would come of it, its refusals added to the notes; None where not even that can be said."""
    try:
        shown = preview(request)
    except CheckpointNotFound as error:
        notes[FROM_FIELD] = [FieldNote(error.detail)]
    except DeploymentNotFound as error:
        notes[DEPLOYMENT_FIELD] = [FieldNote(error.detail)]
    else:
        for name, found in notes_of(shown.refusals, {entry.key: entry.index for entry in entries}).items():
            notes.setdefault(name, []).extend(found)
        return effect_of(shown)
    return None


def _track(entries: Sequence[Entry], typed: TypedReplay, notes: Notes) -> tuple[list[StartPoint | Fold], int]:
    """The places in commit order, and how many earlier ones are left out."""
    track: list[StartPoint | Fold] = []
    for group in grouped(entries):
        places = [_place(entry, typed, notes) for entry in group]
        if len(places) < FOLD_FROM:
            track.extend(places)
        else:
            shown = [place for at, place in enumerate(places) if place.is_pinned or len(places) - at <= FOLD_SHOWN]
            track.append(Fold(len(places), len(places) - len(shown), shown))
    cut = max(0, len(track) - PLACES_SHOWN)
    kept = [item for item in track[:cut] if (item.is_open if isinstance(item, Fold) else item.is_pinned)]
    return [*kept, *track[cut:]], cut - len(kept)


def _place(entry: Entry, typed: TypedReplay, notes: Notes) -> StartPoint:
    text = typed.data.get(entry.index)
    name = data_field_name(entry.index)
    editor = None if text is None else Editor(name, f"Data of {entry.key}", printable(text))
    return StartPoint(entry, entry.key == typed.from_key, editor, notes.get(name, ()))


def _proposes_newest(run: Run) -> bool:
    """The code of a dead letter has failed; the newest may mend it."""
    return run.state == RunState.DEAD_LETTER and run.deployment_id not in (None, run.task.deployment_id)


def _options(run: Run, wanted: str) -> list[DeploymentOption]:
    """Empty where there is nothing to choose."""
    original, newest = run.deployment, run.task.deployment
    known = [(ORIGINAL, original or newest, "the code that it ran on" if original else "the newest code")]
    if original is not None and original != newest:
        known.append((LATEST, newest, "the newest code"))
    options = [
        DeploymentOption(value, str(one), note, value == wanted, value == LATEST and _proposes_newest(run))
        for value, one, note in known
    ]
    if wanted not in (ORIGINAL, LATEST):
        options.append(DeploymentOption(wanted, _name(wanted, run), "chosen by its id", is_chosen=True))
    return options if len(options) > 1 else []


def _name(wanted: str, run: Run) -> str:
    known: list[Deployment | None] = [run.deployment, run.task.deployment]
    return next((str(one) for one in known if one is not None and one.public_id == wanted), wanted[:64])
