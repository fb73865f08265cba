"""A node's program: built from its parts, and run."""

import trio

from node import dispatch
from node.commands import connection, strings
from node.commands.family import FAMILIES
from node.config.config import Config
from node.log import Log
from node.platform import Listener, Platform
from node.server import Server
from node.table import CommandTable

FAMILY_MODULES = (connection, strings)


async def accept(server: Server, listener: Listener) -> None:
    """Take the connections that come to one address."""
    while True:
        await listener.wait()
        while (accepted := listener.accept()) is not None:
            sock, addr, laddr = accepted
            server.reactor.add(sock, server.new_session(addr, laddr))


async def keep_time(server: Server) -> None:
    """Run the node's timers."""
    timers, platform = server.timers, server.platform
    while True:
        with trio.CancelScope() as nap:
            timers.rearm = nap.cancel
            await platform.sleep_until_ms(timers.next_ms)
        timers.rearm = lambda: None
        server.read_clock()
        timers.run_due()


async def run(platform: Platform, port: int) -> None:
    limits = {"normal": (0, 0, 0), "replica": (0, 0, 0), "pubsub": (0, 0, 0)}
    config = Config({"databases": 16, "proto-max-bulk-len": 512 << 20, "client-output-buffer-limit": limits})
    log = Log(platform, platform.write_out)
    server = Server(
        platform,
        {"databases": 16, "proto-max-bulk-len": 512 << 20, "client-output-buffer-limit": {"normal": (0, 0, 0)}},
        CommandTable(FAMILIES.specs.values()),
        log,
    )
    dispatch.install(server)
    listener = platform.listen_tcp("127.0.0.1", port, 511)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, server, listener)
        nursery.start_soon(keep_time, server)
        nursery.start_soon(server.reactor.run)
        log.notice("Ready to accept connections")


if __name__ == "__main__":
    import sys

    trio.run(run, Platform(), int(sys.argv[1]))
