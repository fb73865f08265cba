"""The nodes whose data is saved or restored: how they are reached, and which of them are the primaries of what.

Every failure of a link is an OSError that names the address; what a node says that it should not is a BackupError.
"""

from dataclasses import dataclass

import trio

from hexad.backup.manifest import BackupError
from hexad.reach import Address, Credentials, show, tls_dial
from hexad.sight import SLOT_COUNT, Range, parse_info, parse_nodes, slots_in
from node.net.client import RespClient
from node.net.dialogue import Dialogue, DialogueError
from node.net.resp import Failure, Reply, encode_command
from node.platform import Platform

ALL_SLOTS: tuple[Range, ...] = ((0, SLOT_COUNT - 1),)


@dataclass(frozen=True, slots=True)
class Primary:
    """One primary and its slots. Of a server without a cluster `id` is its address, and all slots are its own."""

    address: Address
    id: str
    slots: tuple[Range, ...]
    config_epoch: int

    @property
    def name(self) -> str:
        return show(self.address)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which primary has which slots, ordered by the first of them."""

    clustered: bool
    primaries: tuple[Primary, ...]
    members: frozenset[str] = frozenset()
    """The ids of all nodes, replicas too."""

    def owners(self) -> dict[int, Primary]:
        return {slot: primary for primary in self.primaries for slot in slots_in(primary.slots)}


class Nodes:
    """Opens links to nodes."""

    def __init__(self, platform: Platform, credentials: Credentials, timeout_ms: float) -> None:
        self.platform = platform
        self.timeout_ms = timeout_ms
        self._auth = credentials.auth
        self._dial = tls_dial(platform, credentials) if credentials.tls else None

    async def client(self, address: Address) -> RespClient:
        """A link for commands. Raises OSError, BackupError."""
        link = await RespClient.connect(self.platform, *address, timeout_ms=self.timeout_ms, dial=self._dial)
        if self._auth:
            reply = await link.call("AUTH", *self._auth, timeout_ms=self.timeout_ms)
            if isinstance(reply, Failure):
                link.close()
                raise BackupError(f"{show(address)}: {_text(reply)}")
        return link

    async def dialogue(self, address: Address) -> Dialogue:
        """A link for a conversation as a replica's. Raises OSError, BackupError."""
        with trio.move_on_after(self.timeout_ms / 1000):
            dial = self._dial or self.platform.connect_tcp
            try:
                found = Dialogue(self.platform, await dial(*address))
            except OSError as error:
                raise ConnectionError(f"{show(address)}: {error.strerror or error}") from error
            try:
                await self._enter(address, found)
            except BaseException:
                found.socket.close()
                raise
            return found
        raise TimeoutError(f"{show(address)}: no connection within {self.timeout_ms:g} ms")

    async def _enter(self, address: Address, found: Dialogue) -> None:
        if not self._auth:
            return
        try:
            await found.send(encode_command([b"AUTH", *(word.encode() for word in self._auth)]))
            reply = await found.line()
        except (OSError, DialogueError) as error:
            raise ConnectionError(f"{show(address)}: {error}") from error
        if reply[:1] == b"-":
            raise BackupError(f"{show(address)}: {_text(reply[1:])}")

    async def look(self, seed: Address) -> Layout:
        """Who the primaries are, as the node at `seed` and they themselves see it.

        Raises OSError, and BackupError for a cluster that does not serve, or whose slots are just moving.
        """
        async with await self.client(seed) as link:
            info = parse_info(_bulk(seed, await link.call("INFO")))
            if info.get("cluster_enabled") != "1":
                if info.get("role") != "master":
                    host, port = info.get("master_host"), info.get("master_port")
                    raise BackupError(f"{show(seed)} is a replica: name its primary, {host}:{port}")
                return Layout(False, (Primary(seed, show(seed), ALL_SLOTS, 0),), frozenset({show(seed)}))
            known = parse_nodes(_bulk(seed, await link.call("CLUSTER", "NODES")))
        owners = [node for node in known if node.ranges]
        failed = [show((node.host, node.port)) for node in owners if node.is_failing]
        if failed:
            raise BackupError(f"{', '.join(failed)}: primaries that do not answer; see `hexad cluster check`")
        covered = slots_in(span for node in owners for span in node.ranges)
        if len(covered) < SLOT_COUNT:
            raise BackupError(f"{SLOT_COUNT - len(covered)} slots have no primary; see `hexad cluster check`")
        primaries = tuple(
            Primary((node.host or seed[0], node.port), node.id, node.ranges, node.config_epoch)
            for node in sorted(owners, key=lambda node: node.ranges)
        )
        for primary in primaries:
            await self._check(primary)
        return Layout(True, primaries, frozenset(node.id for node in known))

    async def _check(self, primary: Primary) -> None:
        """Whether the primary sees its own part as others do. Raises OSError, BackupError."""
        async with await self.client(primary.address) as link:
            state = _bulk(primary.address, await link.call("CLUSTER", "INFO"))
            text = _bulk(primary.address, await link.call("CLUSTER", "NODES"))
        me = next((node for node in parse_nodes(text) if "myself" in node.flags), None)
        if b"cluster_state:ok" not in state:
            raise BackupError(f"{primary.name} does not serve; see `hexad cluster check`")
        if me is None or (me.id, me.ranges) != (primary.id, primary.slots):
            raise BackupError(f"{primary.name} has other slots than others say: try again when it has settled")
        if b" [" in text:
            raise BackupError(f"slots of {primary.name} are moving: wait for their end, or `hexad cluster fix`")


def _bulk(address: Address, reply: Reply) -> bytes:
    """A text reply. Raises BackupError for anything else."""
    if isinstance(reply, Failure) or not isinstance(reply, bytes):
        raise BackupError(f"{show(address)}: {_text(reply) if isinstance(reply, bytes) else reply!r}")
    return reply


def _text(reply: bytes) -> str:
    return reply.decode("utf-8", "replace")
