"""DUMP and RESTORE payloads: type code, value, RDB version (u16), CRC64 of all before it (u64), little endian.

FUNCTION DUMP seals other contents with the same ten bytes.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

from node.datatypes.packed import Packed
from node.datatypes.streams import Stream
from node.rdb.checksum import crc64
from node.rdb.codec import RDB_VERSION, RDB_VERSION_MAX, RdbError, Truncated, decode_string, encode_string
from node.rdb.reader import FUNCTION2_CODE
from node.rdb.streams import check_stream
from node.rdb.types import BLOCKS, MAY_BE_EMPTY, decode_value, encode_value, version_for
from node.rdb.valuetype import Value

VERSION: Final = Struct("<H")
CHECKSUM: Final = Struct("<Q")
SEAL: Final = Struct("<HQ")
SEAL_BYTES: Final = SEAL.size
SHORT_BYTES: Final = 1024


class SealError(RdbError):
    """The version of a payload is too new for us, or its checksum does not match: it may be any bytes."""


def seal(body: bytes, version: int = RDB_VERSION) -> bytes:
    """Return `body` with its version and checksum."""
    sealed = body + VERSION.pack(version)
    return sealed + CHECKSUM.pack(crc64(sealed))


def unseal(payload: bytes, checksum_matters: bool = True) -> bytes:
    """Return the body of `payload`. Raises SealError for a wrong version, or a wrong checksum if that matters."""
    end = len(payload) - SEAL_BYTES
    if end < 0:
        raise SealError(len(payload), "Payload is shorter than its version and checksum")
    version, expected = SEAL.unpack_from(payload, end)
    if version > RDB_VERSION_MAX:
        raise SealError(end, f"Can't handle RDB format version {version}")
    sealed = memoryview(payload) if end > SHORT_BYTES else payload  # what is short is copied faster than it is viewed
    actual = crc64(sealed[: end + VERSION.size])
    if expected != actual and checksum_matters:
        raise SealError(end + VERSION.size, f"Wrong checksum, expected {expected:x} but got {actual:x}")
    return payload[:end]


def dump_functions(codes: Iterable[bytes], compress: bool = True) -> bytes:
    """Return the payload of FUNCTION DUMP: libraries by their sources, as an RDB file has them."""
    return seal(b"".join(bytes((FUNCTION2_CODE,)) + encode_string(code, compress) for code in codes))


def restore_functions(payload: bytes, checksum_matters: bool = True) -> list[bytes]:
    """Return the sources of the libraries in `payload`. Raises SealError, or another RdbError as `restore` does."""
    body = unseal(payload, checksum_matters)
    codes: list[bytes] = []
    at = 0
    try:
        while at < len(body):
            if body[at] != FUNCTION2_CODE:
                raise RdbError(at, "given type is not a function")
            code, at = decode_string(body, at + 1)
            codes.append(code)
    except (Truncated, IndexError):
        raise RdbError(len(body), "Failed loading library code") from None
    return codes


def dump(value: Value, compress: bool = True) -> bytes:
    """Return the payload of `value`, in the lowest version that can hold it."""
    code, data = encode_value(value, compress)
    return seal(bytes((code,)) + data, version_for(code))


def restore(payload: bytes, checksum_matters: bool = True) -> Any:
    """Return the value in `payload`.

    Raises SealError (RESTORE answers `ERR DUMP payload version or checksum are wrong`), or another RdbError where the
    seal is good and the value is not (`ERR Bad data format`).
    """
    body = unseal(payload, checksum_matters)
    try:
        value, end = decode_value(body[0], body, 1)
        # Whoever hands in a payload may have made it by hand: each element is looked at.
        if type(value) is Packed:
            value = value.unpack()
        elif type(value) is Stream:
            check_stream(value)
        if not len(value) and body[0] not in MAY_BE_EMPTY:
            raise RdbError(end, "Container without elements")
    except (Truncated, IndexError):
        raise RdbError(len(body), "Payload ends inside its value") from None
    except RdbError as error:
        if body[0] not in BLOCKS:
            raise
        raise RdbError(error.offset, f"{BLOCKS[body[0]]} integrity check failed: {error.reason}") from None
    return value
