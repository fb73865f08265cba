"""Configuration files and command lines beside a real server's standard error."""

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import DIRECTIVES, Config, ConfigFileError, ConfigSetError, ConfigUnreadable, parse_command_line
from node.config.lines import INCLUDE_DEPTH_MAX
from node.config.words import UnbalancedQuotes, quote, split_words
from tests.node.config.conftest import Peer, load

BROKEN = [
    "foo bar",
    '# c\n\nhz "a\nport 0',
    "hz",
    "hz 1 2",
    "  HZ\t10 \r\nhz x  ",
    "save 1",
    'save "1 2" 3',
    "client-output-buffer-limit normal 0 0",
    "rename-command GET",
    "user",
    "loadmodule",
    "a.b",
    "sentinel x y",
    "include",
    "list-max-ziplist-entries 5 6",
    "replicaof 127.0.0.1",
    "replicaof h a",
    "replicaof h 65536",
    "slaveof",
    "cluster-enabled yes\nreplicaof h 1",
    "dir /nope",
    "dir a b",
    '""',
    '"" x',
    "hz '1'x",
    "hz '1\\'",
    'hz "1\\"',
    "maxmemory-policy a",
    "unixsocketperm 800",
    "unixsocketperm 1000",
    "unixsocketperm 9",
    "unixsocketperm -1",
    'appendfilename ""',
    "appendfilename a/b",
    "dbfilename a/b",
    "appenddirname a/b",
    'appenddirname ""',
    "databases 0",
    "tcp-backlog x",
    "activedefrag yes",
    "notify-keyspace-events KEx K",
    "shutdown-on-sigterm",
    "shutdown-on-sigterm save nosave",
    "oom-score-adj-values 1 2",
    "oom-score-adj-values '\"0 100 200\"'",
    "client-output-buffer-limit '\"normal 1mb 0 0\"'",
    "save '3600 1 \"60 10\"'",
    'latency-tracking-info-percentiles "1 2" 3',
    "bind " + "127.0.0.1 " * 17,
    "hz \xff",
]


def their_report(directory: Path, arguments: list[str], stdin: str = "") -> str:
    command = ["redis-server", *arguments]
    data = stdin.encode(errors="surrogateescape")
    try:
        done = subprocess.run(command, cwd=directory, input=data, capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired as error:  # pragma: no cover
        raise AssertionError(f"{arguments} started a server") from error
    return done.stderr.decode(errors="surrogateescape").replace("Redis 7.0.15", "Redis 7.2.6")


def our_report(arguments: list[str], stdin: str = "") -> str:
    with pytest.raises(ConfigFileError) as caught:
        line = parse_command_line(arguments)
        load(line.path, stdin=stdin if line.reads_stdin else None, options=line.options)
    return caught.value.report()


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_told_as_by_the_real_server(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.conf"
    path.write_bytes(text.encode())
    arguments = [str(path), "--port", "x"]  # refused at the latest here, so that no server stays
    assert our_report(arguments) == their_report(tmp_path, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hz"],
        ["--foo", "bar"],
        ["--hz", "a", "b"],
        ["--hz x"],
        ["--hz 10", "--port", "0", "--foo bar"],
        ["--hz", "--hz"],
        ["--save", "--hz", "x"],
        ["--hz", "x", "--save"],
        ["--slaveof"],
        ["--dir"],
        ["--hz", ""],
        ["--hz", "a b\n\x01\"'\\"],
        ["--requirepass", "--hz", "--hz", "x"],
        ["--port", "0", "x"],
        ["--port", "0", "-x"],
        ["-"],
        ["-", "--hz", "x"],
        ["--hz", "10", "-"],
        ["--hz", "10", "-", "--port", "0"],
        ["--hz", "-"],
        ["ok.conf", "--hz", "x"],
        ["ok.conf", "-"],
        ["ok.conf", "--hz", "x", "-"],
        ["ok.conf", "bad"],
        ["--hz '1"],
        ["--save", "1", "2", "3"],
        ["--save", "", "--hz", "x"],
    ],
)
def test_a_broken_command_line_is_told_as_by_the_real_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    (tmp_path / "ok.conf").write_text("hz 20\n\ntimeout 5\n")
    monkeypatch.chdir(tmp_path)
    stdin = "timeout 6\nhz y\n"
    assert our_report(arguments, stdin) == their_report(tmp_path, arguments, stdin)


GOOD = [
    'save 1 2\nsave ""\n',
    'save 1 2\nsave ""\nsave 3 4',
    'save "1 2"\nsave 3 4 5 6',
    "save 1 2\nsave '\"\"'",
    "save 1 2\nsave \"''\"",
    "save 1 2\nsave '\"'",
    "save \" 1   '2' \"\nsave '\t3 4'",
    "save",
    "save 1 2\nsave",
    "hz 0",
    "hz 600",
    'bind "127.0.0.1 127.0.0.1"',
    "bind 127.0.0.1 -::1",
    "bind",
    'bind ""',
    "replicaof no one",
    "slaveof 127.0.0.1 5",
    'masterauth "a\\x01\\n\\"\\xff b"',
    "masterauth 'a\\n\\'b'",
    "masterauth a'b'",
    'MASTERAUTH a"b c"',
    "client-output-buffer-limit normal 1mb 2mb 3\nclient-output-buffer-limit pubsub 1 2 3",
    'client-output-buffer-limit "slave 1 2 3"',
    "shutdown-on-sigterm save now\nshutdown-on-sigint nosave force",
    "latency-tracking-info-percentiles\nlfu-log-factor 3",
    "unixsocketperm 0700\nslave-priority 5\nslave-priority 6",
    "include a*.conf\ntimeout 2\ninclude nothing*",
    "include a1.conf",
    "list-max-ziplist-entries 5\nlua-replicate-commands yes\nsentinel",
    "oom-score-adj-values 5 6 7\nproc-title-template '{title} {port}'",
    "user default on nopass ~* &* +@all",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_good_file_means_what_it_means_to_the_real_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "node.conf").write_text(text)
    (tmp_path / "a1.conf").write_text("timeout 7\nmaxclients 50\n")
    (tmp_path / "a2.conf").write_text("timeout 8\n")
    monkeypatch.chdir(tmp_path)
    peer = Peer(tmp_path, "node.conf")
    try:
        theirs = peer.get("*")
    finally:
        peer.close()
    ours = load("node.conf").get(["*"])
    for name in theirs.keys() & ours.keys() - {"port", "dir", "unixsocket"}:
        assert ours[name] == theirs[name], name


def test_an_error_in_an_included_file_counts_its_lines(tmp_path: Path) -> None:
    (tmp_path / "inner.conf").write_text("\n\nhz x\n")
    (tmp_path / "node.conf").write_text(f"timeout 1\ninclude {tmp_path}/inner.conf\nhz y\n")
    arguments = [str(tmp_path / "node.conf")]
    assert our_report(arguments) == their_report(tmp_path, arguments)


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.conf"
    path.write_text(f"include {path}\n")
    with pytest.raises(ConfigFileError, match=f"more than {INCLUDE_DEPTH_MAX} files deep"):
        load(str(path))


def test_an_unreadable_file_is_one_line() -> None:
    with pytest.raises(ConfigUnreadable) as caught:
        load("/nope/node.conf")
    reason = "Fatal error, can't open config file '/nope/node.conf': No such file or directory"
    assert caught.value.report() == f"{reason}\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("hz 10\ntls-ciphersuites x", 2, "'tls-ciphersuites' cannot be changed: .*: only its default '' is taken"),
        ("loadmodule /m.so", 1, "Hexad loads no modules"),
    ],
)
def test_what_is_to_come_stops_the_start(text: str, line: int, reason: str) -> None:
    with pytest.raises(ConfigFileError, match=reason) as caught:
        load(stdin=text)
    assert caught.value.line_number == line


