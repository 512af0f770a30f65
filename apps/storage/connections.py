"""Ends connections that a silent database would keep open for ever."""

import logging
import os
import socket
from typing import Any

import psycopg
from psycopg import AsyncConnection

logger = logging.getLogger(__name__)


def break_connection(connection: psycopg.Connection[Any] | AsyncConnection[Any]) -> None:
    """Makes its waiter, in whatever thread, see its end; closing it is the waiter's job.

    A cancel would not work: the driver asks the silent server to confirm it.
    """
    try:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as end:
            end.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error) as error:
        logger.debug("connection.break: %s", error)  # it is closed
