"""Fuzzed input from both sides of the proxy: no crash, no growth, and nobody pays for another's noise."""

from __future__ import annotations

import random

import pytest

from tests.proxy.fuzzing import FUZZERS
from tests.support.fuzzing import judge, new_seed

QUICK_ROUNDS = {"clients": 1000, "nodes": 100, "replies": 3000}
LONG_ROUNDS = {"clients": 5_000, "nodes": 500, "replies": 95_000}
PROOF_TIMES = 50


def fuzz(kind: str, rounds: int, seed: int) -> None:
    judge(kind, FUZZERS[kind], rounds, seed)


@pytest.mark.parametrize("kind", FUZZERS)
def test_fuzzed_input(kind: str) -> None:
    fuzz(kind, QUICK_ROUNDS[kind], seed=5)


@pytest.mark.long
@pytest.mark.parametrize("kind", FUZZERS)
def test_a_hundred_thousand_fuzzed_inputs(kind: str) -> None:
    fuzz(kind, LONG_ROUNDS[kind], new_seed())


@pytest.mark.proof
@pytest.mark.parametrize("kind", FUZZERS)
def test_five_million_fuzzed_inputs(kind: str) -> None:
    rounds, seed = LONG_ROUNDS[kind] * PROOF_TIMES, random.SystemRandom().randrange(1 << 32)
    fuzz(kind, rounds, seed)
    print(f"\n{rounds} fuzzed inputs ({kind}), seed {seed}: no crash, no growth")
