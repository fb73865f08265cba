"""DEBUG beside a real server, for what both have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support import HexadServer, RedisServer, Wire
from tests.support.wire import ReplyError

Both = tuple[Wire, Wire]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    options = {"enable_debug_command": "yes"}
    with (
        RedisServer(**options) as theirs,
        HexadServer(**options) as ours,
        theirs.wire() as their_wire,
        ours.wire() as our_wire,
    ):
        yield their_wire, our_wire


SAMPLES = "string integer double bignum null array set map attrib push verbatim true false nosuch".split()


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_of_replies(both: Both, sample: str) -> None:
    theirs, ours = both
    assert ours.raw("DEBUG", "PROTOCOL", sample) == theirs.raw("DEBUG", "PROTOCOL", sample)


@pytest.mark.parametrize(
    "words",
    [
        ("NOSUCH",),
        ("PROTOCOL",),
        ("OBJECT",),
        ("OBJECT", "nosuch"),
        ("SDSLEN", "nosuch"),
        ("DIGEST", "x"),
        ("DIGEST-VALUE",),
        ("DIGEST-VALUE", "nosuch"),
        ("HTSTATS",),
        ("HTSTATS", "99"),
        ("HTSTATS", "x"),
        ("HTSTATS", "9"),
        ("HTSTATS-KEY", "nosuch"),
        ("POPULATE",),
        ("POPULATE", "-1"),
        ("POPULATE", "x"),
        ("POPULATE", "1", "p", "x"),
        ("POPULATE", "1", "p", "2", "3"),
        ("SLEEP",),
        ("SLEEP", "0.01x"),
        ("SLEEP", "x"),
        ("ERROR",),
        ("ERROR", "WHAT happened\r\nhere"),
        ("LOG",),
        ("LOG", "a word"),
        ("SET-ACTIVE-EXPIRE",),
        ("SET-DISABLE-DENY-SCRIPTS", "1"),
        ("PAUSE-CRON",),
        ("QUICKLIST-PACKED-THRESHOLD",),
        ("QUICKLIST-PACKED-THRESHOLD", "1b"),
        ("QUICKLIST-PACKED-THRESHOLD", "4095mb"),
        ("QUICKLIST-PACKED-THRESHOLD", "4096mb"),
        ("QUICKLIST-PACKED-THRESHOLD", "x"),
        ("QUICKLIST-PACKED-THRESHOLD", "0"),
        ("REPLICATE",),
        ("RELOAD", "x"),
        ("RELOAD",),
        ("RELOAD", "NOSAVE"),
        ("RELOAD", "NOSAVE", "NOFLUSH", "MERGE"),
        ("REPLICATE", "PING"),
        ("REPLYBUFFER", "PEAK-RESET-TIME"),
        ("REPLYBUFFER", "peak-reset-time", "never"),
        ("REPLYBUFFER", "PEAK-RESET-TIME", "reset"),
        ("REPLYBUFFER", "PEAK-RESET-TIME", "100"),
        ("REPLYBUFFER", "PEAK-RESET-TIME", "x"),
        ("REPLYBUFFER", "RESIZING", "0"),
        ("REPLYBUFFER", "NOSUCH", "0"),
        ("CHANGE-REPL-ID",),
        ("CHANGE-REPL-ID", "x"),
        ("DROP-CLUSTER-PACKET-FILTER",),
        ("DROP-CLUSTER-PACKET-FILTER", "x"),
        ("DROP-CLUSTER-PACKET-FILTER", "-1"),
    ],
)
def test_replies_are_those_of_a_real_server(both: Both, words: tuple[str, ...]) -> None:
    theirs, ours = both
    assert ours.raw("DEBUG", *words) == theirs.raw("DEBUG", *words)


def test_digests_are_those_of_a_real_server(both: Both) -> None:
    for write in (
        ("SET", "plain", "value"),
        ("SET", "number", "12345"),
        ("SET", b"\x00\xff{tag}", bytes(range(256)) * 300),
        ("SET", "", ""),
        ("DEBUG", "POPULATE", "1000", "many", "200"),
        ("DEBUG", "POPULATE", "1500", "many"),
        ("DEBUG", "POPULATE", "30"),
    ):
        theirs, ours = (wire(*write) for wire in both)
        assert ours == theirs
    theirs, ours = both
    assert ours("DEBUG", "DIGEST") == theirs("DEBUG", "DIGEST")
    keys = ("plain", "number", b"\x00\xff{tag}", "", "many:3", "many:1400", "key:7", "nosuch")
    assert ours("DEBUG", "DIGEST-VALUE", *keys) == theirs("DEBUG", "DIGEST-VALUE", *keys)
    assert ours("DEBUG", "DIGEST").text != "0" * 40


def test_reload_brings_all_back(both: Both) -> None:
    for wire in both:
        wire("FLUSHALL")
        wire("SET", "stays", "1")
        wire("SET", "ends", "2", "PX", "100000000")
    digests = [wire("DEBUG", "DIGEST") for wire in both]
    assert digests[0] == digests[1]
    for wire in both:
        assert wire("DEBUG", "RELOAD") == "OK"
        wire("SET", "unsaved", "3")
        assert wire("DEBUG", "RELOAD", "NOSAVE") == "OK"
        assert wire("EXISTS", "unsaved") == 0
        wire("SET", "stays", "4")
        assert wire("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE") == "OK"
        assert wire("GET", "stays") == b"1"
    assert [wire("DEBUG", "DIGEST") for wire in both] == digests


def test_checksums_may_be_left_aside(both: Both) -> None:
    spoiled = b"\x00\x05spoil" + bytes((10, 0)) + b"12345678"
    for skip, is_taken in (("1", True), ("0", False)):
        theirs, ours = (
            [wire("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", skip), wire("RESTORE", "spoiled", "0", spoiled, "REPLACE")]
            for wire in both
        )
        assert ours == theirs and (ours[1] == "OK") == is_taken


def test_object_has_the_fields_of_a_real_server(both: Both) -> None:
    def shown(wire: Wire, key: str) -> dict[str, str]:
        fields = dict(field.rsplit(":", 1) for field in wire("DEBUG", "OBJECT", key).text.split(" ") if ":" in field)
        assert fields.pop("at").startswith("0x")
        assert abs(int(fields.pop("lru")) - int(time.time()) % (1 << 24)) <= 60
        assert int(fields.pop("lru_seconds_idle")) <= 60
        fields.pop("refcount")  # a real server shares small integers
        return fields

    for wire in both:
        wire("SET", "short", "text")
        wire("SET", "long", "x" * 100)
        wire("SET", "int", "77")
    for key in ("short", "long", "int"):
        theirs, ours = (shown(wire, key) for wire in both)
        assert ours == theirs


def test_sleep_stops_the_whole_node(both: Both) -> None:
    _, ours = both
    start = time.monotonic()
    assert ours("DEBUG", "SLEEP", "0.1") == "OK"
    assert time.monotonic() - start >= 0.1


def test_tables_cannot_be_kept_from_fitting(both: Both) -> None:
    """7.0 has no such switch."""
    _, ours = both
    assert [ours("DEBUG", "DICT-RESIZING", word) for word in "01"] == ["OK", "OK"]


def test_htstats_tell_of_slots(both: Both) -> None:
    _, ours = both
    ours("SET", "{a}1", "x")
    ours("SET", "{a}2", "x")
    text = ours("DEBUG", "HTSTATS", "0").decode()
    assert "table size: 16384" in text and text.index("[Dictionary HT]") < text.index("[Expires HT]")


def test_closed_unless_opened() -> None:
    for option, is_open in (("no", False), ("local", True)):
        options = {"enable_debug_command": option}
        with (
            RedisServer(**options) as theirs,
            HexadServer(**options) as ours,
            theirs.wire() as their_wire,
            ours.wire() as our_wire,
        ):
            reply = our_wire("DEBUG", "LOG", "x")
            assert reply == their_wire("DEBUG", "LOG", "x")
            assert isinstance(reply, ReplyError) != is_open
            if not is_open:
                assert "cmdstat_debug:calls=0" in our_wire("INFO", "commandstats").decode()


def test_help_offers_what_is_there(both: Both) -> None:
    _, ours = both
    lines = [line.text for line in ours("DEBUG", "HELP")]
    for line in lines[1:]:
        if not line.startswith((" ", "DIGEST-VALUE", "REPLICATE")):  # these take any number
            reply = ours("DEBUG", line.split()[0], *["x"] * 99)
            assert "unknown subcommand" in reply.text or "RELOAD only" in reply.text, line
    assert {"SLEEP <seconds>", "DIGEST", "HELP"} <= set(lines)


def test_a_bug_of_ours_is_told_and_ends_the_node(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server(enable_debug_command="yes")
    with server.wire() as wire:
        wire("SET", "k", "secret-value")
        with pytest.raises(ConnectionError):
            wire("DEBUG", "PANIC")
    assert server.process is not None and server.process.wait(10) == 1
    log = server.log()
    for part in ("=== REDIS BUG REPORT START", "AssertionError", "in panic", "# Keyspace", "addr=127.0.0.1:"):
        assert part in log, part
    assert log.index("REPORT START") < log.index("REPORT END") and "secret-value" not in log
