"""Containers as they came from a file or another server: one block of bytes until somebody looks inside.

A packed value takes a fraction of the memory of its elements as objects, and loading it costs no look at them. The
database puts the container in its place at the first typed access (`Database.read_kind` and the like). A packed value
never changes, so it may be shared, and written again as it came.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from node.config.settings import Settings


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

    def unpack(self) -> Any:
        """A new container with what is in here. Raises RdbError if the payload is damaged."""
        return self.form.unpack(self.payload)

    def shed(self, _count: int) -> None:
        """Let go of all at once: it is one block."""
        self.form = EMPTY
        self.payload = b""


EMPTY = Form(-1, bytes, len, bytes, lambda _payload, _settings: b"")
"""What is left of a packed value that has been freed."""
