"""A node, built from its parts and run: the one place that knows them all.

`running_node` is a node inside whatever Trio program wants one, several in one process too. What belongs to a process
(signals, standard streams, limits, the working directory) is `node.program`'s.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from node import dispatch, listening
from node.commands import client, command, connection, persistence, replication, server, strings
from node.commands.family import FAMILIES
from node.config.config import Config
from node.log import Log
from node.persistence.loader import about_to_load, load_at_start
from node.persistence.saver import Saver
from node.platform import Listener, Platform
from node.replication.replication import Replication
from node.server import Server
from node.table import CommandTable

FAMILY_MODULES = (client, command, connection, persistence, replication, server, strings)


def build(platform: Platform, config: Config, log: Log) -> Server:
    """A node that nobody can reach yet."""
    server = Server(platform, config, CommandTable(FAMILIES.specs.values()), log)
    server.replication = Replication(server, dispatch.obey)
    server.reactor.before_send = server.before_send
    server.saver = Saver(server)
    server.saver.replication_aux = lambda: server.replication.place
    dispatch.install(server)
    follow_settings(server)
    if config["replicaof"] is not None:
        server.replication.become_replica(*config["replicaof"])
    return server


def follow_settings(server: Server) -> None:
    """Let what CONFIG SET changes take effect where nobody would look by himself."""
    for name in (
        "min-replicas-max-lag", "min-replicas-to-write", "repl-backlog-size", "repl-backlog-ttl", "replica-read-only",
        "replica-serve-stale-data",
    ):  # fmt: skip
        server.config.on_change(name, lambda _value: server.replication.settings_changed())


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    """Run a node that has been built, until the block ends: clients get -LOADING until `load`. Raises CannotListen."""
    about_to_load(server)
    listeners = listening.open_all(server)
    try:
        async with trio.open_nursery() as nursery:
            server.spawn = nursery.start_soon
            for listener in listeners:
                nursery.start_soon(accept, server, listener)
            nursery.start_soon(keep_time, server)
            nursery.start_soon(server.reactor.run)
            yield
            nursery.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.close()
        server.reactor.close()


@asynccontextmanager
async def running_node(platform: Platform, config: Config, log: Log | None = None) -> AsyncIterator[Server]:
    """A node that has its data and serves its addresses while the block runs. Raises CannotListen, LoadError."""
    server = build(platform, config, log or Log(platform, lambda _text: None))
    async with running(server):
        await load(server)
        yield server


async def load(server: Server) -> None:
    """Load the data set of a running node. Raises LoadError."""
    loader = await load_at_start(server)
    if loader is not None:
        server.saver.data_set_loaded(loader.keys_loaded, loader.keys_expired)
        server.replication.data_set_loaded(loader.replication, loader.keys_expired)
    server.saver.start()
    server.replication.begin()


async def accept(server: Server, listener: Listener) -> None:
    """Take the connections that come to one address."""
    while True:
        await listener.wait()
        while (accepted := listener.accept()) is not None:
            sock, addr, laddr = accepted
            server.clients.welcome(sock, addr, laddr, is_unix=listener.is_unix)


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
