"""An async RESP client, for what is told in sequence: a handover, a watch over other nodes, a local topology.

    client = await RespClient.connect(platform, "127.0.0.1", 7000)
    reply = await client.call(b"CLUSTER", b"NODES")

Rules. A reply that is an error is a value (`Failure`): the other end refused, the link is sound; `asked` raises it for
callers to whom a refusal is a surprise. Every failure of the link (refused, reset, too slow, no RESP) is an OSError
that names the address, and closes the client: after it nobody knows which reply would be whose. So does a cancelled
call. Several tasks may call at once; each call has the link to itself, in the order of asking.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio

from node.net.replies import REPLY_BYTES_MAX, MalformedReply, ReplyParser
from node.net.resp import Argv, Failure, Push, Reply, encode_command
from node.platform import Platform, Socket

CONNECT_TIMEOUT_MS = 2000
CALL_TIMEOUT_MS = 5000
RECEIVE_BYTES = 64 * 1024
WINDOW_BYTES = 256 * 1024
"""How far a pipeline runs ahead of its replies. A peer that stops reading until its replies are read would otherwise
wait for us as we wait for it, and its replies would pile up."""


class Refused(Exception):
    """The other end answered with an error where `asked` did not expect one; its text is Redis's."""


class RespClient:
    """One connection. `address` is "host:port"; `on_push` gets what answers no request (dropped if unset)."""

    def __init__(self, platform: Platform, sock: Socket, address: str, reply_bytes_max: int = REPLY_BYTES_MAX) -> None:
        self.address = address
        self.on_push: Callable[[Push], None] | None = None
        self._platform = platform
        self._socket: Socket | None = sock
        self._parser = ReplyParser(reply_bytes_max)
        self._turn = trio.Lock()
        self._limit: trio.CancelScope | None = None  # of a pipeline that may take long while bytes move
        self._idle_s = 0.0

    @classmethod
    async def connect(
        cls,
        platform: Platform,
        host: str,
        port: int,
        *,
        timeout_ms: float = CONNECT_TIMEOUT_MS,
        dial: Callable[[str, int], Awaitable[Socket]] | None = None,
    ) -> "RespClient":
        """Open a connection. Raises OSError (TimeoutError after `timeout_ms`) that names the address.

        dial -- opens the socket, for a link by TLS.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        with trio.move_on_after(timeout_ms / 1000):
            try:
                return cls(platform, await (dial or platform.connect_tcp)(host, port), address)
            except OSError as error:
                raise ConnectionError(f"{address}: {error.strerror or error}") from error
        raise TimeoutError(f"{address}: no connection within {timeout_ms:g} ms")

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        """Close the connection; may be called again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def __aenter__(self) -> "RespClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def call(self, *words: bytes | str | int, timeout_ms: float = CALL_TIMEOUT_MS) -> Reply:
        """Send one command, return its reply. Raises OSError, after which the client is closed."""
        return (await self.pipeline([[_word(word) for word in words]], timeout_ms=timeout_ms))[0]

    async def asked(self, *words: bytes | str | int, timeout_ms: float = CALL_TIMEOUT_MS) -> Reply:
        """As `call`, but an error reply raises `Refused`."""
        reply = await self.call(*words, timeout_ms=timeout_ms)
        if isinstance(reply, Failure):
            raise Refused(f"{self.address}: {reply.decode('utf-8', 'replace')}")
        return reply

    async def pipeline(
        self,
        commands: Sequence[Argv],
        *,
        timeout_ms: float = CALL_TIMEOUT_MS,
        idle: bool = False,
    ) -> list[Reply]:
        """Send commands without waiting for each reply; all replies, in order. Raises OSError, as `call`.

        timeout_ms -- for the whole of it, counted from this call's turn; with `idle`, for each wait in which no byte
            moves.
        """
        replies: list[Reply] = []
        async with self._turn:
            done = False
            try:
                with trio.move_on_after(timeout_ms / 1000) as limit:
                    self._limit, self._idle_s = limit if idle else None, timeout_ms / 1000
                    await self._exchange(commands, replies)
                    done = True
                    return replies
            finally:
                self._limit = None
                if not done:
                    self.close()
        raise TimeoutError(f"{self.address}: no reply within {timeout_ms:g} ms")

    async def _exchange(self, commands: Sequence[Argv], replies: list[Reply]) -> None:
        window = bytearray()
        for number, argv in enumerate(commands, 1):
            window += encode_command(argv)
            if len(window) >= WINDOW_BYTES or number == len(commands):
                await self._send(window)
                window = bytearray()
                while len(replies) < number:
                    await self._receive(replies)
        if len(replies) > len(commands):
            raise self._failed("more replies than there were commands")

    def _moved(self) -> None:
        """Bytes have moved: an idle timeout begins anew."""
        if self._limit is not None:
            self._limit.deadline = trio.current_time() + self._idle_s

    async def _send(self, data: bytearray) -> None:
        sock = self._open_socket()
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += sock.send(view[sent:])
                    self._moved()
                except BlockingIOError:
                    await self._platform.wait_writable(sock)
                except OSError as error:
                    raise self._failed(error.strerror or str(error)) from error

    async def _receive(self, replies: list[Reply]) -> None:
        """Wait for bytes, and add what replies they complete."""
        sock = self._open_socket()
        await self._platform.wait_readable(sock)
        try:
            data = sock.recv(RECEIVE_BYTES)
            self._moved()
            self._parser.feed(data)
            received = self._parser.parse()
        except BlockingIOError:
            return
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from error
        except MalformedReply as error:
            raise self._failed(str(error)) from error
        if not data:
            raise self._failed("the connection was closed by the other end")
        for reply in received:
            if type(reply) is not Push:
                replies.append(reply)
            elif self.on_push is not None:
                self.on_push(reply)

    def _open_socket(self) -> Socket:
        if self._socket is None:
            raise self._failed("the connection is closed")
        return self._socket

    def _failed(self, why: str) -> ConnectionError:
        return ConnectionError(f"{self.address}: {why}")


def _word(word: bytes | str | int) -> bytes:
    if isinstance(word, bytes):
        return word
    return word.encode("utf-8", "surrogateescape") if isinstance(word, str) else b"%d" % word
