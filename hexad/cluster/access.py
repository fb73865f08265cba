"""How nodes are reached: credentials, TLS, time limits, and one connection to each address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from hexad.cluster.picture import Address, ClusterError, show
from node.net.client import RespClient
from node.net.resp import Failure, Reply
from node.platform import Platform, Socket

Word = bytes | str | int
Dial = Callable[[str, int], Awaitable[Socket]]


@dataclass(frozen=True)
class Credentials:
    """Who we are to every node, and who it is to us."""

    user: str = ""
    password: str = ""
    tls: bool = False
    ca_cert_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False

    @property
    def auth(self) -> list[str]:
        """The words behind AUTH; empty for none."""
        if not self.password:
            return []
        return [self.user, self.password] if self.user else [self.password]


class Access:
    """Connections to nodes, made when they are needed. Every failure of one is an OSError that names its address."""

    def __init__(self, platform: Platform, credentials: Credentials, timeout_ms: float) -> None:
        self.platform = platform
        self.credentials = credentials
        self.timeout_ms = timeout_ms
        self._links: dict[Address, RespClient] = {}
        self._unguarded: set[Address] = set()  # nodes that ask for no password, though we have one
        self._dial = self._tls_dial() if credentials.tls else None

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

    def _tls_dial(self) -> Dial:
        """Opens connections by TLS. Raises ClusterError if the certificates cannot be used."""
        from node.net.tls import BadTls, TlsSocket, caller_context

        mine = self.credentials
        try:
            context = caller_context(mine.ca_cert_file, mine.cert_file, mine.key_file, verify=not mine.insecure)
        except BadTls as error:
            raise ClusterError(f"--tls: {error}") from error

        async def dial(host: str, port: int) -> Socket:
            sock = TlsSocket(await self.platform.connect_tcp(host, port), context, server_side=False)
            try:
                await sock.shake_hands(self.platform)
            except BaseException:
                sock.close()
                raise
            return sock

        return dial


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
