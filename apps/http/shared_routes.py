"""Addresses of the HTTP API that several apps answer, each its own methods: an address belongs to one router."""

from ninja import Router

task_routes = Router(tags=["tasks"])
