"""Gates: what may go on only once the journal, up to an offset, is safe elsewhere. Sans-IO.

WAIT holds one client's reply until enough replicas have acknowledged its last write. Who knows better says so by
`acknowledged`; whoever waits gave a callback, which gets the number of replicas in the end.
"""

from collections.abc import Callable


class AckWaiter:
    """One reply that is held: for `wanted` acknowledgements of `offset`."""

    __slots__ = ("count", "done", "offset", "wanted")

    def __init__(self, offset: int, wanted: int, count: Callable[[int], int], done: Callable[[int], None]) -> None:
        self.offset = offset
        self.wanted = wanted
        self.count = count  # how many have acknowledged an offset
        self.done = done


class AckGates:
    """All replies that wait for acknowledgements, in the order in which they came."""

    def __init__(self) -> None:
        self._waiters: dict[AckWaiter, None] = {}

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def hold(self, waiter: AckWaiter) -> None:
        self._waiters[waiter] = None

    def release(self, waiter: AckWaiter) -> None:
        """Forget a waiter: its time is over, or its client is gone."""
        self._waiters.pop(waiter, None)

    def acknowledged(self) -> None:
        """An acknowledgement came: let go whoever has enough now."""
        for waiter in list(self._waiters):
            count = waiter.count(waiter.offset)
            if count >= waiter.wanted:
                del self._waiters[waiter]
                waiter.done(count)
