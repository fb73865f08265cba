"""A node, built from its parts and run: the one place that knows them all.

`running_node` is a node inside whatever Trio program wants one, several in one process too. What belongs to a process
(signals, standard streams, limits, the working directory) is `node.program`'s.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from node import dispatch, listening
from node.commands import connection, replication, server, strings
from node.commands.family import FAMILIES
from node.config.config import Config
from node.log import Log
from node.platform import Listener, Platform
from node.replication.replication import Replication
from node.server import Server
from node.table import CommandTable, Spec

FAMILY_MODULES = (connection, replication, server, strings)


def build(platform: Platform, config: Config, log: Log) -> Server:
    """A node that nobody can reach yet."""
    server = Server(platform, config, CommandTable(specs(config)), log)
    server.replication = Replication(server, lambda *args: server.start_task(*args), dispatch.obey)
    server.reactor.before_send = server.before_send
    if config["cluster-enabled"]:
        _join_cluster(server)
    dispatch.install(server)
    return server


def _join_cluster(server: Server) -> None:
    """Give the node its part in a cluster; a bare node does not even load what that needs. Raises CannotStart."""
    from gossip.service import ClusterService

    server.cluster = ClusterService(server)


def specs(config: Config) -> list[Spec]:
    """The commands of a node. CLUSTER is among them in every mode: without a cluster it says so."""
    from gossip.commands import CLUSTER

    return [*FAMILIES.specs.values(), *CLUSTER.specs.values()]


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    """Run a node that has been built, until the block ends. Raises CannotListen."""
    listeners = listening.open_all(server)
    cluster = server.cluster
    bus = listening.open_tcp(server, cluster.bus_port) if cluster is not None else []
    try:
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(accept, server, listener)
            server.start_task = nursery.start_soon
            nursery.start_soon(keep_time, server)
            nursery.start_soon(server.reactor.run)
            if cluster is not None:
                for listener in bus:
                    nursery.start_soon(cluster.accept, listener)
                cluster.begin()
            yield
            nursery.cancel_scope.cancel()
    finally:
        listening.close_all(listeners + bus)
        server.reactor.close()


@asynccontextmanager
async def running_node(platform: Platform, config: Config, log: Log | None = None) -> AsyncIterator[Server]:
    """A node that serves its addresses while the block runs. Raises CannotListen."""
    server = build(platform, config, log or Log(platform, lambda _text: None))
    async with running(server):
        yield server


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
