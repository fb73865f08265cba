"""The connections to nodes: one to each address, with time limits."""

from __future__ import annotations

from collections.abc import Sequence

from hexad.cluster.picture import ClusterError
from hexad.reach import Address, Credentials, show, tls_dial
from node.net.client import RespClient
from node.net.resp import Failure, Reply
from node.platform import Platform

Word = bytes | str | int


class Access:
    """Connections to nodes, made when they are needed. Every failure of one is an OSError that names its address."""

    def __init__(self, platform: Platform, credentials: Credentials, timeout_ms: float) -> None:
        self.platform = platform
        self.credentials = credentials
        self.timeout_ms = timeout_ms
        self._links: dict[Address, RespClient] = {}
        self._unguarded: set[Address] = set()  # nodes that ask for no password, though we have one
        self._dial = tls_dial(platform, credentials) if credentials.tls else None

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()

    def forget(self, address: Address) -> None:
        """Close the connection to a node that is known to have ended."""
        link = self._links.pop(address, None)
        if link is not None:
            link.close()

    def migrate_auth(self, address: Address) -> list[str]:
        """The words that let MIGRATE enter a node that we are connected to."""
        mine = self.credentials
        if not mine.password or address in self._unguarded:
            return []
        return ["AUTH2", *mine.auth] if mine.user else ["AUTH", mine.password]

    async def ask(self, address: Address, *words: Word, timeout_ms: float | None = None) -> Reply:
        """One reply; an error that the node answers is a `Failure`. Raises OSError."""
        return (await self.ask_all(address, [words], timeout_ms=timeout_ms))[0]

    async def order(self, address: Address, *words: Word, timeout_ms: float | None = None) -> Reply:
        """As `ask`, but a refusal is raised as ClusterError."""
        reply = await self.ask(address, *words, timeout_ms=timeout_ms)
        if isinstance(reply, Failure):
            raise refused(address, words, reply)
        return reply

    async def ask_all(
        self, address: Address, commands: Sequence[Sequence[Word]], *, timeout_ms: float | None = None
    ) -> list[Reply]:
        """The replies to several commands. Raises OSError."""
        link = await self._link(address)
        encoded = [[_encoded(word) for word in words] for words in commands]
        return await link.pipeline(encoded, timeout_ms=timeout_ms or self.timeout_ms, idle=True)

    async def _link(self, address: Address) -> RespClient:
        link = self._links.get(address)
        if link is not None and link.is_open:
            return link
        link = await RespClient.connect(self.platform, *address, timeout_ms=self.timeout_ms, dial=self._dial)
        if self.credentials.auth:
            reply = await link.call("AUTH", *self.credentials.auth, timeout_ms=self.timeout_ms)
            if says(reply, b"without any password configured"):
                self._unguarded.add(address)
            elif isinstance(reply, Failure):
                link.close()
                raise ConnectionError(f"{show(address)}: {reply.decode('utf-8', 'replace')}")
        self._links[address] = link
        return link


def says(reply: Reply, text: bytes) -> bool:
    """Is this reply a refusal with that text in it?"""
    return isinstance(reply, Failure) and reply.find(text) >= 0


def refused(address: Address, words: Sequence[Word], reply: Failure) -> ClusterError:
    """What is said when a node does not do as it is told."""
    command = " ".join(str(word) if not isinstance(word, bytes) else "..." for word in words[:4])
    return ClusterError(f"{show(address)} refuses {command}: {reply.decode('utf-8', 'replace')}")


def _encoded(word: Word) -> bytes:
    if isinstance(word, bytes):
        return word
    return word.encode("utf-8", "surrogateescape") if isinstance(word, str) else b"%d" % word
