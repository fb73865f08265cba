"""The proxy's tasks: it connects to nodes, and keeps its view of them new. The shell around `topology` and `link`.

A look asks one node after another until one tells of a topology that is whole; the best one is believed if none is.
Looks come every `refresh-period`, and at once when something went wrong, but not more often than `LOOK_MS_MIN`.
"""

from collections.abc import Iterable
from functools import partial

import trio

from node.net.client import Refused, RespClient
from node.net.resp import Failure
from node.slots import SLOTS
from proxy.link import Link
from proxy.server import Proxy
from proxy.settings import NEAREST
from proxy.topology import Address, MalformedView, View, coverage, parse_slots, show, whole

LOOK_MS_MIN = 100
"""Looks do not follow one another faster."""
CONNECT_TIMEOUT_MS = 2000
LOOK_TIMEOUT_MS = 2000


async def dial(proxy: Proxy, link: Link) -> None:
    """Connect a link to its node, or tell it why not."""
    host, port = link.node.address
    try:
        with trio.fail_after(CONNECT_TIMEOUT_MS / 1000):
            sock = await proxy.tls.dial(host, port, is_tls=proxy.config["tls-replication"])
    except trio.TooSlowError:
        link.failed(f"no connection within {CONNECT_TIMEOUT_MS} ms")
        return
    except OSError as error:
        link.failed(error.strerror or str(error))
        return
    if link.ended:
        sock.close()
        return
    proxy.platform.keep_alive(sock, proxy.config["tcp-keepalive"])
    proxy.reactor.add(sock, link)
    link.connected()


class Watch:
    """Looks at the topology for ever."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._wanted = trio.Event()
        self._clients: dict[Address, RespClient] = {}
        self.last_failure = ""

    def look_soon(self) -> None:
        """Do not wait for the next round."""
        self._wanted.set()

    async def run(self) -> None:
        """Look now and then."""
        proxy = self._proxy
        try:
            while True:
                await self.look()
                proxy.end_stuck_links()
                await trio.sleep(LOOK_MS_MIN / 1000)
                with trio.move_on_after(proxy.settings.refresh_period_ms / 1000):
                    await self._wanted.wait()
                self._wanted = trio.Event()
        finally:
            for client in self._clients.values():
                client.close()

    async def look(self) -> bool:
        """Look once; False if nobody told anything."""
        proxy = self._proxy
        view, asked = await self._best_view()
        if view is None or asked is None:
            return False
        if proxy.topology.adopt(view):
            text = ", ".join(show(shard.primary) for shard in view)
            proxy.log.notice(f"Topology from {show(asked)}: {coverage(view)} slots at {text}")
        await self._see_readers()
        proxy.learned(asked)
        return True

    async def _best_view(self) -> tuple[View | None, Address | None]:
        best: View | None = None
        told_by: Address | None = None
        for address in self._addresses():
            try:
                view = await self._ask(address)
            except (OSError, Refused, MalformedView) as error:
                self._complain(f"{show(address)}: {error}")
                continue
            if view is not None and (best is None or coverage(view) > coverage(best)):
                best, told_by = view, address
                if coverage(view) == SLOTS:
                    break
        if best is not None:
            self.last_failure = ""
        return best, told_by

    def _complain(self, text: str) -> None:
        """Tell of a failure, once."""
        if text != self.last_failure:
            self.last_failure = text
            self._proxy.log.warning(f"Topology: {text}")

    def _addresses(self) -> Iterable[Address]:
        """Whom to ask: primaries, then replicas, then the seeds. Sentinels, or the nodes named, in their modes."""
        proxy = self._proxy
        if not proxy.settings.is_cluster:
            return list(proxy.settings.seeds)
        known = list(proxy.topology.nodes.values())
        proxy.platform.random.shuffle(known)
        known.sort(key=lambda node: not node.is_primary)
        return list(dict.fromkeys([*(node.address for node in known), *proxy.settings.seeds]))

    async def _ask(self, address: Address) -> View | None:
        """The view of one node or Sentinel; None if it has none. Raises OSError, Refused, MalformedView."""
        source = self._proxy.settings.source
        client = await self._client(address)
        if source == "cluster":
            return parse_slots(await client.asked("CLUSTER", "SLOTS", timeout_ms=LOOK_TIMEOUT_MS), address)
        if source == "sentinel":
            return await self._ask_sentinel(client)
        return await self._ask_server(client, address)

    async def _client(self, address: Address) -> RespClient:
        client = self._clients.get(address)
        if client is not None and client.is_open:
            return client
        proxy = self._proxy
        dial_ = partial(proxy.tls.dial, is_tls=proxy.config["tls-replication"])
        client = await RespClient.connect(proxy.platform, *address, timeout_ms=CONNECT_TIMEOUT_MS, dial=dial_)
        self._clients[address] = client
        settings = self._proxy.settings
        if settings.backend_password and settings.source != "sentinel":
            user = [settings.backend_user] if settings.backend_user else []
            await client.asked("AUTH", *user, settings.backend_password, timeout_ms=LOOK_TIMEOUT_MS)
        return client

    async def _ask_sentinel(self, client: RespClient) -> View | None:
        name = self._proxy.settings.master_name
        found = await client.asked("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name, timeout_ms=LOOK_TIMEOUT_MS)
        if not isinstance(found, list) or len(found) != 2:
            raise Refused(f"this Sentinel does not watch '{name}'")
        told = await client.asked("SENTINEL", "REPLICAS", name, timeout_ms=LOOK_TIMEOUT_MS)
        replicas = [
            dict(zip(entry[::2], entry[1::2], strict=True)) if isinstance(entry, list) else entry for entry in told
        ]
        alive = [
            (entry[b"ip"].decode(), int(entry[b"port"]))
            for entry in replicas
            if not DEAD & set(entry[b"flags"].split(b","))
        ]
        return whole((found[0].decode(), int(found[1])), alive)

    async def _ask_server(self, client: RespClient, address: Address) -> View | None:
        """A server's own word on its role: a primary is believed, a replica names none here."""
        role = await client.asked("ROLE", timeout_ms=LOOK_TIMEOUT_MS)
        if not isinstance(role, list) or not role or role[0] != b"master":
            return None
        named = [seed for seed in self._proxy.settings.seeds if seed != address]
        connected = {(host.decode(), int(port)) for host, port, _ in role[2]}
        return whole(address, [seed for seed in named if seed in connected])

    async def _see_readers(self) -> None:
        """Find out which replicas can be read, and how far each node is, if anybody wants to read there."""
        proxy = self._proxy
        if proxy.router.choose_reader is None:
            return
        nodes = [
            node
            for node in proxy.topology.nodes.values()
            if proxy.settings.read_policy == NEAREST or not node.is_primary
        ]
        for node in nodes:
            started_ms = proxy.monotonic_ms()
            try:
                reply = await (await self._client(node.address)).call("PING", timeout_ms=LOOK_TIMEOUT_MS)
            except (OSError, Refused):
                reply = None
            well = reply is not None and type(reply) is not Failure
            node.latency_ms = proxy.monotonic_ms() - started_ms if well else -1.0


DEAD = {b"s_down", b"o_down", b"disconnected"}
"""Flags of a replica that Sentinel takes for lost."""
