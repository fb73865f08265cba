"""A blocking RESP client that hides nothing: raw bytes out, one reply's raw bytes or its value in.

Parsed values: a bulk string is `bytes`, a status line is `Simple`, an error is a `ReplyError` that is returned and
never raised (an error may well be the right answer), an array is a list, nil of either protocol is None. RESP3 adds
`RespMap` (pairs in the order sent), `RespSet`, `Push`, `Verbatim`, `BigNumber`, float and bool. Equality is strict
about types where clients see a difference: a `RespSet` is no list, a `Simple` is no bulk string.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

Argument = bytes | str | int | float

RECV_BYTES = 1 << 16


@dataclass(frozen=True)
class Simple:
    """A status reply, `+text`. Equal to the same text as `str`, so that `wire("PING") == "PONG"` reads well."""

    text: str

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Simple):
            return self.text == other.text
        return isinstance(other, str) and self.text == other

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True)
class ReplyError:
    """An error reply, whole line without its `-`, for example `ReplyError("WRONGTYPE Operation …")`."""

    text: str

    @property
    def code(self) -> str:
        return self.text.split(" ", 1)[0]


@dataclass
class RespMap:
    """A RESP3 map: its pairs in the order sent. `dict(reply.pairs)` where the keys are hashable."""

    pairs: list[tuple[Any, Any]]

    def __getitem__(self, key: object) -> Any:
        for name, value in self.pairs:
            if name == key:
                return value
        raise KeyError(key)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, dict):
            return len(self.pairs) == len(other) and all(k in other and other[k] == v for k, v in self.pairs)
        return isinstance(other, RespMap) and self.pairs == other.pairs


@dataclass
class RespSet:
    """A RESP3 set: its members in the order sent."""

    members: list[Any]


@dataclass
class Push:
    """A RESP3 push message."""

    items: list[Any]


@dataclass(frozen=True)
class Verbatim:
    """A RESP3 verbatim string."""

    format: str
    text: bytes


@dataclass(frozen=True)
class BigNumber:
    """A RESP3 big number."""

    value: int


def encode(*arguments: Argument) -> bytes:
    """One command as a client sends it: a RESP array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        raw = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


