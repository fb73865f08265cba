"""Writes RDB files and the payloads of full synchronisations, without knowing where they go.

The caller calls `header`, `function` for each library, then for each database `select_db` and its `entries`, then
`footer`, and carries away what `take` gives whenever `size` has grown enough. The checksum runs over what is taken.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import repeat
from struct import Struct
from typing import Final

from node.datatypes.reading import Reading
from node.rdb.checksum import crc64
from node.rdb.codec import (
    INT_TEXT_BYTES_MAX,
    LZF_MIN_BYTES,
    LZF_SAVED_BYTES_MIN,
    RDB_VERSION,
    RdbError,
    encode_int_text,
    encode_length,
    encode_lzf,
    encode_string,
    lzf_compress,
)
from node.rdb.types import ENCODERS, Entry, encode_pieces, encode_value, version_for
from node.rdb.valuetype import Value

FUNCTION2: Final = b"\xf5"
IDLE: Final = b"\xf8"
FREQ: Final = b"\xf9"
AUX: Final = b"\xfa"
RESIZE_DB: Final = b"\xfb"
EXPIRE_MS: Final = Struct("<Bq")
EXPIRE_MS_CODE: Final = 252
SELECT_DB: Final = b"\xfe"
EOF: Final = b"\xff"
CHECKSUM: Final = Struct("<Q")

CODE_OF_EVERY_VERSION_MAX: Final = 19
"""Types beyond this one need a version of their own."""

CODES: Final = tuple(bytes((code,)) for code in range(32))
"""The code of each type."""
STRING: Final = CODES[0]

LZF_ALWAYS_BYTES: Final = 256
"""From this length on compression is always tried. A try costs about a microsecond however short the string, twice what
all the rest of an entry costs; for shorter strings it is skipped while it looks hopeless."""
LZF_MISSES_MAX: Final = 32
"""After so many tries in a row that saved less than a quarter it looks hopeless…"""
LZF_PROBE_MASK: Final = 15
"""…and only one short string of 16 is tried, until one saves that much."""
HEADS: Final = tuple(encode_length(length) for length in range(LZF_ALWAYS_BYTES))
"""The length of each string that is not long."""
COLUMNS: Final = 7
"""Of a batch: deadline, note of use, type code, head and bytes of the key, head and bytes of the value."""
LZF_HEADS: Final = tuple(b"\xc3" + head for head in HEADS)
"""What a compressed string begins with, by how long it is."""


def aux_fields(
    *,
    redis_version: bytes,
    created_s: int,
    used_memory_bytes: int,
    replication: tuple[int, bytes, int] | None = None,
    aof_base: bool = False,
) -> list[tuple[bytes, bytes]]:
    """Return the auxiliary fields of a file in the order in which Redis writes them.

    `created_s` is a Unix time in seconds; `replication` is (database selected in the stream, replication id, offset)
    of a node that wants to resume from this file; `aof_base` tells that commands follow in the append-only file.
    """
    fields: list[tuple[bytes, bytes | int]] = [
        (b"redis-ver", redis_version),
        (b"redis-bits", 64),
        (b"ctime", created_s),
        (b"used-mem", used_memory_bytes),
    ]
    if replication is not None:
        stream_db, replication_id, offset = replication
        fields += [(b"repl-stream-db", stream_db), (b"repl-id", replication_id), (b"repl-offset", offset)]
    fields.append((b"aof-base", int(aof_base)))
    return [(name, b"%d" % value if isinstance(value, int) else value) for name, value in fields]


class RdbWriter:
    """Gathers the bytes of one RDB.

    `version` goes into the header; an entry of a type that needs a later one is refused (RdbError). `compress` and
    `checksum` are the directives `rdbcompression` and `rdbchecksum`.
    """

    def __init__(self, version: int = RDB_VERSION, *, compress: bool = True, checksum: bool = True) -> None:
        self.version = version
        self.size = 0
        """Bytes gathered and not yet taken."""
        self._parts: list[bytes] = []
        self._compress = compress
        self._checksum = checksum
        self._crc = 0
        self._taken = 0
        self._lzf_misses = 0

    def header(self, aux: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Begin the file; `aux` are its auxiliary fields, see `aux_fields`."""
        self._add(b"REDIS%04d" % self.version)
        for name, value in aux:
            self._add(AUX + encode_string(name, False) + encode_string(value, False))

    def function(self, code: bytes) -> None:
        """Add a function library, given its source."""
        self._add(FUNCTION2 + encode_string(code, self._compress))

    def select_db(self, db: int, keys: int, expires: int) -> None:
        """Begin database `db`, which will have about `keys` entries, `expires` of them with an expiry."""
        self._add(SELECT_DB + encode_length(db) + RESIZE_DB + encode_length(keys) + encode_length(expires))

    def entries(self, batch: Sequence[Entry], notes: Sequence[bytes] = ()) -> None:
        """Add keys, many at a time: about 0.5 us for each short one. `notes` tell of their uses, see `use_note`."""
        keys, values, deadlines = zip(*batch, strict=True)
        parts = [b""] * (COLUMNS * len(keys))
        if deadlines.count(None) < len(keys):
            parts[::COLUMNS] = _deadlines(deadlines)
        if notes:
            parts[1::COLUMNS] = notes
        parts[3::COLUMNS], parts[4::COLUMNS] = self._strings(keys)
        if set(map(type, values)) == {bytes}:
            parts[2::COLUMNS] = repeat(STRING, len(keys))
            parts[5::COLUMNS], parts[6::COLUMNS] = self._strings(values)
        else:
            parts[2::COLUMNS], parts[6::COLUMNS] = zip(*map(self._value, values), strict=True)
        self._add(b"".join(parts))

    def _value(self, value: Value) -> tuple[bytes, bytes]:
        """The type code and the bytes of a value."""
        if type(value) is bytes or type(value) is bytearray:
            return STRING, self._string(value)
        encode = ENCODERS.get(type(value), encode_value)
        code, data = encode(value, self._compress)
        if code > CODE_OF_EVERY_VERSION_MAX:
            self._check_version(code)
        return CODES[code], data

    def long_entry(self, key: bytes, reading: Reading, expire_ms: int | None, note: bytes = b"") -> Iterator[bytes]:
        """Begin a key with a long value: the pieces that are to follow by `piece`, and by nothing else."""
        code, pieces = encode_pieces(reading, self._compress)
        self._check_version(code)
        (deadline,) = _deadlines([expire_ms])
        self._add(deadline + note + CODES[code] + self._string(key))
        return pieces

    def piece(self, data: bytes) -> None:
        """Go on with a long value."""
        self._add(data)

    def footer(self) -> None:
        """End the file, with its checksum (zero where checksums are off)."""
        self._add(EOF)
        self._add(self.take())
        self._add(CHECKSUM.pack(self._crc if self._checksum else 0))

    def take(self) -> bytes:
        """Return the bytes gathered, and forget them."""
        data = b"".join(self._parts)
        self._parts = []
        self._taken += len(data)
        self.size = 0
        if self._checksum:
            self._crc = crc64(data, self._crc)
        return data

    def _add(self, data: bytes) -> None:
        self._parts.append(data)
        self.size += len(data)

    def _check_version(self, code: int) -> None:
        if version_for(code) > self.version:
            reason = f"Type {code} needs RDB version {version_for(code)}, this file has {self.version}"
            raise RdbError(self._taken + self.size, reason)

    def _string(self, value: bytes | bytearray) -> bytes:
        length = len(value)
        packed = None
        if length <= INT_TEXT_BYTES_MAX:
            packed = encode_int_text(value)
        elif length >= LZF_MIN_BYTES and self._compress:
            packed = self._try_lzf(value)
        return packed or encode_length(length) + value

    def _strings(self, words: Sequence[bytes]) -> tuple[Collection[bytes], Collection[bytes]]:
        """(what stands before, bytes) of each of these strings as `_string` has it, with one look at all at a time."""
        lengths = list(map(len, words))
        longest = max(lengths)
        if longest >= LZF_ALWAYS_BYTES or any(map(bytes.isdigit, words)) or _any_negative(words):
            return [b""] * len(words), list(map(self._string, words))
        if longest >= LZF_MIN_BYTES and self._compress and not self._is_hopeless(words):
            return [b""] * len(words), self._packed(words)
        return list(map(HEADS.__getitem__, lengths)), words

    def _is_hopeless(self, words: Iterable[bytes]) -> bool:
        """As `_try_lzf` has it: one of 16 strings is tried all the same."""
        misses = self._lzf_misses
        if misses <= LZF_MISSES_MAX:
            return False
        long = [word for word in words if len(word) >= LZF_MIN_BYTES]
        if any(_pays(word, encode_lzf(word)) for word in long[-misses & LZF_PROBE_MASK :: LZF_PROBE_MASK + 1]):
            return False
        self._lzf_misses = misses + len(long)
        return True

    def _packed(self, words: Iterable[bytes]) -> list[bytes]:
        """These strings, none of `LZF_ALWAYS_BYTES`, compressed where that saves enough.

        Redis's compressor wants a few bytes of room beside, so it leaves some as they are that are packed here.
        """
        long = [word for word in words if len(word) >= LZF_MIN_BYTES]
        tries = map(lzf_compress(), long, repeat(2 * LZF_ALWAYS_BYTES))
        heads = HEADS
        packed = [
            heads[length] + word
            if length < LZF_MIN_BYTES or (size := len(block := next(tries))) > length - LZF_SAVED_BYTES_MIN
            else LZF_HEADS[size] + heads[length] + block
            for word, length in zip(words, map(len, words), strict=True)
        ]
        pays = 4 * sum(map(len, packed)) <= 3 * sum(map(len, words))
        self._lzf_misses = 0 if pays else self._lzf_misses + len(long)
        return packed

    def _try_lzf(self, value: bytes | bytearray) -> bytes | None:
        """Return `value` compressed, None where it does not pay or is not worth a try."""
        misses = self._lzf_misses
        if misses > LZF_MISSES_MAX and len(value) < LZF_ALWAYS_BYTES and misses & LZF_PROBE_MASK:
            self._lzf_misses = misses + 1
            return None
        packed = encode_lzf(value)
        self._lzf_misses = 0 if _pays(value, packed) else misses + 1
        return packed


def use_note(idle_s: int | None, freq: int | None) -> bytes:
    """What tells the loader of a key's use: the seconds since the last one, or the LFU counter."""
    if idle_s is not None:
        return IDLE + encode_length(idle_s)
    return b"" if freq is None else FREQ + bytes((freq,))


def _deadlines(deadlines_ms: Iterable[int | None]) -> list[bytes]:
    return [b"" if at is None else EXPIRE_MS.pack(EXPIRE_MS_CODE, at) for at in deadlines_ms]


def _pays(value: bytes | bytearray, packed: bytes | None) -> bool:
    """Does a string in this form take so much less that it was worth the try?"""
    return packed is not None and 4 * len(packed) <= 3 * len(value)


def _any_negative(words: Sequence[bytes]) -> bool:
    """Does any begin as a negative number does? Mostly there is no such byte in any."""
    return b"-" in b"".join(words) and any(word.startswith(b"-") for word in words)
