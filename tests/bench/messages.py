"""PUBLISH to a hundred subscribers of one channel, in turns with redis-server: throughput and server CPU."""

import selectors
import socket
import threading
from types import TracebackType

from tests.bench.measuring import benchmark, both, cpu_seconds, ratio_row
from tests.support.servers import Server
from tests.support.wire import encode

SUBSCRIBERS = 100
CHANNEL = "news"
REQUESTS = {1: 5_000, 16: 20_000}
"""Messages of one run by pipeline depth: about a second each, and a hundred times as many deliveries."""
BUFFER_BYTES = 1 << 18


class Audience:
    """Subscribers that read all they get and throw it away, in a thread of this process."""

    def __init__(self, port: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(SUBSCRIBERS)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> None:
        for one in self._sockets:
            one.sendall(encode("SUBSCRIBE", CHANNEL))
            one.recv(BUFFER_BYTES)
            one.setblocking(False)
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        for one in self._sockets:
            one.close()

    def _listen(self) -> None:
        buffer = bytearray(BUFFER_BYTES)
        with selectors.DefaultSelector() as selector:
            for one in self._sockets:
                selector.register(one, selectors.EVENT_READ)
            while not self._over.is_set():
                for key, _ in selector.select(0.1):
                    key.fileobj.recv_into(buffer)  # type: ignore[union-attr]


def run(server: Server, pipeline: int) -> tuple[float, float]:
    """(messages a second, CPU µs of the server per message)."""
    requests = REQUESTS[pipeline]
    before = cpu_seconds(server.pid)
    rate = benchmark(
        server.port, "-c", "50", "-P", str(pipeline), "-n", str(requests), "publish", CHANNEL, "x" * 32
    )  # fmt: skip
    return rate, (cpu_seconds(server.pid) - before) / requests * 1e6


def table(rounds: int) -> str:
    lines = [
        f"| PUBLISH to {SUBSCRIBERS} subscribers, `-c 50` | throughput Hexad | Redis | ratio | CPU per message Hexad |"
        " Redis | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    with both() as (ours, theirs), Audience(ours.port), Audience(theirs.port):
        for pipeline in REQUESTS:
            pairs = [(run(ours, pipeline), run(theirs, pipeline)) for _ in range(rounds)]
            lines.append(ratio_row(f"`-P {pipeline}`", pairs))
    return "\n".join(lines) + "\n"
