"""TLS between a TCP socket and whoever uses it: a `TlsSocket` is a `Socket`, so peers and dialogues know nothing of it.

OpenSSL works in memory (`ssl.MemoryBIO`); the bytes of the wire go through the socket below, many records in one call.
This is the one module that knows `ssl`, and it is imported only where TLS is configured.

Rules. `recv` opens all whole records that have come, so nothing readable is ever left where epoll cannot see it; what
stays is less than a record. `send` seals at most `SEALED_BYTES_MAX`, and says that bytes have left only once all of
their ciphertext has: until then it raises BlockingIOError and wants to be called again with the same bytes, so that
whoever counts unsent bytes counts right. A server shakes hands within `recv`, a client by `shake_hands` before anything
else. TLS's own words that the socket does not take are kept for the next call, at most `OWN_BYTES_MAX` of them.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from node.platform import Connected, LayeredSocket, Platform

RECORD_BYTES = 16 * 1024
"""The plaintext of a record is never longer (RFC 8446, 5.1): one read opens a whole one."""
SEALED_BYTES_MAX = 256 * 1024
"""How much is sealed at a time: it has to be kept until the socket has taken it."""
OWN_BYTES_MAX = 64 * 1024
"""Answers to key updates, tickets and alerts that may wait for a peer that does not read: ten handshakes' worth."""

_VERSIONS = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
_NAMED = "Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and 'TLSv1.3'."


class BadTls(Exception):
    """The configuration cannot be used: the text is the line for the log."""


@dataclass(frozen=True)
class TlsSettings:
    """The directives without `tls-`, as they are written; empty texts are not set."""

    cert_file: str
    key_file: str
    key_file_pass: str
    client_cert_file: str
    client_key_file: str
    client_key_file_pass: str
    ca_cert_file: str
    ca_cert_dir: str
    dh_params_file: str
    auth_clients: str
    protocols: str
    ciphers: str
    prefer_server_ciphers: bool
    must_verify: bool
    """The node dials by TLS, or takes bus links by it: both verify the other end, whatever `auth_clients` says."""


class TlsContexts:
    """What new connections are made with. Raises BadTls where the settings or their files cannot be used."""

    def __init__(self, settings: TlsSettings) -> None:
        _check(settings)
        verify = {"no": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "yes": ssl.CERT_REQUIRED}
        self.clients = _server_context(settings, verify[settings.auth_clients])
        self.bus = _server_context(settings, ssl.CERT_REQUIRED) if settings.must_verify else self.clients
        self.outgoing = _client_context(settings)


def _check(settings: TlsSettings) -> None:
    if not settings.cert_file:
        raise BadTls("No tls-cert-file configured!")
    if not settings.key_file:
        raise BadTls("No tls-key-file configured!")
    verifies = settings.must_verify or settings.auth_clients != "no"
    if verifies and not settings.ca_cert_file and not settings.ca_cert_dir:
        raise BadTls(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or "
            "tls-auth-clients are enabled!"
        )


