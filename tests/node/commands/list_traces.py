"""Random commands of the list family, for the tests that hold us against a real server."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.node.commands.traces import cased, line, options, pair

COMMANDS_AN_EXAMPLE = 25

keys = st.sampled_from([b"a", b"b", b"c", b"{t}1", b"s", b"k\r\n\0\xff"])
SMALL = [b"1", b"2", b"-3", b"x", b"y", b"", b"hello", b"127", b"128", b"-4097", b"70000"]
ODD = [b"0", b"-0", b"01", b"+1", b" 1", b"1.5", b"9223372036854775807", b"-9223372036854775808", b"2147483648",
       b"9223372036854775808", b"-2147483649", b"8388608", b"a\r\n\0\xff", b"x" * 63, b"y" * 64, b"z" * 130,
       b"abc" * 99]  # fmt: skip
small = st.sampled_from(SMALL)
elements = st.sampled_from(SMALL + ODD)
many = st.lists(elements, min_size=1, max_size=6)
NUMBERS = [b"%d" % number for number in range(-6, 7)]
places = st.sampled_from(
    NUMBERS * 3 + [b"x", b"", b"01", b"1.5", b"9223372036854775807", b"-9223372036854775807", b"9223372036854775808"]
)
counts = st.sampled_from([b"0", b"1", b"2", b"3", b"100", b"-1", b"x", b"9223372036854775807"])
ends = st.sampled_from([b"LEFT", b"RIGHT", b"left", b"Right", b"up"])
timeouts = st.sampled_from([b"0.001", b"0.001", b"0x1p-10", b"1e-4", b"-1", b"x", b"", b"-0.5"])
"""None that waits long. (What is beyond 64 bits of milliseconds 7.2 refuses, and 7.0 calls it negative or for ever.)"""

several = st.one_of(
    st.lists(keys, min_size=1, max_size=3).map(lambda found: [b"%d" % len(found), *found]),
    st.tuples(st.sampled_from([b"0", b"2", b"x", b"-1", b"5"]), keys).map(list),
)
count_option = options(pair("COUNT", counts), st.sampled_from([b"COUNT", b"x"]), most=1)

list_commands = (
    *[line("RPUSH", keys, many)] * 3,
    *[line("LPUSH", keys, many)] * 2,
    line("LPUSHX", keys, many),
    line("RPUSHX", keys, many),
    line("LINSERT", keys, st.sampled_from([b"BEFORE", b"after", b"x"]), elements, elements),
    line("LINSERT", keys, st.sampled_from([b"before", b"AFTER"]), small, small),
    line("LSET", keys, places, elements),
    line("LLEN", keys),
    line("LINDEX", keys, places),
    line("LRANGE", keys, places, places),
    line("LRANGE", keys, st.just(b"0"), st.just(b"-1")),
    line("LPOS", keys, small, options(pair("RANK", places), pair("COUNT", counts), pair("MAXLEN", counts), most=3)),
    line("LPOS", keys, small, options(pair("RANK", places), st.just(b"RANK"), st.just(b"zz"), most=2)),
    line("LPOP", keys, options(counts, most=1)),
    line("RPOP", keys, options(counts, most=1)),
    line("LTRIM", keys, places, places),
    line("LREM", keys, places, small),
    line("LMOVE", keys, keys, ends, ends),
    line("RPOPLPUSH", keys, keys),
    line("LMPOP", several, ends, count_option),
)
blocking_commands = (
    line("BLPOP", st.lists(keys, min_size=1, max_size=3), timeouts),
    line("BRPOP", st.lists(keys, min_size=1, max_size=3), timeouts),
    line("BLMOVE", keys, keys, ends, ends, timeouts),
    line("BRPOPLPUSH", keys, keys, timeouts),
    line("BLMPOP", timeouts, several, ends, count_option),
)
other_commands = (
    line("SET", keys, elements),
    line("DEL", keys),
    line("TYPE", keys),
    line("DUMP", keys),
    line("RENAME", keys, keys),
    line("COPY", keys, keys, options(cased("REPLACE"), most=1)),
    line("GET", keys),
    line("APPEND", keys, elements),
    line("STRLEN", keys),
    line("OBJECT", st.just(b"REFCOUNT"), keys),
    line("EXPIRE", keys, st.just(b"100000")),
)
broken = (
    line("LPUSH", keys),
    line("LSET", keys, places),
    line("LRANGE", keys, places),
    line("LPOP", keys, counts, counts),
    line("LINSERT", keys, st.just(b"BEFORE"), elements),
    line("LMOVE", keys, keys, ends),
    line("LMPOP", keys, ends),
    line("LLEN", keys, keys),
    line("LREM", keys, places),
    line("BLPOP", keys),
    line("BLMOVE", keys, keys, ends, timeouts),
    line("BLMPOP", timeouts, keys, ends),
)
commands = st.one_of(*list_commands, *list_commands, *blocking_commands, *other_commands, *broken)
traces = st.lists(commands, min_size=COMMANDS_AN_EXAMPLE, max_size=COMMANDS_AN_EXAMPLE + 15)
