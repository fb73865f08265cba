"""A node's TLS: who comes by it, whom it dials by it, and what its directives mean.

Connections made before a change of the certificates keep what they were made with; new ones get the new ones. Where the
new settings cannot be used, nothing changes. `ssl` is loaded only once TLS is configured.

Whoever comes shakes hands before it is anybody: at most `HANDSHAKES_MAX` do so at a time (the others wait in the
system's queue), each for at most `HANDSHAKE_TIMEOUT_MS`. Only then it is counted, told why not, or served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from node.config.config import Config
from node.config.errors import ConfigError
from node.log import Log
from node.net.peer import CLOSE_NOW, OPEN, SHUTDOWN, Peer
from node.net.reactor import Reactor
from node.platform import Connected, Platform, Socket
from node.timers import Timer, Timers

if TYPE_CHECKING:
    from node.net.tls import TlsContexts, TlsSocket

HANDSHAKES_MAX = 1000
"""Redis takes as many connections in one go."""
HANDSHAKE_TIMEOUT_MS = 10_000
"""A handshake takes two round trips; one that takes this long is no client's."""

FILES = (
    "tls-ca-cert-dir", "tls-ca-cert-file", "tls-cert-file", "tls-client-cert-file", "tls-client-key-file",
    "tls-dh-params-file", "tls-key-file",
)  # fmt: skip
SETTINGS = (
    *FILES, "tls-auth-clients", "tls-ciphers", "tls-client-key-file-pass", "tls-cluster", "tls-key-file-pass",
    "tls-prefer-server-ciphers", "tls-protocols", "tls-replication",
)  # fmt: skip

CANNOT_START = "Failed to configure TLS. Check logs for more info."
CANNOT_UPDATE = "Unable to update TLS configuration. Check server logs."


class TlsHost(Protocol):
    """What TLS needs of its node."""

    platform: Platform
    config: Config
    log: Log
    timers: Timers
    reactor: Reactor


class CannotUseTls(Exception):
    """The settings or their files cannot be used; the log has the reason."""


class Arrival(Peer):
    """Somebody who shakes hands. `welcome` is handed the socket afterwards, and returns whom it serves by it."""

    __slots__ = ("_successor", "_tls", "_welcome", "address", "socket", "timer")

    def __init__(self, tls: Tls, sock: TlsSocket, address: str, welcome: Callable[[Socket], Peer | None]) -> None:
        super().__init__()
        self._tls = tls
        self._welcome = welcome
        self._successor: Peer | None = None
        self.socket = sock
        self.address = address
        self.timer: Timer | None = None
        sock.on_ready = self._ready

    def _ready(self) -> None:
        self._tls.arrived(self)
        self._successor = self._welcome(self.socket)

    def receive(self, data: bytes) -> None:
        """The first request may come together with the last word of the handshake."""
        if self._successor is not None and self._successor.closing == OPEN:
            self._successor.receive(data)
            self._successor.touch()  # the reactor looks at us in this batch, not yet at the successor

    def lost(self, reason: str) -> None:
        self._tls.gone(self, reason)


class Tls:
    """The TLS of one node. `contexts` is None while nothing asks for TLS."""

    def __init__(self, host: TlsHost) -> None:
        self._host = host
        self.contexts: TlsContexts | None = None
        self.arrivals: set[Arrival] = set()
        for name in SETTINGS:
            host.config.on_change(name, lambda _value: self.update())

    # --- settings -------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Take over what the configuration says now. Raises CannotUseTls, and all is as before."""
        config = self._host.config
        if not (config["tls-port"] or config["tls-replication"] or config["tls-cluster"]):
            return
        from node.net.tls import BadTls, TlsContexts, TlsSettings

        try:
            self.contexts = TlsContexts(
                TlsSettings(
                    cert_file=config["tls-cert-file"],
                    key_file=config["tls-key-file"],
                    key_file_pass=config["tls-key-file-pass"],
                    client_cert_file=config["tls-client-cert-file"],
                    client_key_file=config["tls-client-key-file"],
                    client_key_file_pass=config["tls-client-key-file-pass"],
                    ca_cert_file=config["tls-ca-cert-file"],
                    ca_cert_dir=config["tls-ca-cert-dir"],
                    dh_params_file=config["tls-dh-params-file"],
                    auth_clients=config["tls-auth-clients"],
                    protocols=config["tls-protocols"],
                    ciphers=config["tls-ciphers"],
                    prefer_server_ciphers=config["tls-prefer-server-ciphers"],
                    must_verify=config["tls-cluster"] or config["tls-replication"],
                )
            )
        except BadTls as error:
            self._host.log.warning(str(error))
            raise CannotUseTls from error

    def update(self) -> None:
        """CONFIG SET of something that TLS is made of. Raises ConfigError."""
        try:
            self.configure()
        except CannotUseTls:
            raise ConfigError(CANNOT_UPDATE) from None

    # --- coming ---------------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """May one more shake hands?"""
        return len(self.arrivals) < HANDSHAKES_MAX

    def receive(
        self, sock: Connected, address: str, welcome: Callable[[Socket], Peer | None], *, is_bus: bool = False
    ) -> None:
        """Shake hands with somebody who was just accepted, and then hand the socket to `welcome`.

        address -- of both ends, for the log.
        """
        from node.net.tls import TlsSocket

        contexts = self.contexts
        if contexts is None:  # the listener outlived its configuration
            sock.close()
            return
        context = contexts.bus if is_bus else contexts.clients
        arrival = Arrival(self, TlsSocket(sock, context, server_side=True), address, welcome)
        arrival.timer = self._host.timers.after(HANDSHAKE_TIMEOUT_MS, lambda: self._too_late(arrival))
        self.arrivals.add(arrival)
        self._host.reactor.add(arrival.socket, arrival)

    def arrived(self, arrival: Arrival) -> None:
        """The handshake is done: the socket is the next one's."""
        self._host.reactor.detach(arrival)
        self._forget(arrival)

    def gone(self, arrival: Arrival, reason: str) -> None:
        """The connection ended before it was anybody's."""
        self._forget(arrival)
        failure = arrival.socket.failure or reason
        if failure and failure != SHUTDOWN:
            self._host.log.warning(f"Error accepting a client connection: {failure} ({arrival.address})")

    def _too_late(self, arrival: Arrival) -> None:
        arrival.socket.failure = "the TLS handshake took too long"
        arrival.close(CLOSE_NOW)

    def _forget(self, arrival: Arrival) -> None:
        self.arrivals.discard(arrival)
        if arrival.timer is not None:
            arrival.timer.cancel()
            arrival.timer = None

    # --- going ----------------------------------------------------------------------------------------------------

    async def secure(self, sock: Connected) -> Socket:
        """Shake hands as the one who dialled, within the caller's time. Raises OSError; then `sock` is closed."""
        from node.net.tls import TlsSocket

        if self.contexts is None:
            sock.close()
            raise ConnectionError("TLS is not configured")
        secured = TlsSocket(sock, self.contexts.outgoing, server_side=False)
        try:
            await secured.shake_hands(self._host.platform)
        except BaseException:
            sock.close()
            raise
        return secured

    async def dial(self, host: str, port: int, *, is_tls: bool) -> Socket:
        """Open a connection to another node, by TLS or not; the caller bounds the time. Raises OSError."""
        source = self._host.config["bind-source-addr"] or ""
        sock = await self._host.platform.connect_tcp(host, port, source)
        return await self.secure(sock) if is_tls else sock
