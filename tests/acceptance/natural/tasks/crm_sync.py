"""Contacts changed since the last time are copied into another system, page by page."""

import logging

import httpx
import world
from pydantic import BaseModel
from trigger_sdk import Retry, checkpoint, step, task

logger = logging.getLogger("crm")


class Contact(BaseModel):
    id: int
    name: str
    email: str | None = None


class Page(BaseModel):
    contacts: list[Contact]
    next: int | None


@task(id="sync-contacts", retry=Retry(max_attempts=5, initial=1))
def sync_contacts(since: str):
    client = httpx.Client(base_url=world.URL, headers={"X-Key": "demo"})

    def load(number: int) -> Page:
        return Page.model_validate(client.get(f"/contacts/{since}/{number}").raise_for_status().json())

    contacts: list[Contact] = []
    number = 1
    while number:
        page = step(f"page-{number}", load, number)
        contacts.extend(page.contacts)
        number = page.next
    checkpoint("loaded", {"contacts": contacts})

    for contact in contacts:
        client.put(f"/copies/{contact.id}", json=contact.model_dump()).raise_for_status()
    logger.info("copied %d contacts", len(contacts))
    client.close()
    return len(contacts)
