"""A conversation over one socket, told in sequence: handshakes, before the reactor takes the socket over."""

from contextlib import suppress

import trio

from node.platform import LayeredSocket, Platform, Socket

LINE_BYTES_MAX = 64 * 1024
"""A peer that sends a longer line than this is not speaking our protocol."""
RECEIVE_BYTES = 256 * 1024


class DialogueError(Exception):
    """The peer closed the connection, or does not keep to the protocol."""


class Dialogue:
    """Sends bytes and reads lines. Besides DialogueError, what waits raises OSError."""

    def __init__(self, platform: Platform, socket: Socket) -> None:
        self.platform = platform
        self.socket = socket
        self._buffer = bytearray()  # what has been read and not been asked for

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                await self.platform.wait_writable(self.socket)

    def send_now(self, byte: bytes) -> None:
        """Send one byte if there is room for it, and forget it otherwise: a sign of life."""
        if isinstance(self.socket, LayeredSocket):
            self.socket.send_soon(byte)
            return
        with suppress(BlockingIOError):
            self.socket.send(byte)

    async def line(self) -> bytes:
        """The next line without its end."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LINE_BYTES_MAX:
                raise DialogueError("the peer sent a line without an end")
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    async def patient_line(self, timeout_s: float) -> bytes:
        """The next line that is not empty: a peer that needs time sends empty ones. Raises trio.TooSlowError
        when nothing has come for `timeout_s`."""
        while True:
            with trio.fail_after(timeout_s):
                line = await self.line()
            if line:
                return line

    async def some(self, timeout_s: float) -> bytes:
        """The next bytes, as many as are there. Raises trio.TooSlowError when nothing comes for `timeout_s`."""
        if not self._buffer:
            with trio.fail_after(timeout_s):
                await self._more()
        return self.rest()

    def give_back(self, data: bytes | bytearray) -> None:
        """Put back what was read too far."""
        self._buffer[:0] = data

    def rest(self) -> bytes:
        """What has been read beyond what was asked for: whoever takes the socket over needs it."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def _more(self) -> None:
        while True:
            try:
                data = self.socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                await self.platform.wait_readable(self.socket)
                continue
            if not data:
                raise DialogueError("the peer closed the connection")
            self._buffer += data
            return
