"""Drops tracebacks caused by a peer or the database from the logs."""

import logging

from django.db import InterfaceError, OperationalError


class WithoutForeignTracebacks(logging.Filter):
    """Keeps every line, but without the stack for refused requests (`django.security`) and a database that is away."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if record.name.startswith("django.security") or isinstance(error, (OperationalError, InterfaceError)):
            record.exc_info = None
        return True
