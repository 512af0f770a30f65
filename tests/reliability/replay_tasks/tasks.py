"""A task of checkpoints and steps that writes down each effect in a file outside the database, one file for each run.

Deployed twice, with another VERSION: then some code differs, and the second version can do what the first cannot.
"""

import os
import time

from trigger_sdk import AbortRun, Retry, checkpoint, current_run, idempotency_key, step, task

VERSION = 1
WORK_SECONDS = 0.01
"""So long each effect takes, so that kills find something in the middle."""


def work(ledger: str, what: str) -> None:
    with open(os.path.join(ledger, current_run().id), "a") as file:
        file.write(f"{what}\n")
    time.sleep(WORK_SECONDS)


def fetch_page(ledger: str, number: int, total: int) -> int:
    work(ledger, f"page-{number}")
    return total * 10 + number + VERSION * 1000


def send_mail(ledger: str, amount: int) -> str:
    work(ledger, "mail")
    return f"{amount} by version {VERSION}"


@task(id="chain", retry=Retry(max_attempts=100, initial=0.05, factor=1, max=0.05))
def chain(ledger: str, name: str, total: int, discount: int, bonus: int, broken: bool = False):
    work(ledger, "fetch")
    order = {"name": name, "total": total}
    discount = discount + 1
    checkpoint("fetched", {"order": order, "discount": discount})
    subtotal = 0
    for number in range(3):
        subtotal += step(f"page-{number}", fetch_page, ledger, number, order["total"])
    work(ledger, "sum")
    subtotal -= discount
    checkpoint("paged", {"subtotal": subtotal})
    work(ledger, "charge")
    order["paid_by"] = VERSION
    payment = {"amount": subtotal + order["total"]}
    checkpoint("paid", {"payment": payment})
    work(ledger, "ship")
    mail = step("mail", send_mail, ledger, payment["amount"])
    if broken and VERSION == 1:
        raise AbortRun("the first version cannot do this")
    work(ledger, "end")
    return {
        "version": VERSION,
        "order": order,
        "discount": discount,
        "subtotal": subtotal,
        "payment": payment,
        "mail": mail,
        "bonus": bonus,
        "key": idempotency_key("charge"),
    }
