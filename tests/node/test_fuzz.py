"""Fuzzed input of four kinds: no crash, and the process that takes it does not grow."""

from __future__ import annotations

import random

import pytest

from tests.node.fuzzing import FUZZERS
from tests.support.fuzzing import judge, new_seed

QUICK_ROUNDS = {"protocol": 3000, "ACL strings": 3000, "Lua sources": 1500, "configuration": 1000}
LONG_ROUNDS = {"protocol": 90_000, "ACL strings": 60_000, "Lua sources": 30_000, "configuration": 20_000}
PROOF_TIMES = 50
"""The proof has 10 million inputs, the long run 200 thousand."""


def fuzz(kind: str, rounds: int, seed: int) -> None:
    judge(kind, FUZZERS[kind], rounds, seed)


@pytest.mark.parametrize("kind", FUZZERS)
def test_fuzzed_input(kind: str) -> None:
    fuzz(kind, QUICK_ROUNDS[kind], seed=5)


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