def test_the_last_word_counts_even_for_what_is_to_come() -> None:
    assert load(stdin="maxmemory 1gb", options="maxmemory 0").maxmemory == 0


def test_sentinel_mode_takes_no_value() -> None:
    assert parse_command_line(["a.conf", "--sentinel", "--port", "5"]).options == 'sentinel \nport "5" '


@pytest.mark.parametrize(
    ("yaml", "conf"),
    [
        ("", ""),
        ("# nothing\n", ""),
        ("hz: 20\nrdbcompression: no\nappendonly: false\n", "hz 20\nrdbcompression no\nappendonly no"),
        ("save: ['60 1', '30 2']", "save 60 1\nsave 30 2"),
        ("save: [[60, 1], [30, 2]]", "save 60 1\nsave 30 2"),
        ("save: ''", 'save ""'),
        ("save: []", 'save ""'),
        ("save:", 'save ""'),
        ("save: 60 1 30 2", "save 60 1 30 2"),
        ("bind: [127.0.0.1, -::1]", "bind 127.0.0.1 -::1"),
        ("bind: 127.0.0.1 -::1", "bind 127.0.0.1 -::1"),
        ("replicaof: [h, 5]", "replicaof h 5"),
        ("slaveof: h 5", "replicaof h 5"),
        ('masterauth: "a b\\n"', 'masterauth "a b\\n"'),
        ("masterauth: 'it''s \"'", 'masterauth "it\'s \\""'),
        ("shutdown-on-sigterm: [save, now]", "shutdown-on-sigterm save now"),
        (
            "client-output-buffer-limit:\n  - normal 1 2 3\n  - pubsub 4 5 6",
            "client-output-buffer-limit normal 1 2 3 pubsub 4 5 6",
        ),
        ("unixsocketperm: 0700", "unixsocketperm 700"),
        (
            "cluster-announce-network: ['in ::/0 n1', 'out 0.0.0.0/0 h:1']",
            "cluster-announce-network in ::/0 n1\ncluster-announce-network out 0.0.0.0/0 h:1",
        ),
    ],
)
def test_yaml_says_the_same(tmp_path: Path, yaml: str, conf: str) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(yaml)
    assert load(str(path)).get(["*"]) == load(stdin=conf).get(["*"])


