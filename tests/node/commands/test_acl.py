"""ACL and all that follows users: sessions, transactions, files, the start, clients and replicas of other make."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from node.acl.users import hashed
from node.app import build, every_spec
from node.config import Config, ConfigFileError
from node.guards import refusal_in_script
from node.log import Log
from node.obeying import obey
from node.program import LineChecks
from node.server import CannotStart
from node.table import ANY, RIGHTS
from tests.support import HexadServer, RedisServer, ReplyError, Wire, wait_until
from tests.support.local import LocalClient, LocalNode, StillPlatform

TIMEOUT_S = 15


@pytest.fixture
def node() -> LocalNode:
    return LocalNode()


@pytest.fixture
def admin(node: LocalNode) -> LocalClient:
    return node.client()


def logged_in(node: LocalNode, *rules: str) -> LocalClient:
    """A client of a new user `u` with these rules."""
    assert node.client().raw("ACL", "SETUSER", "u", "on", ">p", *rules) == b"+OK\r\n"
    client = node.client()
    assert client.raw("AUTH", "u", "p") == b"+OK\r\n"
    return client


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_only_who_may_not_do_everything_is_looked_at(node: LocalNode, admin: LocalClient) -> None:
    assert not admin.session.gates & (ANY | RIGHTS)
    client = logged_in(node, "allkeys", "allchannels", "+@all")
    assert not client.session.gates & (ANY | RIGHTS)
    admin.raw("ACL", "SETUSER", "u", "-get")
    assert client.session.gates & (ANY | RIGHTS)
    assert client.raw("GET", "k") == b"-NOPERM User u has no permissions to run the 'get' command\r\n"
    admin.raw("ACL", "SETUSER", "u", "+get")
    assert client.session.gates & (ANY | RIGHTS)  # as in Redis, there may be commands that the rules do not know
    admin.raw("ACL", "SETUSER", "u", "+@all")
    assert not client.session.gates & (ANY | RIGHTS)
    assert client.raw("GET", "k") == b"$-1\r\n"


def test_refusals_count_and_are_logged(node: LocalNode, admin: LocalClient) -> None:
    client = logged_in(node, "~a*", "+get", "+info")
    assert client.raw("GET", "b") == b"-NOPERM No permissions to access a key\r\n"
    client.raw("GET", "b")
    client.raw("SET", "a", "1")
    client.raw("AUTH", "u", "wrong")
    node.pass_ms(1500)
    info = client.raw("INFO", "stats").decode()
    for field in ("auth:1", "cmd:1", "key:2", "channel:0"):
        assert f"acl_access_denied_{field}\r\n" in info
    commands = client.raw("INFO", "commandstats").decode()
    assert "cmdstat_get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=2,failed_calls=0" in commands
    admin.session.resp3 = True
    entries = admin.raw("ACL", "LOG").decode()
    assert entries.startswith("*3\r\n%10\r\n$5\r\ncount\r\n:1\r\n$6\r\nreason\r\n$4\r\nauth\r\n$7\r\ncontext\r\n")
    assert "$11\r\nage-seconds\r\n,1.5\r\n" in entries and "cmd=get user=u" in entries
    assert "$8\r\nentry-id\r\n:0\r\n" in entries
    assert entries.count("timestamp-created\r\n:1800000000000\r\n$22\r\ntimestamp-last-updated\r\n:1800000000000") == 3
    assert admin.raw("ACL", "LOG", "1").startswith(b"*1\r\n")
    assert admin.raw("ACL", "LOG", "reset") == b"+OK\r\n"
    assert admin.raw("ACL", "LOG") == b"*0\r\n"


def test_hello_logs_in_and_its_failures_are_told_by_its_name(node: LocalNode, admin: LocalClient) -> None:
    admin.raw("ACL", "SETUSER", "u", "on", ">p", "+@all")
    client = node.client()
    assert client.raw("hello", "3", "AUTH", "u", "x").startswith(b"-WRONGPASS")
    assert node.server.access.log.entries[0].what[:3] == ("auth", "toplevel", b"hello")
    assert client.raw("HELLO", "3", "AUTH", "u", "p").startswith(b"%7")
    assert client.raw("ACL", "WHOAMI") == b"$1\r\nu\r\n"
    assert client.raw("RESET") == b"+RESET\r\n"
    assert client.raw("ACL", "WHOAMI") == b"$7\r\ndefault\r\n"


def test_deleted_users_lose_their_connections(node: LocalNode, admin: LocalClient) -> None:
    client = logged_in(node, "+@all")
    me = logged_in(node)
    assert admin.raw("ACL", "DELUSER", "default", "u").startswith(b"-ERR The 'default' user cannot be removed")
    assert client.raw("ACL", "DELUSER", "nope", "u") == b":1\r\n"  # one reads its reply before it goes
    assert client.session.closing and me.session.closing
    assert client.session.user == b"default" and not client.session.authenticated


def test_exec_asks_again(node: LocalNode, admin: LocalClient) -> None:
    client = logged_in(node, "~*", "+multi", "+exec", "+set", "+get", "&*")
    for words in (["MULTI"], ["SET", "k", "1"], ["GET", "k"], ["SET", "k", "2"]):
        client.raw(*words)
    admin.raw("ACL", "SETUSER", "u", "-get")
    text = (
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command "
        "is no longer allowed for the following reason: no permission to execute the command or subcommand"
    )
    assert client.raw("EXEC").decode() == f"*3\r\n+OK\r\n-{text}\r\n+OK\r\n"
    assert admin.raw("GET", "k") == b"$1\r\n2\r\n"
    assert node.server.access.log.entries[0].what[:3] == ("command", "multi", b"get")


def test_a_command_that_waited_is_asked_for_its_permission_again(node: LocalNode, admin: LocalClient) -> None:
    client = logged_in(node, "~l", "+blpop")
    assert client.raw("BLPOP", "l", "0") == b""
    admin.raw("ACL", "SETUSER", "u", "resetkeys")
    assert admin.raw("LPUSH", "l", "v") == b":1\r\n"
    assert client.raw("PING").startswith(b"-NOPERM No permissions to access a key\r\n-NOPERM User u has no permissions")
    assert admin.raw("LLEN", "l") == b":1\r\n"


def test_who_waits_for_entries_is_asked_again(node: LocalNode, admin: LocalClient) -> None:
    client = logged_in(node, "~s", "+xread")
    assert client.raw("XREAD", "BLOCK", "0", "STREAMS", "s", "$") == b""
    admin.raw("ACL", "SETUSER", "u", "-xread")
    admin.raw("XADD", "s", "1-1", "f", "v")
    assert bytes(client.session.out) == b"-NOPERM User u has no permissions to run the 'xread' command\r\n"
    xread = node.server.commands.find(b"xread")
    assert xread is not None and (xread.calls, xread.rejected, xread.failed) == (0, 1, 0)


def test_a_script_is_refused_what_its_user_is(node: LocalNode, admin: LocalClient) -> None:
    client = logged_in(node, "~a", "+get")
    access, found = node.server.access, node.server.commands.find(b"get")
    assert found is not None
    assert refusal_in_script(client.session, found, [b"GET", b"a"]) is None
    refusal = refusal_in_script(client.session, found, [b"GET", b"b"])
    assert refusal == b"NOPERM ACL failure in script: No permissions to access a key"
    assert access.log.entries[0].what == ("key", "lua", b"b", b"u") and len(access.log.entries) == 1
    assert access.denial(client.session, found, [b"GET", b"c"]) == ("key", 1)
    assert len(access.log.entries) == 1  # asking is no attempt


def test_channels(node: LocalNode, admin: LocalClient) -> None:
    client = logged_in(node, "&n*", "+@all", "~*")
    no = b"-NOPERM No permissions to access a channel\r\n"
    for words in ("SUBSCRIBE news x", "PSUBSCRIBE ne*", "SSUBSCRIBE x", "PUBLISH x m", "SPUBLISH x m"):
        assert client.raw(*words.split()) == no, words
    assert client.raw("PUBLISH", "news", "m") == client.raw("SPUBLISH", "news", "m") == b":0\r\n"
    assert client.raw("UNSUBSCRIBE", "x").endswith(b"$1\r\nx\r\n:0\r\n")
    assert node.server.access.log.entries[0].what == ("channel", "toplevel", b"x", b"u")
    assert client.raw("PSUBSCRIBE", "n*").endswith(b"$2\r\nn*\r\n:1\r\n")
    assert client.raw("SUBSCRIBE", "x") == no


def test_who_listens_to_what_it_may_not_hear_any_more_is_cut_off(node: LocalNode, admin: LocalClient) -> None:
    lines = {"channel": "SUBSCRIBE news", "pattern": "PSUBSCRIBE n*", "shard": "SSUBSCRIBE news", "nothing": "PING"}
    clients = {name: logged_in(node, "&n*", "+@all") for name in lines}
    for name, line in lines.items():
        assert not clients[name].raw(*line.split()).startswith(b"-"), line

    def closing() -> list[str]:
        return [name for name, client in clients.items() if client.session.closing]

    admin.raw("ACL", "SETUSER", "u", "&other")
    admin.raw("ACL", "SETUSER", "u", "resetchannels", "&n*")
    assert closing() == []
    admin.raw("ACL", "SETUSER", "u", "resetchannels", "&ne*")
    assert closing() == ["pattern"]
    admin.raw("ACL", "SETUSER", "u", "resetchannels")
    assert closing() == ["channel", "pattern", "shard"]


def test_requirepass_is_the_default_users_password() -> None:
    node = LocalNode(requirepass="sesame")
    client = node.client()
    assert client.raw("PING") == b"-NOAUTH Authentication required.\r\n"
    assert client.raw("AUTH", "sesame") == b"+OK\r\n"
    assert b"#" + hashed(b"sesame") in client.raw("ACL", "LIST")
    stranger = node.client()
    client.raw("ACL", "SETUSER", "default", ">other")
    assert stranger.raw("AUTH", "other") == b"+OK\r\n"
    stranger = node.client()
    client.raw("CONFIG", "SET", "requirepass", "")
    assert stranger.raw("PING") == b"+PONG\r\n"  # who has shown nothing is in as long as nothing is asked for
    client.raw("CONFIG", "SET", "requirepass", "new")
    assert stranger.raw("PING").startswith(b"-NOAUTH") and client.raw("PING") == b"+PONG\r\n"
    client.raw("ACL", "SETUSER", "default", "nopass", "off")
    assert node.client().raw("PING").startswith(b"-NOAUTH")
    assert node.client().raw("AUTH", "default", "new").startswith(b"-WRONGPASS")


def test_protected_mode_looks_at_the_default_user(node: LocalNode, admin: LocalClient) -> None:
    clients = node.server.clients
    assert clients.refusal("10.0.0.1:5", is_unix=False)
    admin.raw("ACL", "SETUSER", "default", ">p")
    assert clients.refusal("10.0.0.1:5", is_unix=False) is None
    admin.raw("ACL", "SETUSER", "default", "nopass")
    assert clients.refusal("10.0.0.1:5", is_unix=False)


def test_client_kill_by_user(node: LocalNode, admin: LocalClient) -> None:
    client = logged_in(node)
    assert admin.raw("CLIENT", "KILL", "USER", "nobody") == b"-ERR No such user 'nobody'\r\n"
    assert admin.raw("CLIENT", "KILL", "USER", "u") == b":1\r\n"
    assert client.session.closing


def test_bad_calls(admin: LocalClient) -> None:
    bits = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
    for words, error in (
        ("SETUSER a\tb on", "ERR Usernames can't contain spaces or null characters"),
        ("GENPASS 0", bits),
        ("GENPASS 4097", bits),
        ("GENPASS x", "ERR value is not an integer or out of range"),
        ("CAT nope", "ERR Unknown category 'nope'"),
        ("CAT a b", "ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP."),
        ("LOG 1 2", "ERR unknown subcommand or wrong number of arguments for 'LOG'. Try ACL HELP."),
        ("DRYRUN nope get k", "ERR User 'nope' not found"),
        ("DRYRUN default nope k", "ERR Command 'nope' not found"),
        ("DRYRUN default config nope", "ERR Command 'config' not found"),
        ("DRYRUN default get", "ERR wrong number of arguments for 'get' command"),
        ("NOPE", "ERR unknown subcommand 'NOPE'. Try ACL HELP."),
    ):
        assert admin.raw("ACL", *words.split(" ")).decode() == f"-{error}\r\n"
    for words in ("LOAD", "SAVE"):
        assert admin.raw("ACL", words).startswith(b"-ERR This Redis instance is not configured to use an ACL file.")
    assert [len(admin.raw("ACL", "GENPASS", *bits)) for bits in ((), ("5",), ("4096",))] == [71, 8, 1033]


# --- renamed commands -------------------------------------------------------------------------------------------------


def configured(text: str) -> Config:
    def no_file(path: str) -> str:
        raise FileNotFoundError(path)

    lines = LineChecks(every_spec)
    checks = {"user": lines.check_user, "rename-command": lines.rename_command}
    return Config.load(stdin=text, read_file=no_file, find_files=lambda _: [], checks=checks)


def built(text: str, **options: str) -> LocalNode:
    node = LocalNode.__new__(LocalNode)
    node.platform = StillPlatform()
    config = configured("save ''\n" + text)
    for name, value in options.items():
        config.put(name, value)
    node.server = build(node.platform, config, Log(node.platform, lambda _text: None))
    node.keyspace = node.server.keyspace
    return node


def test_a_renamed_command_keeps_its_name_in_rules() -> None:
    node = built(
        "rename-command get Fetch\nrename-command debug ''\nrename-command config cfg\nuser u on nopass ~* +get"
    )
    client, admin = node.client(), node.client()
    client.raw("AUTH", "u", "")
    assert client.raw("fetch", "k") == client.raw("FETCH", "k") == client.raw("fEtCh", "k") == b"$-1\r\n"
    assert client.raw("GET", "k").startswith(b"-ERR unknown command 'GET'")
    assert client.raw("CFG", "GET", "x") == b"-NOPERM User u has no permissions to run the 'config|get' command\r\n"
    assert admin.raw("DEBUG", "JMAP").startswith(b"-ERR unknown command")
    assert admin.raw("CFG", "NOPE") == b"-ERR unknown subcommand 'NOPE'. Try CFG HELP.\r\n"
    assert admin.raw("ACL", "SETUSER", "v", "+fetch").startswith(b"-ERR Error in ACL SETUSER modifier '+fetch'")
    assert admin.raw("COMMAND", "INFO", "get") == b"*1\r\n$-1\r\n"
    assert admin.raw("COMMAND", "DOCS", "fetch").startswith(b"*2\r\n$3\r\nget\r\n")
    assert b"$5\r\ndebug" not in admin.raw("COMMAND", "LIST")


def test_a_primarys_stream_may_use_the_old_name() -> None:
    node = built("rename-command set put\nrename-command client ''")
    client = node.client()
    for words in ([b"SET", b"k", b"v"], [b"put", b"l", b"v"], [b"SET"], [b"CLIENT"], [b"CLIENT", b"NOPE"]):
        obey(client.session, words)
    assert client.raw("MGET", "k", "l") == b"*2\r\n$1\r\nv\r\n$1\r\nv\r\n"
    assert client.raw("SET", "k", "v").startswith(b"-ERR unknown command")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rename-command nope x", "No such command in rename-command"),
        ("rename-command get set", "Target command name already exists"),
        ("rename-command get", "Bad directive or wrong number of arguments"),
        ("user", "Bad directive or wrong number of arguments"),
        ("user ann foo", "Error in user declaration 'ann': Syntax error"),
        ("user ann (+get ~x", "Error in user declaration '(+get': Unmatched parenthesis in selector"),
        (
            "user ann on\nuser ann off",
            "Error in user declaration 'ann': Duplicate user found. A user can only be defined once in config files",
        ),
    ],
)
def test_bad_lines_stop_the_start(text: str, reason: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        configured(text)
    assert caught.value.reason == reason and caught.value.line_number == text.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("user ann +nope", "Critical error while loading ACLs. Exiting."),
        ('user "a n" on', "Critical error while loading ACLs. Exiting."),
        (
            "user ann on\naclfile users.acl",
            "Configuring Redis with users defined in redis.conf and at the same setting ",
        ),
        (
            "aclfile nope.acl",
            "Aborting Redis startup because of ACL errors: Error loading ACLs, opening file 'nope.acl'",
        ),
    ],
)
def test_bad_users_stop_the_start(text: str, reason: str) -> None:
    with pytest.raises(CannotStart) as caught:
        built(text)
    assert str(caught.value).startswith(reason)


def test_users_of_the_configuration(tmp_path: Path) -> None:
    node = built("requirepass x\nuser default on nopass ~* &* +@all\nuser ann on (~x +get ) '~a\"b'\n")
    admin = node.client()
    assert admin.raw("PING") == b"+PONG\r\n"  # what the line says counts for more than requirepass
    text = node.server.config.rewrite("")
    assert 'user ann on sanitize-payload "~a\\"b" resetchannels -@all (~x resetchannels -@all +get)\n' in text
    again = built(text)
    assert again.client().raw("ACL", "LIST") == admin.raw("ACL", "LIST")


# --- files, and programs of other make --------------------------------------------------------------------------------

USERS = "user ann on nopass ~a* resetchannels -@all +get\nuser bob on >b ~* &* +@all -flushall (~x +set)\n"


def test_files_go_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "acl" / "users.acl"
    path.parent.mkdir()
    path.write_text(USERS)
    with RedisServer(aclfile=str(path)) as theirs:
        with Wire(theirs.port) as wire:
            assert wire("ACL", "SAVE") == "OK"
            their_lines = wire("ACL", "LIST")
        saved = path.read_bytes()
        with (
            HexadServer(aclfile=str(path)) as ours,
            Wire(ours.port) as wire,
            Wire(theirs.port) as other,
        ):
            lines = wire("ACL", "LIST")
            assert [line.replace(b" sanitize-payload", b"") for line in lines] == their_lines
            assert wire("ACL", "SETUSER", "cid", "on", "%R~c*", "+@read", "-get", "(&d +echo)") == "OK"
            assert wire("ACL", "SAVE") == "OK"
            assert path.read_bytes() != saved
            assert other("ACL", "LOAD") == "OK"
            expected = [
                b"user cid on sanitize-payload %R~c* resetchannels -@all +@read -get (resetchannels &d -@all +echo)"
            ]
            assert [line for line in other("ACL", "LIST") if b"cid" in line] == expected
            check_load(wire, ours.port, path)


def check_load(admin: Wire, port: int, path: Path) -> None:
    """LOAD is all or nothing, and ends the connections of users that are gone or may not hear what they listen to."""
    with Wire(port) as bob, Wire(port) as listener, Wire(port) as ann:
        for wire in (bob, listener):
            assert wire("AUTH", "bob", "b") == "OK"
        assert ann("AUTH", "ann", "x") == "OK" and listener("SUBSCRIBE", "news")
        before = admin("ACL", "LIST")
        good = path.read_text()
        path.write_text(good + "user x foo\n")
        error = admin("ACL", "LOAD")
        assert isinstance(error, ReplyError) and error.text.startswith(
            f"ERR {path}:5: Syntax error. WARNING: ACL errors"
        )
        assert admin("ACL", "LIST") == before and bob("PING") == "PONG"
        path.write_text("user bob on nopass +@all\n")
        assert bob("ACL", "LOAD") == "OK"
        assert listener.is_closed() and ann.is_closed()
        assert bob("GET", "x") == ReplyError("NOPERM No permissions to access a key")
        assert admin("ACL", "USERS") == [b"bob", b"default"]
        path.parent.rename(path.parent.with_name("gone"))
        error = admin("ACL", "SAVE")
        assert isinstance(error, ReplyError) and error.text.startswith(
            "ERR There was an error trying to save the ACLs."
        )


@pytest.fixture(scope="module")
def server() -> Iterator[HexadServer]:
    with HexadServer() as server, server.wire() as wire:
        assert wire("ACL", "SETUSER", "ann", "on", ">secret", "~a*", "+get", "+set", "+ping", "+acl|whoami") == "OK"
        yield server


def test_redis_cli(server: HexadServer) -> None:
    command = ["redis-cli", "-p", str(server.port), "--user", "ann", "--pass", "secret", "--no-auth-warning"]
    assert subprocess.run([*command, "ACL", "WHOAMI"], capture_output=True, timeout=20, text=True).stdout == "ann\n"
    shown = subprocess.run([*command, "GET", "b"], capture_output=True, timeout=20, text=True).stdout
    assert shown == "NOPERM No permissions to access a key\n\n"


def test_redis_py(server: HexadServer) -> None:
    with redis.Redis(port=server.port, username="ann", password="secret", decode_responses=True) as client:
        assert client.set("a1", "v") and client.get("a1") == "v" and client.acl_whoami() == "ann"
        with pytest.raises(redis.exceptions.NoPermissionError, match="No permissions to access a key"):
            client.get("b")
    with redis.Redis(port=server.port, username="ann", password="wrong") as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            client.ping()
    with redis.Redis(port=server.port, decode_responses=True) as client:
        assert client.acl_setuser("kim", enabled=True, nopass=True, commands=["+@read"], keys=["k*"], channels=["c"])
        user = client.acl_getuser("kim")
        assert user["flags"] == ["on", "nopass", "sanitize-payload"] and user["categories"] == ["-@all", "+@read"]
        assert user["keys"] == ["~k*"] and user["channels"] == ["&c"] and user["enabled"]
        assert {"ann", "default", "kim"} == set(client.acl_users()) and client.acl_dryrun("kim", "get", "k")
        assert "User kim has no permissions to access the 'x' key" in client.acl_dryrun("kim", "get", "x")
        assert client.acl_log()[0]["username"] in ("ann", "kim") and len(client.acl_genpass()) == 64
        assert client.acl_deluser("kim") == 1 and client.acl_getuser("kim") is None


@pytest.mark.parametrize(("primary", "replica"), [(HexadServer, RedisServer), (RedisServer, HexadServer)])
def test_a_replica_with_a_user_of_its_own(
    tmp_path: Path, primary: type[HexadServer], replica: type[HexadServer]
) -> None:
    (tmp_path / "users.acl").write_text(
        "user rep on >r +psync +replconf +ping\nuser ann on >a ~* +@all\nuser default off\n"
    )
    with (
        primary(aclfile=str(tmp_path / "users.acl"), repl_diskless_sync_delay=0) as one,
        replica(replicaof=["127.0.0.1", str(one.port)], masteruser="rep", masterauth="r") as two,
        Wire(one.port) as writer,
        Wire(two.port) as reader,
    ):
        assert writer("AUTH", "ann", "a") == "OK" and writer("SET", "k", "v") == "OK"
        wait_until(lambda: reader("GET", "k") == b"v", TIMEOUT_S, "the key is there")
        assert writer("LPUSH", "l", "1") == 1
        wait_until(lambda: reader("LRANGE", "l", 0, -1) == [b"1"], TIMEOUT_S, "and what comes later")
        assert b"user=(superuser)" in reader("CLIENT", "LIST")
