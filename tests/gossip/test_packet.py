"""The bus codec: facts of single bytes first, then round trips, then rubbish, which may only raise PacketError."""

from __future__ import annotations

import contextlib
import itertools
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.packet import (
    AUTH_REQUEST,
    FAIL,
    HEADER_BYTES,
    KIND_NAMES,
    MEET,
    MODULE,
    NO_SLOTS,
    PING,
    PONG,
    PRIMARY,
    PUBLISH,
    PUBLISH_SHARD,
    UPDATE,
    Body,
    Extensions,
    Failed,
    Gossip,
    GossipEntry,
    Module,
    Packet,
    PacketError,
    PacketReader,
    Publish,
    Update,
    bitmap_bytes,
    bitmap_from,
    bitmap_of,
    decode,
    encode,
    ranges_in,
    slots_in,
)

A, B = "a1" * 20, "b2" * 20
u16, u32, u64, epochs = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64, 62))
ids = st.text("0123456789abcdef", min_size=40, max_size=40)
ips = st.sampled_from(["", "127.0.0.1", "::1", "fe80:1111:2222:3333:4444:5555:6666:7777"])
names = st.text(string.ascii_lowercase + ".-", max_size=30)
bitmaps = st.one_of(
    st.just(NO_SLOTS), st.sets(st.integers(0, 16383), max_size=9).map(lambda s: bitmap_bytes(bitmap_from(s)))
)
entries = st.builds(GossipEntry, ids, u32, u32, ips, u16, u16, u16, u16)
extensions = st.builds(
    Extensions,
    names,
    names,
    st.lists(st.tuples(ids, u64), max_size=3).map(tuple),
    st.none() | ids,
    st.none() | st.integers(0, 255),
    st.just("") | ids,
)
gossips = st.builds(Gossip, st.lists(entries, max_size=4).map(tuple), extensions)


def body_for(kind: int) -> st.SearchStrategy[Body]:
    if kind in (PING, PONG, MEET):
        return gossips
    if kind == FAIL:
        return st.builds(Failed, ids)
    if kind in (PUBLISH, PUBLISH_SHARD):
        return st.builds(Publish, st.binary(max_size=9), st.binary(max_size=40))
    if kind == UPDATE:
        return st.builds(Update, epochs, ids, bitmaps)
    if kind == MODULE:
        return st.builds(Module, st.binary(min_size=8, max_size=8), st.integers(0, 255), st.binary(max_size=40))
    return st.none()


def packet_of(kind: int) -> st.SearchStrategy[Packet]:
    return st.builds(
        Packet, st.just(kind), ids, u16, u16, u16, epochs, epochs, u64, bitmaps, st.just("") | ids, ips, u16,
        st.booleans(), st.integers(0, 3), body_for(kind),
    )  # fmt: skip


packets = st.integers(0, 10).flatmap(packet_of)


def same(one: Packet, other: Packet) -> bool:
    """Equal but for the extensions flag, which only the wire knows."""
    return all(getattr(one, name) == getattr(other, name) for name in one.__slots__ if name != "mflags") and (
        one.mflags & 3 == other.mflags & 3
    )


def test_the_header_stands_where_redis_reads_it() -> None:
    data = encode(
        Packet(
            PING, A, 7000, 17000, PRIMARY, 5, 4, 3, bitmap_bytes(1 << 9), B, "10.0.0.1", 99, True, 1, Gossip()
        )
    )  # fmt: skip
    assert len(data) == HEADER_BYTES == 2256
    assert data[:16] == b"RCmb" + (2256).to_bytes(4, "big") + b"\0\1" + (7000).to_bytes(2, "big") + b"\0\0\0\0"
    assert data[16:40] == b"".join(n.to_bytes(8, "big") for n in (5, 4, 3))
    assert data[40:80] == A.encode()
    assert data[80:83] == b"\0\2\0"
    assert data[2128:2168] == B.encode()
    assert data[2168:2214] == b"10.0.0.1".ljust(46, b"\0")
    assert data[2246:2256] == (99).to_bytes(2, "big") + (17000).to_bytes(2, "big") + b"\0\1\1\1\0\0"


@pytest.mark.parametrize(
    ("kind", "body", "length"),
    [
        (PING, Gossip((GossipEntry(B, 0, 0, "", 1, 2, 1),) * 2), 2256 + 208),
        (PONG, Gossip((), Extensions(hostname="n1", shard_id=B)), 2256 + 16 + 48),
        (MEET, Gossip((), Extensions(nodename="1234567", forgotten=((A, 60),))), 2256 + 16 + 56),
        (FAIL, Failed(B), 2296),
        (PUBLISH, Publish(b"c", b"message"), 2264 + 8),
        (AUTH_REQUEST, None, 2256),
        (UPDATE, Update(1, B, NO_SLOTS), 4352),
        (MODULE, Module(bytes(8), 1, b"xyz"), 2269 + 3),
    ],
)
def test_each_body_has_redis_length(kind: int, body: Body, length: int) -> None:
    assert len(encode(Packet(kind, A, 1, 2, PRIMARY, body=body))) == length


