"""A node, built from its parts and run: the one place that knows them all.

`running_node` is a node inside whatever Trio program wants one, several in one process too. What belongs to a process
(signals, standard streams, limits, the working directory) is `node.program`'s.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio

from gossip import words
from node import dispatch, listening, obeying
from node.access import UsersRefused
from node.commands import families, script_calls
from node.config import Config, ConfigError
from node.log import Log
from node.migration import Migration
from node.persistence.aof import AppendOnlyFile
from node.persistence.loader import StreamLoader, about_to_load, load_at_start
from node.persistence.saver import Saver
from node.platform import Listener, Platform
from node.replay import Replay
from node.replication.replication import Replication
from node.script.functions import Functions
from node.script.running import Scripts
from node.server import REDIS_VERSION, CannotGoOn, CannotStart, Server
from node.shutdown import Shutdown
from node.slotpause import SlotPause
from node.table import CommandTable, Spec
from node.tls import CANNOT_START, CannotUseTls

ACCEPT_AGAIN_S = 0.1
"""How long nobody is let in where there is no descriptor, or no place to shake hands, for one more."""
LOAD_PATIENCE_S = 0.2
"""How long connections wait at the start for a data set that is loaded soon: Redis, too, looks after clients only now
and then while it loads, so that -LOADING is heard where it takes long."""
PORT_REFUSED = "Unable to listen on this port. Check server logs."


def build(platform: Platform, config: Config, log: Log, specs: list[Spec] | None = None) -> Server:
    """A node that nobody can reach yet. Raises CannotStart: its users are wrong, or what it knows of its cluster.

    specs -- its commands, where they are not a node's: a Sentinel is built of the same parts.
    """
    commands = CommandTable(specs if specs is not None else every_spec(in_cluster=config["cluster-enabled"]))
    for old, new in config.renamed_commands:
        commands.rename(old.encode("utf-8", "surrogateescape"), new.encode("utf-8", "surrogateescape"))
    server = Server(platform, config, commands, log)
    try:
        server.access.load_configured()
    except UsersRefused as error:
        raise CannotStart(str(error)) from None
    server.replication = Replication(server, obeying.obey_row)
    server.reactor.before_send = server.before_send
    server.saver = Saver(server)
    server.migration = Migration(server)
    server.slot_pause = SlotPause(server.conditions_changed)
    server.shutdown = Shutdown(server)
    try:
        server.tls.configure()
    except CannotUseTls:
        raise CannotStart(CANNOT_START) from None
    server.scripts = Scripts(server, REDIS_VERSION, script_calls.call, script_calls.acl_check)
    server.functions = Functions(server.scripts, server.clock_ns)
    server.saver.functions = server.replication.primary.snapshots.functions = server.functions.codes
    build_append_only_file(server)
    server.uncounted.append(server.replication.primary.stream.uncounted_bytes)
    server.saver.replication_aux = lambda: server.replication.place
    if config["cluster-enabled"]:
        from gossip.service import ClusterService

        server.cluster = cluster = ClusterService(server)
        for name in cluster.directives:
            config.on_change(name, cluster.settings_changed)
    dispatch.install(server)
    follow_settings(server)
    if config["replicaof"] is not None:
        server.replication.become_replica(*config["replicaof"])
    config.on_change("loglevel", log.set_level)
    config.on_change("latency-tracking", server.track_latency)
    config.on_change("notify-keyspace-events", server.notifications.set_classes)
    server.notifications.set_classes(config["notify-keyspace-events"])
    server.track_latency(config["latency-tracking"])
    for name in ("latency-monitor-threshold", "slowlog-log-slower-than", "slowlog-max-len"):
        config.on_change(name, lambda _value: server.judge_slowness())
    server.judge_slowness()
    server.memory.begin()
    return server


def build_append_only_file(server: Server) -> None:
    """The append-only file, and all that has to do with it: the journal's way out."""
    server.aof = aof = AppendOnlyFile(server, Replay(server), CannotGoOn)
    writer, saver = aof.writer, server.saver
    aof.functions = server.functions.codes
    aof.is_saving = lambda: saver.background is not None
    saver.must_wait = lambda: aof.rewriter.background is not None
    snapshots = server.replication.primary.snapshots

    def next_one() -> None:
        snapshots.save()
        saver.look()
        aof.rewriter.look()

    def disk_is_free() -> None:
        """A save or a rewrite is over: replicas first (but not in the middle of a command), then whoever else waits."""
        if snapshots.want_disk:
            server.timers.after(0, next_one)
        else:
            next_one()

    aof.saver_may_begin = saver.over = disk_is_free
    writer.wake = server.wake_outside_of_batch
    writer.release = server.reactor.release
    server.reactor.listen(writer.worker.bell, writer.turn_is_over)
    writer.fsynced = server.made_durable
    server.reactor.settle, server.reactor.is_full = writer.settle, writer.is_full
    server.reactor.before_rest = writer.before_rest
    server.replication.fsynced_offset = lambda: aof.fsynced_offset if aof.is_on else None
    server.replication.data_replaced = aof.data_set_replaced
    server.config.on_change("appendonly", aof.set_on)


