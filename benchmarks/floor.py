"""`python -m benchmarks.floor URL SECONDS`: measures what the server alone achieves, to show what the engine adds.

One connection claims and completes no-ops in batches of 100 with two prepared statements, each committed durably. The
table is the simplest that holds a queue: a status column and a partial index on pending rows. Prints JSON: completed,
seconds, cpu_seconds (of this client).
"""

import json
import sys
import time

import psycopg

BATCH = 100
ROWS = 200_000

TABLE = """
DROP TABLE IF EXISTS floor;
CREATE TABLE floor (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task text NOT NULL DEFAULT 'noop',
    status smallint NOT NULL DEFAULT 0,
    priority smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    attempt smallint NOT NULL DEFAULT 0,
    worker int,
    lease_end timestamptz,
    finished_at timestamptz,
    payload jsonb NOT NULL DEFAULT '{"i": 1}',
    output jsonb
);
CREATE INDEX floor_claim_idx ON floor (priority, id) WHERE status = 0;
"""

CLAIM = """
WITH candidate AS (
    SELECT id FROM floor WHERE status = 0 AND due_at <= now() ORDER BY priority, id LIMIT %s FOR UPDATE SKIP LOCKED
)
UPDATE floor f SET status = 1, attempt = attempt + 1, worker = 1, lease_end = now() + interval '30 s'
FROM candidate c WHERE f.id = c.id RETURNING f.id, f.task, f.payload
"""

COMPLETE = """
UPDATE floor SET status = 2, lease_end = NULL, finished_at = now(), output = 'null' WHERE id = ANY(%s::bigint[])
"""


def prepare(url: str) -> None:
    """Creates a separate table, filled and vacuumed, in the engine's database."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(TABLE)
        database.execute(f"INSERT INTO floor (task) SELECT 'noop' FROM generate_series(1, {ROWS})")
        database.execute("VACUUM ANALYZE floor")
        database.execute("CHECKPOINT")


def drop(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("DROP TABLE floor")


def drain(url: str, seconds: float) -> dict[str, float]:
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as database:
        # Payloads come back as text, so that no JSON is parsed here.
        database.adapters.register_loader("jsonb", psycopg.types.string.TextLoader)
        began_at, spent, completed = time.monotonic(), time.process_time(), 0
        while time.monotonic() - began_at < seconds:
            rows = database.execute(CLAIM, (BATCH,)).fetchall()
            if not rows:
                break
            database.execute(COMPLETE, ([row[0] for row in rows],))
            completed += len(rows)
        return {
            "completed": completed,
            "seconds": time.monotonic() - began_at,
            "cpu_seconds": time.process_time() - spent,
        }


if __name__ == "__main__":
    print(json.dumps(drain(sys.argv[1], float(sys.argv[2]))))
