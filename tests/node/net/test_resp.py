"""The codec: every reply type in both protocols, and a request parser that nothing can surprise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.net.resp import (
    EMPTY,
    NO_REPLY,
    NULL_ARRAY,
    OK,
    Argv,
    BigNumber,
    Failure,
    Members,
    ProtocolError,
    Push,
    Reply,
    RequestParser,
    Status,
    Truth,
    Verbatim,
    encode,
    encode_command,
)

BULK_BYTES_MAX = 1 << 20

# --- replies ----------------------------------------------------------------------------------------------------------

REPLIES: list[tuple[Reply, bytes, bytes]] = [
    (b"", b"$0\r\n\r\n", b"$0\r\n\r\n"),
    (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
    (bytearray(b"xy"), b"$2\r\nxy\r\n", b"$2\r\nxy\r\n"),
    (-7, b":-7\r\n", b":-7\r\n"),
    (2**63 - 1, b":9223372036854775807\r\n", b":9223372036854775807\r\n"),
    (None, b"$-1\r\n", b"_\r\n"),
    (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
    ([], b"*0\r\n", b"*0\r\n"),
    ((1, [b"a", None]), b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n", b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n"),
    ({b"a": 1, 2: None}, b"*4\r\n$1\r\na\r\n:1\r\n:2\r\n$-1\r\n", b"%2\r\n$1\r\na\r\n:1\r\n:2\r\n_\r\n"),
    ({}, b"*0\r\n", b"%0\r\n"),
    (Members([b"a"]), b"*1\r\n$1\r\na\r\n", b"~1\r\n$1\r\na\r\n"),
    (Push([b"m", 1.5]), b"*2\r\n$1\r\nm\r\n$3\r\n1.5\r\n", b">2\r\n$1\r\nm\r\n,1.5\r\n"),
    (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
    (3.0, b"$1\r\n3\r\n", b",3\r\n"),
    (float("-inf"), b"$4\r\n-inf\r\n", b",-inf\r\n"),
    (float("nan"), b"$3\r\nnan\r\n", b",nan\r\n"),
    (Status(b"OK"), b"+OK\r\n", b"+OK\r\n"),
    (Failure(b"ERR a\r\nb"), b"-ERR a  b\r\n", b"-ERR a  b\r\n"),
    (Verbatim(b"text"), b"$4\r\ntext\r\n", b"=8\r\ntxt:text\r\n"),
    (BigNumber(b"123"), b"$3\r\n123\r\n", b"(123\r\n"),
    (Truth(True), b":1\r\n", b"#t\r\n"),
    (Truth(False), b":0\r\n", b"#f\r\n"),
    (OK, b"+OK\r\n", b"+OK\r\n"),
    (EMPTY, b"*0\r\n", b"*0\r\n"),
    (NO_REPLY, b"", b""),
]


@pytest.mark.parametrize(("value", "resp2", "resp3"), REPLIES)
def test_every_type_in_both_protocols(value: Reply, resp2: bytes, resp3: bytes) -> None:
    for is_resp3, expected in ((False, resp2), (True, resp3)):
        out = bytearray(b"before")
        encode(value, out, is_resp3)
        assert bytes(out) == b"before" + expected


@pytest.mark.parametrize("value", [True, "text", object(), {b"set"}])
def test_a_stray_type_fails_loudly(value: object) -> None:
    with pytest.raises(KeyError):
        encode(value, bytearray(), False)


# --- requests ---------------------------------------------------------------------------------------------------------

arguments = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"", b"\r\n", b"$3\r\nabc\r\n", b"*1\r\n", b"x" * 5000, b"\0", b"a b"]),
)
argvs = st.lists(arguments, min_size=1, max_size=6)
inline_words = st.text("abcXYZ019$*:", min_size=1, max_size=8).map(str.encode)


def feed(parser: RequestParser, data: bytes, sizes: list[int], limit: int | None = None) -> list[Argv]:
    """All commands that come out when `data` arrives in pieces of these sizes, over and over.

    As a session does it, which takes what it can at once; with a `limit` as before its client is known.
    """
    commands: list[Argv] = []
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)] if sizes else len(data)
        piece = data[at : at + size]
        at, turn = at + size, turn + 1
        taken = parser.take(piece) if limit is None else None
        if taken is None:
            parser.feed(piece)
        else:
            commands += taken
        while found := parser.parse() if limit is None else parser.parse(limit):
            commands += found
    return commands


@given(st.lists(argvs, max_size=8), st.lists(st.integers(1, 40), max_size=5), st.sampled_from([None, 1]))
def test_any_chunking_gives_the_same_commands(pipeline: list[Argv], sizes: list[int], limit: int | None) -> None:
    parser = RequestParser(BULK_BYTES_MAX)
    assert feed(parser, b"".join(map(encode_command, pipeline)), sizes, limit) == pipeline
    assert parser.waiting_bytes == 0 and parser.arguments_bytes == 0 and parser.awaited_bytes == 0


@given(
    st.lists(st.tuples(st.booleans(), st.lists(inline_words, min_size=1, max_size=4)), max_size=8),
    st.lists(st.integers(1, 20), max_size=5),
)
def test_inline_and_framed_commands_mix(pipeline: list[tuple[bool, Argv]], sizes: list[int]) -> None:
    pipeline = [(inline and not argv[0].startswith(b"*"), argv) for inline, argv in pipeline]
    data = b"".join(b" ".join(argv) + b"\r\n" if inline else encode_command(argv) for inline, argv in pipeline)
    assert feed(RequestParser(BULK_BYTES_MAX), data, sizes) == [argv for _, argv in pipeline]


@given(argvs, argvs)
def test_whole_split_at_each_byte_and_followed_by_more(first: Argv, second: Argv) -> None:
    data, more = encode_command(first), encode_command(second)
    for at in {*range(min(len(data), 60)), len(data)}:
        parser = RequestParser(BULK_BYTES_MAX)
        parser.feed(data[:at])
        early = parser.parse()
        assert early == ([first] if at == len(data) else [])
        parser.feed(data[at:] + more)
        assert early + parser.parse() == [first, second]


SEEDS = [
    encode_command([b"SET", b"key", b"value"]) * 3,
    encode_command([b"MSET", *(b"k%d" % n for n in range(12))]),
    b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$100000\r\n" + b"v" * 300,
    b"SET \"a b\" 'c' d\r\nPING\r\n",
    b"*-1\r\n*0\r\n\r\nPING\r\n",
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3)), max_size=6),
    st.lists(st.integers(1, 50), max_size=4),
    st.booleans(),
)
def test_mutated_bytes_raise_nothing_but_protocol_errors(
    data: bytes, changes: list[tuple[int, bytes, int]], sizes: list[int], trusted: bool
) -> None:
    for at, inserted, removed in changes:
        at %= len(data) + 1
        data = data[:at] + inserted + data[at + removed :]
    outcomes = []
    for chunks in (sizes, []):
        parser = RequestParser(BULK_BYTES_MAX, trusted)
        commands: list[Argv] = []
        error = ""
        try:
            for command in _one_by_one(parser, data, chunks):
                commands.append(command)
        except ProtocolError as caught:
            error = str(caught)
        outcomes.append((commands, error))
    assert outcomes[0] == outcomes[1]  # how it was cut makes no difference, not even to the error


def _one_by_one(parser: RequestParser, data: bytes, sizes: list[int]):  # type: ignore[no-untyped-def]
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)] if sizes else len(data)
        piece = data[at : at + size]
        at, turn = at + size, turn + 1
        taken = parser.take(piece)
        if taken is None:
            parser.feed(piece)
        else:
            yield from taken
        while found := parser.parse():
            yield from found


@pytest.mark.parametrize(
    "data",
    [b"*2\r\n$3\r\nGET\r\n$1\r\nab\r\n", b"*2\r\n$2\r\nGET\r\n$1\r\na\r\n", b"*2\r\n$3\r\nGET\r\n$4\r\na\r\n",
     b"*2\r\n$03\r\nGET\r\n$1\r\na\r\n", b"*2\r\n$4\r\n\r\n\r\n\r\n$1\r\n", b"*2\r\n$3\r\nGET\r\n$5000\r\na\r\n",
     b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nbc\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nab\r\n$1\r\nc\r\n",
     b"*3\r\n$2\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*2\r"],
)  # fmt: skip
def test_short_commands_that_come_alone_are_measured_too(data: bytes) -> None:
    outcomes = []
    for sizes in ([], [1]):
        commands: list[Argv] = []
        try:
            commands.extend(_one_by_one(RequestParser(BULK_BYTES_MAX), data, sizes))
        except ProtocolError as error:
            commands.append([str(error).encode()])
        outcomes.append(commands)
    assert outcomes[0] == outcomes[1]


MALFORMED = [
    (b"*x\r\n", "invalid multibulk length"),
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$%d\r\n" % (BULK_BYTES_MAX + 1), "invalid bulk length"),
    (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
    (b'"PING\r\n', "unbalanced quotes in request"),
    (b"A" * 65537, "too big inline request"),
    (b"*" + b"1" * 65537, "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 65537, "too big bulk count string"),
]


@pytest.mark.parametrize(("data", "text"), MALFORMED)
def test_malformed_requests_have_redis_words_for_it(data: bytes, text: str) -> None:
    parser = RequestParser(BULK_BYTES_MAX)
    parser.feed(encode_command([b"PING"]) + data)
    assert parser.parse() == [[b"PING"]]
    with pytest.raises(ProtocolError, match="^" + text.replace("$", r"\$") + "$"):
        parser.parse()


def test_strangers_get_less() -> None:
    for data, text in ((b"*11\r\n", "unauthenticated multibulk"), (b"*1\r\n$16385\r\n", "unauthenticated bulk")):
        parser = RequestParser(BULK_BYTES_MAX, trusted=False)
        parser.feed(data)
        with pytest.raises(ProtocolError, match=text):
            parser.parse(1)


def test_nothing_is_reserved_for_what_has_not_come() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        parser = RequestParser(512 << 20)
        parser.feed(b"*2147483647\r\n$536870912\r\nabc")
        assert parser.parse() == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert parser.awaited_bytes > 500 << 20  # known, and read in bounded pieces


def test_many_arguments_cost_a_walk_and_not_a_square() -> None:
    argv = [b"MSET", *(b"%d" % n for n in range(200_000))]
    data = encode_command(argv)
    parser = RequestParser(BULK_BYTES_MAX)
    assert feed(parser, data, [16_384]) == [argv]
