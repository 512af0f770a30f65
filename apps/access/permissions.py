"""Says who may do what: one table, one function. Anything not in the table is refused.

Views and API handlers ask `require` once, with the actor of their request; verbs below them do not ask again.
"""

from dataclasses import dataclass
from enum import StrEnum

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User

from apps.access.errors import NotAllowed
from apps.access.models import ApiKey

Role = ApiKey.Role


class Action(StrEnum):
    """What a role can allow; the audit trail uses the same words."""

    TASKS_READ = "tasks.read"
    TASKS_CHANGE = "tasks.change"
    TASKS_LIFT_COOLDOWN = "tasks.lift_cooldown"
    QUEUES_READ = "queues.read"
    QUEUES_CHANGE = "queues.change"
    RUNS_READ = "runs.read"
    RUNS_TRIGGER = "runs.trigger"
    RUNS_CANCEL = "runs.cancel"
    RUNS_REPLAY = "runs.replay"
    RUNS_REQUEUE = "runs.requeue"
    RUNS_DISCARD = "runs.discard"
    RUNS_BUMP = "runs.bump"
    IDEMPOTENCY_KEYS_RESET = "idempotency_keys.reset"
    DEPLOYMENTS_REGISTER = "deployments.register"
    VARIABLES_READ = "variables.read"
    VARIABLES_CHANGE = "variables.change"
    KEYS_CREATE = "keys.create"
    KEYS_REVOKE = "keys.revoke"


READERS = frozenset({Role.VIEWER, Role.OPERATOR, Role.ADMIN})
OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})

ALLOWED_ROLES: dict[str, frozenset[Role]] = {
    Action.TASKS_READ: READERS,
    Action.TASKS_CHANGE: OPERATORS,
    Action.TASKS_LIFT_COOLDOWN: OPERATORS,
    Action.QUEUES_READ: READERS,
    Action.QUEUES_CHANGE: OPERATORS,
    Action.RUNS_READ: READERS,
    Action.RUNS_TRIGGER: OPERATORS,
    Action.RUNS_CANCEL: OPERATORS,
    Action.RUNS_REPLAY: OPERATORS,
    Action.RUNS_REQUEUE: OPERATORS,
    Action.RUNS_DISCARD: OPERATORS,
    Action.RUNS_BUMP: OPERATORS,
    Action.IDEMPOTENCY_KEYS_RESET: OPERATORS,
    Action.DEPLOYMENTS_REGISTER: ADMINS,
    Action.VARIABLES_READ: OPERATORS,
    Action.VARIABLES_CHANGE: ADMINS,
    Action.KEYS_CREATE: ADMINS,
    Action.KEYS_REVOKE: ADMINS,
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is acting; the audit trail keeps `name`."""

    name: str
    roles: frozenset[Role]

    @classmethod
    def of_user(cls, user: User | AbstractBaseUser | AnonymousUser) -> "Actor":
        """The roles are the user's groups with those names; a superuser is an admin, an inactive user has no role."""
        if not isinstance(user, User) or not user.is_active:
            return cls(name=str(user) or "anonymous", roles=frozenset())
        if user.is_superuser:
            return cls(name=user.get_username(), roles=frozenset({Role.ADMIN}))
        names = {group.name for group in user.groups.all()} & set(Role.values)  # all: they may be prefetched
        return cls(name=user.get_username(), roles=frozenset(Role(name) for name in names))

    @classmethod
    def of_key(cls, key: ApiKey) -> "Actor":
        return cls(name=f"key {key.name} ({key.prefix})", roles=frozenset({Role(key.role)}))

    @classmethod
    def of_console(cls, command: str) -> "Actor":
        """Someone with a shell on a machine that has the database's credentials: nothing is barred to them."""
        return cls(name=f"console: {command}", roles=frozenset({Role.ADMIN}))


def is_allowed(actor: Actor, action: str) -> bool:
    return not actor.roles.isdisjoint(ALLOWED_ROLES.get(action, frozenset()))


def require(actor: Actor, action: str) -> None:
    """Returns if one of the actor's roles allows the action; otherwise raises NotAllowed, naming the roles that do."""
    if is_allowed(actor, action):
        return
    able = sorted(ALLOWED_ROLES.get(action, frozenset()))
    who = f"It requires the role {' or '.join(able)}." if able else "No role may."
    raise NotAllowed(f"{actor.name} may not do {str(action)!r}. {who}")
