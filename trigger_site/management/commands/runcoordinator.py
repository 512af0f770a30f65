"""Starts a coordinator: the workers' API and the ticks. Any number may run; there is no leader."""

import logging

import uvloop
from django.core.management.base import BaseCommand, CommandParser

from trigger_site.coordinator.runner import Runner
from trigger_site.coordinator.server import serve
from trigger_site.edge.limits import is_every_network

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Runs a coordinator (the API that workers call, and the ticks)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8001)
        parser.add_argument("--once", action="store_true", help="make one pass over the ticks and exit")

    def handle(self, *, host: str, port: int, once: bool, **options: object) -> None:
        if once:
            Runner().run_once()
            return
        if is_every_network(host):
            logger.warning(
                "coordinator.open: %s is every network of this machine; only the worker token protects it", host
            )
        uvloop.run(serve(host=host, port=port))
