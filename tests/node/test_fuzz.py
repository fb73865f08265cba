"""Fuzzed input of four kinds: no crash, and the process that takes it does not grow.

A share of the rounds warms up; what the process has grown by from there to the end is the judge. A failure names the
call of `fuzz` that runs it again.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.node.fuzzing import FUZZERS, resident_bytes

QUICK_ROUNDS = {"protocol": 3000, "ACL strings": 3000, "Lua sources": 1500, "configuration": 1000}
LONG_ROUNDS = {"protocol": 90_000, "ACL strings": 60_000, "Lua sources": 30_000, "configuration": 20_000}
PROOF_TIMES = 50
"""The proof has 10 million inputs, the long run 200 thousand."""
WARM_UP = 5
"""A fifth of the rounds goes before the growth of the rest is measured."""
GROWTH_BYTES_MAX = 16 << 20


def fuzz(kind: str, rounds: int, seed: int) -> None:
    """Run one kind; AssertionError, or the crash's own exception, with a note that names the seed."""
    luck = random.Random(seed)
    try:
        FUZZERS[kind](luck, rounds // WARM_UP)
        before = resident_bytes()
        FUZZERS[kind](luck, rounds - rounds // WARM_UP)
        grown = resident_bytes() - before
        assert grown <= GROWTH_BYTES_MAX, f"grown by {grown} bytes"
    except BaseException as error:
        error.add_note(f"fuzz({kind!r}, {rounds}, seed={seed})")
        raise


@pytest.mark.parametrize("kind", FUZZERS)
def test_fuzzed_input(kind: str) -> None:
    fuzz(kind, QUICK_ROUNDS[kind], seed=5)


def new_seed() -> int:
    """The same one in CI, so that a change is judged by what it changed."""
    return 7 if os.environ.get("CI") else random.SystemRandom().randrange(1 << 32)


@pytest.mark.long
@pytest.mark.parametrize("kind", FUZZERS)
def test_two_hundred_thousand_fuzzed_inputs(kind: str) -> None:
    fuzz(kind, LONG_ROUNDS[kind], new_seed())


@pytest.mark.proof
@pytest.mark.parametrize("kind", FUZZERS)
def test_ten_million_fuzzed_inputs(kind: str) -> None:
    rounds, seed = LONG_ROUNDS[kind] * PROOF_TIMES, random.SystemRandom().randrange(1 << 32)
    fuzz(kind, rounds, seed)
    print(f"\n{rounds} fuzzed inputs ({kind}), seed {seed}: no crash, no growth")
