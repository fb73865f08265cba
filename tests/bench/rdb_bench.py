"""Times the RDB codec on 16-byte keys with 32-byte values: python -m tests.bench.rdb_bench"""

import random
import time

from node.rdb.reader import Entries, RdbReader
from node.rdb.writer import RdbWriter

KEYS = 500_000
CHUNK_BYTES = 1 << 16
BATCH = 500


def write(entries: list[tuple[bytes, bytes, int | None]]) -> bytes:
    writer = RdbWriter()
    writer.header()
    writer.select_db(0, len(entries), 0)
    pieces = []
    for start in range(0, len(entries), BATCH):
        writer.entries(entries[start : start + BATCH])
        if writer.size > CHUNK_BYTES:
            pieces.append(writer.take())
    writer.footer()
    pieces.append(writer.take())
    return b"".join(pieces)


def read(data: bytes) -> int:
    reader = RdbReader()
    keys = 0
    for start in range(0, len(data), CHUNK_BYTES):
        reader.feed(data[start : start + CHUNK_BYTES])
        while (item := reader.next_batch(BATCH)) is not None:
            if type(item) is Entries:
                keys += len(item.items)
    reader.finish()
    return keys


def main() -> None:
    rng = random.Random(1)
    kinds = {
        "random": lambda: rng.randbytes(32),
        "hex": lambda: rng.randbytes(16).hex().encode(),
        "alike": lambda: b"x" * 32,
        "counter": lambda: b"%d" % rng.randrange(10**6),
    }
    for kind, value in kinds.items():
        for expire_ms in (None, 1_900_000_000_000):
            entries = [(b"key:%012d" % number, value(), expire_ms) for number in range(KEYS)]
            started = time.perf_counter()
            data = write(entries)
            written = time.perf_counter()
            assert read(data) == KEYS
            finished = time.perf_counter()
            print(
                f"{kind:8} expire {expire_ms or '-':13} write {(written - started) / KEYS * 1e9:5.0f} ns/key"
                f"  read {(finished - written) / KEYS * 1e9:5.0f} ns/key  {len(data) / KEYS:5.1f} bytes/key"
            )


if __name__ == "__main__":
    main()
