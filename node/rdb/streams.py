"""Streams in RDB: nodes of entries, as listpacks under the id that each began with; then counts, groups, consumers.

Code 15 is Redis 5's, 19 is 7.0's and what we write, 21 is 7.2's. What follows the nodes: length, last id, [19, 21:
first id, highest deleted id, entries ever added], groups. A group: name, last id, [19, 21: entries read, 2^64-1
unknown], deliveries (16 bytes of id, u64 ms, count), consumers (name, u64 ms seen, [21: u64 ms active, 2^64-1 never],
ids of its deliveries).

A node's listpack: entries, deleted ones, the fields of the first entry with their number before and 0 behind; then each
entry: flags (1 deleted, 2 the first one's fields), its id as differences to the node's, [without flag 2: number of
fields, field and value in turn] values, and how many elements the entry had before this one.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

from node.datatypes.streams import (
    ID_BYTES,
    SEQUENCE_BITS,
    SEQUENCE_MAX,
    UNKNOWN,
    Consumer,
    Delivery,
    Entry,
    Group,
    GroupNote,
    Node,
    Stream,
    StreamReading,
    integer_size,
    make_id,
    sequence_difference,
)
from node.rdb import listpack
from node.rdb.codec import (
    SPECIAL_INT8,
    SPECIAL_INT32,
    SPECIAL_LZF,
    RdbError,
    Truncated,
    decode_length,
    decode_string,
    encode_length,
    encode_string,
    take,
)
from node.rdb.pieces import PIECE_ELEMENTS
from node.rdb.valuetype import Value, ValueType

STREAM_5_0, STREAM_7_0, STREAM_7_2 = 15, 19, 21
DELETED, SAME_FIELDS = 1, 2
TIME: Final = Struct("<q")
ID_HEAD: Final = encode_length(ID_BYTES)
"""What stands before the id of a node."""
TIME_ID: Final = Struct(">BQB")
"""An id that is a time, with a small sequence number: two lengths."""
NODE_IS_DAMAGED: Final = "Stream listpack integrity check failed"
UNKNOWN_WRITTEN: Final = (1 << 64) - 1


# --- reading ----------------------------------------------------------------------------------------------------------


def decode_stream(code: int, data: bytes, at: int) -> tuple[Value, int]:
    """Read a stream, whose nodes stay packed."""
    stream = Stream()
    count, at = decode_length(data, at)
    for _ in range(count):
        at = decode_node(stream, data, at)
    return stream, decode_tail(stream, count, code, data, at)


def decode_tail(stream: Stream, count: int, code: int, data: bytes, at: int) -> int:
    """Read what follows the `count` nodes of a stream; the position behind it."""
    length, at = decode_length(data, at)
    stream.length = length
    stream.last_id, at = _decode_id(data, at)
    if code == STREAM_5_0:
        stream.entries_added = length
    else:
        _, at = _decode_id(data, at)  # the first id, which the entries tell
        stream.max_deleted_id, at = _decode_id(data, at)
        stream.entries_added, at = decode_length(data, at)
    if bool(count) != bool(length):
        raise RdbError(at, f"Stream of {length} entries has {count} nodes")
    count, at = decode_length(data, at)
    for _ in range(count):
        at = _decode_group(stream, code, data, at)
    return at


def decode_node(stream: Stream, data: bytes, at: int) -> int:
    """Read a node, and add it to the stream; the position behind it."""
    key, start = decode_string(data, at)
    if len(key) != ID_BYTES:
        raise RdbError(at, f"Stream node key of {len(key)} bytes")
    first_id = int.from_bytes(key)
    nodes = stream.nodes()
    if nodes and nodes[-1].first_id >= first_id:
        raise RdbError(at, "Stream nodes out of order")
    end = _string_end(data, start)
    node = Node(first_id, (), None)
    node.raw = _unpack_node, data[start:end]
    stream.add_node(node)
    return end


def _string_end(data: bytes, at: int) -> int:
    """The position behind a string, which is not looked into."""
    head = data[at]
    if SPECIAL_INT8 <= head <= SPECIAL_INT32:
        end = at + 1 + (1 << head - SPECIAL_INT8)
    elif head == SPECIAL_LZF:
        length, start = decode_length(data, at + 1)
        _, start = decode_length(data, start)
        end = start + length
    else:
        length, start = decode_length(data, at)
        end = start + length
    if end > len(data):
        raise Truncated(end)
    return end


def _decode_id(data: bytes, at: int) -> tuple[int, int]:
    ms, at = decode_length(data, at)
    sequence, at = decode_length(data, at)
    return make_id(ms, sequence), at


def _decode_group(stream: Stream, code: int, data: bytes, at: int) -> int:
    name, start = decode_string(data, at)
    last_id, start = _decode_id(data, start)
    if code == STREAM_5_0:
        entries_read = stream.entries_up_to(last_id)
    else:
        entries_read, start = decode_length(data, start)
        if entries_read == UNKNOWN_WRITTEN:
            entries_read = UNKNOWN
    if name in stream.groups:
        raise RdbError(at, f"Duplicated consumer group name {name[:64]!r}")
    group = stream.groups[name] = Group(name, last_id, entries_read)
    nobody = Consumer(b"", 0)
    count, at = decode_length(data, start)
    pending = {}
    for _ in range(count):
        number = int.from_bytes(take(data, at, ID_BYTES))
        (time_ms,) = TIME.unpack(take(data, at + ID_BYTES, 8))
        deliveries, at = decode_length(data, at + ID_BYTES + 8)
        pending[number] = Delivery(nobody, time_ms, deliveries)
    if len(pending) != count:
        raise RdbError(at, "Duplicated global PEL entry loading stream consumer group")
    group.pending.update(pending)
    count, at = decode_length(data, at)
    for _ in range(count):
        at = _decode_consumer(group, nobody, code, data, at)
    if any(delivery.consumer is nobody for delivery in pending.values()):
        raise RdbError(at, "Stream CG PEL entry without consumer")
    return at


def _decode_consumer(group: Group, nobody: Consumer, code: int, data: bytes, at: int) -> int:
    name, start = decode_string(data, at)
    if name in group.consumers:
        raise RdbError(at, f"Duplicate stream consumer detected: {name[:64]!r}")
    (seen_ms,) = TIME.unpack(take(data, start, 8))
    consumer = group.consumers[name] = Consumer(name, seen_ms)
    at = start + 8
    consumer.active_ms = seen_ms
    if code == STREAM_7_2:
        (consumer.active_ms,) = TIME.unpack(take(data, at, 8))
        at += 8
    count, at = decode_length(data, at)
    block = take(data, at, count * ID_BYTES)
    pending = {}
    for place in range(0, len(block), ID_BYTES):
        number = int.from_bytes(block[place : place + ID_BYTES])
        delivery = group.pending.get(number)
        if delivery is None or delivery.consumer is not nobody:
            raise RdbError(at + place, "Consumer entry not found in group global PEL")
        delivery.consumer = consumer
        pending[number] = delivery
    consumer.pending.update(pending)
    return at + len(block)


def _unpack_node(node: Node, raw: bytes) -> None:
    """Lay a packed node open. Raises RdbError if it is damaged."""
    data, _ = decode_string(raw, 0)
    try:
        _take_elements(node, listpack.decode(data))
    except RdbError as error:
        raise RdbError(error.offset, f"{NODE_IS_DAMAGED}: {error.reason}") from None
    except (IndexError, ValueError):
        raise RdbError(0, NODE_IS_DAMAGED) from None
    node.bytes = len(data) - integer_size(len(node.ids)) - integer_size(node.deleted)


def _take_elements(node: Node, elements: list[bytes]) -> None:
    count, deleted, fields = int(elements[0]), int(elements[1]), int(elements[2])
    node.fields = tuple(elements[3 : 3 + fields])
    at = 4 + fields
    if fields < 0 or elements[at - 1] != b"0":
        raise RdbError(0, "Stream node without the end of its fields")
    ids: list[int] = []
    entries: list[Entry] = []
    last_id, seen = -1, 0
    first_ms, first_sequence = node.first_id >> SEQUENCE_BITS, node.first_id & SEQUENCE_MAX
    while at < len(elements):
        flags = int(elements[at])
        number = make_id(first_ms + int(elements[at + 1]), first_sequence + int(elements[at + 2]) & SEQUENCE_MAX)
        at += 3
        entry: Entry
        if flags & SAME_FIELDS:
            entry = elements[at] if fields == 1 else tuple(elements[at : at + fields])
            at += fields
            before = fields + 3
        else:
            width = 2 * int(elements[at])
            entry = elements[at + 1 : at + 1 + width]
            at += 1 + width
            before = width + 4
        if int(elements[at]) != before or number <= last_id or number < node.first_id:
            raise RdbError(0, "Stream entry is malformed")
        at += 1
        last_id = number
        seen += 1
        if not flags & DELETED:
            ids.append(number)
            entries.append(entry)
    if len(ids) != count or seen - count != deleted or not ids:
        raise RdbError(0, f"Stream node of {len(ids)} entries says it has {count}")
    node.ids, node.entries, node.last_id, node.deleted = ids, entries, last_id, deleted


def check_stream(stream: Stream) -> None:
    """Look at every entry of a stream that has been read. Raises RdbError where anything is not as it has to be."""
    last_id = -1
    total = 0
    for node in stream.nodes():
        node.unpack()
        if node.first_id <= last_id:
            raise RdbError(0, "Stream nodes out of order")
        last_id = node.last_id
        total += len(node.ids)
    if total != len(stream) or last_id > stream.last_id:
        raise RdbError(0, f"Stream of {total} entries says it has {len(stream)}")


# --- writing ----------------------------------------------------------------------------------------------------------


def encode_stream(value: Value, compress: bool) -> tuple[int, bytes]:
    """Return a stream in the form of 7.0."""
    return STREAM_7_0, b"".join(_pieces(StreamReading(value), compress))


def pieces(reading: StreamReading, compress: bool) -> tuple[int, Iterator[bytes]]:
    """Write a long stream."""
    return STREAM_7_0, _pieces(reading, compress)


def _pieces(reading: StreamReading, compress: bool) -> Iterator[bytes]:
    yield encode_length(len(reading.nodes))
    for node in reading.nodes:
        block = node.raw[1] if node.raw is not None else encode_string(_listpack(node), compress)
        yield ID_HEAD + node.first_id.to_bytes(ID_BYTES) + block
    groups = reading.groups()
    yield b"%b%b%b%b%b%b" % (
        encode_length(reading.length),
        _encode_id(reading.last_id),
        _encode_id(reading.first_id),
        _encode_id(reading.max_deleted_id),
        encode_length(reading.entries_added),
        encode_length(len(groups)),
    )
    for group in groups:
        yield from _group_pieces(group, compress)


def _encode_id(number: int) -> bytes:
    ahead, sequence = number >> SEQUENCE_BITS, number & SEQUENCE_MAX
    if ahead >> 32 and sequence < 1 << 6:  # the usual one: a time
        return TIME_ID.pack(0x81, ahead, sequence)
    return encode_length(ahead) + encode_length(sequence)


def _listpack(node: Node) -> bytes:
    """A node's listpack, without what was deleted."""
    fields = node.fields
    elements: list[bytes | int] = [len(node.ids), 0, len(fields), *fields, 0]
    first_ms = node.first_id >> SEQUENCE_BITS
    for number, entry in zip(node.ids, node.entries, strict=True):
        ahead, behind = (number >> SEQUENCE_BITS) - first_ms, sequence_difference(number, node.first_id)
        if isinstance(entry, bytes):  # the value of the one field
            elements += (SAME_FIELDS, ahead, behind, entry, 4)
        elif isinstance(entry, tuple):
            elements += (SAME_FIELDS, ahead, behind, *entry, len(entry) + 3)
        else:
            elements += (0, ahead, behind, len(entry) // 2, *entry, len(entry) + 4)
    return listpack.encode_mixed(elements)


def _group_pieces(group: GroupNote, compress: bool) -> Iterator[bytes]:
    yield encode_string(group.name, compress)
    yield _encode_id(group.last_id)
    yield encode_length(UNKNOWN_WRITTEN if group.entries_read == UNKNOWN else group.entries_read)
    yield encode_length(len(group.numbers))
    for at in range(0, len(group.numbers), PIECE_ELEMENTS):
        numbers, deliveries = group.numbers[at : at + PIECE_ELEMENTS], group.deliveries[at : at + PIECE_ELEMENTS]
        yield b"".join(
            [
                number.to_bytes(ID_BYTES) + TIME.pack(delivery.time_ms) + encode_length(delivery.count)
                for number, delivery in zip(numbers, deliveries, strict=True)
            ]
        )
    yield encode_length(len(group.consumers))
    for consumer, seen_ms, numbers in group.consumers:
        yield encode_string(consumer.name, compress) + TIME.pack(seen_ms) + encode_length(len(numbers))
        for at in range(0, len(numbers), PIECE_ELEMENTS):
            yield b"".join([number.to_bytes(ID_BYTES) for number in numbers[at : at + PIECE_ELEMENTS]])


STREAMS: Final = ValueType(
    "stream",
    (Stream,),
    (STREAM_5_0, STREAM_7_0, STREAM_7_2),
    decode_stream,
    encode_stream,
    StreamReading,
    pieces,
)
