"""Writes RDB files and the payloads of full synchronisations, without knowing where they go.

The caller calls `header`, `function` for each library, then for each database `select_db` and its `entries`, then
`footer`, and carries away what `take` gives whenever `size` has grown enough. The checksum runs over what is taken.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from node.datatypes.reading import Reading
from node.rdb.checksum import crc64
from node.rdb.codec import (
    INT_TEXT_BYTES_MAX,
    LZF_MIN_BYTES,
    RDB_VERSION,
    RdbError,
    encode_int_text,
    encode_length,
    encode_lzf,
    encode_string,
)
from node.rdb.types import Entry, encode_pieces, encode_value, version_for
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

HEADS: Final = tuple(bytes((length,)) for length in range(64))
"""The length of each short string, and the code of each type."""
STRING_HEADS: Final = tuple(b"\0" + head for head in HEADS)
"""Type code 0 (string) and the length of a short key."""

LZF_ALWAYS_BYTES: Final = 256
"""From this length on compression is always tried. A try costs about 2 us however short the string, twice what all the
rest of an entry costs; for shorter strings it is skipped while it looks hopeless."""
LZF_MISSES_MAX: Final = 32
"""After so many failed tries in a row it looks hopeless…"""
LZF_PROBE_MASK: Final = 15
"""…and only one short string of 16 is tried, until one succeeds."""


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

    def entry(
        self, key: bytes, value: Value, expire_ms: int | None, *, idle_s: int | None = None, freq: int | None = None
    ) -> None:
        """Add a key. `idle_s` (seconds since its last use) or `freq` (LFU counter) tell the loader of its use."""
        self._add_prefix(expire_ms, idle_s, freq)
        self.entries(((key, value, None),))

    def _add_prefix(self, expire_ms: int | None, idle_s: int | None, freq: int | None) -> None:
        if expire_ms is not None:
            self._add(EXPIRE_MS.pack(EXPIRE_MS_CODE, expire_ms))
        if idle_s is not None:
            self._add(IDLE + encode_length(idle_s))
        elif freq is not None:
            self._add(FREQ + bytes((freq,)))

    def entries(self, batch: Iterable[Entry]) -> None:
        """Add many keys: the fast way, about 1 us for each short one."""
        parts = self._parts
        first = len(parts)
        compress = self._compress
        for key, value, expire_ms in batch:
            if expire_ms is not None:
                parts.append(EXPIRE_MS.pack(EXPIRE_MS_CODE, expire_ms))
            key_length = len(key)
            if type(value) is not bytes or len(value) > 63:
                if type(value) is bytes or type(value) is bytearray:
                    parts += (b"\0", self._string(key), self._string(value))
                    continue
                code, data = encode_value(value, compress)
                if code > CODE_OF_EVERY_VERSION_MAX:
                    self._check_version(code)
                if key_length < LZF_MIN_BYTES and not (key.isdigit() or key[:1] == b"-"):
                    parts += (HEADS[code], HEADS[key_length], key, data)
                else:
                    parts += (HEADS[code], self._string(key), data)
                continue
            if INT_TEXT_BYTES_MAX < key_length < LZF_MIN_BYTES:
                parts += (STRING_HEADS[key_length], key)
            else:
                parts += (b"\0", self._string(key))
            length = len(value)
            if length < LZF_MIN_BYTES:
                packed = encode_int_text(value) if length <= INT_TEXT_BYTES_MAX else None
            elif compress:
                packed = self._try_lzf(value)
            else:
                packed = None
            if packed is None:
                parts += (HEADS[length], value)
            else:
                parts.append(packed)
        self.size += sum(map(len, parts[first:] if first else parts))

    def long_entry(
        self, key: bytes, reading: Reading, expire_ms: int | None, *, idle_s: int | None = None, freq: int | None = None
    ) -> Iterator[bytes]:
        """Begin a key with a long value: the pieces that are to follow by `piece`, and by nothing else."""
        code, pieces = encode_pieces(reading, self._compress)
        self._check_version(code)
        self._add_prefix(expire_ms, idle_s, freq)
        self._add(bytes((code,)) + self._string(key))
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

    def _try_lzf(self, value: bytes | bytearray) -> bytes | None:
        """Return `value` compressed, None where it does not pay or is not worth a try."""
        misses = self._lzf_misses
        if misses > LZF_MISSES_MAX and len(value) < LZF_ALWAYS_BYTES and misses & LZF_PROBE_MASK:
            self._lzf_misses = misses + 1
            return None
        packed = encode_lzf(value)
        self._lzf_misses = misses + 1 if packed is None else 0
        return packed
