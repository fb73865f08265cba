"""What every command may ask of a value, whatever its type: an entry here for each class of values."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from node.datatypes import strings


class Kind(NamedTuple):
    """One class of values."""

    name: bytes  # what TYPE says
    encoding: Callable[[Any], bytes]  # what OBJECT ENCODING says
    copy: Callable[[Any], Any]  # an equal value that may be changed by itself


def _itself(value: bytes) -> bytes:
    return value


KINDS: Final[Mapping[type, Kind]] = MappingProxyType(
    {
        bytes: Kind(b"string", strings.encoding, _itself),
        bytearray: Kind(b"string", strings.encoding, bytearray),
    }
)


def kind_of(value: object) -> Kind:
    """The kind of a value. KeyError for what is no value at all: our own mistake."""
    return KINDS[type(value)]
