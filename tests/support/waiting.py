"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.01


class TookTooLong(AssertionError):
    """The condition did not hold within its bound; the message says which, and what was seen last."""


def wait_until(condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
    """Calls `condition` until it returns something true, and returns that.

    An OSError or AssertionError raised by `condition` counts as "not yet" (a server that does not listen
    so far, a value that is not there), and the last one is named when the time is up.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen: object
        try:
            result = condition()
            if result:
                return result
            seen = result
        except (OSError, AssertionError) as error:
            seen = error
        if time.monotonic() >= deadline:
            raise TookTooLong(f"{what}: not within {timeout_s} s; last seen: {seen!r}")
        time.sleep(POLL_S)
