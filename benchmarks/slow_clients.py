"""Slow clients as a separate process: `python -m benchmarks.slow_clients PORT COUNT` drips headers until it ends.

They use several addresses, because each may have only so many connections, and reopen those the server closes.
"""

import socket
import sys
import time
from contextlib import suppress

START = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
PER_ADDRESS = 250
PAUSE_SECONDS = 0.5


def main(port: int, count: int) -> None:
    clients = [opened(port, number) for number in range(count)]
    print("ready", flush=True)
    while True:
        for number, client in enumerate(clients):
            try:
                client.send(b"1", socket.MSG_DONTWAIT)
            except OSError:
                client.close()
                clients[number] = opened(port, number)
        time.sleep(PAUSE_SECONDS)


def opened(port: int, number: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 10, (f"127.0.0.{2 + number // PER_ADDRESS}", 0))
    with suppress(OSError):
        client.send(START)
    return client


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
