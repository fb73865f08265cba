"""Whether storms notice a bug that was planted."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def notices(storm: Callable[[int], object], seeds: int, bug: str) -> None:
    """One of the storms of so many seeds fails by an AssertionError; the test fails if none does."""
    for seed in range(seeds):
        try:
            storm(seed)
        except AssertionError:
            return
    pytest.fail(f"{seeds} storms did not notice that {bug}")
