"""The RDB forms of lists.

    1   elements
    10  one ziplist                      (until 3.0)
    14  nodes, each a ziplist            (3.2: a quicklist)
    18  nodes, each with what it is      (7.0): 1 one plain element, 2 a listpack of elements

Written are 18, and 1 where a list is long: that needs no count of nodes, which only a look at each element tells. Lists
that came as 18 stay as they came until they are touched; so do those of 10 and 14, but they are written anew.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

from node.config.settings import Settings
from node.datatypes.lists import LISTPACK_FRAME_BYTES, List, ListReading, node_exceeds, packed_bytes
from node.datatypes.packed import Form, Packed
from node.datatypes.reading import LONG_BYTES
from node.rdb import listpack, ziplist
from node.rdb.codec import RdbError, decode_length, decode_string, decode_strings, encode_length, encode_string
from node.rdb.pieces import PIECE_ELEMENTS, strings
from node.rdb.valuetype import Value, ValueType

LIST: Final = 1
LIST_ZIPLIST: Final = 10
LIST_QUICKLIST: Final = 14
LIST_QUICKLIST2: Final = 18

PLAIN, LISTPACK = 1, 2

NODE_BYTES: Final = 8192
"""How long a node is that we write, unless one element is longer: what Redis has by default."""

SHORT_FRAME_BYTES_MAX: Final = 10
"""No element takes more beside its own bytes (an integer may take 10 in all)."""

Node = tuple[int, bytes]
"""(PLAIN or LISTPACK, its bytes)"""
Nodes = tuple[Node, ...]
Ziplists = tuple[bytes, ...]


# --- as they came -----------------------------------------------------------------------------------------------------


def _count_nodes(nodes: Nodes) -> int:
    return sum(1 if kind == PLAIN else listpack.count(data) for kind, data in nodes)


def _unpack_nodes(nodes: Nodes) -> List:
    return List(chain.from_iterable((data,) if kind == PLAIN else listpack.decode(data) for kind, data in nodes))


def _nodes_encoding(nodes: Nodes, settings: Settings) -> bytes:
    if len(nodes) == 1 and nodes[0][0] == LISTPACK:
        data = nodes[0][1]
        if not node_exceeds(settings.list_max_listpack_size, len(data), listpack.count(data)):
            return b"listpack"
    return b"quicklist"


def _write_nodes(nodes: Nodes, compress: bool) -> bytes:
    parts = [encode_length(len(nodes))]
    for kind, data in nodes:
        parts += (encode_length(kind), encode_string(data, compress))
    return b"".join(parts)


def _count_ziplists(ziplists: Ziplists) -> int:
    return sum(map(ziplist.count, ziplists))


def _unpack_ziplists(ziplists: Ziplists) -> List:
    return List(chain.from_iterable(map(ziplist.decode, ziplists)))


def _ziplists_encoding(ziplists: Ziplists, settings: Settings) -> bytes:
    fill = settings.list_max_listpack_size
    size = LISTPACK_FRAME_BYTES
    for count, element in enumerate(chain.from_iterable(map(ziplist.decode, ziplists)), 1):
        size += packed_bytes(element)
        if node_exceeds(fill, size, count):
            return b"quicklist"
    return b"listpack"


def _node_pieces(nodes: Nodes, compress: bool) -> tuple[int, Iterator[bytes]]:
    return LIST_QUICKLIST2, _pieces_of_nodes(len(nodes), nodes, compress)


def _ziplist_pieces(ziplists: Ziplists, compress: bool) -> tuple[int, Iterator[bytes]]:
    nodes = ((LISTPACK, listpack.encode(ziplist.decode(each))) for each in ziplists)
    return LIST_QUICKLIST2, _pieces_of_nodes(len(ziplists), nodes, compress)


def _pieces_of_nodes(count: int, nodes: Iterable[Node], compress: bool) -> Iterator[bytes]:
    yield encode_length(count)
    for kind, data in nodes:
        yield encode_length(kind)
        yield from strings((data,), compress)


QUICKLIST2: Final = Form(
    LIST_QUICKLIST2, List, _count_nodes, _unpack_nodes, _nodes_encoding, _write_nodes, _node_pieces
)
QUICKLIST: Final = Form(
    LIST_QUICKLIST, List, _count_ziplists, _unpack_ziplists, _ziplists_encoding, pieces=_ziplist_pieces
)


# --- read and written -------------------------------------------------------------------------------------------------


def decode(code: int, data: bytes, at: int) -> tuple[Value, int]:
    """Read a list of any form."""
    if code == LIST_ZIPLIST:
        whole, at = decode_string(data, at)
        ziplist.check(whole)
        return Packed(QUICKLIST, (whole,)), at
    count, at = decode_length(data, at)
    if code == LIST_QUICKLIST2:
        return _decode_nodes(data, at, count)
    elements, at = decode_strings(data, at, count)
    if code == LIST:
        return List(elements), at
    for whole in elements:
        ziplist.check(whole)
    return Packed(QUICKLIST, tuple(whole for whole in elements if ziplist.count(whole))), at


def _decode_nodes(data: bytes, at: int, count: int) -> tuple[Value, int]:
    nodes: list[Node] = []
    for _ in range(count):
        node, at = decode_node(LIST_QUICKLIST2, data, at)
        if node is not None:
            nodes.append(node)
    return Packed(QUICKLIST2, tuple(nodes)), at


def form_of(code: int) -> Form:
    """What lists of nodes are that came as 14 or 18."""
    return QUICKLIST if code == LIST_QUICKLIST else QUICKLIST2


def decode_node(code: int, data: bytes, at: int) -> tuple[Any, int]:
    """A node of such a list, None if it is empty, and the position behind it."""
    if code == LIST_QUICKLIST:
        whole, at = decode_string(data, at)
        ziplist.check(whole)
        return (whole if ziplist.count(whole) else None), at
    start = at
    kind, at = decode_length(data, at)
    if kind not in (PLAIN, LISTPACK):
        raise RdbError(start, f"Quicklist integrity check failed: unknown container {kind}")
    node, at = decode_string(data, at)
    if not node:
        raise RdbError(start, "Quicklist integrity check failed: a node of no bytes")
    if kind == LISTPACK:
        listpack.check(node)
        if not listpack.count(node):
            return None, at
    return (kind, node), at


def encode(value: Value, compress: bool) -> tuple[int, bytes]:
    """Write a list as 18."""
    return LIST_QUICKLIST2, _write_nodes(tuple(_nodes(value)), compress)


def _nodes(value: List) -> Iterator[Node]:
    """Cut a list into nodes: listpacks of up to NODE_BYTES, and elements that are longer by themselves."""
    if 0 <= value.size <= NODE_BYTES - LISTPACK_FRAME_BYTES or (
        sum(map(len, value)) + len(value) * SHORT_FRAME_BYTES_MAX + LISTPACK_FRAME_BYTES <= NODE_BYTES
    ):
        yield LISTPACK, listpack.encode(value)
        return
    taken: list[bytes] = []
    size = LISTPACK_FRAME_BYTES
    for element in value:
        more = packed_bytes(element)
        if taken and size + more > NODE_BYTES:
            yield LISTPACK, listpack.encode(taken)
            taken, size = [], LISTPACK_FRAME_BYTES
        if LISTPACK_FRAME_BYTES + more > NODE_BYTES:
            yield PLAIN, element
        else:
            taken.append(element)
            size += more
    if taken:
        yield LISTPACK, listpack.encode(taken)


def pieces(reading: ListReading, compress: bool) -> tuple[int, Iterator[bytes]]:
    """Write a long list as 1."""
    return LIST, _pieces(reading, compress)


def _pieces(reading: ListReading, compress: bool) -> Iterator[bytes]:
    yield encode_length(reading.count)
    while elements := reading.take():
        few = PIECE_ELEMENTS if sum(map(len, elements)) <= LONG_BYTES else 1
        for at in range(0, len(elements), few):
            yield from strings(elements[at : at + few], compress)


LISTS: Final = ValueType(
    "list",
    (List,),
    (LIST, LIST_ZIPLIST, LIST_QUICKLIST, LIST_QUICKLIST2),
    decode,
    encode,
    ListReading,
    pieces,
)
