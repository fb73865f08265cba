"""The manifest, the parser and the commands of a snapshot; files that are damaged at every place."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.net.resp import encode_command
from node.persistence.aofmanifest import AofFile, Manifest, ManifestError, parse, upgraded
from node.persistence.aofparser import AofFormatError, AofParser
from node.persistence.loader import LoadError
from tests.node.persistence.crashdisk import CrashPlatform, Disk, Inode
from tests.node.persistence.crashes import DIRECTORY, Content, Life, content

MANIFEST = (
    b"file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\nfile a.aof.2.incr.aof seq 2 type i\n"
)


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = parse("a.aof", MANIFEST)
    assert manifest.base == AofFile("a.aof.1.base.rdb", 1, "b") and manifest.increment_seq == 2
    assert manifest.to_bytes() == MANIFEST
    again = manifest.with_increment().with_base(is_rdb=False, keep=1)
    assert again.to_bytes().decode().splitlines() == [
        "file a.aof.2.base.aof seq 2 type b",
        "file a.aof.1.incr.aof seq 1 type h",
        "file a.aof.2.incr.aof seq 2 type h",
        "file a.aof.1.base.rdb seq 1 type h",
        "file a.aof.3.incr.aof seq 3 type i",
    ]
    assert parse("a.aof", again.to_bytes()) == again
    assert [file.name for file in again.without_history().files] == ["a.aof.2.base.aof", "a.aof.3.incr.aof"]
    assert upgraded("a.aof").to_bytes() == b"file a.aof seq 1 type b\n"


def test_names_that_are_no_single_word_are_quoted() -> None:
    manifest = Manifest('my "file" \n\x01').with_increment()
    assert manifest.to_bytes() == rb'file "my \"file\" \n\x01.1.incr.aof" seq 1 type i' + b"\n"
    assert parse(manifest.name, manifest.to_bytes()) == manifest


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        (b"", "Found an empty AOF manifest", 0),
        (b"# only a comment\n\n", "Invalid AOF manifest file format", 2),
        (b"file a seq 1\n", "Invalid AOF manifest file format", 1),
        (b"file a seq 1 type b more\n", "Invalid AOF manifest file format", 1),
        (b"file a/b seq 1 type b\n", "File can't be a path, just a filename", 1),
        (b"file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information", 2),
        (b"file a seq 2 type i\nfile b seq 2 type i\n", "Found a non-monotonic sequence number", 2),
        (b"file a seq 1 type x\n", "Unknown AOF file type", 1),
        (b"file " + b"a" * 1020 + b" seq 1 type b\n", "The AOF manifest file contains too long line", 1),
    ],
)
def test_a_manifest_that_makes_no_sense(text: bytes, reason: str, line: int) -> None:
    with pytest.raises(ManifestError) as caught:
        parse("a", text)
    assert (caught.value.reason, caught.value.line) == (reason, line)


def test_pairs_come_in_any_order_and_unknown_ones_are_ignored() -> None:
    assert parse("a", b"type i seq 3 file a.3 more b\n").increments == (AofFile("a.3", 3, "i"),)


words = st.lists(st.binary(max_size=20) | st.binary(min_size=5000, max_size=5010), min_size=1, max_size=4)


@given(st.lists(words, max_size=30), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_parser_gives_what_was_written_however_it_comes(
    commands: list[list[bytes]], luck: random.Random, notes: bool
) -> None:
    data = b"".join((b"#TS:17\r\n" if notes and luck.random() < 0.3 else b"") + encode_command(c) for c in commands)
    parser, got = AofParser(1 << 20), []
    at = 0
    while at < len(data):
        size = luck.choice([1, 7, 100, 70_000])
        parser.feed(data[at : at + size])
        at += size
        while some := parser.parse():
            got += some
    assert got == commands
    assert parser.offset + parser.pending_bytes == len(data)
    assert parser.pending_bytes == 0


@pytest.mark.parametrize(
    "data",
    [
        b"SET a b\r\n",
        b"*0\r\n",
        b"*x\r\n",
        b"*1\r\n*4\r\nPING\r\n",
        b"*1\r\n$5\r\nPING\r\n*1\r\n",
        b"*1\r\n$3\r\nPING\r\n",
        b"*1\r\n$99999999999\r\n",
        b"*" + b"1" * 40,
        b"#" * 2000,
    ],
)
def test_nothing_but_commands_is_taken(data: bytes) -> None:
    parser = AofParser(1 << 20)
    parser.feed(encode_command([b"PING"]) + data)
    assert parser.parse() == [[b"PING"]]
    with pytest.raises(AofFormatError):
        parser.parse()


# --- damage -----------------------------------------------------------------------------------------------------------

STORY = [
    ["SET", "a", "hello"],
    ["RPUSH", "l", "x", "yy"],
    ["MULTI"],
    ["INCR", "n"],
    ["SELECT", "1"],
    ["INCR", "n"],
    ["EXEC"],
    ["SELECT", "0"],
    ["DEL", "a"],
    ["MULTI"],
    ["SET", "b", "1"],
    ["SET", "c", "22"],
    ["EXEC"],
]


def states() -> list[Content]:
    """The data set before and after each unit."""
    life = lives({})
    life.server.spawn = lambda *_: None
    found: list[Content] = [{}]
    for words_ in STORY:
        life.feed(*words_)
        if life.session.transaction is None:
            found.append(content(life.server))
    return found


def lives(files: dict[str, bytes], **options: object) -> Life:
    """A node on a disk with these files in its directory for the append-only file."""
    disk = Disk(random.Random(1), DIRECTORY)
    disk.names[f"{DIRECTORY}/appendonlydir"] = None
    for name, data in files.items():
        inode = Inode()
        inode.data[:] = data
        disk.names[f"{DIRECTORY}/appendonlydir/{name}"] = inode
    return Life(CrashPlatform(disk), appendonly=bool(files), **options)


FILE = b"".join(encode_command([word.encode() for word in line]) for line in [["SELECT", "0"], *STORY])


NAME = "appendonly.aof.1.incr.aof"


class Damaged:
    """A node that loads one increment after another."""

    def __init__(self) -> None:
        self.life = lives({"appendonly.aof.manifest": f"file {NAME} seq 1 type i\n".encode(), NAME: b""})
        inode = self.life.server.platform.disk.names[f"{DIRECTORY}/appendonlydir/{NAME}"]  # type: ignore[attr-defined]
        assert isinstance(inode, Inode)
        self.inode = inode

    def load(self, data: bytes) -> Content:
        """What a node finds in these bytes. Raises LoadError."""
        for db in self.life.server.keyspace.databases:
            db.flush()
        self.life.lines.clear()
        self.inode.data[:] = data
        self.life.aof.load_now()
        return content(self.life.server)


async def test_a_file_cut_at_every_byte_is_good_up_to_its_last_whole_unit() -> None:
    known, seen, node = states(), set(), Damaged()
    for size in range(len(FILE) + 1):
        found = node.load(FILE[:size])
        seen.add(known.index(found))
        left = len(node.inode.data)
        assert left <= size and FILE.startswith(bytes(node.inode.data))
        if left < size:
            assert f"!!! Warning: short read while loading the AOF file {NAME}!!!" in "".join(node.life.lines)
        assert node.load(FILE[:left]) == found
    assert len(seen) >= 6


async def test_a_tail_of_zeros_is_an_end_too() -> None:
    known, node = states(), Damaged()
    for size in range(len(FILE)):
        assert node.load(FILE[:size] + bytes(50)) in known


async def test_a_flipped_byte_is_an_error_a_good_prefix_or_in_a_value() -> None:
    """No checksum guards the words themselves; all else must show."""
    known, node = states(), Damaged()
    inside = {at for found in re.finditer(rb"\$\d+\r\n([^\r]*)\r\n", FILE) for at in range(*found.span(1))}
    errors = 0
    for at in range(len(FILE)):
        for flip in (1, 0x80, 0x20):
            data = bytearray(FILE)
            data[at] ^= flip
            try:
                found = node.load(bytes(data))
            except LoadError as error:
                errors += 1
                text = str(error)
                assert NAME in text and "offset" in text and "Exiting" in text
            else:
                assert found in known or at in inside
    assert errors > len(FILE)


async def loaded(data: bytes, **more: bytes) -> Content:
    files = {
        "appendonly.aof.manifest": f"file {NAME} seq 1 type i\n".encode()
        + b"".join(b"file %b seq %d type i\n" % (other.encode(), at) for at, other in enumerate(more, 2)),
        NAME: data,
        **more,
    }
    life = lives(files)
    try:
        await life.aof.start()
        return content(life.server)
    finally:
        life.server.reactor.close()


async def test_what_is_wrong_is_told_with_its_place_and_the_next_step() -> None:
    good = encode_command([b"SET", b"a", b"1"])
    with pytest.raises(
        LoadError, match=r"Unknown command 'NOPE' .*appendonly.aof.1.incr.aof, at offset 54 of 68 bytes"
    ):
        await loaded(good + good + encode_command([b"NOPE"]))
    with pytest.raises(LoadError, match=r"Bad file format .*redis-check-aof --fix <filename.manifest> .*offset 27 of"):
        await loaded(good + b"bad" + good)
    more = {"appendonly.aof.2.incr.aof": good}
    with pytest.raises(LoadError, match=r"Unexpected end of file .* the truncated file is not the last file"):
        await loaded(good[:-3], **more)
    more = {"appendonly.aof.2.incr.aof": b""}
    assert await loaded(good + good[:-3], **more) == await loaded(good)
    life = lives({"appendonly.aof.manifest": b"file nowhere.aof seq 1 type i\n"})
    with pytest.raises(LoadError, match=r"The append log file nowhere\.aof doesn't exist"):
        await life.aof.start()
    life = lives({"appendonly.aof.manifest": b"nonsense\n"})
    with pytest.raises(LoadError, match=r"(?s)FATAL AOF MANIFEST FILE ERROR.*at line 1\n>>> 'nonsense'\nInvalid AOF"):
        await life.aof.start()
    life = lives({"appendonly.aof.manifest": b"file x seq 1 type i\n", "x": good + good[:-3]}, aof_load_truncated=False)
    with pytest.raises(LoadError, match=r"(?s)Unexpected end of file .*aof-load-truncated.*offset 27 of 51 bytes"):
        await life.aof.start()


async def test_scripts_of_a_file_write_whatever_stands_against_writes() -> None:
    """A Redis before 7.0 wrote scripts into its files as they came."""
    script = encode_command([b"EVAL", b"return redis.call('INCR', KEYS[1])", b"1", b"n"])
    flagged = encode_command([b"EVAL", b"#!lua\nreturn redis.call('INCR', KEYS[1])", b"1", b"n"])
    life = lives({"appendonly.aof.manifest": b"file x seq 1 type i\n", "x": script + flagged}, min_replicas_to_write=1)
    assert await life.call(("EVAL", "return redis.call('INCR', KEYS[1])", "1", "n")) != b":1\r\n"
    await life.aof.start()
    assert await life.call(("GET", "n")) == b"$1\r\n2\r\n"
    life.server.config.put("enable-debug-command", "yes")
    assert await life.call(("DEBUG", "LOADAOF")) == b"+OK\r\n"
    assert not life.aof.writer.buffer_bytes, "what was loaded is no news for the file"
    assert await life.call(("GET", "n")) == b"$1\r\n2\r\n"
    life.server.reactor.close()


async def test_clients_hear_that_a_file_is_loaded_anew() -> None:
    life = lives({"appendonly.aof.manifest": b"file x seq 1 type i\n", "x": encode_command([b"PING"])})
    told: list[bytes] = []
    replay = life.aof._replay.run

    def look(commands: list[list[bytes]]) -> None:
        life.feed("PING")
        told.append(bytes(life.session.out))
        replay(commands)

    life.aof._replay.run = look
    life.aof.load_now()
    assert told == [b"-LOADING Redis is loading the dataset in memory\r\n"]
    life.session.out.clear()
    assert await life.call(("PING",)) == b"+PONG\r\n"
