"""CONFIG REWRITE beside a real server's."""

from pathlib import Path

import pytest

from node.config import Config
from node.config.rewrite import SIGNATURE, rewrite_text
from tests.node.config.conftest import Peer, load

FILES = [
    "",
    "# hello\n\n\nport 0\nsave 10 20\nsave 30 40\n"
    'HZ 20\ntimeout 0\nslave-priority 100\n   # indented\n\nrequirepass "a b"',
    "save 1 2\nsave 3 4\nsave 5 6\n\ndbfilename dump.rdb\nbind 127.0.0.1\n",
    f"hz 20\n{SIGNATURE}\ntimeout 7\n\n",
    "include inner.conf\ntimeout 0\n"
    "MASTERAUTH a\nclient-output-buffer-limit replica 1mb 1mb 60\nunixsocketperm 700\r\n",
    "maxclients 100\n\n\n\n# a\n\n# b\n"
    'replica-read-only yes\nsave ""\nreplicaof 127.0.0.1 1\nslave-serve-stale-data no\n',
    "list-max-ziplist-entries 5\nlua-replicate-commands yes\nhash-max-ziplist-entries 5\nhash-max-listpack-entries 6\n",
    "cluster-enabled yes\ncluster-node-timeout 2000\n",
    "user default on nopass ~* &* +@all\nhz 10\nhz 11\nhz 12\n",
    "latency-tracking-info-percentiles 50\nshutdown-on-sigterm save now\noom-score-adj-values 1 2 3\n",
    'pidfile ""\nbind * -::*\nmaxmemory-clients 0\nproto-max-bulk-len 1gb\nlogfile ""\n\n',
]

CHANGES: list[list[str]] = [
    [],
    ["hz", "10", "save", "5 6", "slave-read-only", "yes", "repl-backlog-size", "2gb"],
    ["save", "", "bind", "127.0.0.1 -::1", "latency-tracking-info-percentiles", "", "masterauth", 'a"\n\x01é'],
    ["client-output-buffer-limit", "normal 1mb 2000 3 pubsub 1gb 1kb 1", "loglevel", "verbose", "timeout", "9",
     "repl-backlog-size", "1025kb", "masterauth", "", "shutdown-on-sigterm", "default", "repl-timeout", "61"],
    ["save", "1 2 3 4", "oom-score-adj-values", "0 200 800", "bind", "", "hz", "600", "replica-announced", "no",
     "cluster-announce-hostname", "a.b", "dbfilename", "x.rdb"],
]  # fmt: skip


def comparable(text: str, directory: Path) -> tuple[list[str], list[str]]:
    """The lines that were there, and the new ones sorted: Redis adds them in the order of a hash table."""
    lines = text.replace(" sanitize-payload", "").splitlines()
    mine = ("unixsocket ", "enable-protected-configs ")
    kept = [line for line in lines if not line.startswith(mine)]
    at = kept.index(SIGNATURE) if SIGNATURE in kept else len(kept)
    return kept[:at], sorted(kept[at:])


@pytest.mark.parametrize("changes", range(len(CHANGES)))
@pytest.mark.parametrize("number", range(len(FILES)))
def test_rewrite_as_the_real_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, changes: int) -> None:
    old, words = FILES[number], CHANGES[changes]
    path = tmp_path / "node.conf"
    path.write_bytes(old.encode())
    (tmp_path / "inner.conf").write_text("tcp-keepalive 100\n")
    monkeypatch.chdir(tmp_path)
    secret = "a b" if "requirepass" in old else ""

    ours = load("node.conf", options=f"enable-protected-configs yes\nport 0\ndir {tmp_path}")
    if words:
        ours.set(list(zip(words[::2], words[1::2], strict=True)))
    mine = ours.rewrite(old)

    peer = Peer(tmp_path, "node.conf", "--enable-protected-configs", "yes")
    try:
        if secret:
            assert peer.ask("AUTH", secret) == "OK"
        if words:
            assert peer.ask("CONFIG", "SET", *words) == "OK"
        assert peer.ask("CONFIG", "REWRITE") == "OK"
    finally:
        peer.close()
    assert comparable(mine, tmp_path) == comparable(path.read_text(), tmp_path)

    path.write_text(mine)
    again = load("node.conf", options=f"dir {tmp_path}")
    assert again.get(["*"]) == ours.get(["*"])
    path.write_text(again.rewrite(mine))  # perhaps not the same lines: output limits take one another's places
    assert load("node.conf", options=f"dir {tmp_path}").get(["*"]) == ours.get(["*"])


def test_what_cannot_be_understood_stays_as_a_comment() -> None:
    old = 'foo 1\nhz "1\nuser ann on\nrename-command A B\nloadmodule /m\n'
    wanted = [("user", [("user default on", True)]), ("loadmodule", [])]
    assert rewrite_text(old, wanted) == '# ??? foo 1\n# ??? hz "1\nuser default on\nrename-command A B\n\n'


def test_a_password_is_written_so_that_it_can_be_read_again() -> None:
    config = Config()
    config.set([("requirepass", "sec ret\udcff")])
    text = config.rewrite("")
    assert 'requirepass "sec ret\\xff"' in text
    assert load(stdin=text).requirepass == config.requirepass
