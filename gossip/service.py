"""A node's part in a cluster, put together: the machine, its bus, and what the node asks of it for each command."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence

from gossip import comeback, networks, nodesconf
from gossip.bus import Bus
from gossip.conffile import ConfigFile
from gossip.events import Broadcast, DataLoaded, SettingsChanged
from gossip.machine import ClusterMachine, new_state
from gossip.moving.mover import Mover
from gossip.route import Request, redirect
from gossip.settings import ClusterSettings
from gossip.slotstats import NO_SLOT_IS_MINE, SlotStats
from gossip.state import ClusterState
from node.commands.blocking import KeyWaiter
from node.net.peer import CLOSE_NOW
from node.net.resp import Argv, Failure, Reply
from node.platform import Listener
from node.script.scripts import declared_flags
from node.server import CannotStart, Client, Server
from node.slots import slot_of
from node.table import ASKING, MAY_REPLICATE, SHARDED, WRITE, Command

BUS_PORT_OFFSET = 10000
"""The bus listens this far above the client port, unless `cluster-port` says otherwise."""
NEVER_SYNCED_MS = 1 << 50

_ADDRESSES = (
    "port", "tls-port", "tls-cluster", "cluster-announce-port", "cluster-announce-tls-port",
    "cluster-announce-bus-port", "cluster-announce-network", "cluster-seeds",
)  # fmt: skip

_SETTINGS = {
    "cluster-announce-ip": "announce_ip",
    "cluster-announce-hostname": "announce_hostname",
    "cluster-announce-human-nodename": "announce_human_nodename",
    "cluster-hand-over-when-behind": "hand_over_when_behind",
    "cluster-node-timeout": "node_timeout_ms",
    "cluster-ping-interval": "ping_interval_ms",
    "cluster-replica-validity-factor": "replica_validity_factor",
    "cluster-replica-no-failover": "replica_no_failover",
    "cluster-replica-votes": "replica_votes",
    "cluster-migration-barrier": "migration_barrier",
    "cluster-allow-replica-migration": "allow_replica_migration",
    "cluster-require-full-coverage": "require_full_coverage",
    "cluster-allow-reads-when-down": "allow_reads_when_down",
    "cluster-allow-pubsubshard-when-down": "allow_pubsubshard_when_down",
    "cluster-preferred-endpoint-type": "preferred_endpoint_type",
    "repl-ping-replica-period": "ping_replica_period_s",
}
"""Directives that go into the machine's settings as they are; empty texts stand for "not set"."""


_SLOT_STATS = "cluster-slot-stats-enabled"


