"""Readings: a long value as it was at one moment, taken in pieces while commands go on changing it.

A reading costs nothing to make. It takes from the live container until `hold` tells that this is about to change. Then
it notes down what is still to come, by reference, if that is little; a big container tells it instead of each change
before it happens. What has been taken is let go of.

What is long has so many elements or bytes that reading it at once would hold the loop for milliseconds.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

LONG_ELEMENTS: Final = 512
"""A container with more elements is long. So many short ones are encoded in about half a millisecond."""
LONG_BYTES: Final = 1 << 18
"""So is what has more bytes: compressing them takes a millisecond."""
COUNT_BYTES_MIN: Final = 8
"""The bytes of fewer elements are not counted."""


def are_long(words: Iterable[bytes]) -> bool:
    """Do these words make their container long, however few they are?"""
    return sum(map(len, words)) > LONG_BYTES


class Reading:
    """A long value being read. `value` is the live one, `count` its elements at the moment of the reading."""

    __slots__ = ("count", "orphaned", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.count = len(value)
        self.orphaned = False  # the value belongs to readings alone

    def hold(self) -> None:
        """The value is about to change: depend on it no more. May be called again."""

    def close(self) -> None:
        """It is read no more."""


class Column:
    """Elements in order, from a live iterator until they are held."""

    __slots__ = ("_held", "_live")

    def __init__(self, live: Iterator[Any]) -> None:
        self._live = live
        self._held: list[Any] | None = None  # in reverse, so that what is taken goes from the end

    def take(self, limit: int) -> list[Any]:
        """The next elements, up to `limit`; none at the end."""
        held = self._held
        if held is None:
            return list(islice(self._live, limit))
        taken = held[: -limit - 1 : -1]
        del held[-limit:]
        return taken

    def hold(self) -> None:
        """Note down what is still to come."""
        if self._held is None:
            self._held, self._live = list(self._live), iter(())
            self._held.reverse()

    def close(self) -> None:
        """Nothing more is taken."""


class TextReading(Reading):
    """A long string. Its pieces are cut from `text`."""

    __slots__ = ("text",)

    def __init__(self, value: bytes | bytearray) -> None:
        super().__init__(value)
        self.text = value

    def hold(self) -> None:
        if type(self.text) is bytearray:
            self.text = bytes(self.text)
