"""A conversation over one socket, told in sequence: handshakes, before the reactor takes the socket over."""

from node.platform import Platform, Socket

LINE_BYTES_MAX = 64 * 1024
"""A peer that sends a longer line than this is not speaking our protocol."""
RECEIVE_BYTES = 256 * 1024


class DialogueError(Exception):
    """The peer closed the connection, or does not keep to the protocol."""


class Dialogue:
    """Sends bytes and reads lines. `buffer` holds what has been read and not been asked for."""

    def __init__(self, platform: Platform, socket: Socket) -> None:
        self.platform = platform
        self.socket = socket
        self.buffer = bytearray()

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                await self.platform.wait_writable(self.socket)

    async def line(self) -> bytes:
        """The next line without its end."""
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > LINE_BYTES_MAX:
                raise DialogueError("the peer sent a line without an end")
            await self._more()
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        return line.removesuffix(b"\r")

    async def some(self) -> bytes:
        """The next bytes, as many as are there."""
        if not self.buffer:
            await self._more()
        data = bytes(self.buffer)
        self.buffer.clear()
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
            self.buffer += data
            return

    def rest(self) -> bytes:
        """What has been read beyond what was asked for: whoever takes the socket over needs it."""
        data = bytes(self.buffer)
        self.buffer.clear()
        return data