def _server_context(settings: TlsSettings, verify: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = verify
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if settings.prefer_server_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_key(context, settings.cert_file, settings.key_file, settings.key_file_pass)
    _set_common(context, settings)
    if settings.dh_params_file:
        try:
            context.load_dh_params(settings.dh_params_file)
        except OSError as error:
            raise BadTls(f"{settings.dh_params_file}: failed to read DH params.") from error
    return context


def _client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Nodes are dialled by address: their certificates must be of our CA, whatever name they bear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    if settings.client_cert_file and settings.client_key_file:
        _load_key(context, settings.client_cert_file, settings.client_key_file, settings.client_key_file_pass)
    else:
        _load_key(context, settings.cert_file, settings.key_file, settings.key_file_pass)
    _set_common(context, settings)
    return context


def caller_context(ca_cert_file: str, cert_file: str, key_file: str, *, verify: bool) -> ssl.SSLContext:
    """For a program that calls nodes and is none: a certificate of its own only if it is given one. Raises BadTls.

    ca_cert_file -- whose certificates are believed; the system's CAs if empty.  verify -- off: anybody is believed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # nodes are known by address: their certificates must be of our CA
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if cert_file or key_file:
        _load_key(context, cert_file, key_file or cert_file, "")
    try:
        if ca_cert_file:
            context.load_verify_locations(ca_cert_file)
        else:
            context.load_default_certs()
    except (OSError, ValueError) as error:
        raise BadTls(f"{ca_cert_file}: failed to read the CA's certificate: {_reason(error)}") from error
    return context


def _load_key(context: ssl.SSLContext, cert_file: str, key_file: str, password: str) -> None:
    """A file that is not there, or no certificate, is named; so is a key that is another certificate's."""
    for name, what in ((cert_file, "certificate"), (key_file, "private key")):
        try:
            with open(name, "rb"):
                pass
        except OSError as error:
            raise BadTls(f"Failed to load {what}: {name}: {error.strerror}") from error
    try:
        # A password is always at hand, be it empty: OpenSSL would ask for it at the terminal.
        context.load_cert_chain(cert_file, key_file, lambda: password)
    except (OSError, ValueError) as error:
        if isinstance(error, ssl.SSLError) and error.library == "X509":
            raise BadTls(f"Failed to load private key: {key_file}: {_reason(error)}") from error
        raise BadTls(f"Failed to load certificate: {cert_file} with {key_file}: {_reason(error)}") from error


def _set_common(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.ca_cert_file or settings.ca_cert_dir:
        try:
            context.load_verify_locations(settings.ca_cert_file or None, settings.ca_cert_dir or None)
        except (OSError, ValueError) as error:
            raise BadTls(f"Failed to configure CA certificate(s) file/directory: {_reason(error)}") from error
    if settings.ciphers:
        try:
            context.set_ciphers(settings.ciphers)
        except (OSError, ValueError) as error:
            raise BadTls(f"Failed to configure ciphers: {settings.ciphers}") from error
    if settings.protocols:
        _set_protocols(context, settings.protocols)


def _set_protocols(context: ssl.SSLContext, names: str) -> None:
    try:
        wanted = {_VERSIONS[name.lower()] for name in names.split()}
    except KeyError:
        raise BadTls(f"Invalid tls-protocols specified. {_NAMED}") from None
    known = list(_VERSIONS.values())
    places = sorted(known.index(version) for version in wanted)
    if not places or places[-1] - places[0] >= len(places):
        raise BadTls(f"Invalid tls-protocols specified: no version may be missing in between. {_NAMED}")
    context.minimum_version, context.maximum_version = known[places[0]], known[places[-1]]


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"{error.library} routines::{error.reason.lower().replace('_', ' ')}"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class TlsSocket(LayeredSocket):
    """One connection. `on_ready` is called once, within `recv`, when the handshake is done."""

    __slots__ = ("_held", "_incoming", "_outgoing", "_sealed_bytes", "_tls", "failure", "is_ready", "on_ready")

    def __init__(self, sock: Connected, context: ssl.SSLContext, *, server_side: bool) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._held = b""  # ciphertext that the socket did not take
        self._sealed_bytes = 0  # so many bytes of plaintext have their ciphertext in `_held`
        self.is_ready = False
        self.on_ready: Callable[[], None] | None = None
        self.failure = ""  # why the handshake failed

    # --- in -------------------------------------------------------------------------------------------------------

    def recv(self, size: int, /) -> bytes:
        """What has come, opened; BlockingIOError if that is nothing yet, b"" at the end, OSError if it is no TLS."""
        data = self.below.recv(size)
        if data:
            self._incoming.write(data)
        elif not self._incoming.pending:  # the end, with or without a word of goodbye
            return b""
        try:
            if not self.is_ready and not self._step():
                if not data:
                    return b""  # it ended in the midst of its handshake
                raise BlockingIOError
            return self._opened(at_end=not data)
        except ssl.SSLError:
            self.flush()  # an alert tells the other end what was wrong
            raise

    def _opened(self, *, at_end: bool) -> bytes:
        read, incoming = self._tls.read, self._incoming
        try:
            opened = read(RECORD_BYTES)
        except ssl.SSLWantReadError:
            self._keep_own_words()
            if at_end:
                return b""
            raise BlockingIOError from None
        if not incoming.pending:
            return opened  # the usual case: one request, one record
        pieces = [opened]
        while pieces[-1]:
            try:
                pieces.append(read(RECORD_BYTES))
            except ssl.SSLWantReadError:
                break
        else:
            self.end_input()  # it said goodbye behind its last request: let epoll tell so after this
        self._keep_own_words()
        return b"".join(pieces)

    def _keep_own_words(self) -> None:
        if self._outgoing.pending:
            self.flush()
            if len(self._held) > OWN_BYTES_MAX and not self._sealed_bytes:
                raise ConnectionAbortedError("the peer makes TLS speak and does not listen")

    def _step(self) -> bool:
        """Go on with the handshake; True if it is done. Raises OSError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return False
        except OSError as error:
            self.failure = _reason(error)
            self.flush()
            raise
        self.is_ready = True
        self.flush()
        if self.on_ready is not None:
            self.on_ready()
            self.on_ready = None
        return True

    # --- out ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """Seal and send the front of `data`: see the rules above. Raises OSError."""
        if (self._held or self._outgoing.pending) and not self.flush():
            raise BlockingIOError
        if self._sealed_bytes:
            count, self._sealed_bytes = self._sealed_bytes, 0
            return count
        if not self.is_ready:
            raise BlockingIOError
        if len(data) > SEALED_BYTES_MAX:
            with memoryview(data) as view, view[:SEALED_BYTES_MAX] as front:
                count = self._tls.write(front)
        else:
            count = self._tls.write(data)
        sealed = self._outgoing.read()
        try:
            sent = self.below.send(sealed)
        except BlockingIOError:
            sent = 0
        if sent == len(sealed):
            return count
        self._held, self._sealed_bytes = sealed[sent:], count
        raise BlockingIOError

    def send_soon(self, data: bytes) -> None:
        """Send a few bytes that the caller forgets, unless others still wait for room."""
        if self._sealed_bytes or not self.flush():
            return
        with suppress(BlockingIOError):
            self.send(data)
        self._sealed_bytes = 0

    def flush(self) -> bool:
        """Send ciphertext that is kept; True if none is left. Raises OSError."""
        if self._outgoing.pending:
            self._held += self._outgoing.read()
        if self._held:
            try:
                self._held = self._held[self.below.send(self._held) :]
            except BlockingIOError:
                return False
        return not self._held

    def close(self) -> None:
        """Say goodbye as far as there is room for it, and close."""
        if self.is_ready:
            with suppress(OSError):
                self._tls.unwrap()
        with suppress(OSError):
            self.flush()
        self.below.close()

    # --- a client's handshake -------------------------------------------------------------------------------------

    async def shake_hands(self, platform: Platform) -> None:
        """Shake hands as the one who dialled; the caller bounds the time. Raises OSError that says what was wrong."""
        while True:
            try:
                if self._step():
                    return
            except ssl.SSLError as error:
                raise ConnectionError(f"TLS handshake failed: {_reason(error)}") from error
            while not self.flush():
                await platform.wait_writable(self)
            await self._hear(platform)

    async def _hear(self, platform: Platform) -> None:
        while True:
            await platform.wait_readable(self)
            try:
                data = self.below.recv(RECORD_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionError("TLS handshake failed: the connection was closed by the other end")
            self._incoming.write(data)
            return
