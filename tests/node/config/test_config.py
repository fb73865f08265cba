"""CONFIG GET and SET beside a real server; what real servers do not have is tested alone."""

import sys
from pathlib import Path

import pytest

from node.config import (
    ALIASES,
    BEYOND_PYTHON,
    DEFAULTS,
    DIRECTIVES,
    WITHOUT_MEANING,
    Config,
    ConfigError,
    ConfigSetError,
    find_directive,
)
from node.config.settings import Settings
from tests.node.config.conftest import Peer

DIFFERENT_AT_START = {"port", "unixsocket", "dir", "enable-protected-configs"}
HIDDEN_SINCE = {"aof-disable-auto-gc"}  # in 7.2


def outcome(config: Config, *words: str) -> str:
    try:
        config.set(zip(words[::2], words[1::2], strict=True))
    except ConfigSetError as error:
        return str(error)
    return "OK"


def test_defaults_are_those_of_the_real_server(peer: Peer) -> None:
    theirs, ours = peer.get("*"), Config().get(["*"])
    newer = ours.keys() - theirs.keys()
    assert newer == {
        "cluster-announce-human-nodename",
        "cluster-announce-network",
        "cluster-hand-over-when-behind",
        "cluster-replica-votes",
        "cluster-seeds",
        "cluster-slot-stats-enabled",
        "locale-collate",
        "set-max-listpack-entries",
        "set-max-listpack-value",
    }
    for name in theirs.keys() - DIFFERENT_AT_START - HIDDEN_SINCE:
        assert ours[name] == theirs[name], name


def test_every_value_that_may_be_set_survives_a_round_through_its_text(peer: Peer) -> None:
    config = Config()
    config.enable_protected_configs = "yes"
    for name, text in config.get(["*"]).items():
        directive = find_directive(name)
        assert directive is not None
        if not directive.is_immutable:
            assert outcome(config, name, text) == "OK", name
            assert config[name] == DEFAULTS[directive.name]


@pytest.mark.parametrize(
    "patterns",
    [
        ["PORT"],
        ["Por*"],
        ["slave-priority", "replica-priority", "slave-pri*"],
        ["key-load-delay"],
        ["key-load*"],
        ["KEY-load-delay", "nope"],
        ["lua-time-limit", "timeout"],
        ["*ziplist*", "hz"],
        ["[a-c]*-[^a-r]?n*"],
        ["max*", "MAXMEMORY"],
        ["hz", "HZ"],
        ["h\\z"],
        ["watchdog-period", "use-exit-on-panic", "rdb-key-save-delay"],
    ],
)
def test_get_as_the_real_server(peer: Peer, patterns: list[str]) -> None:
    def known(found: dict[str, str]) -> dict[str, str]:
        return {name: text for name, text in found.items() if name not in ("port", "PORT")}

    ours = Config().get(patterns)
    assert known(ours) == known(peer.get(*patterns))
    assert ("PORT" in ours) == (patterns == ["PORT"])


