"""One proxy: what its sessions need, in one place. It is a node's server without data of its own.

Clients, users, configuration, log, CLIENT, COMMAND, INFO: all that is the node's. What differs: the sessions
(`ProxySession`), the `run` of each command that has to do with data (`proxy.commands`), and fewer guards.
"""

from collections.abc import Callable
from typing import Any

from node import dispatch, guards
from node.config.config import Config
from node.log import Log
from node.net.resp import Argv
from node.platform import Platform
from node.server import Server
from node.slots import SLOTS, slot_of
from node.slowlog import SlowLog
from node.table import Command, CommandTable, Run, Spec
from proxy.caching import Caches
from proxy.calls import NOTHING_IS_SLOW_MS, Call, Router
from proxy.keywise import Keywise
from proxy.link import Link
from proxy.merging import Kitchen
from proxy.messages import Hub, ListenerTable
from proxy.pool import Pool
from proxy.scripts import KnownScripts
from proxy.session import ProxySession
from proxy.settings import NEAREST, PRIMARY, ProxySettings
from proxy.stories import Turns
from proxy.topology import Address, LinkKey, Node, Topology, parse_address

GUARDS = (
    guards.Protection, guards.Authentication, guards.Permission, guards.Subscriber, guards.Monitored, guards.Timed,
    guards.Paused,
)  # fmt: skip
"""What may stand against a command at the proxy itself; all else is the nodes' to say."""


COMES_RIGHT = (b"MOVED ", b"UNREACHABLE ", b"CLUSTERDOWN ", b"LOADING ", b"MASTERDOWN ", b"TRYAGAIN ", b"READONLY ")
"""Refusals that have done nothing and may be over soon."""


