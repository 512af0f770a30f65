"""An invoice is loaded, drawn as a PDF and mailed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import world
from trigger_sdk import checkpoint, idempotency_key, task


@dataclass
class Line:
    title: str
    amount: Decimal


@dataclass
class Invoice:
    number: str
    due: date
    lines: list[Line]

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), Decimal(0))


def load_invoice(number: str) -> Invoice:
    row = world.get(f"/invoices/{number}")
    lines = [Line(line["title"], Decimal(line["amount"])) for line in row["lines"]]
    return Invoice(number, date.fromisoformat(row["due"]), lines)


def draw_pdf(invoice: Invoice) -> bytes:
    rows = [f"({line.title}: {line.amount}) Tj" for line in invoice.lines]
    return "\n".join(["%PDF-1.4", *rows, f"(Total {invoice.total}) Tj", "%%EOF"]).encode()


@task(id="send-invoice")
def send_invoice(number: str, to: str):
    invoice = load_invoice(number)
    checkpoint("loaded", {"invoice": invoice})

    pdf = draw_pdf(invoice)
    checkpoint("drawn", {"pdf": pdf})

    message = EmailMessage()
    message["To"] = to
    message["Subject"] = f"Invoice {invoice.number}, due {invoice.due:%d %B %Y}"
    message.add_attachment(pdf, maintype="application", subtype="pdf", filename=f"{number}.pdf")
    world.post("/mails", {"to": to, "subject": message["Subject"], "key": idempotency_key("mail")})
    Path(f"{number}.pdf").write_bytes(pdf)
    return {"total": invoice.total, "bytes": len(pdf)}
