"""The digests of DEBUG DIGEST and DEBUG DIGEST-VALUE, which tell whether two servers hold the same data.

A digest is 20 bytes, zero at first. `xor` adds something whose order does not matter, `mix` something whose order does.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha1
from types import MappingProxyType
from typing import Final, TypeAlias

from node.datatypes.hashes import Hash
from node.datatypes.lists import List
from node.datatypes.numbers import format_double
from node.datatypes.packed import Packed
from node.datatypes.sets import Set
from node.datatypes.sortedsets import SortedSet
from node.datatypes.streams import ID_MAX, SEQUENCE_BITS, SEQUENCE_MAX, Stream

Digest: TypeAlias = bytes
Bytes: TypeAlias = bytes | bytearray

ZERO: Final[Digest] = bytes(20)
EXPIRE_MARK: Final = b"!!expire!!"
FIELD_EXPIRE_MARK: Final = b"!!hexpire!!"

STRING, LIST, SET, ZSET, HASH, MODULE, STREAM = range(7)
"""The numbers of the types, as they are mixed in before a value."""


def _xor(digest: Digest, other: Digest) -> Digest:
    return (int.from_bytes(digest) ^ int.from_bytes(other)).to_bytes(20)


def xor(digest: Digest, data: Bytes) -> Digest:
    """Return `digest` with `data` added, in any order with others."""
    return _xor(digest, sha1(data, usedforsecurity=False).digest())


def mix(digest: Digest, data: Bytes) -> Digest:
    """Return `digest` with `data` added behind all before it."""
    return sha1(xor(digest, data), usedforsecurity=False).digest()


def mix_string(digest: Digest, value: object) -> Digest:
    """Return `digest` with a string value's type and content."""
    assert isinstance(value, bytes | bytearray)
    return mix(mix(digest, STRING.to_bytes(4)), value)


def mix_sorted_set(digest: Digest, value: object) -> Digest:
    """Return `digest` with a sorted set's type and its pairs, which may come in any order."""
    assert isinstance(value, SortedSet)
    digest = mix(digest, ZSET.to_bytes(4))
    for member, score in value:
        digest = xor(digest, mix(mix(ZERO, member), format_double(score)))
    return digest


def mix_list(digest: Digest, value: object) -> Digest:
    """Return `digest` with a list's type and elements."""
    assert isinstance(value, List)
    digest = mix(digest, LIST.to_bytes(4))
    for element in value:
        digest = mix(digest, element)
    return digest


def mix_set(digest: Digest, value: object) -> Digest:
    """Return `digest` with a set's type and members."""
    assert isinstance(value, Set)
    total = int.from_bytes(mix(digest, SET.to_bytes(4)))
    for member in value:
        total ^= int.from_bytes(sha1(member, usedforsecurity=False).digest())
    return total.to_bytes(20)


def mix_hash(digest: Digest, value: object) -> Digest:
    """Return `digest` with a hash's type, fields and values, and which of them expire."""
    assert isinstance(value, Hash)
    digest = mix(digest, HASH.to_bytes(4))
    deadlines = value.deadlines()
    for field, content in value.items():
        pair = mix(mix(ZERO, field), content)
        digest = xor(digest, xor(pair, FIELD_EXPIRE_MARK) if field in deadlines else pair)
    return digest


def mix_stream(digest: Digest, value: object) -> Digest:
    """Return `digest` with a stream's type and entries; its groups are not looked at."""
    assert isinstance(value, Stream)
    digest = mix(digest, STREAM.to_bytes(4))
    for number, pairs in value.range(0, ID_MAX):
        digest = mix(digest, b"%d.%d" % (number >> SEQUENCE_BITS, number & SEQUENCE_MAX))
        for text in pairs:
            digest = mix(digest, text)
    return digest


MIXERS: Final[Mapping[type, Callable[[Digest, object], Digest]]] = MappingProxyType(
    {
        bytes: mix_string,
        bytearray: mix_string,
        List: mix_list,
        Set: mix_set,
        SortedSet: mix_sorted_set,
        Hash: mix_hash,
        Stream: mix_stream,
    }
)
"""For each class of values, how one is mixed in. Another type of value is another entry."""


def mix_value(digest: Digest, value: object, expires: bool) -> Digest:
    """Return `digest` with `value` mixed in; `expires` tells whether its key has an expiry."""
    if type(value) is Packed:
        value = value.unpack()
    digest = MIXERS[type(value)](digest, value)
    return xor(digest, EXPIRE_MARK) if expires else digest


def digest_value(value: object, expires: bool = False) -> Digest:
    """Return the digest of one value: DEBUG DIGEST-VALUE."""
    return mix_value(ZERO, value, expires)


def add_database(digest: Digest, db: int, entries: Iterable[tuple[bytes, object, bool]]) -> Digest:
    """Return `digest`, of the databases before `db`, with those of its (key, value, has an expiry).

    An empty database leaves no trace. Begin with ZERO, go by ascending number, print as hexadecimal: DEBUG DIGEST.
    """
    total = 0
    empty = True
    for key, value, expires in entries:
        empty = False
        one = mix_value(mix(ZERO, key), value, expires)
        total ^= int.from_bytes(sha1(one, usedforsecurity=False).digest())
    if empty:
        return digest
    return _xor(mix(digest, db.to_bytes(4)), total.to_bytes(20))
