"""The judge of fuzzed input: no crash, and the process that takes it does not grow.

Half of the rounds warm up (memory that is asked for in ever other sizes is cut up for half a million scripts before it
comes to rest); what the process has grown by from there to the end is looked at. A failure names the kind, the rounds
and the seed that run it again.
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable

GROWTH_BYTES_MAX = 16 << 20

Fuzzer = Callable[[random.Random, int], None]
"""Takes so many rounds; raises what it finds."""


def judge(kind: str, fuzzer: Fuzzer, rounds: int, seed: int) -> None:
    """Run one kind; AssertionError, or the crash's own exception, with a note that names the seed."""
    luck = random.Random(seed)
    try:
        fuzzer(luck, rounds // 2)
        before = resident_bytes()
        fuzzer(luck, rounds - rounds // 2)
        grown = resident_bytes() - before
        assert grown <= GROWTH_BYTES_MAX, f"grown by {grown} bytes"
    except BaseException as error:
        error.add_note(f"fuzz({kind!r}, {rounds}, seed={seed})")
        raise


def resident_bytes() -> int:
    """What this process holds of the machine's memory, after a full collection."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def new_seed() -> int:
    """The same one in CI, so that a change is judged by what it changed."""
    return 7 if os.environ.get("CI") else random.SystemRandom().randrange(1 << 32)
