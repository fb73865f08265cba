"""The primary of deploy/compose/sentinel.yaml is killed, frozen, cut off, and everything is restarted, under writes.

After each fault all Sentinels name another primary within a bound, the old one comes back as its replica, and no write
is missing that both replicas had confirmed. `make test-long` runs one round of each fault, `make proof` five.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.support import Wire, wait_until
from tests.support.containers import Compose, build_image, engine_environment, free_port_prefix, project
from tests.support.wire import ReplyError

NETWORK = "172.30.81"
DOWN_AFTER_MS, FAILOVER_MS = 1000, 6000
UP_S = 90.0
REPLACED_S_MAX = DOWN_AFTER_MS / 1000 + 3
WHOLE_S_MAX = 60.0
WRITES = 50
ASK_S = 2.0


class Watched:
    """The project, up. Nodes are named by number: 0-2 hold data, 3-5 are Sentinels."""

    def __init__(self, compose: Compose) -> None:
        self.compose = compose
        self.written = 0
        self.next_s = 0.0  # no other failover begins earlier (monotonic)

    def port(self, number: int) -> int:
        return int(f"{self.compose.env['HEXAD_PORTS']}{number}")

    def container(self, number: int) -> str:
        return self.compose.container(f"node{number + 1}" if number < 3 else f"sentinel{number - 2}")

    def ask(self, number: int, *words: str) -> object:
        with Wire(self.port(number), timeout_s=ASK_S) as wire:
            return wire(*words)

    def primary(self) -> int:
        """The number of the node that all Sentinels name; OSError or -1 while they do not agree."""
        named = {str(self.ask(number, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")) for number in (3, 4, 5)}
        if len(named) != 1:
            return -1
        at = named.pop()
        return next((number for number in range(3) if f"{NETWORK}.{11 + number}'" in at), -1)

    def is_whole(self) -> bool:
        """Whether all agree on a primary that both others follow, and nobody is down for anybody."""
        primary = self.primary()
        for number in range(3):
            with Wire(self.port(number), timeout_s=ASK_S) as wire:
                info = wire.info("replication")
            follows = info.get("master_host") == f"{NETWORK}.{11 + primary}" and info["master_link_status"] == "up"
            if primary < 0 or (info["role"] == "master") != (number == primary) or not (follows or number == primary):
                return False
        return all(self.finds_all_well(number) for number in (3, 4, 5))

    def finds_all_well(self, number: int) -> bool:
        told = [self.ask(number, "SENTINEL", kind, "mymaster") for kind in ("MASTER", "REPLICAS", "SENTINELS")]
        assert all(isinstance(part, list) for part in told)
        counts = len(told[1]), len(told[2])  # type: ignore[arg-type]
        return counts == (2, 2) and "down" not in str([each for part in told for each in _flags(part)])

    def write(self) -> None:
        """So many writes that both replicas have confirmed."""
        with Wire(self.port(self.primary()), timeout_s=ASK_S) as wire:
            for _ in range(WRITES):
                assert wire("SET", f"key:{self.written}", str(self.written)) == "OK"
                assert wire("WAIT", "2", "5000") == 2
                self.written += 1

    def missing(self) -> list[int]:
        with Wire(self.port(self.primary()), timeout_s=ASK_S) as wire:
            return [number for number in range(self.written) if wire("GET", f"key:{number}") != str(number).encode()]

    # --- faults ---------------------------------------------------------------------------------------------------

    def kill(self, number: int) -> None:
        self.compose.docker("kill", self.container(number))

    def start(self, number: int) -> None:
        self.compose.docker("start", self.container(number))

    def pause(self, number: int) -> None:
        self.compose.docker("pause", self.container(number))

    def unpause(self, number: int) -> None:
        self.compose.docker("unpause", self.container(number))

    def disconnect(self, number: int) -> None:
        self.compose.docker("network", "disconnect", f"{self.compose.project}_sentinel", self.container(number))

    def connect(self, number: int) -> None:
        where = ["--ip", f"{NETWORK}.{11 + number}", f"{self.compose.project}_sentinel", self.container(number)]
        self.compose.docker("network", "connect", *where)


def _flags(reply: object) -> list[object]:
    """The values of `flags` in one instance, or in a list of them."""
    assert isinstance(reply, list)
    if reply and isinstance(reply[0], list):
        return [flag for each in reply for flag in _flags(each)]
    return [reply[at + 1] for at in range(0, len(reply), 2) if reply[at] == b"flags"]


class Fault(NamedTuple):
    """What is done to the primary, and what ends it."""

    name: str
    begin: Callable[[Watched, int], None]
    end: Callable[[Watched, int], None]


FAULTS = (
    Fault("kill", Watched.kill, Watched.start),
    Fault("pause", Watched.pause, Watched.unpause),
    Fault("disconnect", Watched.disconnect, Watched.connect),
)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    engine = engine_environment()
    env = {
        **engine,
        "HEXAD_IMAGE": build_image(engine),
        "HEXAD_NET": NETWORK,
        "HEXAD_PORTS": free_port_prefix(),
        "HEXAD_DOWN_AFTER_MS": str(DOWN_AFTER_MS),
        "HEXAD_FAILOVER_MS": str(FAILOVER_MS),
    }
    with contextlib.contextmanager(project)("sentinel.yaml", "hexad-chaos-sentinel", env) as compose:
        group = Watched(compose)
        compose("up", "-d")
        wait_until(group.is_whole, UP_S, "all Sentinels know everybody")
        yield group


def run_round(group: Watched, fault: Fault) -> float:
    """Do it to the primary; the seconds until it is replaced."""
    time.sleep(max(0.0, group.next_s - time.monotonic()))
    wait_until(group.is_whole, WHOLE_S_MAX, "all is well before the fault")
    group.write()
    victim = group.primary()
    fault.begin(group, victim)
    begun_s = time.monotonic()
    try:
        wait_until(lambda: group.primary() not in (-1, victim), 60.0, f"another primary after {fault.name}")
        replaced_s = time.monotonic() - begun_s
        taken = group.ask(group.primary(), "SET", "taken", "yes")
        assert not isinstance(taken, ReplyError), taken
    finally:
        fault.end(group, victim)
    wait_until(group.is_whole, WHOLE_S_MAX, "the old primary follows the new one")
    assert group.missing() == []
    group.next_s = begun_s + replaced_s + 2 * FAILOVER_MS / 1000
    return replaced_s


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_primary_is_replaced(watched: Watched, fault: Fault) -> None:
    assert run_round(watched, fault) < REPLACED_S_MAX


@pytest.mark.long
def test_a_primary_that_is_cut_off_soon_takes_no_writes(watched: Watched) -> None:
    """With `min-replicas-to-write` its clients, who are cut off with it, write nothing that will be lost for long."""
    time.sleep(max(0.0, watched.next_s - time.monotonic()))
    wait_until(watched.is_whole, WHOLE_S_MAX, "all is well before")
    watched.write()
    for number in range(3):
        for name, value in (("min-replicas-to-write", "1"), ("min-replicas-max-lag", "2")):
            assert watched.ask(number, "CONFIG", "SET", name, value) == "OK"
    victim = watched.primary()
    beside = ["exec", watched.container(victim), "redis-cli", "-p", str(watched.port(victim)), "SET", "beside", "it"]
    assert watched.compose.docker(*beside).strip() == "OK"
    watched.disconnect(victim)
    begun_s = time.monotonic()
    try:
        wait_until(lambda: watched.compose.docker(*beside).startswith("NOREPLICAS"), 10, "it refuses writes")
        wait_until(lambda: watched.primary() not in (-1, victim), 60.0, "another primary")
        wait_until(lambda: watched.ask(watched.primary(), "SET", "taken", "yes") == "OK", 10, "that takes writes")
    finally:
        watched.connect(victim)
        watched.next_s = begun_s + 3 * FAILOVER_MS / 1000
    wait_until(watched.is_whole, WHOLE_S_MAX, "the old primary follows the new one")
    assert watched.missing() == []
    for number in range(3):
        assert watched.ask(number, "CONFIG", "SET", "min-replicas-to-write", "0") == "OK"


@pytest.mark.long
def test_everything_is_restarted(watched: Watched) -> None:
    """The roles stand in the files of nodes and Sentinels: the same ones come back, with the data."""
    wait_until(watched.is_whole, WHOLE_S_MAX, "all is well")
    watched.write()
    before = watched.primary()
    watched.compose("down", "-t", "10")
    watched.compose("up", "-d")
    wait_until(watched.is_whole, UP_S, "all is well again")
    assert watched.primary() == before and watched.missing() == []


@pytest.mark.proof
def test_proof_of_replacement_in_containers(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    times = {fault.name: [run_round(watched, fault) for _ in range(5)] for fault in FAULTS}
    with capsys.disabled():
        for name, taken in times.items():
            print(f"\n| {name} the primary, 5 rounds | median {sorted(taken)[2]:.2f} s | worst {max(taken):.2f} s |")
    assert all(max(taken) < REPLACED_S_MAX for taken in times.values())