@given(packets)
def test_what_was_encoded_is_decoded(packet: Packet) -> None:
    assert same(decode(encode(packet)), packet)


@settings(max_examples=40)
@given(st.lists(packets, min_size=1, max_size=3), st.data())
def test_the_reader_finds_packets_however_the_bytes_are_cut(many: list[Packet], data: st.DataObject) -> None:
    stream = b"".join(map(encode, many))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    reader = PacketReader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert len(found) == len(many)
    for got, sent in zip(found, many, strict=True):
        assert isinstance(got, Packet) and same(got, sent)


def test_the_reader_byte_by_byte() -> None:
    packet = Packet(FAIL, A, 1, 2, PRIMARY, body=Failed(B))
    reader = PacketReader()
    found = [got for byte in encode(packet) * 2 for got in reader.feed(bytes([byte]))]
    assert found == [packet, packet]


@given(packets, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6), st.integers(-3, 9))
def test_mutated_packets_raise_nothing_but_packet_errors(
    packet: Packet, hits: list[tuple[int, int]], longer: int
) -> None:
    data = bytearray(encode(packet))
    for at, value in hits:
        data[at % len(data) if at % 2 else 2200 + at % 80 if len(data) > 2280 else at % 60] = value
    data = data[:longer] if longer < 0 else data + bytes(longer)
    for got in PacketReader().feed(bytes(data)):
        assert isinstance(got, Packet | PacketError)
        if isinstance(got, Packet):
            encode(got)
    with contextlib.suppress(PacketError):
        decode(bytes(data))


def with_extension(raw: bytes, count: int = 1) -> bytes:
    data = bytearray(encode(Packet(PING, A, 1, 2, PRIMARY, body=Gossip())) + raw)
    data[4:8] = len(data).to_bytes(4, "big")
    data[2214:2216] = count.to_bytes(2, "big")
    data[2253] |= 4
    return bytes(data)


def test_an_unknown_extension_is_skipped_by_its_length() -> None:
    shard = (48).to_bytes(4, "big") + b"\0\3\0\0" + B.encode()
    packet = decode(with_extension((16).to_bytes(4, "big") + b"\x7f\xff\0\0" + b"whatever" + shard, 2))
    assert packet.body == Gossip((), Extensions(shard_id=B, unknown=(0x7FFF,)))


@pytest.mark.parametrize(
    "raw",
    [
        (12).to_bytes(4, "big") + b"\0\0\0\0abc\0",
        (0).to_bytes(4, "big") + b"\0\0\0\0",
        (64).to_bytes(4, "big") + b"\0\0\0\0" + bytes(8),
        (16).to_bytes(4, "big") + b"\0\0\0\0abcdefgh",
        b"\0",
        b"",
    ],
)
def test_a_bad_extension_drops_the_packet_and_keeps_the_link(raw: bytes) -> None:
    reader = PacketReader()
    (error,) = reader.feed(with_extension(raw))
    assert isinstance(error, PacketError) and not error.closes
    good = encode(Packet(AUTH_REQUEST, A, 1, 2, PRIMARY))
    assert len(reader.feed(good)) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"RCmb" + (2255).to_bytes(4, "big") + bytes(8),
        b"RCmb" + (2**32 - 1).to_bytes(4, "big") + bytes(8),
    ],
)
def test_lost_framing_closes_the_link(head: bytes) -> None:
    reader = PacketReader()
    (error,) = reader.feed(head)
    assert isinstance(error, PacketError) and error.closes and reader.broken
    assert reader.feed(encode(Packet(AUTH_REQUEST, A, 1, 2, PRIMARY))) == []


def test_another_version_or_type_is_dropped_and_the_link_stays() -> None:
    for at, value in ((9, 2), (13, 11)):
        data = bytearray(encode(Packet(AUTH_REQUEST, A, 1, 2, PRIMARY)))
        data[at] = value
        reader = PacketReader()
        (error,) = reader.feed(bytes(data))
        assert isinstance(error, PacketError) and not error.closes
    assert len(KIND_NAMES) == 11


@given(st.sets(st.integers(0, 16383), max_size=50))
def test_bitmaps_and_slots_are_two_forms_of_one_thing(slots: set[int]) -> None:
    bits = bitmap_from(slots)
    assert slots_in(bits) == sorted(slots)
    assert bitmap_of(bitmap_bytes(bits)) == bits == sum(1 << slot for slot in slots)
    assert [slot for first, last in ranges_in(bits) for slot in range(first, last + 1)] == sorted(slots)
    runs = ranges_in(bits)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(runs))
