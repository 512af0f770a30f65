"""Verbs on the variables of task sets: set, unset, list. Values go in and never come out, except to the tasks.

A change counts for attempts that start afterwards. Workers get the values from `apps.workers.environments`.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from trigger_sdk.variables import COUNT_MAX, TOTAL_MAX_BYTES, VariableError, check_all, check_name, check_value

from apps.access import audit
from apps.access.audit import NAME_MAX_LENGTH
from apps.access.permissions import Action, Actor
from apps.http.errors import FieldError
from apps.runs.errors import VariableInvalid, VariableNotFound
from apps.runs.models import Deployment, Variable
from apps.runs.tasks.manifests import TASK_SET_MAX_LENGTH
from apps.runs.variables.encryption import UnreadableValueError, decrypt, encrypt
from apps.storage.statements import statement

ALL_SETS = ""
"""The name under which a variable belongs to every task set."""

LOCK_VARIABLES = statement(__file__, "lock_variables")


def set_variable(name: str, value: str, *, task_set: str = ALL_SETS, actor: Actor) -> Variable:
    """Sets the variable, whatever it was before; a variable of a task set wins over one of all sets.

    The task set need not have been deployed yet. Raises VariableInvalid for a name, value or set that cannot be, and if
    a task would get too many.
    """
    _check(name, value, task_set)
    with transaction.atomic():
        LOCK_VARIABLES.run()
        _check_total(name, value, task_set)
        stored = encrypt(value, task_set=task_set, name=name)
        row, is_new = Variable.objects.get_or_create(
            task_set=task_set, name=name, defaults={"value": stored, "changed_by": actor.name[:NAME_MAX_LENGTH]}
        )
        if not is_new:
            _change(row, stored, actor)
        audit.record(actor, Action.VARIABLES_CHANGE, name, task_set=task_set or None, version=row.version)
    return row


def unset_variable(name: str, *, task_set: str = ALL_SETS, actor: Actor) -> Variable:
    """Removes the variable's value; raises VariableNotFound if it has none."""
    with transaction.atomic():
        LOCK_VARIABLES.run()
        is_storable = "\x00" not in name + task_set
        row = (
            Variable.objects.filter(task_set=task_set, name=name, value__isnull=False).first() if is_storable else None
        )
        if row is None:
            raise VariableNotFound(f"There is no variable {name[:128]!r} of {_words(task_set)}.")
        _change(row, None, actor)
        audit.record(
            actor, Action.VARIABLES_CHANGE, name, task_set=task_set or None, version=row.version, is_unset=True
        )
    return row


def list_variables(task_set: str | None = None) -> list[Variable]:
    """The set variables by set and name, without their values; with a task set those that its tasks get."""
    rows = Variable.objects.filter(value__isnull=False).defer("value").order_by("task_set", "name")
    if task_set is None:
        return list(rows)
    by_name = {row.name: row for row in rows.filter(task_set__in=[ALL_SETS, task_set])}  # the set's own come last
    return [by_name[name] for name in sorted(by_name)]


def values_of(task_set: str) -> dict[str, str]:
    """The variables that the tasks of the set get. Raises UnreadableValueError."""
    return decrypted(Variable.objects.filter(task_set__in=[ALL_SETS, task_set], value__isnull=False))


def decrypted(rows: Iterable[Variable]) -> dict[str, str]:
    """Names with values; those of a set win over those of all sets. Raises UnreadableValueError."""
    ordered = sorted(rows, key=lambda row: row.task_set != ALL_SETS)
    return {row.name: decrypt(bytes(row.value or b""), task_set=row.task_set, name=row.name) for row in ordered}


def is_deployed(task_set: str) -> bool:
    return task_set == ALL_SETS or Deployment.objects.filter(task_set=task_set).exists()


def _change(row: Variable, stored: bytes | None, actor: Actor) -> None:
    Variable.objects.filter(pk=row.pk).update(
        value=stored, version=F("version") + 1, changed_by=actor.name[:NAME_MAX_LENGTH], changed_at=Now()
    )
    row.refresh_from_db()


def _check(name: str, value: str, task_set: str) -> None:
    try:
        check_name(name)
        check_value(value)
    except VariableError as error:
        _refuse(error)
    if len(task_set) > TASK_SET_MAX_LENGTH or not task_set.isprintable():
        message = f"must have at most {TASK_SET_MAX_LENGTH} printable characters"
        raise VariableInvalid(f"task_set: {message}", (FieldError("task_set", message),))


def _check_total(name: str, value: str, task_set: str) -> None:
    """Checks what the tasks of each set that gets the variable would get in all."""
    sets = {task_set} if task_set else {ALL_SETS, *Variable.objects.values_list("task_set", flat=True)}
    for each in sets:
        try:
            check_all({**values_of(each), name: value})
        except VariableError as error:
            _refuse(error)
        except UnreadableValueError:
            # Values of an earlier key: only their number and stored size are known.
            _check_stored(each)


def _check_stored(task_set: str) -> None:
    rows = Variable.objects.filter(task_set__in=[ALL_SETS, task_set], value__isnull=False)
    sizes = [len(row.name) + len(bytes(row.value or b"")) for row in rows]
    if len(sizes) >= COUNT_MAX or sum(sizes) >= TOTAL_MAX_BYTES:
        message = f"would be too much: a task may have {COUNT_MAX} variables of {TOTAL_MAX_BYTES:,} bytes in all"
        raise VariableInvalid(f"value {message}", (FieldError("value", message),))


def _refuse(error: VariableError) -> None:
    raise VariableInvalid(str(error), (FieldError(error.field, error.message),)) from error


def _words(task_set: str) -> str:
    return f"the task set {task_set[:128]!r}" if task_set else "all task sets"
