"""Reads RDB files and the payloads of full synchronisations, whatever the pieces in which they arrive.

The caller feeds bytes and takes items: `Aux`, `Function`, `SelectDb`, `ResizeDb`, `Entries` (keys of the database
selected last), at last `End`. `None` means: feed more. While a long value is on its way there are `Entries` without a
key: each is a step of it. Versions 1 to 12 are read. Hints that only tune a server (slots, module data beside the keys)
are skipped. What follows the end is in `rest`: the commands behind an append-only file's preamble, or the replication
stream.

Bytes wait unjoined until the string that they belong to is whole, so that a long one costs its length only once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, TypeAlias

from node.rdb.builders import Builder, begin
from node.rdb.checksum import crc64
from node.rdb.codec import (
    RDB_VERSION_MAX,
    RdbError,
    Truncated,
    decode_length,
    decode_string,
    take,
)
from node.rdb.types import MAY_BE_EMPTY, Entry, decode_value

HEADER_BYTES: Final = 9
MAGIC: Final = b"REDIS"
CHECKSUM_SINCE_VERSION: Final = 5
CHECKSUM: Final = Struct("<Q")
EXPIRE_MS: Final = Struct("<q")
EXPIRE_S: Final = Struct("<i")

SLOT_INFO_CODE: Final = 244
FUNCTION2_CODE: Final = 245
FUNCTION_PRE_GA_CODE: Final = 246
MODULE_AUX_CODE: Final = 247
IDLE_CODE: Final = 248
FREQ_CODE: Final = 249
AUX_CODE: Final = 250
RESIZE_DB_CODE: Final = 251
EXPIRE_MS_CODE: Final = 252
EXPIRE_S_CODE: Final = 253
SELECT_DB_CODE: Final = 254
EOF_CODE: Final = 255
ENTRY_PREFIX_CODES: Final = frozenset((IDLE_CODE, FREQ_CODE, EXPIRE_MS_CODE, EXPIRE_S_CODE))

MODULE_SINT, MODULE_UINT, MODULE_FLOAT, MODULE_DOUBLE, MODULE_STRING = range(1, 6)

BATCH_KEYS: Final = 1000
"""Keys of a batch where the caller does not say: about half a millisecond of short ones."""
BATCH_BYTES_MAX: Final = 1 << 20
"""A batch ends early after so many bytes, so that long values do not make it take long."""


@dataclass(frozen=True, slots=True)
class Aux:
    """An auxiliary field."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Function:
    """The source of a function library."""

    code: bytes


@dataclass(frozen=True, slots=True)
class SelectDb:
    """The following entries belong to database `db`."""

    db: int


@dataclass(frozen=True, slots=True)
class ResizeDb:
    """About so many keys follow in this database, `expires` of them with an expiry: a hint."""

    keys: int
    expires: int


@dataclass(frozen=True, slots=True)
class Entries:
    """Keys with their values and expiries; of some of them, when they were used last, or how often (LFU counter)."""

    items: list[Entry]
    idle_s: dict[bytes, int] = field(default_factory=dict)
    freq: dict[bytes, int] = field(default_factory=dict)
    skipped: list[bytes] = field(default_factory=list)
    """Keys of containers without elements, which old versions have written: they are no keys."""


@dataclass(frozen=True, slots=True)
class End:
    """All is read and the checksum was right or does not matter; `checked` is False where the file carries none."""

    checked: bool


Item: TypeAlias = Aux | Function | SelectDb | ResizeDb | Entries | End


