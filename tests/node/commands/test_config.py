"""CONFIG over the wire, beside a real server; what the values mean is tested with node.config."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import HexadServer, RedisServer, Wire
from tests.support.ports import free_port
from tests.support.wire import ReplyError

Both = tuple[Wire, Wire]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with RedisServer() as theirs, HexadServer() as ours, theirs.wire() as their_wire, ours.wire() as our_wire:
        yield their_wire, our_wire


@pytest.mark.parametrize(
    "words",
    [
        ("CONFIG",),
        ("CONFIG", "NOSUCH"),
        ("CONFIG", "GET"),
        ("CONFIG", "SET", "timeout"),
        ("CONFIG", "SET", "timeout", "1", "hz"),
        ("CONFIG", "RESETSTAT", "x"),
        ("CONFIG", "REWRITE", "x"),
        ("CONFIG", "REWRITE"),
        ("CONFIG", "HELP", "x"),
        ("CONFIG", "GET", "maxmemory"),
        ("CONFIG", "GET", "SLAVE-*"),
        ("CONFIG", "GET", "hz", "tcp-*", "nosuch", "h[xyz]"),
        ("CONFIG", "GET", ""),
        ("CONFIG", "SET", "hz", "50", "timeout", "7"),
        ("CONFIG", "GET", "hz", "timeout"),
        ("CONFIG", "SET", "hz", "20", "timeout", "-1"),
        ("CONFIG", "GET", "hz", "timeout"),
        ("CONFIG", "SET", "databases", "3"),
        ("CONFIG", "SET", "dir", "/tmp"),
        ("CONFIG", "SET", "nosuch", "3"),
        ("CONFIG", "SET", "hz", "3", "hz", "4"),
        ("CONFIG", "SET", "hz", "10", "timeout", "0"),
        ("CONFIG", "RESETSTAT"),
    ],
)
def test_replies_are_those_of_a_real_server(both: Both, words: tuple[str, ...]) -> None:
    theirs, ours = both
    assert ours(*words) == theirs(*words)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    options = {"enable_protected_configs": "yes"}
    with RedisServer(**options) as theirs, HexadServer(**options) as ours:
        with theirs.wire() as their_wire, ours.wire() as our_wire:
            for path in ("/no/such/directory", str(tmp_path), "/dev/null"):
                assert our_wire("CONFIG", "SET", "dir", path) == their_wire("CONFIG", "SET", "dir", path)
            assert our_wire("CONFIG", "GET", "dir") == [b"dir", str(tmp_path).encode()]


def test_rewrite_as_a_real_server(tmp_path: Path) -> None:
    texts = []
    for kind in (RedisServer, HexadServer):
        path = tmp_path / f"{kind.__name__}.conf"
        path.write_text("# mine\ntimeout 5 \n\n# no more\nhz 20\nsave 900 1\n")
        port = free_port()
        with kind(str(path), port=port) as server, server.wire() as wire:
            assert wire("CONFIG", "SET", "timeout", "9", "maxclients", "500") == "OK"
            assert wire("CONFIG", "REWRITE") == "OK"
            server.wait_for_log("CONFIG REWRITE executed with success")
            text = path.read_text().replace(str(port), "PORT").replace(str(server.directory), "DIR")
            texts.append(text)
    assert texts[1] == texts[0]
    assert "timeout 9" in texts[1] and "maxclients 500" in texts[1]


def test_a_rewritten_file_starts_again(hexad_server: Callable[..., HexadServer], tmp_path: Path) -> None:
    path = tmp_path / "node.conf"
    path.write_text("")
    server = hexad_server(str(path))
    with server.wire() as wire:
        wire("CONFIG", "SET", "proto-max-bulk-len", "2mb")
        assert wire("CONFIG", "REWRITE") == "OK"
        assert wire.info("server")["config_file"] == str(path)
    server.restart()
    with server.wire() as wire:
        assert wire("CONFIG", "GET", "proto-max-bulk-len") == [b"proto-max-bulk-len", b"2097152"]


def test_a_file_that_cannot_be_rewritten(hexad_server: Callable[..., HexadServer], tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    path = folder / "node.conf"
    path.write_text("hz 20\n")
    with hexad_server(str(path)).wire() as wire:
        path.unlink()
        folder.rmdir()
        assert wire("CONFIG", "REWRITE") == ReplyError("ERR Rewriting config file: No such file or directory")


def test_another_port_and_other_addresses(hexad_server: Callable[..., HexadServer]) -> None:
    server, taken = hexad_server(), hexad_server()
    with server.wire() as wire:
        port = free_port()
        assert wire("CONFIG", "SET", "port", str(port)) == "OK"
        with Wire(port) as moved, pytest.raises(OSError):
            assert moved("PING") == "PONG"
            Wire(server.port)
        refusal = wire("CONFIG", "SET", "port", str(taken.port))
        assert refusal == ReplyError(
            "ERR CONFIG SET failed (possibly related to argument 'port') - "
            "Unable to listen on this port. Check server logs."
        )
        assert wire("CONFIG", "SET", "bind", "127.0.0.2 -192.0.2.1") == "OK"
        with Wire(port, "127.0.0.2") as moved, pytest.raises(OSError):
            assert moved("PING") == "PONG"
            Wire(port)
        assert wire("CONFIG", "SET", "bind", "192.0.2.1") == ReplyError(
            "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses."
        )
        with Wire(port, "127.0.0.2") as moved:
            assert moved("PING") == "PONG"
        assert wire("PING") == "PONG"


def test_log_level_and_clients(hexad_server: Callable[..., HexadServer]) -> None:
    server = hexad_server(enable_debug_command="yes")
    with server.wire() as wire:
        assert wire("CONFIG", "SET", "loglevel", "nothing") == "OK"
        assert wire("DEBUG", "LOG", "unheard") == "OK"
        assert wire("CONFIG", "SET", "loglevel", "notice") == "OK"
        assert wire("DEBUG", "LOG", "heard") == "OK"
        server.wait_for_log("# DEBUG LOG: heard")
        assert "unheard" not in server.log()
        assert "The operating system is not able to handle" in wire("CONFIG", "SET", "maxclients", "4000000000").text
        assert wire("CONFIG", "GET", "maxclients") == [b"maxclients", b"10000"]
