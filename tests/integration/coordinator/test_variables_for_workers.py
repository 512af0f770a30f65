"""What workers get of variables: a version with each claim, and the values by their deployment."""

from uuid import UUID

import pytest
from django.conf import LazySettings

from apps import protocol as wire
from apps.access.permissions import Actor
from apps.runs.lifecycle import trigger
from apps.runs.models import Task
from apps.runs.variables.store import set_variable, unset_variable
from tests.coordinator_harness import Coordinator, Refused, claimed_run
from tests.factories import make_deployment, make_task
from tests.integration.coordinator.held_rows.held import holding

ACTOR = Actor.of_console("test")


def variables_of(coordinator: Coordinator, claim: wire.Claim) -> wire.VariablesReply:
    return coordinator.get(f"deployments/{claim.deployment_id}/variables", wire.VariablesReply)


def test_claims_name_the_version_and_its_values_are_read_once(coordinator: Coordinator, worker_id: UUID) -> None:
    without = claimed_run(coordinator, worker_id)
    set_variable("KEY", "first", task_set="orders", actor=ACTOR)
    set_variable("MODE", "all", actor=ACTOR)
    set_variable("KEY", "another's", task_set="mail", actor=ACTOR)
    claim = claimed_run(coordinator, worker_id)

    reply = variables_of(coordinator, claim)

    assert without.variables_version == ""
    assert (reply.version, reply.values) == (claim.variables_version, {"KEY": "first", "MODE": "all"})
    assert claimed_run(coordinator, worker_id).variables_version == reply.version


def test_each_change_is_another_version(coordinator: Coordinator, worker_id: UUID) -> None:
    seen = [claimed_run(coordinator, worker_id).variables_version]
    for change in ("a", "b", None, "a"):
        if change is None:
            unset_variable("KEY", task_set="orders", actor=ACTOR)
        else:
            set_variable("KEY", change, task_set="orders", actor=ACTOR)
        seen.append(claimed_run(coordinator, worker_id).variables_version)

    assert (seen[0], seen[3]) == ("", "")
    assert len({*seen}) == 4


def test_deployment_without_variables_has_none(coordinator: Coordinator, worker_id: UUID) -> None:
    claim = claimed_run(coordinator, worker_id)

    assert variables_of(coordinator, claim) == wire.VariablesReply("", {})


def test_value_of_another_secret_key_is_refused_with_its_name(
    coordinator: Coordinator, worker_id: UUID, settings: LazySettings
) -> None:
    set_variable("KEY", "first", task_set="orders", actor=ACTOR)
    claim = claimed_run(coordinator, worker_id)
    settings.SECRET_KEY = "y" * 50

    with pytest.raises(Refused) as refused:
        variables_of(coordinator, claim)

    assert (refused.value.status, refused.value.kind) == (409, "variable-unreadable")


def test_held_table_of_variables_loses_no_claim(committed: str, coordinator: Coordinator, worker_id: UUID) -> None:
    make_task()
    assert Task.objects.get().task_set == make_deployment().task_set
    trigger("process-order", {"order_id": "A1"})

    with holding(committed, "LOCK TABLE runs_variable IN ACCESS EXCLUSIVE MODE"):
        (claim,) = coordinator.claim(worker_id, 1)

    assert claim.variables_version == wire.UNKNOWN_VERSION