class ClusterService:
    """What `node.server.Cluster` promises, and the machine's `Facts`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._file = ConfigFile(server)
        self.settings = ClusterSettings()
        self.read_settings()
        self.state = self._load()
        self.machine = ClusterMachine(self.state, self.settings, self, server.platform.random)
        self.bus = Bus(server, self.machine, self.save)
        self.bus.went_down = self.send_waiting_away
        self.mover = Mover(self)
        self.serving = self.state.serving
        self.slot_stats = SlotStats(server, routed_words)
        server.replication.is_primary_there = self.hears_primary

    @property
    def directives(self) -> tuple[str, ...]:
        """What CONFIG SET can change that the cluster looks at: `settings_changed` wants to hear of each."""
        return (*_ADDRESSES, *_SETTINGS, _SLOT_STATS)

    @property
    def my_id(self) -> str:
        return self.state.myself.id

    @property
    def connection_count(self) -> int:
        """Bus links that are open: INFO's cluster_connections."""
        return len(self.bus.links)

    @property
    def links_bytes(self) -> int:
        """Memory that the bus links take, about."""
        return sum(link.memory_bytes for link in self.bus.links.values())

    def reset_counts(self) -> None:
        """CONFIG RESETSTAT: what was counted by slot is forgotten."""
        self.slot_stats.counts.clear()

    def drop_packets(self, kind: int) -> None:
        """Be deaf to bus packets of this type; -1: to none."""
        self.bus.deaf_to = kind

    def cut_links(self, node_id: bytes, *, outgoing: bool, incoming: bool) -> bool:
        """Cut the bus links with a node; False if it is unknown."""
        node = self.state.nodes.get(node_id.decode("latin-1"))
        if node is None:
            return False
        for number, wanted in ((node.link, outgoing), (node.inbound, incoming)):
            link = self.bus.links.get(number) if wanted and number is not None else None
            if link is not None:
                link.close(CLOSE_NOW)
        return True

    @property
    def bus_port(self) -> int:
        config = self.server.config
        client_port = config["tls-port"] if config["tls-cluster"] else config["port"]
        return int(config["cluster-port"] or client_port + BUS_PORT_OFFSET)

    # --- start ----------------------------------------------------------------------------------------------------

    def _load(self) -> ClusterState:
        """The state that was saved, or a new node's. Raises CannotStart."""
        text = self._file.read()
        if not text:
            state = new_state(self.server.platform.random)
            self.server.log.notice(f"No cluster configuration found, I'm {state.myself.id}")
            return state
        try:
            state = nodesconf.parse(text, tls=self.settings.tls)
        except nodesconf.NodesConfError as error:
            raise CannotStart(
                f'Unrecoverable error: corrupted cluster config file "{self._file.path}": {error}. '
                "Restore it from a backup, or move it away to let this node join again with an id of its own."
            ) from error
        self.server.log.notice(f"Node configuration loaded, I'm {state.myself.id}")
        return state

    def save(self, durable: bool) -> None:
        """Write nodes.conf. Raises CannotGoOn."""
        self._file.replace(nodesconf.render(self.state, tls=self.settings.tls), durable=durable)
        self.mover.owners_changed()
        if self.slot_stats.counts:
            self.slot_stats.keep(self.state.myself.source.slots)
        if self.server.keyspace.waiters.keys:
            self.send_waiting_away()  # slots may have moved: whatever becomes of them is saved
        if self.server.pubsub.shard_channels:
            self.server.pubsub.drop_shard_channels(self.is_foreign)

    def is_foreign(self, channel: bytes) -> bool:
        """Whether a shard channel belongs to no slot of ours or our primary's."""
        return self.state.owners[slot_of(channel)] is not self.state.myself.source

    def broadcast(self, channel: bytes, message: bytes, *, sharded: bool) -> None:
        """Send a published message to the other nodes, or to those of our shard."""
        self.bus.handle(Broadcast(channel, message, sharded))

    def read_settings(self) -> None:
        """Take over what the configuration says now."""
        config, settings = self.server.config, self.settings
        plain = config["cluster-announce-port"] or config["port"]
        secure = config["cluster-announce-tls-port"] or config["tls-port"]
        settings.tls = config["tls-cluster"]
        settings.port, settings.pport = (secure, plain) if settings.tls else (plain, secure)
        settings.cport = config["cluster-announce-bus-port"] or self.bus_port
        settings.seeds = tuple(map(_seed, config["cluster-seeds"]))
        settings.networks = networks.own_addresses(config["cluster-announce-network"])
        self.client_networks = networks.ClientNetworks(config["cluster-announce-network"])
        for directive, name in _SETTINGS.items():
            value = config[directive]
            setattr(settings, name, "" if value is None else value)

    def settings_changed(self, _value: object = None) -> None:
        """CONFIG SET of something that the cluster looks at."""
        self.read_settings()
        self.count_slots()
        self.bus.handle(SettingsChanged())

    def count_slots(self) -> None:
        """Begin or end to count what each slot costs, as `cluster-slot-stats-enabled` says."""
        self.slot_stats.switch(self.server.config[_SLOT_STATS])
        self.serving = NO_SLOT_IS_MINE if self.slot_stats.is_on else self.state.serving

    async def accept(self, listener: Listener) -> None:
        """Take the links that other nodes dial, for ever."""
        await self.bus.accept(listener)

    def begin(self) -> None:
        """The node listens: take part, though the data may still have to be loaded."""
        self.count_slots()
        self.bus.begin()

    def end(self) -> None:
        """The node ends: take part no longer."""
        self.bus.end()

    def release(self) -> None:
        """The node has ended: another one may have its nodes.conf."""
        self._file.release()

    def data_loaded(self) -> None:
        """The node's data is there: look whose slots it is in."""
        occupied = self.server.keyspace.databases[0].occupied
        self.bus.handle(DataLoaded(tuple(slot for slot, here in enumerate(occupied) if here)))

    # --- what the node asks ---------------------------------------------------------------------------------------

    def is_mine(self, command: Command, argv: Argv) -> bool:
        """The usual cases of `redirect`, cheaply: one key, in a slot of ours that stays, or one that MIGRATE brings."""
        at = command.only_key
        state = self.state
        if at <= 0 or not state.ok:
            return False
        slot = slot_of(argv[at])
        return bool(self.serving[slot]) or (command.flags & ASKING != 0 and slot in state.importing)

    def count_mine(self, command: Command, calls: Sequence[Argv]) -> int:
        """How many of these calls, from the first on, have one key each, in a slot of ours that stays."""
        at, serving = command.only_key, self.serving
        if at <= 0 or not self.state.ok:
            return 0
        for count, argv in enumerate(calls):
            key = argv[at]
            if not serving[slot_of(key) if 123 in key else crc_hqx(key, 0) & 16383]:
                return count
        return len(calls)

    def redirect(self, client: Client, command: Command, argv: Argv) -> Reply | None:
        """None if this node serves the command, else the error that tells where to go."""
        keys = routed_words(command, argv)
        if keys is None:
            return None  # the command itself words what is wrong with its arguments
        return self._refusal(
            Request(
                keys,
                [slot_of(key) for key in keys],
                writes=self._writes(command, argv),
                asking=client.asking or bool(command.flags & ASKING),
                readonly=client.readonly,
                migrates=command.spec.name == "migrate",
                sharded=bool(command.flags & SHARDED),
            ),
            client,
        )

    def redirect_all(self, client: Client, commands: Sequence[tuple[Command, Argv]]) -> Reply | None:
        """None if this node serves the commands of a transaction, whose keys must all have one slot."""
        keys = [word for command, argv in commands for word in routed_words(command, argv) or ()]
        return self._refusal(
            Request(
                keys,
                [slot_of(key) for key in keys],
                writes=any(self._writes(command, argv) for command, argv in commands),
                asking=client.asking or any(command.flags & ASKING for command, _ in commands),
                readonly=client.readonly,
                sharded=any(command.flags & SHARDED for command, _ in commands),
            ),
            client,
        )

    def _writes(self, command: Command, argv: Argv) -> bool:
        """Whether a command may write. Of a script that says nothing of itself each command is looked at by itself."""
        if command.flags & WRITE or not command.flags & MAY_REPLICATE:
            return bool(command.flags & WRITE)
        flags = declared_flags(command.name, argv, self.server.scripts.cache, self.server.functions)
        return flags.declared and not flags.no_writes

    def send_waiting_away(self) -> None:
        """Clients that wait for keys which will not be made here any more are told where to go."""
        for client in list(self.server.sessions.values()):
            waiter = client.parked
            if isinstance(waiter, KeyWaiter):
                refusal = self._refusal_of_waiting(client, waiter.keys[0])
                if refusal is not None:
                    client.unblock(refusal)

    def _refusal_of_waiting(self, client: Client, key: bytes) -> Reply | None:
        """As `redirect`, but a slot that is moving still may get the key: from either side."""
        slot = slot_of(key)
        if self.state.ok and (self.state.owners[slot] is self.state.myself or slot in self.state.importing):
            return None
        writes = client.last_command is not None and bool(client.last_command.flags & WRITE)
        request = Request([key], [slot], writes=writes, asking=False, readonly=client.readonly)
        return self._refusal(request, client)

    def _refusal(self, request: Request, client: Client) -> Reply | None:
        db = self.server.keyspace.databases[0]
        refusal = redirect(
            self.machine.core,
            request,
            lambda key: db.peek(key) is not None,
            tls=client.tls,
            network=self.network_of(client) if self.settings.networks else "",
        )
        return None if refusal is None else Failure(refusal.encode())

    def network_of(self, client: Client) -> str:
        """The network that a client came through, as cluster-announce-network names it; empty for none."""
        return self.client_networks.of(client.addr, client.laddr)

    def address_behind(self, client: Client, host: str, port: int) -> tuple[str, int]:
        """Where we reach the node that a client of some network knows by this address; else the address itself.

        A client outside tells what it was told: `redis-cli --cluster reshard`, say, sends MIGRATE with it.
        """
        network = self.network_of(client) if self.settings.networks else ""
        for node in self.state.nodes.values() if network else ():
            there = node.networks.get(network)
            if (
                there is not None
                and there.host == host
                and port
                in (
                    there.port or node.port,
                    there.tls_port or node.pport,
                )
            ):
                return node.ip, node.port
        return host, port

    # --- the machine's facts --------------------------------------------------------------------------------------

    def key_count(self) -> int:
        return self.server.keyspace.databases[0].size

    def keys_in_slot(self, slot: int) -> int:
        keys = self.server.keyspace.databases[0].slots[slot]
        return 0 if keys is None else len(keys.values)

    def offset(self) -> int:
        """0 while other data is being loaded in the place of ours: nobody is to read here, or to count on us."""
        server = self.server
        return 0 if server.loading is not None and server.replication.is_replica else server.journal.offset

    def data_is_complete(self) -> bool:
        return bool(self.server.config["appendonly"]) and self.key_count() > 0

    def holds_data_of(self, slots: int) -> bool:
        """We are not linked to it, and copied our data from it; or all keys that we loaded lie in its slots."""
        follower = self.server.replication.follower
        if follower is not None and follower.connected:
            return False  # what we have beyond its last message has come from it since
        if follower is not None and follower.has_data:
            return True
        if self.server.loading is not None:
            return False  # what is there so far says nothing of what is being loaded
        occupied = [slot for slot, here in enumerate(self.server.keyspace.databases[0].occupied) if here]
        return bool(occupied) and all(slots >> slot & 1 for slot in occupied)

    def hears_primary(self) -> bool:
        """Whether the node at our primary's address is our primary: it has answered over the link that stands. And
        whether its data may replace ours: not if it has come back with less.

        A node that lost its directory comes back empty and under a new id, at the same address. Its replica may hold
        the only copy of the data, and must not drop that for the newcomer's.
        """
        primary = self.state.myself.primary
        return primary is not None and primary.answers and not comeback.keeps_data(self.machine.core, primary)

    def primary_silence_ms(self, now_ms: int) -> int:
        follower = self.server.replication.follower
        if follower is None or not follower.has_data:
            return NEVER_SYNCED_MS
        since_ms = follower.session.last_io_ms if follower.session is not None else follower.down_since_ms
        return int(self.server.timers.monotonic_ms() - since_ms)


def _seed(text: str) -> tuple[str, int, int]:
    """(name, client port, bus port) of `host:port` or `host:port@busport`."""
    address, _, cport = text.partition("@")
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port), int(cport or min(int(port) + BUS_PORT_OFFSET, 65535))


def routed_words(command: Command, argv: Argv) -> list[bytes] | None:
    """The words of a command whose slots decide where it is served: its keys, or the shard channels that it names.

    None if its arguments make no sense.
    """
    if command.flags & SHARDED:
        return argv[1:2] if command.name == "spublish" else argv[1:]
    positions = command.key_positions(argv)
    return None if positions is None else [argv[at] for at in positions]
