"""Commands that wait for a key: BLPOP and all its kin.

Such a command first tries its keys, in order. Where nothing is to be had, `block` parks its client under them; the
command that makes one of the keys, once it has been journalled and answered, lets the client try that key alone. The
attempt is a command's run in all respects: it says its effects with `journal_instead`, and may raise CommandError.

Where a client must not wait (inside a transaction or a script), the command answers as if its time were over.
"""

from collections.abc import Callable, Sequence

from node.commands.arguments import integer
from node.datatypes.kinds import kind_of
from node.datatypes.numbers import INT64_MAX, parse_long_double
from node.guards import permission_lost
from node.net.resp import NULL_ARRAY, CommandError, Reply
from node.net.session import Waiting
from node.server import Client

Attempt = Callable[[bytes], Reply | None]
"""Try one key: the reply, or None (which is no reply of these commands) if it has nothing to give."""

NOT_A_TIMEOUT = CommandError("ERR timeout is not a float or out of range")
TIMEOUT_OUT_OF_RANGE = CommandError("ERR timeout is out of range")
TIMEOUT_NEGATIVE = CommandError("ERR timeout is negative")


def timeout_ms(client: Client, text: bytes) -> int:
    """A timeout in seconds with decimals, in whole milliseconds, rounded up; 0 means: for ever."""
    number = parse_long_double(text)
    if number is None:
        raise NOT_A_TIMEOUT
    if number.infinite:
        raise TIMEOUT_OUT_OF_RANGE if number.mantissa > 0 else TIMEOUT_NEGATIVE
    if number.mantissa.bit_length() + number.exponent > 64:
        raise TIMEOUT_OUT_OF_RANGE if number.mantissa > 0 else TIMEOUT_NEGATIVE
    scaled = number.mantissa * 1000
    milliseconds = scaled << number.exponent if number.exponent >= 0 else -(-scaled >> -number.exponent)
    return _checked(client, milliseconds)


def whole_timeout_ms(client: Client, text: bytes) -> int:
    """A timeout in milliseconds: XREAD's BLOCK."""
    try:
        milliseconds = integer(text)
    except CommandError as error:
        error.forget()
        raise CommandError("ERR timeout is not an integer or out of range") from None
    return _checked(client, milliseconds)


def _checked(client: Client, milliseconds: int) -> int:
    if milliseconds < 0:
        raise TIMEOUT_NEGATIVE
    if milliseconds > INT64_MAX - client.host.keyspace.now_ms:
        raise TIMEOUT_OUT_OF_RANGE
    return milliseconds


class KeyWaiter(Waiting):
    """A client that waits for one of several keys to hold a value of one type."""

    __slots__ = ("_attempt", "_client", "_over", "_type_name", "db", "keys")
    hears_of_loss = False

    def __init__(self, client: Client, keys: list[bytes], type_name: bytes, attempt: Attempt, over: Reply) -> None:
        self.db = client.db.index
        self.keys = keys
        self._client = client
        self._type_name = type_name
        self._attempt = attempt
        self._over = over

    def try_key(self, key: bytes) -> bool:
        """The key has appeared: take from it and answer, if it is of the type that is wanted and has something."""
        client = self._client
        value = client.db.peek(key)
        if value is None or kind_of(value).name != self._type_name:
            return False
        if is_refused(client):
            return True
        return serve(client, self.db, (), lambda: self._attempt(key))

    def cancelled(self, session: Client) -> None:
        session.host.keyspace.waiters.remove(self)

    def timeout_reply(self) -> Reply:
        return self._over


def is_refused(client: Client) -> bool:
    """A blocked client's turn has come: may its user still run the command? If not, it is told so."""
    if not client.restricted or (refusal := permission_lost(client)) is None:
        return False
    client.refuse_to_resume(refusal)
    return True


def serve(client: Client, db: int, argv: Sequence[bytes], attempt: Callable[[], Reply | None]) -> bool:
    """Run a blocked client's command for a second time, in database `db`; False if it still has to wait.

    `argv` is journalled for what the attempt changes without saying so itself.
    """
    server, keyspace = client.host, client.host.keyspace
    dirty, started_ns = keyspace.dirty, server.clock_ns()
    client.held = bytearray()  # what it hears of its own doing follows its reply
    try:
        reply = attempt()
    except CommandError as error:
        reply = error.reply
    held, client.held = client.held, None
    if keyspace.dirty != dirty:
        keyspace.commit(db, argv)
        client.write_offset = keyspace.journal.offset
    if reply is None:
        return False
    time_ns = server.clock_ns() - started_ns
    command, words = client.last_command, client.commands[client.served - 1]
    client.resume(reply, time_ns)
    if held:
        client.push_bytes(held)
    if command is not None and time_ns >= server.slow_ns:
        server.was_slow(client, command, [words], time_ns)
    return True


def block(
    client: Client, keys: list[bytes], type_name: bytes, timeout_ms: int, attempt: Attempt, over: Reply = NULL_ARRAY
) -> Reply:
    """Wait for one of `keys` to hold a value of the type (as TYPE names it); what the command has to return.

    `over` is the reply when the time is over.
    """
    waiter = KeyWaiter(client, list(dict.fromkeys(keys)), type_name, attempt, over)
    client.host.keyspace.waiters.add(waiter)
    return client.park(waiter, timeout_ms)
