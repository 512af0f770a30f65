"""What the task of `replay_tasks` must come to, and random replays and requeues of it with what each must lead to.

Plain values: knows no database, no server and no clock. The expectations come from the contract, not from the code.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

KEYS = ("fetched", "page-0", "page-1", "page-2", "paged", "paid", "mail")
STEPS = frozenset({"page-0", "page-1", "page-2", "mail"})
EFFECT_BEFORE = {"fetched": "fetch", "paged": "sum", "paid": "charge"} | {key: key for key in STEPS}
"""The effect that a run does on its way to each key, and that a replay which reuses the key must not do."""


@dataclass(frozen=True)
class Saved:
    """One stored entry: `data` of a step is its result."""

    data: Any
    carried: Mapping[str, Any] = field(default_factory=dict)
    is_edited: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Ended:
    """How a run must end, what it then holds, and the effects that it must have and no others."""

    state: str
    output: Any
    saved: Mapping[str, Saved]
    effects: frozenset[str]


@dataclass(frozen=True)
class Known:
    """A run that is final, as it must be. `scope` is the run whose idempotency keys it uses."""

    id: str
    payload: Mapping[str, Any]
    version: int
    scope: str
    ended: Ended


@dataclass(frozen=True)
class Wish:
    """A replay to ask for. `refused` are the paths that it must be refused for; empty: it must be made."""

    source: Known
    arguments: Mapping[str, Any]
    version: int
    payload: Mapping[str, Any]
    saved: Mapping[str, Saved]
    has_own_keys: bool
    refused: frozenset[str]

    def expect(self, run_id: str) -> Known:
        scope = run_id if self.has_own_keys else self.source.scope
        return Known(
            run_id, self.payload, self.version, scope, carry_out(self.payload, self.version, self.saved, scope)
        )


def carry_out(payload: Mapping[str, Any], version: int, stored: Mapping[str, Saved], scope: str) -> Ended:
    """The task, beginning behind what is stored."""
    saved, effects = dict(stored), set[str]()
    names: dict[str, Any] = {}
    for key in ("fetched", "paged", "paid"):
        if key in stored:
            names |= {**stored[key].data, **stored[key].carried}

    def result(key: str, value: Any) -> Any:
        if key not in saved:
            effects.add(key)
            saved[key] = Saved(value)
        return saved[key].data

    if "fetched" not in stored:
        effects.add("fetch")
        names = {"order": {"name": payload["name"], "total": payload["total"]}, "discount": payload["discount"] + 1}
        saved["fetched"] = Saved(dict(names))
    order, discount = dict(names["order"]), names["discount"]
    if "paged" not in stored:
        pages = [result(f"page-{n}", order["total"] * 10 + n + version * 1000) for n in range(3)]
        effects.add("sum")
        names["subtotal"] = sum(pages) - discount
        saved["paged"] = Saved({"subtotal": names["subtotal"]})
    if "paid" not in stored:
        effects.add("charge")
        order["paid_by"] = version
        names["payment"] = {"amount": names["subtotal"] + order["total"]}
        saved["paid"] = Saved({"payment": names["payment"]}, {"order": order})
    effects.add("ship")
    mail = result("mail", f"{names['payment']['amount']} by version {version}")
    if payload["broken"] and version == 1:
        return Ended("dead_letter", None, saved, frozenset(effects))
    effects.add("end")
    output = {
        "version": version,
        "order": order,
        "discount": discount,
        "subtotal": names["subtotal"],
        "payment": names["payment"],
        "mail": mail,
        "bonus": payload["bonus"],
        "key": hashlib.sha256(f"{scope}\0charge".encode()).hexdigest(),
    }
    return Ended("completed", output, saved, frozenset(effects))


def effects_to_come(letter: Known, version: int) -> frozenset[str]:
    """What a requeue of the dead letter on that version must still do, and nothing else."""
    return carry_out(letter.payload, version, letter.ended.saved, letter.scope).effects


def requeued(letter: Known, version: int) -> Known:
    """The dead letter as it must be after a requeue on that version: its effects add up."""
    again = carry_out(letter.payload, version, letter.ended.saved, letter.scope)
    ended = Ended(again.state, again.output, again.saved, letter.ended.effects | again.effects)
    return Known(letter.id, letter.payload, version, letter.scope, ended)


def new_payload(rng: random.Random, ledger: str, *, is_broken: bool) -> dict[str, Any]:
    return {
        "ledger": ledger, "name": f"order-{rng.randrange(1000)}", "total": rng.randrange(10**30),
        "discount": rng.randrange(100), "bonus": rng.randrange(100), "broken": is_broken,
    }  # fmt: skip


def choose_deployment(rng: random.Random, deployments: Sequence[str], own: int) -> tuple[str, int]:
    """The argument and the version that it means; `deployments` are the ids of version 1 and 2."""
    return rng.choice([("original", own), ("latest", 2), (deployments[0], 1), (deployments[1], 2)])


def random_wish(rng: random.Random, source: Known, deployments: Sequence[str]) -> Wish:
    start = rng.choice([None, *source.ended.saved])
    count = 0 if start is None else list(KEYS).index(start) + 1
    reused = {key: source.ended.saved[key] for key in KEYS[:count]}
    deployment, version = choose_deployment(rng, deployments, source.version)
    edits, saved, refused = _edits(rng, reused)
    payload = _edited_payload(rng, source.payload)
    if payload["discount"] != source.payload["discount"] and "fetched" in reused:
        refused |= {"payload.discount"}
    wants_own_keys = rng.random() < 0.1
    arguments: dict[str, Any] = {"from_checkpoint": start, "deployment": deployment}
    arguments |= {"checkpoint_data": edits} if edits else {}
    arguments |= {"payload": payload} if payload != source.payload or rng.random() < 0.1 else {}
    arguments |= {"new_idempotency_keys": True} if wants_own_keys else {}
    drops_edit = any(entry.is_edited for key, entry in source.ended.saved.items() if key not in reused)
    has_own_keys = wants_own_keys or saved != reused or drops_edit or payload != source.payload
    return Wish(source, arguments, version, payload, saved, has_own_keys, frozenset(refused))


def _edits(rng: random.Random, reused: Mapping[str, Saved]) -> tuple[dict[str, Any], dict[str, Saved], set[str]]:
    """What is sent, what is then stored, and the paths of edits that nobody would see."""
    wanted = [key for key in reused if rng.random() < 0.15]
    edits: dict[str, Any] = {}
    saved, refused = dict(reused), set[str]()
    for key in wanted:
        stored = reused[key]
        if key in STEPS:
            new = Saved(f"mail {rng.randrange(100)}" if key == "mail" else rng.randrange(10**25))
        elif key == "fetched":
            is_order_edited = rng.random() < 0.5
            order = (
                {**stored.data["order"], "total": rng.randrange(10**20)} if is_order_edited else stored.data["order"]
            )
            new = Saved({"order": order, "discount": rng.randrange(1000, 2000)})
            if is_order_edited and "paid" in reused:
                refused.add("checkpoint_data.fetched.order")
        elif key == "paged":
            new = Saved({"subtotal": rng.randrange(10**20)})
        else:
            new = Saved({"payment": {"amount": rng.randrange(10**20)}}, {"order": {"name": "edited", "total": 1}})
        edits[key] = {**new.data, **new.carried} if key not in STEPS else new.data
        saved[key] = replace(new, is_edited=True)
    return edits, saved, refused


def _edited_payload(rng: random.Random, payload: Mapping[str, Any]) -> dict[str, Any]:
    edited = dict(payload)
    for name in ("bonus", "total", "discount"):
        if rng.random() < 0.1:
            edited[name] = edited[name] + 1
    return edited
