"""Addresses of the HTTP API where several apps answer different methods: an address belongs to one router."""

from ninja import Router

task_routes = Router(tags=["tasks"])