class RdbReader:
    """Takes an RDB apart. Once it has raised an RdbError it is of no more use."""

    def __init__(self, checksum_matters: bool = True) -> None:
        self._checksum_matters = checksum_matters
        self.version = 0
        """The version of the file, 0 until its header was read."""
        self.ended = False
        self._data = b""
        self._at = 0
        """Where the next item starts in `_data`."""
        self._base = 0
        """Where `_data` starts in the file."""
        self._crc = 0
        """The checksum of all before `_data`."""
        self._pending: list[bytes] = []
        self._available = 0
        """Bytes of `_data` and `_pending` together."""
        self._needed = HEADER_BYTES
        """No use to try before so many bytes are available."""
        self._long: tuple[bytes, Builder, int | None, int | None, int | None] | None = None
        """A long value that is being read: key, builder, expiry, idle seconds, LFU counter."""
        self._opcodes: dict[int, Callable[[bytes, int], tuple[Item | None, int]]] = {
            SLOT_INFO_CODE: self._slot_info,
            FUNCTION2_CODE: self._function,
            FUNCTION_PRE_GA_CODE: self._function_pre_ga,
            MODULE_AUX_CODE: self._module_aux,
            AUX_CODE: self._aux,
            RESIZE_DB_CODE: self._resize_db,
            SELECT_DB_CODE: self._select_db,
            EOF_CODE: self._eof,
        }

    @property
    def offset(self) -> int:
        """Bytes of the file that were read and understood."""
        return self._base + self._at

    @property
    def rest(self) -> bytes:
        """The bytes that followed the end, and follow as more are fed."""
        if not self.ended:
            return b""
        self._join()
        return self._data[self._at :]

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._pending.append(data)
        self._available += len(data)

    def items(self) -> Iterator[Item]:
        """Yield all that can be read from what was fed so far."""
        while (item := self.next_batch()) is not None:
            yield item

    def next_batch(self, limit: int = BATCH_KEYS) -> Item | None:
        """Return the next item, with at most `limit` keys; None if more bytes are needed, or all is read.

        Raises RdbError with the offset in the file for data that is damaged, too new, or of an unknown type.
        """
        if self.ended or self._available < self._needed:
            return None
        if self._pending:
            self._join()
        try:
            return self._next(limit)
        except Truncated as error:
            self._needed = max(error.needed, self._available + 1)
        except IndexError:
            self._needed = self._available + 1
        except RdbError as error:
            raise RdbError(self._base + error.offset, error.reason) from None
        return None

    def finish(self) -> None:
        """Tell that no more bytes come. Raises RdbError if the end was not reached."""
        if not self.ended:
            raise RdbError(self._base + self._available, "Short read, the data ends before the end of the RDB")

    def _join(self) -> None:
        data = self._data
        if self._at:
            self._crc = crc64(memoryview(data)[: self._at], self._crc)
            self._base += self._at
            data = data[self._at :]
            self._at = 0
        self._data = b"".join((data, *self._pending)) if data or len(self._pending) != 1 else self._pending[0]
        self._pending = []
        self._available = len(self._data)
        self._needed = 0

    def _next(self, limit: int) -> Item | None:
        data = self._data
        if not self.version:
            self.version = _read_header(data)
            self._at = HEADER_BYTES
        if self._long is not None:
            return self._go_on(data)
        while not self.ended:
            code = data[self._at]
            handle = self._opcodes.get(code)
            if handle is None:
                return self._entries(limit)
            item, self._at = handle(data, self._at + 1)
            if item is not None:
                return item
        return None

    def _entries(self, limit: int) -> Entries:
        """Read keys until `limit` or anything that is no key; at least one, else the exception of that one passes."""
        data, at = self._data, self._at
        size = len(data)
        stop = at + BATCH_BYTES_MAX
        batch = Entries([])
        append = batch.items.append
        try:
            for _ in range(limit):
                body, expire_ms = at, None
                code = data[at]
                if code == EXPIRE_MS_CODE:
                    body = at + 9
                    code = data[body]
                    expire_ms = EXPIRE_MS.unpack_from(data, at + 1)[0]
                # Strings under short keys, which most keys are: no calls where both are plain and short.
                if code == 0 and (key_length := data[body + 1]) < 64:
                    middle = body + 2 + key_length
                    value_length = data[middle]
                    if value_length < 64:
                        end = middle + 1 + value_length
                        if end > size:
                            raise Truncated(end)
                        append((data[body + 2 : middle], data[middle + 1 : end], expire_ms))
                    else:
                        value, end = decode_string(data, middle)
                        append((data[body + 2 : middle], value, expire_ms))
                        stop -= len(value)
                    at = end
                    if at > stop:
                        break
                    continue
                if code in self._opcodes:
                    if expire_ms is not None:
                        raise RdbError(body, f"Opcode {code} stands between an expiry and its key")
                    break
                end, plain_bytes = self._any_entry(data, at, batch)
                stop -= plain_bytes - (end - at)
                at = end
                if at > stop or self._long is not None:
                    break
        except (Truncated, IndexError, RdbError):
            # What was read before the trouble comes first; the next call meets the trouble again.
            if not batch.items:
                raise
        self._at = at
        return batch

    def _any_entry(self, data: bytes, at: int, batch: Entries) -> tuple[int, int]:
        """Read a key with all that may stand before it. Return the position behind it and the bytes in memory."""
        expire_ms = idle_s = freq = None
        while (code := data[at]) in ENTRY_PREFIX_CODES:
            at += 1
            if code == EXPIRE_MS_CODE:
                (expire_ms,) = EXPIRE_MS.unpack(take(data, at, 8))
                at += 8
            elif code == EXPIRE_S_CODE:
                expire_ms = EXPIRE_S.unpack(take(data, at, 4))[0] * 1000
                at += 4
            elif code == IDLE_CODE:
                idle_s, at = decode_length(data, at)
            else:
                freq = data[at]
                at += 1
        if code in self._opcodes:
            raise RdbError(at, f"Opcode {code} stands between a key and what belongs to it")
        start = at
        key, at = decode_string(data, at + 1)
        try:
            builder, body = begin(code, data, at)
            if builder is not None:
                self._long = key, builder, expire_ms, idle_s, freq
                return body, 0
            value, at = decode_value(code, data, at)
        except RdbError as error:
            raise RdbError(error.offset, f"{error.reason}, key {key[:64]!r}") from None
        plain_bytes = len(value) if isinstance(value, bytes) else at - start
        if not len(value) and code not in MAY_BE_EMPTY:
            batch.skipped.append(key)
            return at, plain_bytes
        batch.items.append((key, value, expire_ms))
        if idle_s is not None:
            batch.idle_s[key] = idle_s
        if freq is not None:
            batch.freq[key] = freq
        return at, plain_bytes

    def _go_on(self, data: bytes) -> Entries:
        """Read more of the long value: no keys, or the one that is whole now."""
        assert self._long is not None
        key, builder, expire_ms, idle_s, freq = self._long
        batch = Entries([])
        try:
            self._at = builder.step(data, self._at)
            if not builder.left:
                self._long = None
                value = builder.value()
                if len(value) or builder.code in MAY_BE_EMPTY:
                    batch.items.append((key, value, expire_ms))
                else:
                    batch.skipped.append(key)
        except RdbError as error:
            raise RdbError(error.offset or self._at, f"{error.reason}, key {key[:64]!r}") from None
        if idle_s is not None and self._long is None:
            batch.idle_s[key] = idle_s
        if freq is not None and self._long is None:
            batch.freq[key] = freq
        return batch

    def _aux(self, data: bytes, at: int) -> tuple[Item | None, int]:
        name, at = decode_string(data, at)
        value, at = decode_string(data, at)
        return Aux(name, value), at

    def _function(self, data: bytes, at: int) -> tuple[Item | None, int]:
        code, at = decode_string(data, at)
        return Function(code), at

    def _function_pre_ga(self, _data: bytes, at: int) -> tuple[Item | None, int]:
        raise RdbError(at - 1, "Pre-release function format not supported.")

    def _select_db(self, data: bytes, at: int) -> tuple[Item | None, int]:
        db, at = decode_length(data, at)
        return SelectDb(db), at

    def _resize_db(self, data: bytes, at: int) -> tuple[Item | None, int]:
        keys, at = decode_length(data, at)
        expires, at = decode_length(data, at)
        return ResizeDb(keys, expires), at

    def _slot_info(self, data: bytes, at: int) -> tuple[Item | None, int]:
        for _ in range(3):  # slot, keys, expires
            _length, at = decode_length(data, at)
        return None, at

    def _module_aux(self, data: bytes, at: int) -> tuple[Item | None, int]:
        _module_id, at = decode_length(data, at)
        return None, _skip_module_values(data, at)

    def _eof(self, data: bytes, at: int) -> tuple[Item | None, int]:
        if self.version < CHECKSUM_SINCE_VERSION:
            self.ended = True
            return End(False), at
        (expected,) = CHECKSUM.unpack(take(data, at, CHECKSUM.size))
        actual = crc64(memoryview(data)[:at], self._crc) if expected else 0
        if expected != actual and self._checksum_matters:
            raise RdbError(at, f"Wrong RDB checksum expected: ({actual:x}) but got ({expected:x}). RDB CRC error")
        self.ended = True
        return End(expected != 0), at + CHECKSUM.size


def _read_header(data: bytes) -> int:
    """Return the version. Raises RdbError for anything but the header of a file that we read."""
    if data[:5] != MAGIC:
        raise RdbError(0, "Wrong signature trying to load DB from file")
    digits = data[5:HEADER_BYTES]
    if not digits.isdigit() or not 1 <= int(digits) <= RDB_VERSION_MAX:
        raise RdbError(5, f"Can't handle RDB format version {digits.decode('latin-1')}")
    return int(digits)


def _skip_module_values(data: bytes, at: int) -> int:
    """Return the position behind a module's values, which tell their own lengths and end with a zero."""
    while True:
        opcode, start = decode_length(data, at)
        if opcode == 0:
            return start
        if opcode in (MODULE_SINT, MODULE_UINT):
            _number, at = decode_length(data, start)
        elif opcode in (MODULE_FLOAT, MODULE_DOUBLE):
            width = 4 if opcode == MODULE_FLOAT else 8
            take(data, start, width)
            at = start + width
        elif opcode == MODULE_STRING:
            _text, at = decode_string(data, start)
        else:
            raise RdbError(at, f"Unknown opcode {opcode} in module data")
