"""What the log of a process leaves out: tracebacks of what a peer or the database did."""

import logging

from django.db import InterfaceError, OperationalError


class WithoutForeignTracebacks(logging.Filter):
    """Keeps every line; of refused requests (`django.security`) and of a database that is away without the stack."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if record.name.startswith("django.security") or isinstance(error, (OperationalError, InterfaceError)):
            record.exc_info = None
        return True
