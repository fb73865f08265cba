"""Free ports for servers under test.

They lie below the kernel's ephemeral range (32768-60999), so that no outgoing connection takes one between
the look and the server's bind; and a node's bus port (port + 10000) lies below it too, and is no other's port.

Each process of a parallel run has a share of its own: a node that still looks for one which another test has ended
would find that of a third, and draw it into its cluster.
"""

from __future__ import annotations

import os
import random
import socket

FIRST_PORT, LAST_PORT = 10_001, 20_000
BUS_OFFSET = 10_000
TRIES = 500

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

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
        port = luck.randrange(FIRST_PORT + WORKER, LAST_PORT + 1, WORKERS)
        if port not in _given and _is_free(port) and _is_free(port + BUS_OFFSET):
            _given.add(port)
            return port
    raise OSError(f"no free port among {TRIES} between {FIRST_PORT} and {LAST_PORT}")
