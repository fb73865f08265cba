"""Random commands of the string and key families, for the tests that hold us against a real server."""

from __future__ import annotations

from hypothesis import strategies as st

COMMANDS_AN_EXAMPLE = 60

Line = list[bytes]

keys = st.sampled_from([b"a", b"b", b"c", b"{t}1", b"{t}2", b"", b"k\r\n\0\xff"])
numbers = st.one_of(
    st.integers(-12, 12).map(lambda n: b"%d" % n),
    st.sampled_from(
        [
            b"9223372036854775807",
            b"-9223372036854775808",
            b"9223372036854775808",
            b"-9223372036854775807",
            b"9223372036854775",
            b"9223372036854776",
            b"-9223372036854776",
            b"2147483648",
            b"-2147483649",
            b"0",
            b"-0",
            b"+1",
            b" 1",
            b"1 ",
            b"01",
            b"1.0",
            b"",
            b"x",
            b"536870912",
            b"10000",
            b"9999",
        ]
    ),
)
floats = st.one_of(
    numbers,
    st.floats(allow_nan=False, width=32).map(lambda x: repr(x).encode()),
    st.sampled_from(
        [
            b"1e5",
            b"0.1",
            b"-1.5e-3",
            b"inf",
            b"-inf",
            b"nan",
            b"0x10",
            b"1e400",
            b"1e-5000",
            b"3.0e3",
            b".5",
            b"5.",
            b"e1",
        ]
    ),
)
values = st.one_of(
    numbers,
    floats,
    st.binary(max_size=18),
    st.sampled_from([b"", b"hello world", b"ohmytext", b"mynewtext", b"x" * 44, b"y" * 45, b"abcabcabc" * 3]),
)
far_seconds = st.sampled_from([b"100000", b"99999999"])
far_ms = st.sampled_from([b"100000000", b"999999999999"])
at_seconds = st.sampled_from([b"4102444800", b"5102444800", b"1"])
at_ms = st.sampled_from([b"4102444800000", b"5102444800123", b"1", b"5102444800999"])
# either an error, or enough for all keys at once: where a walk pauses is each server's own affair
scan_counts = st.sampled_from(
    [b"100", b"2147483648", b"9223372036854775807", b"9223372036854775808", b"0", b"-1", b"x"]
)
database = st.sampled_from([b"0", b"1", b"2", b"15", b"16", b"-1", b"x", b"99999999999"])


def cased(word: str) -> st.SearchStrategy[bytes]:
    return st.sampled_from([word.encode(), word.lower().encode(), word.capitalize().encode()])


def line(name: str, *parts: st.SearchStrategy[object]) -> st.SearchStrategy[Line]:
    """A command: each part gives a word or a list of words."""
    return st.tuples(cased(name), *parts).map(_flat)


def _flat(parts: tuple[object, ...]) -> Line:
    words: Line = []
    for part in parts:
        if isinstance(part, bytes):
            words.append(part)
        else:
            assert isinstance(part, list | tuple)
            words += part
    return words


def options(*choices: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[Line]:
    return st.lists(st.one_of(*choices), max_size=most).map(lambda parts: _flat(tuple(parts)))


def pair(word: str, value: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, bytes]]:
    return st.tuples(cased(word), value)


many_keys = st.lists(keys, min_size=1, max_size=4)
pairs = st.lists(st.tuples(keys, values), min_size=1, max_size=3).map(lambda found: _flat(tuple(found)))
expirations = (
    pair("EX", st.one_of(far_seconds, numbers)),
    pair("PX", far_ms),
    pair("EXAT", st.one_of(at_seconds, numbers)),
    pair("PXAT", at_ms),
)

