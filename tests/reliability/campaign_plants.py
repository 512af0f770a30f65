"""Bugs that are planted into the programs of a campaign, for its verdict to find.

    python -m tests.reliability.campaign_plants BUG runcoordinator --port 8001

Runs a command of `manage.py` with the bug in it; a bug has no effect on the commands that it is not in.
"""

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

EXIT_SECONDS = 15.0


def acknowledge_before_commit() -> None:
    """Checkpoints are acknowledged before they are written."""
    from tests.reliability.kill_watch import plant_early_acknowledgement

    plant_early_acknowledgement()


def ignore_tokens() -> None:
    """The token of an attempt is not compared, so that who was given up may still save and complete.

    Its worker does not end it by itself either; that would hide the bug most of the time.
    """
    from apps.checkpoints import store
    from apps.runs import lifecycle
    from apps.storage.statements import Statement

    for module in (store, lifecycle):
        for value in vars(module).values():
            if isinstance(value, Statement):
                value.text = value.text.replace("AND r.token = i.token ", "").replace(
                    "AND r.token = i.token_bytes ", ""
                )


def forget_last_checkpoint() -> None:
    """An attempt is told all but the last of what its run has saved."""
    from apps.checkpoints import store

    load = store.load

    async def load_less(*arguments: Any, **named: Any) -> store.StoredPage | None:
        page = await load(*arguments, **named)
        return page and store.StoredPage(page.rows[:-1], page.next_after)

    store.load = load_less


def lose_triggers() -> None:
    """One trigger in ten is acknowledged and not kept."""
    from django.db import transaction

    from apps.runs.trigger import create as triggering

    count = itertools.count(1)

    @contextmanager
    def forgetful(**_: bool) -> Iterator[None]:
        with transaction.atomic():
            yield
            if next(count) % 10 == 0:
                transaction.set_rollback(True)

    triggering._transaction = forgetful


def release_lost_attempts() -> None:
    """An attempt whose lease ended is said to have never begun."""
    from apps.protocol import Finish
    from apps.runs.states import Outcome
    from apps.workers import leases

    def end_of(row: Any) -> Finish:
        return Finish(row.run_id, row.token, Outcome.RELEASED)

    leases._end_of = end_of


def exit_by_itself() -> None:
    """A coordinator ends after some seconds."""
    threading.Timer(EXIT_SECONDS, os._exit, [3]).start()


def double_effects() -> None:
    """In the tasks, not in a program: each effect is done twice."""


def planted_tasks(plant: str, text: str) -> str:
    """The tasks' source with the bug, if it is one of theirs."""
    if plant != "double-effects":
        return text
    effect = '    note(folder, f"effect {number}")\n'
    assert effect in text
    return text.replace(effect, effect * 2)


PLANTS: dict[str, Callable[[], None]] = {
    "acknowledge-before-commit": acknowledge_before_commit,
    "ignore-tokens": ignore_tokens,
    "double-effects": double_effects,
    "forget-last-checkpoint": forget_last_checkpoint,
    "exit-by-itself": exit_by_itself,
    "lose-triggers": lose_triggers,
    "release-lost-attempts": release_lost_attempts,
}


def work(plant: str, arguments: list[str]) -> NoReturn:
    """The worker, which has a part in one of the bugs only."""
    from apps.workers.node import __main__ as node
    from apps.workers.node.attempts.attempt import Attempt
    from tests.acceptance.installation import hand_token_over

    if plant == "ignore-tokens":
        Attempt.lease_deadline = property(lambda _: float("inf"))  # type: ignore[assignment, method-assign]
    sys.argv = ["runworker", *arguments]
    hand_token_over()
    sys.exit(node.main())


def main(plant: str, arguments: list[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trigger_site.settings")
    if arguments[0] == "runworker":
        work(plant, arguments[1:])
    import django

    django.setup()
    if arguments[0] in ("runcoordinator", "runweb"):
        PLANTS[plant]()
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
