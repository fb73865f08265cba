"""INFO beside a real server: the same sections, fields and order, apart from what 7.2 and we add."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from node.commands.info import SECTIONS, sections_wanted
from tests.support import HexadServer, RedisServer, Wire, wait_until

# What 7.0 does not show, by section: fields of 7.2, and our own.
ADDED = {
    "Server": {"listener0", "listener1", "hexad_version"},
    "Clients": {"total_blocking_keys", "total_blocking_keys_on_nokey"},
    "Stats": {
        "eventloop_cycles",
        "eventloop_duration_sum",
        "eventloop_duration_cmd_sum",
        "instantaneous_eventloop_cycles_per_sec",
        "instantaneous_eventloop_duration_usec",
        "acl_access_denied_auth",
        "acl_access_denied_cmd",
        "acl_access_denied_key",
        "acl_access_denied_channel",
    },
    "Latencystats": set(),
}
# Sections whose fields are named by what has happened so far.
LIVE = {"Commandstats", "Errorstats", "Latencystats", "Keyspace"}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Wire, Wire]]:
    with RedisServer() as theirs, HexadServer() as ours, theirs.wire() as their_wire, ours.wire() as our_wire:
        yield their_wire, our_wire


def sections(wire: Wire, *words: str) -> dict[str, list[str]]:
    """Title -> names of the fields, in order."""
    text = wire("INFO", *words).decode()
    assert text == "" or text.endswith("\r\n")
    found: dict[str, list[str]] = {}
    title = ""
    for line in text.split("\r\n"):
        if line.startswith("# "):
            title = line[2:]
            found[title] = []
        elif line:
            found[title].append(line.split(":", 1)[0])
    return found


def test_fields_are_those_of_a_real_server(both: tuple[Wire, Wire]) -> None:
    theirs, ours = (sections(wire, "everything") for wire in both)
    assert list(ours) == list(theirs)
    for title, names in theirs.items():
        if title not in LIVE:
            added = ADDED.get(title, set())
            assert [name for name in ours[title] if name not in added] == names, title
            assert len(set(ours[title])) == len(ours[title])


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("default",),
        ("all",),
        ("everything",),
        ("server",),
        ("SERVER", "cpu"),
        ("cpu", "server", "cpu"),
        ("commandstats", "default"),
        ("modules",),
        ("module_list",),
        ("nonsense",),
        ("nonsense", "keyspace"),
        ("all", "nonsense"),
    ],
)
def test_sections_are_chosen_alike(both: tuple[Wire, Wire], words: tuple[str, ...]) -> None:
    theirs, ours = (list(sections(wire, *words)) for wire in both)
    assert ours == theirs


def test_values_have_the_form_of_a_real_server(both: tuple[Wire, Wire]) -> None:
    """Numbers are numbers, fractions have as many digits, words are words."""

    def form(value: str) -> str:
        return re.sub(r"[A-Za-z]+", "w", re.sub(r"[0-9]+\.[0-9]+", lambda m: f"n.{len(m[0].split('.')[1])}", value))

    def forms(wire: Wire) -> dict[str, str]:
        return {name: re.sub(r"-?\d+", "n", form(value)) for name, value in wire.info("everything").items()}

    theirs, ours = map(forms, both)
    free = {"os", "executable", "config_file", "redis_build_id", "run_id", "mem_allocator", "gcc_version"}
    free |= {"master_replid", "master_replid2", "redis_git_sha1"} | {n for n in theirs if n.endswith("_human")}
    live = ("cmdstat_", "errorstat_", "latency_", "db")
    wrong = {
        name: (ours[name], form)
        for name, form in theirs.items()
        if name not in free and not name.startswith(live) and ours[name] != form
    }
    assert wrong == {}


def test_scan_looks_at_whose_type_is_asked_for(both: tuple[Wire, Wire]) -> None:
    def hits(wire: Wire) -> int:
        wire("MSET", "a", 1, "ab", 1)
        before = int(wire.info("stats")["keyspace_hits"])
        for words in (("TYPE", "string"), ("TYPE", "hash"), ("MATCH", "a?", "TYPE", "string"), ("COUNT", 5)):
            wire("SCAN", 0, *words)
        return int(wire.info("stats")["keyspace_hits"]) - before

    assert list(map(hits, both)) == [5, 5]


def test_counts(hexad_server: Callable[..., HexadServer]) -> None:
    with hexad_server().wire() as wire:
        wire("SET", "a", "1")
        wire("GET", "a")
        wire("GET", "b")
        wire("GET")
        wire("NOSUCH")
        info = wire.info("everything")
        assert info["keyspace_hits"] == info["keyspace_misses"] == "1"
        assert info["total_error_replies"] == "2" and info["errorstat_ERR"] == "count=2"
        assert re.fullmatch(
            r"calls=2,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=1,failed_calls=0", info["cmdstat_get"]
        )
        assert info["db0"] == "keys=1,expires=0,avg_ttl=0"
        assert int(info["total_commands_processed"]) >= 5
        assert int(info["used_memory_rss"]) > 8_000_000 > int(info["used_memory"]) > 1_000_000
        assert int(info["total_reads_processed"]) >= 6
        assert int(info["total_net_input_bytes"]) > 100
        assert info["rdb_changes_since_last_save"] == "1"
        wire("CONFIG", "RESETSTAT")
        info = wire.info("everything")
        for name in ("keyspace_hits", "keyspace_misses", "total_error_replies", "total_connections_received"):
            assert info[name] == "0", name
        assert "errorstat_ERR" not in info and "cmdstat_get" not in info
        assert wire("GET", "a") == b"1"


def test_rates_rise_and_fall(hexad_server: Callable[..., HexadServer]) -> None:
    with hexad_server().wire() as wire:
        wire.pipeline([("SET", "k", str(i)) for i in range(20_000)])
        assert wait_until(lambda: int(wire.info("stats")["instantaneous_ops_per_sec"]) > 1000, 5, "a rate")
        wait_until(lambda: int(wire.info("stats")["instantaneous_ops_per_sec"]) < 1000, 10, "the rate falls")


def test_every_section_is_known() -> None:
    assert sections_wanted([]) == [name for name in SECTIONS if name not in ("commandstats", "latencystats", "debug")]
    assert sections_wanted(["debug"]) == ["debug"]
    assert sections_wanted(["all"]) == [name for name in SECTIONS if name != "debug"]