ATTEMPTS: dict[str, list[str]] = {
    "rdbcompression": ["yes", "NO", "maybe", "", "yes "],
    "hz": ["10", "0", "1", "600", "-1", "1a", "", " 5", "5 ", "+5", "0x10", "99999999999", "9" * 30, "007", "-0"],
    "maxmemory": ["0", "", "gb", "0mb", "1tb", "-1", "abc", "1 gb", "1.5gb", "+5", "0x10", " 1", "17179869184gb"],
    "repl-backlog-size": ["0", "1", "1mb", "1k", "100mb", "9223372036854775808", "1b", "01mb", "1GB", "2m", "1Mb"],
    "proto-max-bulk-len": ["1", "1mb", "512mb", "9223372036854775807", "9223372036854775808", "18446744073709551616"],
    "client-query-buffer-limit": ["1", "1gb", "99999999999999999999gb"],
    "cluster-link-sendbuf-limit": ["-1", "18446744073709551615", "18446744073709551616", "0"],
    "maxmemory-clients": [
        "101%",
        "-1%",
        "-5",
        "a%",
        "%",
        "5 %",
        "1%%",
        "07%",
        "-101%",
        "0%",
        "0",
        "9223372036854775808",
    ],
    "slowlog-log-slower-than": ["-2", "9223372036854775808", "10000"],
    "slowlog-max-len": ["-1", "18446744073709551615"],
    "repl-backlog-ttl": ["-1", "3600", "9223372036854775808", "0"],
    "maxclients": ["0", "4294967296", "100"],
    "auto-aof-rewrite-min-size": ["64mb", "-1", "10%"],
    "shutdown-on-sigterm": [
        "save",
        "save now",
        "SAVE NOW",
        "SAVE  NOW",
        "x",
        "save x",
        "",
        "default",
        "default save",
        "save nosave",
        "nosave save force now",
        " save",
        "force now nosave",
    ],
    "notify-keyspace-events": ["q", "", "Aq"],
    "save": [
        "",
        "1 2",
        "1 2 3",
        "a b",
        "1 2  3 4",
        "0 1",
        "-1 1",
        "1 0",
        "1 -1",
        "3600 1 300 100 60 10000",
        "60 1 60 1",
        "99999999999 1",
        " 1 2",
        "1 2 ",
        "1a 2",
        '" "',
        " ",
        "+5 1",
    ],
    "client-output-buffer-limit": [
        "",
        "normal 0 0",
        "normal 0 0 0",
        "x 0 0 0",
        "normal a 0 0",
        "NORMAL 1mb 2kb 3",
        "master 0 0 0",
        "replica 1gb 1gb 60 pubsub 1 2 3",
        "slave 0 0 -1",
        "normal 1 1 1 normal 2 2 2",
        "normal -1 0 0",
        "normal 0 0 1a",
        "normal  0 0 0",
        "slave 256mb 64mb 60 pubsub 32mb 8mb 60 normal 0 0 0",
        "normal 1 1 1 x 1 1 1",
    ],
    "oom-score-adj-values": ["", "1 2", "1 2 3", "3 2 1", "-2001 0 0", "a 1 2", "0 200 2001", "0  200 800"],
    "latency-tracking-info-percentiles": [
        "",
        "50",
        "101",
        "-1",
        "a",
        "50 99 99.9",
        "0 100",
        "0.0",
        "99.99999999999",
        "1e1",
        "50  99",
        "nan",
        "inf",
        "0x10",
        "50 40",
        "1_0",
    ],
    "bind": ["127.0.0.1", "", " ".join(["127.0.0.1"] * 17), "-127.0.0.1", "* -::*"],
    "dbfilename": ["a/b", "x", "dump.rdb"],
    "port": ["-1", "65536", "a"],
    "databases": ["1"],
    "replicaof": ["no one"],
    "unixsocketperm": ["1"],
    "activedefrag": ["yes", "no"],
    "cluster-announce-hostname": ["a" * 256, "a b", "a.b-c", "a_b", ""],
    "proc-title-template": ["{x}", "a", "{title", "", "{title} {config-file}", "{title} {listen-addr} {server-mode}"],
    "list-max-listpack-size": ["-6", "-2147483649", "-2"],
    "masterauth": ["x", ""],
    "acl-pubsub-default": ["x", "ALLCHANNELS"],
    "maxmemory-policy": ["lru", "noeviction"],
    "oom-score-adj": ["x"],
    "loading-process-events-interval-bytes": ["1", "1kb", "1024"],
    "slave-priority": ["-1", "a", "90"],
    "hash-max-ziplist-value": ["-1", "1gb", "64"],
    "Timeout": ["a", "2147483648", "5"],
    "nope": ["1"],
    "include": ["x"],
    "a.b": ["1"],
    "DataBases": ["1"],
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_set_as_the_real_server(peer: Peer, name: str) -> None:
    config = Config()
    config.enable_protected_configs = "yes"
    for text in ATTEMPTS[name]:
        assert outcome(config, name, text) == peer.ask("CONFIG", "SET", name, text), text
        assert config.get([name]) == peer.get(name) or name == "port", text


@pytest.mark.parametrize(
    "words",
    [
        ("hz", "10", "nope", "1"),
        ("hz", "10", "hz", "10"),
        ("hz", "10", "HZ", "11"),
        ("lua-time-limit", "1", "busy-reply-threshold", "2"),
        ("timeout", "1", "nope", "x"),
        ("databases", "1", "nope", "x"),
        ("nope", "x", "databases", "1"),
        ("hz", "a", "databases", "1"),
        ("hz", "11", "timeout", "a"),
        ("timeout", "1", "hz", "x", "tcp-keepalive", "x"),
        ("timeout", "7", "tcp-keepalive", "8"),
    ],
)
def test_several_pairs_as_the_real_server(peer: Peer, words: tuple[str, ...]) -> None:
    config = Config()
    names = ["hz", "timeout", "tcp-keepalive", "busy-reply-threshold"]
    for name in names:
        assert outcome(config, name, peer.get(name)[name]) == "OK"
    assert outcome(config, *words) == peer.ask("CONFIG", "SET", *words)
    assert config.get(names) == peer.get(*names)


def test_protected_directives_need_leave() -> None:
    config = Config()
    refused = "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config"
    assert outcome(config, "dir", "/tmp") == refused
    config.enable_protected_configs = "local"
    assert outcome(config, "dir", "/tmp") == refused
    config.set([("dir", "/tmp")], is_local=True)
    assert config.dir == "/tmp"
    with pytest.raises(ConfigSetError, match=r"^LOADING Redis is loading the dataset in memory$"):
        config.set([("dir", "/")], is_local=True, is_loading=True)


def test_a_refusing_applier_brings_everything_back() -> None:
    config, seen = Config(), []

    def refuse(value: int) -> None:
        seen.append(("tcp-keepalive", value))
        if value == 5:
            raise ConfigError("no such luck")

    config.on_change("timeout", lambda value: seen.append(("timeout", value)))
    config.on_change("tcp-keepalive", refuse)
    answer = outcome(config, "timeout", "3", "tcp-keepalive", "5", "hz", "20")
    assert answer == "ERR CONFIG SET failed (possibly related to argument 'tcp-keepalive') - no such luck"
    assert (config.timeout, config.tcp_keepalive, config.hz) == (0, 300, 10)
    assert seen == [("timeout", 3), ("tcp-keepalive", 5), ("timeout", 0), ("tcp-keepalive", 300)]
    seen.clear()
    assert outcome(config, "timeout", "0") == "OK"
    assert seen == []


def test_what_may_be_set_at_run_time_is_what_may_be_set_there(peer: Peer) -> None:
    """Each directive is given the value that it has: both take it, or both say why not."""
    config = Config()
    config.enable_protected_configs = "yes"  # as the peer
    known = peer.get("*")
    for name in DIRECTIVES:
        if name not in known:
            continue  # of 7.2
        theirs = peer.ask("CONFIG", "SET", name, known[name])
        if name not in NEED_A_FILE_SYSTEM:
            assert outcome(config, name, config.text(name)) == theirs, name


NEED_A_FILE_SYSTEM = {"oom-score-adj"}
"""Where a real server's answer hangs on what the process may do."""


@pytest.mark.parametrize("name", BEYOND_PYTHON)
def test_what_python_cannot_set_is_refused_by_name(name: str) -> None:
    answer = outcome(Config(), name, "no" if DIRECTIVES[name].kind == "bool" else "1")
    assert f"'{name}' cannot be changed: {BEYOND_PYTHON[name]}" in answer
    assert outcome(Config(), name, DIRECTIVES[name].default) == "OK"


def test_a_volatile_name_takes_effect_again() -> None:
    config, seen = Config(), []
    config.on_change("tls-cert-file", seen.append)
    config.on_change("tls-ciphers", seen.append)
    assert [outcome(config, "tls-cert-file", "a", "tls-ciphers", "b") for _ in range(2)] == ["OK", "OK"]
    assert seen == ["a", "b", "a"]


def test_tables_know_only_directives() -> None:
    assert BEYOND_PYTHON.keys() | WITHOUT_MEANING.keys() <= DIRECTIVES.keys()
    assert not BEYOND_PYTHON.keys() & WITHOUT_MEANING.keys()
    assert not DIRECTIVES.keys() & ALIASES.keys()
    assert list(DIRECTIVES) == sorted(DIRECTIVES)
    assert list(Settings.__annotations__) == [directive.attribute for directive in DIRECTIVES.values()]


def test_unknown_names_raise_key_error() -> None:
    for read in (Config().__getitem__, Config().text):
        with pytest.raises(KeyError):
            read("nope")


def test_building_a_configuration_imports_nothing_heavy() -> None:
    import subprocess

    script = "import sys; from node.config import Config; Config(); print(*sys.modules)"
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    modules = set(found.stdout.split())
    assert not modules & {"yaml", "trio", "hashlib", "socket", "asyncio", "dataclasses", "inspect"}
