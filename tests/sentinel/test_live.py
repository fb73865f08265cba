"""Sentinels as processes: ours, genuine ones and mixed sets, over servers of either kind.

A killed primary must be replaced within down-after and three seconds, clients that ask Sentinels go on, and the old
primary comes back as a replica. Two rounds of each combination in CI; `make proof` runs ten beside genuine ones.
"""

from __future__ import annotations

import contextlib
import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import redis.sentinel

from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.sentinels import HexadSentinel, RedisSentinel, SentinelServer, Watched
from tests.support.servers import HexadServer, RedisServer, Server
from tests.support.waiting import wait_until
from tests.support.wire import ReplyError

DOWN_AFTER_MS = 1000
BOUND_S = DOWN_AFTER_MS / 1000 + 3
BACK_TIMEOUT_S = 40.0

SETS: dict[str, list[type[SentinelServer]]] = {
    "ours": [HexadSentinel] * 3,
    "genuine": [RedisSentinel] * 3,
    "mixed": [HexadSentinel, RedisSentinel, HexadSentinel],
}
SERVERS: dict[str, list[type[Server]]] = {
    "hexad": [HexadServer] * 3,
    "redis": [RedisServer] * 3,
}


def fail_over(group: Watched) -> float:
    """Kill the primary; the seconds until all Sentinels name another that is one."""
    port = group.agreed_port()
    old = group.server_at(port)
    old.kill()
    started = time.perf_counter()
    group.wait_for_new_primary(port, 30)
    taken_s = time.perf_counter() - started
    old.start(wait=False)
    return taken_s


def back_as_replica(group: Watched, port: int) -> None:
    """The old primary follows the new one with its data, and the Sentinels find everybody well."""

    def is_replica() -> bool:
        with group.server_at(port).wire(timeout_s=5) as wire:
            info = wire.info("replication")
        return info["role"] == "slave" and info["master_link_status"] == "up"

    wait_until(is_replica, BACK_TIMEOUT_S, "the old primary is a replica")
    wait_until(group.is_settled, BACK_TIMEOUT_S, "the Sentinels find everybody well")


def write_through(client: redis.Redis, value: int, timeout_s: float) -> None:
    """Write as a client does that tries again."""
    deadline = time.perf_counter() + timeout_s
    while True:
        try:
            client.set("key", value)
            return
        except redis.RedisError:
            if time.perf_counter() > deadline:
                raise
            time.sleep(0.02)


def test_a_mixed_set_replaces_a_killed_primary_and_clients_go_on() -> None:
    with Watched([HexadServer, RedisServer, HexadServer], SETS["mixed"], repl_diskless_sync_delay="0") as group:
        hosts = [("127.0.0.1", sentinel.port) for sentinel in group.sentinels]
        finder = redis.sentinel.Sentinel(hosts, socket_timeout=1)
        client = finder.master_for("mymaster", socket_timeout=1)
        client.set("key", 1)
        assert finder.discover_slaves("mymaster")
        assert fail_over(group) < BOUND_S
        write_through(client, 2, 5)
        assert client.get("key") == b"2"
        assert finder.discover_master("mymaster")[1] == group.agreed_port()


@pytest.mark.long
@pytest.mark.parametrize("servers", SERVERS)
def test_every_set_over_every_server(servers: str) -> None:
    """All sets at the same time: most of it is waiting."""

    def replace_twice(sentinels: str) -> None:
        group = Watched(SERVERS[servers], SETS[sentinels], failover_timeout_ms=2000, repl_diskless_sync_delay="0")
        with group:
            for round_number in range(2):
                if round_number:
                    time.sleep(2 * 2 + 1)  # no second failover begins earlier: twice failover-timeout
                port = group.agreed_port()
                taken_s = fail_over(group)
                assert taken_s < BOUND_S, (sentinels, taken_s)
                back_as_replica(group, port)

    with ThreadPoolExecutor(len(SETS)) as pool:
        list(pool.map(replace_twice, SETS))


