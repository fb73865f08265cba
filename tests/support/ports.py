"""Free ports for servers under test.

They lie below the kernel's ephemeral range (32768-60999), so that no outgoing connection takes one between
the look and the server's bind; and a node's bus port (port + 10000) lies below it too.
"""

from __future__ import annotations

import random
import socket

FIRST_PORT, LAST_PORT = 10_001, 22_000
BUS_OFFSET = 10_000
TRIES = 500

_given: set[int] = set()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a listener still refuses, TIME_WAIT does not
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port on which nothing listens, nor on its bus port; the same one is never given twice by a process."""
    luck = random.SystemRandom()  # not `random`: Hypothesis seeds that, and two workers would draw alike
    for _ in range(TRIES):
        port = luck.randint(FIRST_PORT, LAST_PORT)
        if port not in _given and _is_free(port) and _is_free(port + BUS_OFFSET):
            _given.add(port)
            return port
    raise OSError(f"no free port among {TRIES} between {FIRST_PORT} and {LAST_PORT}")
