"""Ports for servers that cannot choose one themselves, which no other test process of this machine gets meanwhile."""

import random
import socket

# Below what Linux, macOS and Windows give to outgoing connections, so that nobody gets one of these by chance.
FIRST, LAST = 20_000, 29_999

_reserved: list[socket.socket] = []


def reserve_port() -> int:
    """A free port of 127.0.0.1, reserved until this process ends.

    The reservation is a UDP socket of the same number: the kernel gives it to one process only, and a TCP server can
    still use the port.
    """
    while True:
        port = random.randint(FIRST, LAST)
        mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            mark.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        _reserved.append(mark)
        return port