class Proxy(Server):
    """The parts of a proxy, and its sessions."""

    session_type = ProxySession

    def __init__(
        self, platform: Platform, config: Config, specs: list[Spec], log: Log, settings: ProxySettings
    ) -> None:
        super().__init__(platform, config, CommandTable(specs), log)
        self.settings = settings
        self.topology = Topology(is_cluster=settings.is_cluster, dropped=self.drop_node)
        self.router = Router(
            self.topology,
            self.timers,
            link=self.link,
            trouble=self.look_soon,
            retry_timeout_ms=settings.retry_timeout_ms,
            clock=self.keyspace,
        )
        self.slow_calls = SlowLog(config["slowlog-log-slower-than"], config["slowlog-max-len"])
        self.router.was_slow = self.note_slow_call
        if settings.read_policy != PRIMARY:
            self.router.choose_reader = self.choose_reader
        self.pool = Pool(lambda node, key: Link(self, node, key, is_private=True))
        self.turns = Turns()
        self.hub = Hub(self)
        self.pubsub: ListenerTable = ListenerTable(self.hub.unwanted)
        self.originals: dict[str, Run] = {}  # what a node runs for each command, by full name
        self.kitchen = Kitchen(self)
        self.tracking = self.caches = Caches(self)  # what the kitchen cooks with is nobody's business
        self.keyspace.outdated, self.keyspace.emptied = _no_news, _nothing
        self.reactor.before_send = self.before_send
        self.known_scripts = KnownScripts()
        self.links: dict[Link, None] = {}
        self.begin_dialling: Callable[[Link], None] = _not_running
        self.look_soon_hook: Callable[[], None] = _nothing  # wakes the look at the topology
        self.is_draining = False
        self.relaxed_transactions = 0
        self.links_made = 0
        self._turn = 0
        self.execute = dispatch.execute
        self.guards = tuple(guard for guard in guards.GUARDS if isinstance(guard, GUARDS))

    # --- where commands go ----------------------------------------------------------------------------------------

    def slot_of_command(self, command: Command, argv: Argv) -> int | None:
        """The slot of all keys of a command (0 if it names none that make sense: a node words the error); None if
        they are in several."""
        positions = command.key_positions(argv)
        if not positions or not self.topology.is_cluster:
            return 0
        slot = slot_of(argv[positions[0]])
        for at in positions:
            if slot_of(argv[at]) != slot:
                return None
        return slot

    def is_together(self, keys: list[bytes]) -> bool:
        """Are all keys in one slot, or is there no cluster?"""
        return not self.topology.is_cluster or len({slot_of(key) for key in keys}) <= 1

    def slot(self, key: bytes) -> int:
        """The slot that finds the node of a key."""
        return slot_of(key) if self.topology.is_cluster else 0

    def choose_reader(self, owner: Node) -> Node:
        """The node that reads what `owner` has."""
        replicas = [node for node in owner.replicas if node.latency_ms >= 0]
        if not replicas:
            return owner
        if self.settings.read_policy == NEAREST:
            return min([owner, *replicas], key=lambda node: node.latency_ms)
        self._turn += 1
        return replicas[self._turn % len(replicas)]

    # --- links ----------------------------------------------------------------------------------------------------

    def link(self, node: Node, key: LinkKey) -> Link:
        """The shared connection to a node, made if there is none."""
        link = node.links.get(key)
        if link is None:
            link = node.links[key] = Link(self, node, key)
        found: Link = link
        return found

    def private_link(self, slot: int, client: Any) -> Link | None:
        """A connection for one client alone to the node of a slot; None if nobody serves it. TooManyPrivate."""
        owner = self.topology.owners[slot]
        return None if owner is None else self.pool.take(owner, client.private_key)

    def feed_link(self, node: Node) -> Link:
        """A connection for subscriptions."""
        return Link(self, node, LinkKey(), is_private=True)

    def release(self, links: dict[int, Link]) -> None:
        """Private connections that have watched keys are needed no longer."""
        for link in links.values():
            self.pool.unwatch(link)

    def may_come_right(self, failure: bytes) -> bool:
        """Has a node refused a command for a reason that time, or another node, may mend?"""
        return failure.startswith(COMES_RIGHT)

    def heed(self, failure: bytes) -> None:
        """Learn from a redirect; else look at the topology."""
        words = failure.split(b" ")
        if words[0] == b"MOVED" and len(words) == 3 and words[1].isdigit() and int(words[1]) < SLOTS:
            try:
                self.topology.moved(int(words[1]), parse_address(words[2].decode("utf-8", "replace")))
            except ValueError:
                self.log.verbose(f"a redirect that makes no sense: {failure!r}")
        self.look_soon()

    def dial(self, link: Link) -> None:
        self.links[link] = None
        self.links_made += 1
        if self.caches.prepare(link):
            self.begin_dialling(link)

    def handshake(self, link: Link) -> list[Argv]:
        resp3, database, reads_only, login, caller = link.key
        settings, steps = self.settings, []
        if login:
            steps.append([b"AUTH", *settings.logins[login]])
        elif settings.backend_password:
            user = [settings.backend_user.encode("utf-8", "surrogateescape")] if settings.backend_user else []
            steps.append([b"AUTH", *user, settings.backend_password.encode("utf-8", "surrogateescape")])
        if resp3:
            steps.append([b"HELLO", b"3"])
        if database:
            steps.append([b"SELECT", b"%d" % database])
        if reads_only and settings.is_cluster:
            steps.append([b"READONLY"])
        if caller:
            steps += self.caches.greeting(link)
        steps.append([b"CLIENT", b"SETNAME", b"hexad-proxy"])
        return steps

    def link_ended(self, link: Link) -> None:
        node = link.node
        self.links.pop(link, None)
        if link.is_private:
            self.pool.ended(link)
            self.hub.link_ended(link)
            self.caches.link_ended(link)
        elif node.links.get(link.key) is link:
            del node.links[link.key]
            if link.key.caller:
                self.caches.link_ended(link)
        if not node.is_primary:
            node.latency_ms = -1.0  # read elsewhere until a look finds it well
        self.look_soon()

    def drop_node(self, node: Node) -> None:
        """A node is known no longer: end its connections. What was under way is told as lost."""
        for link in [link for link in self.links if link.node is node]:
            link.fail("the node is no part of the topology any more")

    def end_stuck_links(self) -> None:
        """Give up connections that have been silent for too long though they owe answers."""
        now_ms = self.monotonic_ms()
        for link in list(self.links):
            if link.is_stuck(now_ms, self.settings.node_timeout_ms):
                link.fail(f"no answer for {self.settings.node_timeout_ms} ms")

    # --- slowness -------------------------------------------------------------------------------------------------

    def judge_slowness(self) -> None:
        """The slow log's directives hold for PROXY SLOWLOG, too, which counts milliseconds."""
        super().judge_slowness()
        log = self.slow_calls
        log.threshold_us, log.entries_max = self.config["slowlog-log-slower-than"], self.config["slowlog-max-len"]
        is_on = log.threshold_us >= 0 and log.entries_max
        self.router.slow_ms = max(1, log.threshold_us // 1000) if is_on else NOTHING_IS_SLOW_MS

    def note_slow_call(self, call: Call | Keywise) -> None:
        """A node has taken long, or was hard to reach: PROXY SLOWLOG tells of it."""
        now_ms, owner = self.keyspace.now_ms, call.owner
        command = self.commands.resolve(call.argv)
        addr, name = (owner.addr, owner.name) if isinstance(owner, ProxySession) else ("", b"")
        full_name = command.full_name if command is not None else ""
        self.slow_calls.add(now_ms // 1000, (now_ms - call.born_ms) * 1000, full_name, call.argv, addr, name)

    def before_send(self) -> int:
        self.tracking.broadcast()
        self.clients.memory.note_batch()
        return 0  # nothing waits

    # --- time -----------------------------------------------------------------------------------------------------

    def monotonic_ms(self) -> float:
        return self.timers.monotonic_ms()

    def soon(self, call: Callable[[], None]) -> None:
        """Call something once what runs now has ended."""
        self.timers.after(0, call)

    def look_soon(self) -> None:
        """Something has changed among the nodes: look."""
        self.look_soon_hook()

    def learned(self, address: Address) -> None:
        """A look at the topology has ended well: what waited for news goes on."""
        self.log.verbose(f"topology: {len(self.topology.nodes)} nodes, asked {address[0]}:{address[1]}")
        self.hub.settle()
        self.caches.settle()
        self.router.try_again()

    def role_letter(self) -> str:
        return "P"


def _not_running(_link: Link) -> None:
    raise AssertionError("the proxy has no tasks yet: app.py hands in what dials")


def _nothing() -> None:
    pass


def _no_news(_key: bytes, _by_itself: bool) -> None:
    pass