@pytest.mark.parametrize(
    ("yaml", "line", "reason"),
    [
        ("hz: 10\nfoo: 1", 2, "Bad directive or wrong number of arguments"),
        ("hz: [1, 2]", 1, "wrong number of arguments"),
        ("hz: {a: b}", 1, "YAML: the value of 'hz' must be a scalar or a list of scalars"),
        ("- hz", 1, "YAML: a mapping of directives to values is expected"),
        ("hz: 10\nhz: 11", 2, "YAML: 'hz' appears twice: give a list instead"),
        ("hz: 10\nsave:\n  - 60 1\n  - x y", 4, "Invalid save parameters"),
        ("hz: 1\nbind: [a", 2, "YAML: "),
        ("hz: 1\n\tbind: a", 2, "YAML: "),
        ("? [a]\n: b", 1, "YAML: the name of a directive is expected"),
        ("bind: 'a \"b'", 1, "Unbalanced quotes in configuration line"),
        ("hz: 1\n", 4, "argument couldn't be parsed into an integer"),
    ],
)
def test_yaml_errors_name_the_line(tmp_path: Path, yaml: str, line: int, reason: str) -> None:
    path = tmp_path / "node.yml"
    path.write_text(yaml)
    with pytest.raises(ConfigFileError) as caught:
        load(str(path), options="hz x")
    assert caught.value.reason.startswith(reason)
    assert caught.value.line_number == line


def test_quoting_comes_back() -> None:
    for word in ("", "a b", "it's", '"\\', "\n\r\t\a\b\x00\x7f", "é", "\udcff\udc80"):
        assert split_words(f"x {quote(word)}") == ["x", word]
    for line in ('"', "'", '"a"b', "'a'b", 'a"', '"\\"', "'\\'"):
        with pytest.raises(UnbalancedQuotes):
            split_words(line)


def test_command_line_without_arguments() -> None:
    assert parse_command_line([]) == (None, False, None)
    assert load().get(["*"]) == Config().get(["*"])


@given(st.binary().map(lambda data: data.decode(errors="surrogateescape")))
def test_any_word_can_be_quoted(word: str) -> None:
    assert split_words(f"masterauth {quote(word)}") == ["masterauth", word]


@given(
    st.lists(st.sampled_from([*DIRECTIVES, "include", "user", " ", "\n", '"', "'", "\\x", "1", "-1", "gb", "%", "\0"]))
)
def test_any_text_is_read_or_refused(pieces: list[str]) -> None:
    def nothing(_path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    with contextlib.suppress(ConfigFileError):
        Config.load(stdin=" ".join(pieces), read_file=nothing, find_files=lambda _pattern: [])


NETWORKS = (
    "cluster-announce-network in 10.0.0.0/8,fd00::/8 n1\n"
    "cluster-announce-network out ::/0,port:7443 [2001:db8::1]:7001\n"
)


def test_several_lines_of_networks_are_kept_in_order_rewritten_and_set() -> None:
    config = load(stdin=NETWORKS)
    assert config.text("cluster-announce-network") == "in 10.0.0.0/8,fd00::/8 n1 out ::/0,port:7443 [2001:db8::1]:7001"
    assert config.cluster_announce_network[1].reached_at == ("2001:db8::1", 7001, 0)
    assert config.rewrite("").splitlines()[1:3] == NETWORKS.splitlines()
    config.set([("cluster-announce-network", "out 0.0.0.0/0 h:1:2")])
    assert config.rewrite(NETWORKS).splitlines()[0] == "cluster-announce-network out 0.0.0.0/0 h:1:2"
    config.set([("cluster-announce-network", "")])
    assert "cluster-announce-network" not in config.rewrite(NETWORKS)
    assert load(stdin=NETWORKS + 'cluster-announce-network ""\n').cluster_announce_network == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a 10.0.0.0/8", "a name, its clients and an address are expected"),
        ("a/b 10.0.0.0/8 h", "'a/b' is no name of a network"),
        ("a 10.0.0.1/8 h", "'10.0.0.1/8' names no clients"),
        ("a port:0 h", "'port:0' names no clients"),
        ("a port:000001 h", "'port:000001' names no clients"),
        ("a at:nowhere h", "'at:nowhere' names no clients"),
        ("a ::/0 h:", "'h:' is no address"),
        ("a ::/0 h:65536", "'h:65536' is no address"),
        ("a ::/0 fd00::1", "'fd00::1' is no address"),
        ("a ::/0 h a 0.0.0.0/0 i", "network 'a' has two addresses"),
        (" ".join(f"n{n} ::/0 h" for n in range(17)), "at most 16 networks"),
    ],
)
def test_networks_that_are_none_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigSetError, match=reason):
        Config().set([("cluster-announce-network", text)])
    with pytest.raises(ConfigFileError, match=reason):
        load(stdin=f"cluster-announce-network {text}\n")