@pytest.mark.proof
@pytest.mark.parametrize("servers", SERVERS)
def test_proof_of_replacement(servers: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten rounds of each set, all sets at the same time, so that genuine Sentinels meet what ours do."""

    def replace_often(sentinels: str) -> list[float]:
        times = []
        group = Watched(SERVERS[servers], SETS[sentinels], failover_timeout_ms=2000, repl_diskless_sync_delay="0")
        with group:
            for _ in range(10):
                port = group.agreed_port()
                times.append(fail_over(group))
                back_as_replica(group, port)
                time.sleep(2 * 2 + 1)
        return times

    with ThreadPoolExecutor(len(SETS)) as pool:
        found = dict(zip(SETS, pool.map(replace_often, SETS), strict=True))
    lines = [(sentinels, servers, statistics.median(times), max(times)) for sentinels, times in found.items()]
    with capsys.disabled():
        for sentinels, servers, middle, worst in lines:
            print(
                f"\n| {sentinels} Sentinels over {servers}, 10 rounds | median {middle:.2f} s | worst {worst:.2f} s |"
            )
    assert all(worst < BOUND_S for *_, worst in lines)


# --- one Sentinel and what it watches -------------------------------------------------------------------------------


@contextlib.contextmanager
def watching(*lines: str, down_after_ms: int = 300, more: str = "", port: int | None = None) -> Iterator[HexadSentinel]:
    """A Hexad Sentinel that watches a port at which nobody listens, unless told otherwise."""
    watched = free_port() if port is None else port
    watch = [
        f"monitor mymaster 127.0.0.1 {watched} 1",
        f"down-after-milliseconds mymaster {down_after_ms}",
        *lines,
    ]
    with HexadSentinel(watch, more=more) as sentinel:
        yield sentinel


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_notification_script_gets_events_and_failures_wait_for_their_turn(tmp_path: Path) -> None:
    told = tmp_path / "told"
    well = script(tmp_path / "well", f'echo "$1|$2" >> {told}')
    with watching(f"notification-script mymaster {well}") as sentinel:
        for line in ("+sdown|master mymaster 127.0.0.1 ", "+odown|master mymaster 127.0.0.1 "):
            wait_until(lambda line=line: told.exists() and line in told.read_text(), 10, f"the script hears {line}")
    ill = script(tmp_path / "ill", "exit 1")
    with watching(f"notification-script mymaster {ill}") as sentinel, sentinel.wire() as wire:
        wait_until(
            lambda: [j for j in wire("SENTINEL", "PENDING-SCRIPTS") if b"scheduled" in j], 10, "it is tried again"
        )
        job = wire("SENTINEL", "PENDING-SCRIPTS")[0]
        assert job[0::2] == [b"argv", b"flags", b"pid", b"run-delay", b"retry-num"] and job[-1] == b"1"
    worse = script(tmp_path / "worse", "exit 3")
    with watching(f"notification-script mymaster {worse}") as sentinel:
        sentinel.wait_for_log(rf"-script-error {worse} 0 3")


def test_passwords_on_both_sides() -> None:
    with RedisServer(requirepass="one") as server:
        with watching(
            "auth-pass mymaster one", down_after_ms=2000, more="requirepass two", port=server.port
        ) as sentinel:
            sentinel.options["requirepass"] = "two"
            with sentinel._bare_wire() as stranger:
                refused = stranger("SENTINEL", "MASTERS")
                assert isinstance(refused, ReplyError) and refused.code == "NOAUTH"

            def is_known() -> bool:
                master = sentinel.fields("MASTER", "mymaster")
                assert isinstance(master, dict)
                return bool(master["runid"]) and master["flags"] == "master"

            wait_until(is_known, 10, "the Sentinel has logged in at the node")


def test_a_name_instead_of_an_address() -> None:
    with (
        RedisServer() as server,
        HexadSentinel(
            ["resolve-hostnames yes", "announce-hostnames yes", f"monitor mymaster localhost {server.port} 1"]
        ) as sentinel,
    ):

        def is_known() -> bool:
            master = sentinel.fields("MASTER", "mymaster")
            assert isinstance(master, dict)
            return bool(master["runid"]) and master["ip"] == "localhost"

        wait_until(is_known, 10, "the Sentinel has reached the node by its name")
        assert f"monitor mymaster localhost {server.port} 1" in sentinel.conf.read_text()


def test_sentinels_with_users_of_their_own_know_each_other() -> None:
    """Each logs in at the other as `sentinel-user`; strangers may do nothing."""
    users = "user default off\nuser fellow on >secret allchannels +@all"
    with RedisServer() as server, contextlib.ExitStack() as stack:
        watch = [f"monitor mymaster 127.0.0.1 {server.port} 2", "sentinel-user fellow", "sentinel-pass secret"]
        sentinels = [kind(watch, more=users) for kind in (RedisSentinel, HexadSentinel)]
        for sentinel in sentinels:
            stack.callback(sentinel.close)
            sentinel.start()

        def each_other() -> bool:
            for sentinel in sentinels:
                with sentinel.wire() as wire:
                    assert wire("AUTH", "fellow", "secret") == "OK"
                    fellows = wire("SENTINEL", "SENTINELS", "mymaster")
                if (
                    len(fellows) != 1
                    or dict(zip(fellows[0][::2], fellows[0][1::2], strict=True))[b"flags"] != b"sentinel"
                ):
                    return False
            return True

        wait_until(each_other, 15, "each reaches the other")
        with sentinels[1].wire() as stranger:
            assert stranger("SENTINEL", "MASTERS").code == "NOAUTH"
        assert "user fellow on" in sentinels[1].conf.read_text()


def test_lines_speak_of_a_sentinels_commands() -> None:
    """`rename-command` and the rules of users know SENTINEL, and nothing that it does not have."""
    more = "rename-command shutdown end\nuser looker on nopass -@all +sentinel|masters +ping"
    with watching(more=more) as sentinel, sentinel.wire() as wire:
        assert wire("AUTH", "looker", "x") == "OK"
        assert isinstance(wire("SENTINEL", "MASTERS"), list)
        assert wire("SENTINEL", "RESET", "*").code == "NOPERM"
        assert wire("SHUTDOWN").text.startswith("ERR unknown command")


@pytest.mark.long
def test_nodes_and_sentinels_by_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    shown = ca.issue("node")
    with HexadServer(tls_port=free_port(), **shown.options(ca)) as server, contextlib.ExitStack() as stack:
        watch = [f"monitor mymaster 127.0.0.1 {server.options['tls_port']} 2"]
        tls = [f"{name.replace('_', '-')} {value}" for name, value in shown.options(ca).items()]
        sentinels = []
        for kind in (RedisSentinel, HexadSentinel):
            lines = [*tls, f"tls-port {free_port()}", "tls-replication yes"]
            sentinels.append(kind(watch, more="\n".join(lines)))
            stack.callback(sentinels[-1].close)
            sentinels[-1].start()

        def each_other() -> bool:
            told = [sentinel.fields("SENTINELS", "mymaster") for sentinel in sentinels]
            masters = [sentinel.fields("MASTER", "mymaster") for sentinel in sentinels]
            assert all(isinstance(master, dict) for master in masters)
            return all(
                [fellow["flags"] for fellow in fellows if isinstance(fellow, dict)] == ["sentinel"] for fellows in told
            ) and all(master["flags"] == "master" for master in masters if isinstance(master, dict))

        wait_until(each_other, 15, "each reaches the other and the node")


def test_what_it_remembers_over_a_crash(tmp_path: Path) -> None:
    told = tmp_path / "told"
    path = script(tmp_path / "moved", f'echo "$@" >> {told}')
    with RedisServer() as server, RedisServer(replicaof=["127.0.0.1", str(server.port)]) as replica:
        with (
            watching(f"client-reconfig-script mymaster {path}", down_after_ms=5000, port=server.port) as sentinel,
            contextlib.ExitStack() as stack,
        ):
            wire = stack.enter_context(sentinel.wire())
            wait_until(lambda: wire("SENTINEL", "REPLICAS", "mymaster"), 10, "the replica is found")
            my_id = wire("SENTINEL", "MYID")
            wait_until(lambda: not isinstance(wire("SENTINEL", "FAILOVER", "mymaster"), ReplyError), 15, "failover")
            wait_until(lambda: sentinel.address_of() == replica.port, 15, "the replica is the primary")
            sentinel.wait_for_log(r"\+switch-master")
            wait_until(lambda: told.exists() and told.read_text(), 10, "clients are told where to go")
            assert told.read_text() == f"mymaster leader start 127.0.0.1 {server.port} 127.0.0.1 {replica.port}\n"
            sentinel.kill()
            sentinel.start()
            with sentinel.wire() as again:
                assert again("SENTINEL", "MYID") == my_id
                fields = sentinel.fields("MASTER", "mymaster")
                assert isinstance(fields, dict)
                assert (fields["port"], fields["config-epoch"], fields["num-slaves"]) == (str(replica.port), "1", "1")


def test_a_file_that_cannot_be_written_keeps_votes_back() -> None:
    with watching() as sentinel, sentinel.wire() as wire:
        sentinel.wait_for_log(r"\+odown")
        port = sentinel.address_of()
        question = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", str(port))
        sentinel.conf.unlink()
        sentinel.conf.mkdir()
        assert wire(*question, "100", "a" * 40)[1:] == [b"*", 0]
        assert wire("SENTINEL", "FLUSHCONFIG") == ReplyError("ERR Failed to save config file. Check server logs.")
        sentinel.conf.rmdir()
        wait_until(lambda: wire(*question, "100", "b" * 40)[1:] == [b"a" * 40, 100], 10, "the first vote is told")
        assert "leader-epoch mymaster 100" in sentinel.conf.read_text()


@pytest.mark.long
def test_a_sleeping_leader_wakes_up_in_tilt_and_follows_the_others() -> None:
    with Watched(RedisServer, SETS["ours"], repl_diskless_sync_delay="0") as group:
        port = group.agreed_port()
        group.server_at(port).kill()

        def leader() -> SentinelServer | None:
            return next((each for each in group.sentinels if "+elected-leader" in each.log()), None)

        sleeper = wait_until(leader, 15, "a leader")
        sleeper.signal(signal.SIGSTOP)
        time.sleep(4)
        sleeper.signal(signal.SIGCONT)
        sleeper.wait_for_log(r"\+tilt #tilt mode entered")
        group.wait_for_new_primary(port, 60)
