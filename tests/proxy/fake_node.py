"""A server of which a test says what it answers: the proxy takes it for a primary."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Self

from node.net.resp import RequestParser

Answer = Callable[["Caller", list[bytes]], bytes | None]


class Caller:
    """One connection to the node."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket = sock
        self.number = number
        self.said: list[list[bytes]] = []

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)


class FakeNode:
    """Listens at `port`. `answer(caller, command)` gives the bytes of a reply; None: the usual ones, b"": none."""

    def __init__(self, answer: Answer = lambda _caller, _command: None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.answer = answer
        self.callers: list[Caller] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for caller in self.callers:
            caller.socket.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            caller = Caller(sock, len(self.callers) + 1)
            self.callers.append(caller)
            self._start(self._serve, caller)

    def _serve(self, caller: Caller) -> None:
        parser = RequestParser(1 << 29)
        try:
            while data := caller.socket.recv(1 << 16):
                parser.feed(data)
                for command in parser.parse(1 << 20):
                    caller.said.append(command)
                    reply = self.answer(caller, command)
                    caller.send(self._usual(caller, command) if reply is None else reply)
        except OSError:
            return

    def _usual(self, caller: Caller, command: list[bytes]) -> bytes:
        name = command[0].upper()
        if name == b"ROLE":
            return b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
        if name == b"HELLO":
            return b"%1\r\n$5\r\nproto\r\n:3\r\n"
        if name == b"PING":
            return b"+PONG\r\n"
        if command[:2] == [b"CLIENT", b"ID"]:
            return b":%d\r\n" % caller.number
        return b"+OK\r\n"
