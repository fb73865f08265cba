"""Containers as they came from a file or another server: one block of bytes until somebody looks inside.

A packed value takes a fraction of the memory of its elements as objects, and loading it costs no look at them. The
database puts the container in its place at the first typed access (`Database.read_kind` and the like). A packed value
never changes, so it may be shared, and written again as it came.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from node.config.settings import Settings
from node.datatypes.reading import LONG_BYTES, LONG_ELEMENTS, Reading


class Form(NamedTuple):
    """One packed form: what is known of the payloads of one RDB type code."""

    code: int  # the RDB type code
    container: type  # the class that `unpack` makes
    count: Callable[[Any], int]  # elements, pairs or entries of a payload, without unpacking it where that is possible
    unpack: Callable[[Any], Any]  # payload to container; raises node.rdb.codec.RdbError for a damaged one
    encoding: Callable[[Any, Settings], bytes]  # what OBJECT ENCODING says of a payload
    write: Callable[[Any, bool], bytes] | None = None
    """(payload, may it be compressed) to the bytes behind the type code; None where Redis 7.0 cannot read the form,
    so that it is to be unpacked and written anew."""
    pieces: Callable[[Any, bool], tuple[int, Iterator[bytes]]] | None = None
    """(payload of several blocks, may it be compressed) to (type code, pieces of the bytes behind that)."""


PART_BITS = 13
"""The blocks of a payload of several ones have 8 KiB each, as Redis makes them."""
PARTS_MIN = LONG_BYTES >> PART_BITS


class Packed:
    """A value of some form. `len` counts what `len` of its container would."""

    __slots__ = ("form", "payload")

    def __init__(self, form: Form, payload: Any) -> None:
        self.form = form
        self.payload = payload

    def __len__(self) -> int:
        return self.form.count(self.payload)

    def copy(self) -> "Packed":
        return self

    def reading(self) -> "PackedReading | None":
        """A reading of it, if it is long and has parts."""
        if self.form.pieces is None or (len(self.payload) < PARTS_MIN and len(self) <= LONG_ELEMENTS):
            return None
        return PackedReading(self)

    @property
    def weight_bytes(self) -> int:
        """About how many bytes it takes."""
        return len(self.payload) if self.form.pieces is None else len(self.payload) << PART_BITS

    def unpack(self) -> Any:
        """A new container with what is in here. Raises RdbError if the payload is damaged."""
        return self.form.unpack(self.payload)

    def shed(self, _count: int) -> None:
        """Let go of all at once: it is one block."""
        self.form = EMPTY
        self.payload = b""


class PackedReading(Reading):
    """A long packed value, which never changes."""

    __slots__ = ("form", "payload")

    def __init__(self, value: Packed) -> None:
        super().__init__(value)
        self.form, self.payload = value.form, value.payload


EMPTY = Form(-1, bytes, len, bytes, lambda _payload, _settings: b"")
"""What is left of a packed value that has been freed."""
