"""What goes along with slots: a copy that is exact whatever is written meanwhile, and the journal's entries sifted."""

from __future__ import annotations

from random import Random

import pytest

from gossip.moving.stream import CannotFollow, EntrySieve, SlotCopy, is_flush
from node.app import every_spec
from node.keyspace.journal import Journal
from node.keyspace.keyspace import Keyspace
from node.net.resp import RequestParser, encode_command
from node.slots import slot_of
from node.table import CommandTable
from tests.gossip.migrating import key_in

TABLE = CommandTable(every_spec())
HERE, THERE = key_in(5).encode(), key_in(6).encode()


def sieve() -> EntrySieve:
    return EntrySieve(TABLE, 1 << 5)


def entry(*words: bytes) -> bytes:
    return encode_command(list(words))


def test_entries_of_the_slots_pass_and_no_others() -> None:
    sifted = sieve()
    assert sifted.sift(0, entry(b"SET", HERE, b"1")) == entry(b"SET", HERE, b"1")
    assert sifted.sift(0, entry(b"SET", THERE, b"1")) == b""
    assert sifted.sift(0, entry(b"rpush", HERE, b"1")) == entry(b"rpush", HERE, b"1")
    for words in ((b"PUBLISH", b"c", b"m"), (b"SCRIPT", b"FLUSH"), (b"FUNCTION", b"FLUSH"), (b"NONSENSE", HERE)):
        assert sifted.sift(0, entry(*words)) == b""
    assert sifted.sift(0, entry(b"UNLINK", HERE, THERE)) == entry(b"UNLINK", HERE)


def test_a_transaction_stays_whole() -> None:
    sifted = sieve()
    one, two, other = entry(b"SET", HERE, b"1"), entry(b"INCR", HERE), entry(b"SET", THERE, b"1")
    multi, exec_ = entry(b"MULTI"), entry(b"EXEC")
    passed = [sifted.sift(0, part) for part in (multi, one, other, two, exec_)]
    assert passed == [b"", b"", b"", b"", multi + one + two + exec_]
    assert [sifted.sift(0, part) for part in (multi, other, one, exec_)] == [b"", b"", b"", one]
    assert [sifted.sift(0, part) for part in (multi, other, exec_)] == [b"", b"", b""]


def test_what_cannot_be_followed_ends_it() -> None:
    for words in ((b"FLUSHALL",), (b"flushdb", b"async"), (b"MSET", HERE, b"1", THERE, b"2")):
        with pytest.raises(CannotFollow):
            sieve().sift(0, entry(*words))
    assert is_flush(entry(b"FLUSHALL")) and is_flush(entry(b"flushdb", b"sync")) and not is_flush(entry(b"SET", HERE))


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_is_of_its_moment(seed: int) -> None:
    """Strings of two slots, one of them big, while keys are written, made and removed between any two chunks."""
    random = Random(seed)
    keyspace = Keyspace(1, Journal())
    keyspace.now_ms = 1000
    db = keyspace.databases[0]
    names = [key_in(5, n).encode() for n in range(900)] + [key_in(7, n).encode() for n in range(40)]
    for name in names:
        db.set(name, b"v" * random.randrange(1, 9))
        if random.random() < 0.2:
            db.set_deadline(name, random.choice((900, 5000)))
    db.set(THERE, b"stays")
    db.set(names[3], b"L" * 300_000)
    wanted = {
        name: (db.slots[slot_of(name)].values[name], db.deadline(name))  # type: ignore[union-attr]
        for name in names
        if (db.deadline(name) or 5000) > 1000
    }
    copy = SlotCopy(db, 1 << 5 | 1 << 7, lambda: 0, compress=False)
    parser, got = RequestParser(1 << 30), dict[bytes, tuple[bytes, int | None]]()
    while (chunk := copy.next_chunk(0)) is not None:
        parser.feed(chunk)
        for argv in parser.parse():
            if argv[0] == b"APPEND":
                got[argv[1]] = got[argv[1]][0] + argv[2], None
            elif argv[0] == b"PEXPIREAT":
                got[argv[1]] = got[argv[1]][0], int(argv[2])
            else:
                assert argv[0] == b"SET" and argv[1] not in got, argv[:2]
                got[argv[1]] = argv[2], int(argv[4]) if len(argv) > 3 else None
        for _ in range(random.randrange(20)):
            name = random.choice([*names, key_in(5, random.randrange(2000)).encode()])
            if random.random() < 0.4:
                db.remove(name)
            else:
                db.set(name, b"new")
    assert got == wanted
    assert copy.keys_done == copy.keys_total == len(names) and not db.preservers
    db.check()
