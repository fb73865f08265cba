"""A transaction of ten commands, sent in one piece, in turns with redis-server: throughput and server CPU."""

import selectors
import socket
from time import perf_counter

from tests.bench.measuring import both, cpu_seconds, ratio_row
from tests.support.servers import Server
from tests.support.wire import encode

CLIENTS = 50
COMMANDS = 10
TRANSACTIONS = 20_000
"""Of one run: about a second."""
REQUEST = encode("MULTI") + COMMANDS * encode("SET", "key:000000000001", "x" * 16) + encode("EXEC")
REPLY_BYTES = len(b"+OK\r\n" + COMMANDS * b"+QUEUED\r\n" + b"*10\r\n" + COMMANDS * b"+OK\r\n")


def run(server: Server) -> tuple[float, float]:
    """(transactions a second, CPU µs of the server per transaction)."""
    before, began = cpu_seconds(server.pid), perf_counter()
    with selectors.DefaultSelector() as selector:
        missing: dict[socket.socket, int] = {}
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", server.port))
            selector.register(client, selectors.EVENT_READ)
            missing[client] = REPLY_BYTES
            client.sendall(REQUEST)
        sent = CLIENTS
        while missing:
            for key, _ in selector.select():
                client = key.fileobj  # type: ignore[assignment]
                missing[client] -= len(client.recv(REPLY_BYTES))
                if missing[client]:
                    continue
                if sent < TRANSACTIONS:
                    sent += 1
                    missing[client] = REPLY_BYTES
                    client.sendall(REQUEST)
                else:
                    del missing[client]
                    selector.unregister(client)
                    client.close()
    return TRANSACTIONS / (perf_counter() - began), (cpu_seconds(server.pid) - before) / TRANSACTIONS * 1e6


def table(rounds: int) -> str:
    head = "| MULTI, ten SET, EXEC, 50 clients | throughput Hexad | Redis | ratio | CPU Hexad | Redis | ratio |"
    with both() as (ours, theirs):
        pairs = [(run(ours), run(theirs)) for _ in range(rounds)]
    return "\n".join([head, "|---|---|---|---|---|---|---|", ratio_row("one transaction a time", pairs)]) + "\n"
