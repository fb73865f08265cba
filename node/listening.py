"""The addresses that a node listens on: from its configuration to listeners, with Redis's words where one fails."""

import errno
from collections.abc import Sequence
from typing import NamedTuple

from node.config import Config
from node.platform import Listener
from node.server import Server

NOT_SUPPORTED = (
    errno.ENOPROTOOPT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EPFNOSUPPORT, errno.EAFNOSUPPORT,
)  # fmt: skip
"""A machine without IPv6 says one of these: the address is passed over."""


UNIX_PATH_BYTES_MAX = 107
"""How long the path of a Unix socket may be."""


class CannotListen(Exception):
    """The node cannot serve where it shall: the text is the line for the log."""


def open_all(server: Server) -> list[Listener]:
    """Listen on every address of the configuration, TCP ones first. Raises CannotListen."""
    listeners: list[Listener] = []
    try:
        if server.config["port"]:
            listeners += open_tcp(server, server.config["port"])
        if server.config["tls-port"]:
            listeners += open_tcp(server, server.config["tls-port"], is_tls=True)
        if server.config["unixsocket"]:
            listeners.append(_open_unix(server))
    except CannotListen:
        close_all(listeners)
        raise
    if not listeners:
        raise CannotListen("Configured to not listen anywhere, exiting.")
    return listeners


def open_tcp(server: Server, port: int, *, is_tls: bool = False) -> list[Listener]:
    """Listen on `port` of every address of `bind`. Raises CannotListen, with nothing left open."""
    kind = "tls" if is_tls else "tcp"
    listeners: list[Listener] = []
    for word in server.config["bind"]:
        host = word.removeprefix("-")
        try:
            listener = server.platform.listen_tcp(host, port, server.config["tcp-backlog"])
        except OSError as error:
            server.log.warning(
                f"Warning: Could not create server TCP listening socket {host}:{port}: bind: {error.strerror}"
            )
            optional = word.startswith("-") and error.errno == errno.EADDRNOTAVAIL
            if not optional and error.errno not in NOT_SUPPORTED:
                close_all(listeners)
                raise CannotListen(f"Failed listening on port {port} ({kind}), aborting.") from error
            continue
        listener.is_tls = is_tls
        listeners.append(listener)
    return listeners


def _open_unix(server: Server) -> Listener:
    config = server.config
    path: str = config["unixsocket"]
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > UNIX_PATH_BYTES_MAX:
        reason = f"unix socket path too long ({size}), must be under {UNIX_PATH_BYTES_MAX + 1}"
        raise CannotListen(f"Failed opening Unix socket: {reason}")
    try:
        return server.platform.listen_unix(path, config["unixsocketperm"], config["tcp-backlog"])
    except OSError as error:
        raise CannotListen(f"Failed opening Unix socket: bind: {error.strerror}") from error


def remove_unix_socket(server: Server) -> None:
    """The process ends: nobody answers at its Unix socket any more."""
    if server.config["unixsocket"]:
        server.log.notice("Removing the unix socket file.")
        server.platform.remove_if_there(server.config["unixsocket"])


def close_all(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


class Address(NamedTuple):
    """One kind of listener, as INFO shows it: its addresses as configured, and its port (0: none)."""

    kind: str
    addresses: Sequence[str]
    port: int


def described(config: Config) -> list[Address]:
    """What the node listens on."""
    found = []
    if config["port"]:
        found.append(Address("tcp", config["bind"], config["port"]))
    if config["tls-port"]:
        found.append(Address("tls", config["bind"], config["tls-port"]))
    if config["unixsocket"]:
        found.append(Address("unix", [config["unixsocket"]], 0))
    return found