string_commands = st.one_of(
    line("GET", keys),
    line("SET", keys, values),
    line("SET", keys, values, options(cased("NX"), cased("XX"), cased("GET"), cased("KEEPTTL"), *expirations)),
    line("SETNX", keys, values),
    line("SETEX", keys, st.one_of(far_seconds, numbers), values),
    line("PSETEX", keys, far_ms, values),
    line("GETSET", keys, values),
    line("GETDEL", keys),
    line("GETEX", keys, options(cased("PERSIST"), cased("KEEPTTL"), *expirations, most=2)),
    line("MGET", many_keys),
    line("MSET", pairs),
    line("MSETNX", pairs),
    line("MSET", many_keys),
    line("INCR", keys),
    line("DECR", keys),
    line("INCRBY", keys, numbers),
    line("DECRBY", keys, numbers),
    line("INCRBYFLOAT", keys, floats),
    line("APPEND", keys, values),
    line("STRLEN", keys),
    line("SETRANGE", keys, st.one_of(st.integers(0, 40).map(lambda n: b"%d" % n), numbers), values),
    line("GETRANGE", keys, numbers, numbers),
    line("SUBSTR", keys, numbers, numbers),
    line(
        "LCS",
        keys,
        keys,
        options(cased("LEN"), cased("IDX"), cased("WITHMATCHLEN"), pair("MINMATCHLEN", numbers), most=4),
    ),
)
conditions = options(cased("NX"), cased("XX"), cased("GT"), cased("LT"), st.just(b"ZZ"), most=2)
key_commands = st.one_of(
    line("DEL", many_keys),
    line("UNLINK", many_keys),
    line("EXISTS", many_keys),
    line("TOUCH", many_keys),
    line("TYPE", keys),
    line("EXPIRE", keys, st.one_of(far_seconds, numbers), conditions),
    line("PEXPIRE", keys, st.one_of(far_ms, st.just(b"-9223372036854775808")), conditions),
    line("EXPIREAT", keys, st.one_of(at_seconds, numbers), conditions),
    line("PEXPIREAT", keys, at_ms, conditions),
    line("TTL", keys),
    line("PTTL", keys),
    line("EXPIRETIME", keys),
    line("PEXPIRETIME", keys),
    line("PERSIST", keys),
    line("RENAME", keys, keys),
    line("RENAMENX", keys, keys),
    line("COPY", keys, keys, options(cased("REPLACE"), pair("DB", database), most=3)),
    line("MOVE", keys, database),
    line("SWAPDB", database, database),
    line("SELECT", st.sampled_from([b"0", b"1", b"2"])),
    line("DUMP", keys),
    line("OBJECT", st.sampled_from([b"ENCODING", b"refcount", b"IDLETIME", b"Freq", b"nosuch"]), keys),
    line("KEYS", st.sampled_from([b"*", b"{t}*", b"[a-b]", b"?", b"a", b"{t}1", b"", b"\\a", b"k*"])),
    line("SCAN", st.sampled_from([b"0", b"", b"x", b"-", b" 0", b"18446744073709551616"]),
         options(pair("COUNT", scan_counts), pair("MATCH", st.sampled_from([b"*", b"{t}*", b"?"])),
                 pair("TYPE", st.sampled_from([b"string", b"STRING", b"hash", b"nosuch"])), st.just(b"COUNT"))),
    line("DBSIZE"),
    line("RANDOMKEY"),
)  # fmt: skip
rare_commands = st.one_of(
    line("FLUSHDB", options(cased("SYNC"), cased("ASYNC"), st.just(b"x"), most=2)),
    line("FLUSHALL", options(cased("SYNC"), cased("ASYNC"), st.just(b"x"), most=2)),
    line(
        "RESTORE", keys, numbers, st.sampled_from([b"", b"x" * 20, b"\0\1a\n\0" + b"\0" * 8]), options(cased("REPLACE"))
    ),
    st.tuples(st.one_of(string_commands, key_commands), st.lists(values, max_size=2)).map(lambda t: t[0] + t[1]),
    st.one_of(string_commands, key_commands).map(lambda words: words[:-1] if len(words) > 1 else words),
)
commands = st.one_of(*[string_commands] * 5, *[key_commands] * 5, rare_commands)
traces = st.lists(commands, min_size=COMMANDS_AN_EXAMPLE, max_size=COMMANDS_AN_EXAMPLE + 20)