def every_spec(*, in_cluster: bool = True) -> list[Spec]:
    """The commands of a node. One without a cluster refuses CLUSTER and ASKING, and need not load what runs them."""
    if not in_cluster:
        return [*families.specs(), *words.refused()]
    from gossip.moving.commands import registry

    return [*families.specs(), *registry().specs.values()]


def follow_settings(server: Server) -> None:
    """Let what CONFIG SET changes take effect where nobody would look by himself."""
    for name in (
        "min-replicas-max-lag", "min-replicas-to-write", "repl-backlog-size", "repl-backlog-ttl", "replica-read-only",
        "replica-serve-stale-data",
    ):  # fmt: skip
        server.config.on_change(name, lambda _value: server.replication.settings_changed())


class Ending:
    """The end of a node, waited for: `end` may come before `wait`."""

    def __init__(self) -> None:
        self._over = trio.Event()
        self._code = 0

    def end(self, code: int) -> None:
        """Let the node end with this exit code."""
        self._code = code
        self._over.set()

    async def wait(self) -> int:
        """The exit code, once there is one."""
        await self._over.wait()
        return self._code


class Entrance:
    """The listeners of a running node, and the tasks that take the connections which come to them."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self._server = server
        self._nursery = nursery
        self._open: dict[Listener, trio.CancelScope] = {}
        self._has_data = trio.Event()
        config = server.config
        config.on_change("port", lambda port: self._move(PORT_REFUSED, port=port))
        config.on_change("tls-port", lambda port: self._move_tls(port))
        config.on_change("bind", lambda _: self._move("Failed to bind to specified addresses.", **self._ports()))

    def add(self, listeners: Sequence[Listener]) -> None:
        """Take what comes to these, too."""
        for listener in listeners:
            self._open[listener] = trio.CancelScope()
            self._nursery.start_soon(self._accept, listener, self._open[listener])

    def data_loaded(self) -> None:
        """Whoever comes is served at once."""
        self._has_data.set()

    def let_in_waiting(self) -> None:
        """Serve the connections that wait: within a long script nobody else runs who would."""
        for listener in list(self._open):
            with suppress(OSError):  # no descriptor left: their own task says so afterwards
                self._let_in(listener)

    def close(self, unwanted: Callable[[Listener], bool] = lambda _: True) -> None:
        """Close all listeners, or those that are not wanted any more."""
        for listener in [listener for listener in self._open if unwanted(listener)]:
            self._open.pop(listener).cancel()
            listener.close()

    def _ports(self) -> dict[str, int]:
        return {"port": self._server.config["port"], "tls_port": self._server.config["tls-port"]}

    def _move_tls(self, port: int) -> None:
        """CONFIG SET tls-port: TLS may not have been configured so far."""
        if port:
            self._server.tls.update()
        self._move(PORT_REFUSED, tls_port=port)

    def _move(self, failure: str, *, port: int | None = None, tls_port: int | None = None) -> None:
        """CONFIG SET of ports or bind: the old ones go first, since the new ones may share addresses with them."""
        wanted = {is_tls: number for is_tls, number in ((False, port), (True, tls_port)) if number is not None}
        self.close(lambda listener: not listener.is_unix and listener.is_tls in wanted)
        try:
            for is_tls, number in wanted.items():
                if number:
                    self.add(listening.open_tcp(self._server, number, is_tls=is_tls))
        except listening.CannotListen:
            raise ConfigError(failure) from None

    async def _accept(self, listener: Listener, scope: trio.CancelScope) -> None:
        with scope:
            with trio.move_on_after(LOAD_PATIENCE_S):
                await self._has_data.wait()
            while not scope.cancel_called:  # a listener may be closed while its task has yet to run
                await listener.wait()
                try:
                    if not scope.cancel_called and not self._let_in(listener):
                        await trio.sleep(ACCEPT_AGAIN_S)
                except OSError as error:
                    self._server.log.warning(f"Accepting client connection: accept: {error.strerror}")
                    await trio.sleep(ACCEPT_AGAIN_S)

    def _let_in(self, listener: Listener) -> bool:
        """Serve all who wait at an address; False: there is no room for one more handshake just now.

        Raises OSError where the system has no descriptor left.
        """
        server = self._server
        while not listener.is_tls or server.tls.has_room:
            if (accepted := listener.accept()) is None:
                return True
            sock, addr, laddr = accepted
            if listener.is_tls and server.clients.is_full:  # a handshake is dear, and what comes of it is known
                server.clients.turn_away(sock)
            elif listener.is_tls:
                welcome = partial(server.clients.welcome, addr=addr, laddr=laddr, is_tls=True)
                server.tls.receive(sock, f"addr={addr} laddr={laddr}", welcome)
            else:
                server.clients.welcome(sock, addr, laddr, is_unix=listener.is_unix)
        return False


@asynccontextmanager
async def running(server: Server, *, has_data: bool = True) -> AsyncIterator[None]:
    """Run a node that has been built, until the block ends: clients get -LOADING until `load`. Raises CannotListen.

    has_data -- False where there is nothing to load.
    """
    if has_data:
        about_to_load(server)
    listeners = listening.open_all(server)
    cluster = server.cluster
    bus = [] if cluster is None else listening.open_tcp(server, cluster.bus_port)
    try:
        async with trio.open_nursery() as nursery:
            server.spawn = lambda task, *args: nursery.start_soon(watched, server, task, *args)
            entrance = Entrance(server, nursery)
            try:
                entrance.add(listeners)
                server.let_in = entrance.let_in_waiting
                server.open_doors = entrance.data_loaded
                if not has_data:
                    server.open_doors()
                server.spawn(keep_time, server)
                server.spawn(server.reactor.run)
                if cluster is not None:
                    for listener in bus:
                        server.spawn(cluster.accept, listener)
                    cluster.begin()
                yield
            finally:
                if cluster is not None:
                    cluster.end()
                entrance.close()
            nursery.cancel_scope.cancel()
    finally:
        listening.close_all(bus)  # not before the tasks that accept from them have ended
        server.aof.end()
        server.reactor.close()
        if cluster is not None:
            cluster.release()


@asynccontextmanager
async def running_node(platform: Platform, config: Config, log: Log | None = None) -> AsyncIterator[Server]:
    """A node that has its data and serves its addresses while the block runs. Raises CannotListen, LoadError."""
    server = build(platform, config, log or Log(platform, lambda _text: None))
    async with running(server):
        await load(server)
        yield server


async def load(server: Server) -> None:
    """Load the data set of a running node. Raises LoadError."""
    loader = await (server.aof.start() if server.config.appendonly else load_at_start(server))
    if loader is not None:
        server.saver.data_set_loaded(loader.keys_loaded, loader.keys_expired)
    if isinstance(loader, StreamLoader):
        server.replication.data_set_loaded(loader.replication, loader.expired)
    server.open_doors()
    server.saver.start()
    server.replication.begin()
    if server.cluster is not None:
        server.cluster.data_loaded()


def run(server: Server, serve: Callable[[Server], Awaitable[None]]) -> None:
    """Run `serve(server)` in a loop of its own."""
    trio.run(serve, server)


async def watched(server: Server, task: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Run a task of the node; an exception that gets this far is a bug, and is told while its state is still there."""
    try:
        await task(*args)
    except Exception as error:
        server.crashed(error)
        raise


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
