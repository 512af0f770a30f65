"""A large file is imported in batches, broken rows are counted."""

import csv
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import world
from trigger_sdk import checkpoint, step, task


class Batch(NamedTuple):
    stored: int
    refused: int


def store(rows: list[dict]) -> Batch:
    good = [row for row in rows if row["email"] and "@" in row["email"]]
    world.post("/customers", {"rows": good})
    return Batch(len(good), len(rows) - len(good))


@task(id="import-customers")
def import_customers(path: Path, size: int = 2):
    totals = Counter(stored=0, refused=0)
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        number = 0
        while rows := list(islice(reader, size)):
            batch = step(f"batch-{number}", store, rows)
            totals["stored"] += batch.stored
            totals["refused"] += batch.refused
            number += 1
    stored, refused = totals["stored"], totals["refused"]
    checkpoint("imported", stored=stored, refused=refused, batches=number)

    world.post("/reports", {"text": f"{stored} customers, {refused} refused"})
    return {"stored": stored, "refused": refused}
