"""Random commands of the stream family beside Debian's redis-server, byte for byte.

Times are the clock's of each server, so that what tells one (an id that comes by itself, how long something is idle) is
compared without it. What 7.2 tells and 7.0 does not is taken out of our reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from tests.node.commands.beside import Beside, compare
from tests.node.commands.traces import Line, cased, line, numbers, options, pair
from tests.support import RedisServer

EXAMPLES = 70
COMMANDS_MIN = 5000

keys = st.sampled_from([b"s", b"s", b"s", b"t", b"string"])
groups = st.sampled_from([b"g", b"g", b"h", b"no\xff"])
consumers = st.sampled_from([b"alice", b"bob", b"carol", b""])
sequence = st.integers(0, 6).map(lambda n: b"%d" % n)
ids = st.one_of(
    st.tuples(st.integers(0, 60), st.integers(0, 4)).map(lambda t: b"%d-%d" % t),
    st.integers(0, 60).map(lambda n: b"%d" % n),
    st.sampled_from(
        [b"0", b"0-0", b"1-", b"-1", b"+1-+2", b" 3", b"007-1", b"1--5", b"1--05", b"x", b"", b"-", b"+", b"(5", b"5-*",
         b"18446744073709551615-18446744073709551615", b"18446744073709551616", b"5\0-3", b"9" * 130]
    ),
)  # fmt: skip
plain_ids = st.tuples(st.integers(1, 60), st.integers(0, 4)).map(lambda t: b"%d-%d" % t)
new_ids = st.one_of(plain_ids, st.integers(1, 70).map(lambda n: b"%d-*" % n), ids)
bounds = st.one_of(ids, st.sampled_from([b"-", b"+"]), plain_ids.map(lambda text: b"(" + text), st.just(b"(0-0"))
texts = st.one_of(st.sampled_from([b"a", b"b", b"1", b"-7", b"300", b"99999", b"x" * 70]), st.binary(max_size=6))
fields = st.one_of(
    st.just([b"f", b"v"]),
    st.tuples(texts).map(lambda t: [b"f", t[0]]),
    st.tuples(texts, texts).map(lambda t: [b"f", t[0], b"g", t[1]]),
    st.lists(texts, min_size=2, max_size=4),
)
counts = st.one_of(st.integers(0, 9).map(lambda n: b"%d" % n), numbers)
approximately = st.sampled_from([[], [b"="], [b"~"]])
trimming = st.one_of(
    st.tuples(cased("MAXLEN"), approximately, counts),
    st.tuples(cased("MINID"), approximately, ids),
).map(lambda t: [t[0], *t[1], t[2]])
limited = st.one_of(trimming, trimming, st.tuples(trimming, pair("LIMIT", counts)).map(lambda t: [*t[0], *t[1]]))
trim_options = st.lists(st.one_of(limited, st.just([b"NOMKSTREAM"])), max_size=2).map(
    lambda parts: [word for part in parts for word in part]
)


def streams_part(some_ids: st.SearchStrategy[bytes]) -> st.SearchStrategy[Line]:
    return st.lists(st.tuples(keys, some_ids), min_size=1, max_size=2).map(
        lambda found: [b"STREAMS", *[key for key, _ in found], *[text for _, text in found]]
    )


count_option = options(pair("COUNT", counts), most=1)
pending_range = st.tuples(options(pair("IDLE", st.sampled_from([b"0", b"999999", b"x"])), most=1), bounds, bounds,
                          counts, st.lists(consumers, max_size=1)).map(
    lambda t: [*t[0], t[1], t[2], t[3], *t[4]]
)  # fmt: skip
claim_options = options(
    cased("FORCE"), cased("JUSTID"), pair("IDLE", st.sampled_from([b"5", b"-1", b"x"])),
    pair("TIME", st.sampled_from([b"1000", b"-1", b"x"])), pair("RETRYCOUNT", counts), pair("LASTID", ids),
    st.just(b"NOSUCH"), most=3,
)  # fmt: skip
idle = st.sampled_from([b"0", b"0", b"0", b"-5", b"999999999", b"x"])

write_commands = st.one_of(
    line("XADD", keys, new_ids, fields),
    line("XADD", keys, new_ids, fields),
    line("XADD", keys, st.integers(1, 90).map(lambda n: b"%d-*" % n), fields),
    line("XADD", keys, trim_options, new_ids, fields),
    line("XTRIM", keys, limited),
    line("XDEL", keys, st.lists(st.one_of(plain_ids, plain_ids, ids), min_size=1, max_size=5)),
)
read_commands = st.one_of(
    line("XLEN", keys),
    line("XRANGE", keys, bounds, bounds, count_option),
    line("XREVRANGE", keys, bounds, bounds, count_option),
    line("XREAD", count_option, streams_part(st.one_of(ids, st.sampled_from([b"$", b">", b"0"])))),
    line("XINFO", cased("STREAM"), keys),
    line("XINFO", cased("STREAM"), keys, cased("FULL"), count_option),
    line("XINFO", cased("GROUPS"), keys),
    line("XINFO", cased("CONSUMERS"), keys, groups),
    line("OBJECT", st.just(b"ENCODING"), keys),
)
group_commands = st.one_of(
    line("XGROUP", cased("CREATE"), keys, groups, st.one_of(ids, st.sampled_from([b"$", b"0"])),
         options(cased("MKSTREAM"), pair("ENTRIESREAD", counts), most=2)),
    line("XGROUP", cased("SETID"), keys, groups, st.one_of(ids, st.just(b"$")), options(pair("ENTRIESREAD", counts))),
    line("XGROUP", cased("DELCONSUMER"), keys, groups, consumers),
    line("XGROUP", cased("CREATECONSUMER"), keys, groups, consumers),
    line("XREADGROUP", st.just(b"GROUP"), groups, consumers, count_option, options(cased("NOACK"), most=1),
         streams_part(st.one_of(st.just(b">"), st.just(b">"), ids))),
    line("XREADGROUP", st.just(b"GROUP"), groups, consumers, st.just([b"STREAMS", b"s", b">"])),
    line("XACK", keys, groups, st.lists(st.one_of(plain_ids, plain_ids, ids), min_size=1, max_size=5)),
    line("XPENDING", keys, groups),
    line("XPENDING", keys, groups, pending_range),
    line("XCLAIM", keys, groups, consumers, idle, st.lists(plain_ids, min_size=1, max_size=6), claim_options),
    line("XAUTOCLAIM", keys, groups, consumers, idle, bounds,
         options(pair("COUNT", counts), cased("JUSTID"), most=2)),
)  # fmt: skip
rare = st.one_of(
    line("XGROUP", cased("DESTROY"), keys, groups),
    line("DEL", keys),
    line("COPY", keys, keys, options(cased("REPLACE"), most=1)),
    line("XREAD", streams_part(ids), st.just(b"0")),
    st.one_of(write_commands, read_commands, group_commands).map(lambda words: words[:-1] if len(words) > 1 else words),
)
commands = st.one_of(*[write_commands] * 6, *[read_commands] * 3, *[group_commands] * 6, rare)

BEGINNING: list[Line] = [
    [b"SET", b"string", b"x"],
    [b"XGROUP", b"CREATE", b"s", b"g", b"0", b"MKSTREAM"],
    *[[b"XGROUP", b"CREATECONSUMER", b"s", b"g", name] for name in (b"alice", b"bob", b"carol", b"")],
    *[[b"XADD", b"s", b"%d-1" % number, b"f", b"v"] for number in range(1, 8)],
]


# 7.0 lets XSETID go below what has been deleted, 7.2 does not: ids above all others, at the end of a trace.
high_ids = st.sampled_from(
    [b"100", b"200-3", b"300-0", b"18446744073709551615-18446744073709551615", b"x", b"-", b"(1"]
)
last_commands = st.one_of(
    line("XSETID", keys, high_ids, options(pair("ENTRIESADDED", counts), pair("MAXDELETEDID", ids), most=2)),
    line("XADD", keys, st.integers(90, 400).map(lambda n: b"%d-*" % n), fields),
    read_commands,
    group_commands,
)


def with_consumers(trace: list[Line]) -> list[Line]:
    """7.2 makes the consumer of every request, 7.0 only where there is something for it: so it is made before."""
    complete = BEGINNING.copy()
    for words in trace:
        if words[0].upper() in (b"XCLAIM", b"XAUTOCLAIM") and len(words) > 4:
            complete.append([b"XGROUP", b"CREATECONSUMER", words[1], words[2], words[3]])
        elif words[0].upper() == b"XREADGROUP" and len(words) > 6:
            complete += [[b"XGROUP", b"CREATECONSUMER", key, words[2], words[3]] for key in (b"s", b"t")]
        complete.append(words)
    return complete


traces = (
    st.tuples(
        st.lists(commands, min_size=45, max_size=60),
        st.lists(last_commands, max_size=12),
    )
    .map(lambda parts: parts[0] + parts[1])
    .map(with_consumers)
)

ACTIVE = re.compile(rb"\$11\r\nactive-time\r\n:-?\d+\r\n|\$8\r\ninactive\r\n:-?\d+\r\n")
CLOCK = re.compile(rb":\d+\r\n")
MAPS = {b"%5\r\n$4\r\nname": b"%4\r\n$4\r\nname", b"*10\r\n$4\r\nname": b"*8\r\n$4\r\nname"}
CONSUMER_MAPS = {b"%4\r\n$4\r\nname": b"%3\r\n$4\r\nname", b"*8\r\n$4\r\nname": b"*6\r\n$4\r\nname"}
DIGITS_OF_A_TIME = 12


def without_times(reply: bytes) -> bytes:
    return CLOCK.sub(lambda found: b":T\r\n" if len(found[0]) > DIGITS_OF_A_TIME else found[0], reply)


def as_7_0(words: Line, reply: bytes) -> bytes:
    """Our reply to XINFO without what 7.0 does not tell."""
    if words[1].upper() == b"CONSUMERS":
        maps = CONSUMER_MAPS
    elif words[1].upper() == b"STREAM" and len(words) > 3:
        maps = MAPS
    else:
        return reply
    for new, old in maps.items():
        reply = reply.replace(new, old)
    return ACTIVE.sub(b"", reply)


COUNTERS = re.compile(rb"(\$12\r\nentries-read|\$3\r\nlag)\r\n(:-?\d+|\$-1|_)\r\n")
"""What a group has read and has yet to read: 7.2 counts on where 7.0 no longer knows, or is wrong."""
SMALL = re.compile(rb":\d{1,6}\r\n")


def alike(words: Line, expected: bytes, got: bytes) -> bool:
    name = words[0].upper()
    if expected.startswith(b"-ERR Unbalanced") and got.startswith(b"-ERR Unbalanced"):
        return True  # 7.2 names the command
    if name == b"XINFO":
        expected, got = without_times(expected), without_times(as_7_0(words, got))
        expected, got = COUNTERS.sub(b"\\1", expected), COUNTERS.sub(b"\\1", got)
        if words[1].upper() == b"CONSUMERS":  # how long each is idle
            expected, got = SMALL.sub(b":n\r\n", expected), SMALL.sub(b":n\r\n", got)
        return expected == got
    if name == b"XPENDING" and len(words) > 3:
        return SMALL.sub(b":n\r\n", without_times(expected)) == SMALL.sub(b":n\r\n", without_times(got))
    return False


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize(("protocol", "node_entries"), [(2, 4), (3, 100)])
def test_random_stream_commands(redis: RedisServer, protocol: int, node_entries: int) -> None:
    with redis.wire(protocol=protocol) as theirs:
        both = Beside(theirs, protocol, alike)
        for words in (
            [b"CONFIG", b"SET", b"stream-node-max-entries", b"%d" % node_entries],
            [b"CONFIG", b"SET", b"stream-node-max-bytes", b"150" if node_entries == 100 else b"4096"],
        ):
            theirs(*words)
            both.ours.raw(*words)
        compare(both, traces, EXAMPLES)
    assert both.compared >= COMMANDS_MIN
