"""Long values of every form, read in pieces of all sizes: as a whole decoding reads them, and refused where it does."""

from __future__ import annotations

import random
from collections.abc import Callable
from struct import pack

import pytest

from node.datatypes.digest import digest_value
from node.datatypes.packed import Packed
from node.rdb import listpack
from node.rdb.codec import RdbError, encode_length, encode_string
from node.rdb.reader import Entries, RdbReader
from node.rdb.types import decode_value

MANY = 1500
HEADER = b"REDIS0003\xfe\x00"
END = b"\xff"

text = encode_string


def hash_4() -> bytes:
    return encode_length(MANY) + b"".join(text(b"field:%d" % at) + text(b"v:%d" % at) for at in range(MANY))


def hash_22() -> bytes:
    return encode_length(MANY) + b"".join(
        encode_length(at % 3 * 1_700_000_000_000) + text(b"field:%d" % at) + text(b"v") for at in range(MANY)
    )


def hash_24() -> bytes:
    return (
        pack("<Q", 1_700_000_000_000)
        + encode_length(MANY)
        + b"".join(encode_length(at % 5) + text(b"field:%d" % at) + text(b"v") for at in range(MANY))
    )


def set_2() -> bytes:
    return encode_length(MANY) + b"".join(text(b"member:%d" % at) for at in range(MANY))


def zset_3() -> bytes:
    def score(at: int) -> bytes:
        number = b"%d.5" % at
        return b"\xfe" if at == 7 else bytes((len(number),)) + number

    return encode_length(MANY) + b"".join(text(b"member:%d" % at) + score(at) for at in range(MANY))


def zset_5() -> bytes:
    return encode_length(MANY) + b"".join(text(b"m:%d" % at) + pack("<d", at / 4) for at in range(MANY, 0, -1))


def list_1() -> bytes:
    return encode_length(MANY) + b"".join(text(b"element:%d" % (at % 100)) for at in range(MANY))


def ziplist_of(words: list[bytes]) -> bytes:
    body, before, start = b"", 0, 0
    for word in words:
        start = 10 + len(body)
        entry = bytes((before, len(word))) + word
        before = len(entry)
        body += entry
    return pack("<IIH", 11 + len(body), start, len(words)) + body + b"\xff"


def list_14() -> bytes:
    return encode_length(100) + b"".join(text(ziplist_of([b"e:%d" % at, b"more"])) for at in range(100))


def list_18() -> bytes:
    return encode_length(100) + b"".join(
        b"\x02" + text(listpack.encode([b"e:%d" % at])) if at % 3 else b"\x01" + text(b"plain %d" % at)
        for at in range(100)
    )


def stream(code: int) -> bytes:
    nodes = 60
    parts = [encode_length(nodes)]
    for at in range(1, nodes + 1):
        elements = [b"1", b"0", b"1", b"f", b"0", b"2", b"0", b"0", b"v:%d" % at, b"4"]
        parts += [text(pack(">QQ", at, 1)), text(listpack.encode(elements))]
    parts += [encode_length(nodes), encode_length(nodes), encode_length(1)]
    if code != 15:
        parts += [encode_length(1), encode_length(1), encode_length(0), encode_length(0), encode_length(nodes)]
    parts += [encode_length(1), text(b"group"), encode_length(nodes), encode_length(1)]
    if code != 15:
        parts.append(encode_length(nodes))
    parts.append(encode_length(30))
    parts += [pack(">QQ", at, 1) + pack("<q", 1000 + at) + encode_length(2) for at in range(1, 31)]
    parts += [encode_length(1), text(b"consumer"), pack("<q", 5)]
    if code == 21:
        parts.append(pack("<q", 6))
    parts += [encode_length(30), *[pack(">QQ", at, 1) for at in range(1, 31)]]
    return b"".join(parts)


FORMS: dict[int, Callable[[], bytes]] = {
    1: list_1,
    2: set_2,
    3: zset_3,
    4: hash_4,
    5: zset_5,
    14: list_14,
    18: list_18,
    22: hash_22,
    24: hash_24,
    **{code: lambda code=code: stream(code) for code in (15, 19, 21)},  # type: ignore[misc]
}
codes = pytest.mark.parametrize("code", FORMS)


def read(data: bytes, sizes: Callable[[], int]) -> list[tuple[bytes, object, int | None]]:
    reader = RdbReader()
    found = []
    at = 0
    while at < len(data):
        size = sizes()
        reader.feed(data[at : at + size])
        at += size
        while (item := reader.next_batch()) is not None:
            if type(item) is Entries:
                found += item.items
    reader.finish()
    return found


def digest(value: object) -> bytes:
    return digest_value(value.unpack() if type(value) is Packed else value)


@codes
@pytest.mark.parametrize("largest", [1, 7, 300, 1 << 20])
def test_every_form_in_pieces(code: int, largest: int) -> None:
    value = FORMS[code]()
    expected, end = decode_value(code, value, 0)
    assert end == len(value)
    luck = random.Random(largest)
    data = HEADER + bytes((code,)) + text(b"key") + value + b"\x00" + text(b"next") + text(b"one") + END
    (key, found, _), after = read(data, lambda: luck.randint(1, largest))
    assert key == b"key" and digest(found) == digest(expected) and after == (b"next", b"one", None)


@codes
def test_a_value_that_ends_too_early(code: int) -> None:
    value = FORMS[code]()
    data = HEADER + bytes((code,)) + text(b"key") + value[: len(value) * 2 // 3]
    with pytest.raises(RdbError, match="Short read"):
        read(data, lambda: 1000)


@pytest.mark.parametrize(
    ("code", "twice"),
    [(2, text(b"m")), (4, text(b"f") + text(b"v")), (5, text(b"m") + pack("<d", 1.0))],
    ids=["set", "hash", "sorted set"],
)
def test_what_comes_twice(code: int, twice: bytes) -> None:
    whole = FORMS[code]()
    body = encode_length(MANY + 2) + whole[len(encode_length(MANY)) :] + 2 * twice
    with pytest.raises(RdbError, match=r"(?i)dup.* key b'key'"):
        read(HEADER + bytes((code,)) + text(b"key") + body + END, lambda: 999)
