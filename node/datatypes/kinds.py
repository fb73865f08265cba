"""What every command may ask of a value, whatever its type: an entry here for each class of values."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from node.config.settings import Settings
from node.datatypes import lists, strings
from node.datatypes.hashes import Hash
from node.datatypes.packed import Packed
from node.datatypes.sets import Set
from node.datatypes.sortedsets import SortedSet
from node.datatypes.streams import Stream


class Kind(NamedTuple):
    """One class of values."""

    name: bytes  # what TYPE says
    encoding: Callable[[Any, Settings], bytes]  # what OBJECT ENCODING says, at the configured limits
    copy: Callable[[Any], Any]  # an equal value that may be changed by itself


def _itself(value: Any) -> Any:
    return value


def _string_encoding(value: strings.StringValue, _settings: Settings) -> bytes:
    return strings.encoding(value)


def _packed_encoding(value: Packed, settings: Settings) -> bytes:
    return value.form.encoding(value.payload, settings)


def _sorted_set_encoding(value: SortedSet, settings: Settings) -> bytes:
    return b"listpack" if value.packed and len(value) <= settings.zset_max_listpack_entries else b"skiplist"


KINDS: Final[Mapping[type, Kind]] = MappingProxyType(
    {
        bytes: Kind(b"string", _string_encoding, _itself),
        bytearray: Kind(b"string", _string_encoding, bytearray),
        lists.List: Kind(b"list", lists.encoding, lists.List.copy),
        SortedSet: Kind(b"zset", _sorted_set_encoding, SortedSet.copy),
        Set: Kind(b"set", Set.encoding, Set.copy),
        Hash: Kind(b"hash", Hash.encoding, Hash.copy),
        Stream: Kind(b"stream", lambda _stream, _settings: b"stream", Stream.copy),
    }
)


def kind_of(value: object) -> Kind:
    """The kind of a value. KeyError for what is no value at all: our own mistake."""
    if type(value) is Packed:
        return Kind(KINDS[value.form.container].name, _packed_encoding, _itself)
    return KINDS[type(value)]