class Wire:
    """One connection to a server.

    `timeout_s` bounds each reply: TimeoutError when it does not come; ConnectionError when the server closed.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        unix: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 10.0,
        protocol: int = 2,
        password: str | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self._buffer = bytearray()
        self._at = 0
        self._deadline = 0.0
        if unix is None:
            self.socket = socket.create_connection((host, port), timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout_s)
            self.socket.connect(unix)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        if password is not None:
            self._must("AUTH", password)
        if protocol != 2:
            self._must("HELLO", protocol)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    # Sending

    def send_raw(self, data: bytes) -> None:
        """Sends the bytes as they are. A server that does not read them in time is a TimeoutError."""
        self.socket.settimeout(self.timeout_s)
        self.socket.sendall(data)

    def send(self, *arguments: Argument) -> None:
        """Sends one command and does not wait for its reply."""
        self.send_raw(encode(*arguments))

    def half_close(self) -> None:
        """Tells the server that nothing more will come."""
        self.socket.shutdown(socket.SHUT_WR)

    # Reading

    def read(self) -> Any:
        """The next reply's value."""
        return self._one()[0]

    def read_raw(self) -> bytes:
        """The next reply's bytes, exactly as they came."""
        return self._one()[1]

    def read_some(self, timeout_s: float | None = None) -> bytes:
        """Whatever has arrived, at least a byte; b"" at the end of the stream."""
        if not self._buffer:
            self._deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
            self._fill_or_end()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read_to_end(self) -> bytes:
        """All bytes until the server closes. TimeoutError when it does not."""
        self._deadline = time.monotonic() + self.timeout_s
        while self._fill_or_end():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def is_silent(self, for_s: float = 0.05) -> bool:
        """Nothing arrives within `for_s` seconds (to show that a reply is held back)."""
        if self._buffer:
            return False
        self._deadline = time.monotonic() + for_s
        try:
            return not self._fill_or_end()
        except TimeoutError:
            return True

    def is_closed(self, timeout_s: float | None = None) -> bool:
        """The server has closed the connection, or does within the time; replies still unread are kept."""
        self._deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        try:
            while self._fill_or_end():
                pass
        except TimeoutError:
            return False
        return True

    # Both

    def __call__(self, *arguments: Argument) -> Any:
        """Sends one command and returns its reply's value."""
        self.send(*arguments)
        return self.read()

    def raw(self, *arguments: Argument) -> bytes:
        """Sends one command and returns its reply's bytes."""
        self.send(*arguments)
        return self.read_raw()

    def pipeline(self, commands: Iterable[tuple[Argument, ...]]) -> list[Any]:
        """Sends all commands in one write and returns the values of all replies."""
        encoded = [encode(*command) for command in commands]
        self.send_raw(b"".join(encoded))
        return [self.read() for _ in encoded]

    def info(self, *sections: str) -> dict[str, str]:
        """INFO's fields by name."""
        reply = self("INFO", *sections)
        assert isinstance(reply, bytes | Verbatim), reply
        text = (reply.text if isinstance(reply, Verbatim) else reply).decode("utf-8", "surrogateescape")
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line and not line.startswith("#"))

    def _must(self, *arguments: Argument) -> None:
        reply = self(*arguments)
        if isinstance(reply, ReplyError):
            self.close()
            raise ConnectionError(f"{arguments[0]!s}: {reply.text}")

    def _one(self) -> tuple[Any, bytes]:
        self._deadline = time.monotonic() + self.timeout_s
        self._at = 0  # a reply that timed out half-read is read again from its start
        value = self._value()
        raw = bytes(self._buffer[: self._at])
        del self._buffer[: self._at]
        return value, raw

    def _fill_or_end(self) -> bool:
        """Receives once; False at the end of the stream (a reset counts as one)."""
        self.socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            data = self.socket.recv(RECV_BYTES)
        except (ConnectionError, ssl.SSLError) as error:
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                raise
            return False
        self._buffer += data
        return bool(data)

    def _fill(self) -> None:
        if not self._fill_or_end():
            raise ConnectionError(f"the server closed the connection; unread: {bytes(self._buffer)[:200]!r}")

    def _line(self) -> bytes:
        searched = self._at
        while (end := self._buffer.find(b"\r\n", searched)) < 0:
            searched = max(self._at, len(self._buffer) - 1)
            self._fill()
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, length: int) -> bytes:
        while len(self._buffer) < self._at + length + 2:
            self._fill()
        end = self._at + length
        data = bytes(self._buffer[self._at : end])
        if self._buffer[end : end + 2] != b"\r\n":
            raise ValueError(f"bulk string of {length} bytes not followed by CRLF: {data[:80]!r}")
        self._at = end + 2
        return data

    def _values(self, count: int) -> list[Any]:
        return [self._value() for _ in range(count)]

    def _value(self) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind in b"+-(,#_" and kind:
            return _scalar(kind, rest)
        if kind == b":":
            return int(rest)
        if kind not in (b"$", b"!", b"=", b"*", b"~", b">", b"%", b"|"):
            raise ValueError(f"not a RESP reply: {line[:200]!r}")
        count = int(rest)
        if count < 0:
            return None
        if kind in b"$!=":
            return _string(kind, self._bulk(count))
        return self._aggregate(kind, count)

    def _aggregate(self, kind: bytes, count: int) -> Any:
        if kind == b"|":  # attributes describe the reply that follows
            self._values(2 * count)
            return self._value()
        if kind == b"%":
            flat = self._values(2 * count)
            return RespMap(list(zip(flat[::2], flat[1::2], strict=True)))
        items = self._values(count)
        return RespSet(items) if kind == b"~" else Push(items) if kind == b">" else items


def _scalar(kind: bytes, rest: bytes) -> Any:
    if kind == b"+":
        return Simple(rest.decode("utf-8", "surrogateescape"))
    if kind == b"-":
        return ReplyError(rest.decode("utf-8", "surrogateescape"))
    if kind == b"(":
        return BigNumber(int(rest))
    if kind == b",":
        return float(rest)
    if kind == b"#":
        return {b"t": True, b"f": False}[rest]
    return None


def _string(kind: bytes, data: bytes) -> Any:
    if kind == b"!":
        return ReplyError(data.decode("utf-8", "surrogateescape"))
    if kind == b"=":
        return Verbatim(data[:3].decode(), data[4:])
    return data
