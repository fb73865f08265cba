"""Active expiry by a virtual clock: what goes when, how long a slice takes, how much of the time, and who sleeps."""

from __future__ import annotations

from node.keyspace.expiry import CALM_PERCENT, SLICE_NS, Expiry
from node.keyspace.journal import Journal
from node.keyspace.keyspace import NEVER_MS, Keyspace
from tests.support.local import START_MS, LocalClient, LocalNode


class Clock:
    """Nanoseconds that pass by being asked for."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns = 0
        self.step_ns = step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


class Journalled:
    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def take_entry(self, _db: int, entry: bytes) -> None:
        self.entries.append(entry)


def node_and_client() -> tuple[LocalNode, LocalClient]:
    node = LocalNode()
    return node, node.client()


def test_keys_go_when_their_time_is_over() -> None:
    node, client = node_and_client()
    client.raw("SET", "soon", "v", "PX", 50)
    client.raw("SET", "later", "v", "PX", 5000)
    client.raw("SET", "never", "v")
    node.pass_ms(49)
    assert node.keyspace.size == 3
    node.pass_ms(1)
    assert node.keyspace.size == 2
    node.pass_ms(4949)
    assert node.keyspace.size == 2
    node.pass_ms(1)
    assert node.keyspace.size == 1 and node.keyspace.expired_keys == 2
    assert node.server.timers.next_ms == float("inf")


def test_a_node_without_deadlines_sleeps() -> None:
    node, client = node_and_client()
    client.raw("SET", "k", "v")
    assert node.server.timers.next_ms == float("inf")
    client.raw("EXPIRE", "k", 1000)
    assert node.server.timers.next_ms == START_MS + 1_000_000


def test_a_nearer_deadline_wakes_it_sooner() -> None:
    node, client = node_and_client()
    client.raw("SET", "k", "v", "EX", 1000)
    client.raw("SET", "j", "v", "PX", 7)
    node.pass_ms(7)
    assert node.keyspace.size == 1
    assert node.server.timers.next_ms == START_MS + 1_000_000


def test_rounds_begin_no_oftener_than_hz() -> None:
    node, client = node_and_client()
    for span_ms in range(1, 1001):
        client.raw("SET", f"k{span_ms}", "v", "PX", span_ms)
    begun = 0
    begin = node.server.background.expiry._begin

    def counted(now_ms: int) -> None:
        nonlocal begun
        begun += 1
        begin(now_ms)

    node.server.background.expiry._begin = counted  # type: ignore[method-assign]
    node.pass_ms(1100)
    assert node.keyspace.size == 0
    assert begun <= 12


def test_removals_are_journalled_and_counted() -> None:
    node, client = node_and_client()
    reader = Journalled()
    client.raw("SET", "k", "v", "PX", 5)
    node.server.journal.add_reader(reader)
    node.server.config.set([("lazyfree-lazy-expire", "yes")])
    node.pass_ms(10)
    assert reader.entries == [b"*2\r\n$6\r\nUNLINK\r\n$1\r\nk\r\n"]


def test_a_replica_hides_and_waits() -> None:
    node, client = node_and_client()
    client.raw("SET", "k", "v", "PX", 5)
    node.keyspace.removes_expired = False
    node.pass_ms(10_000)
    assert node.keyspace.size == 1 and client.raw("GET", "k") == b"$-1\r\n"
    node.keyspace.removes_expired = True
    node.pass_ms(2000)
    assert node.keyspace.size == 0


def test_a_writable_replica_expires_its_own() -> None:
    node, client = node_and_client()
    client.raw("SET", "theirs", "v", "PX", 5)
    node.keyspace.removes_expired = False
    client.raw("SET", "own", "v", "PX", 5)
    node.keyspace.obeying = True
    node.keyspace.databases[0].set_deadline(b"theirs", START_MS + 6)
    node.keyspace.obeying = False
    assert node.keyspace.own_deadlines == {(0, b"own")}
    node.pass_ms(3000)
    assert node.keyspace.databases[0].slots.count(None) == 16383
    assert node.keyspace.size == 1 and not node.keyspace.own_deadlines


def filled(clock: Clock, names: list[bytes], deadline_ms: int) -> tuple[Keyspace, Expiry]:
    keyspace = Keyspace(1, Journal())
    expiry = Expiry(keyspace, clock)
    db = keyspace.databases[0]
    for name in names:
        db.set(name, b"v")
        db.set_deadline(name, deadline_ms)
    return keyspace, expiry


def test_slices_are_short_and_leave_the_time_to_the_clients() -> None:
    clock = Clock(20_000)
    for names in ([b"%d" % n for n in range(20_000)], [b"{t}%d" % n for n in range(20_000)]):
        keyspace, expiry = filled(clock, names, 100)
        now_ms, slices, spent_ns = 100, 0, 0
        while keyspace.size:
            keyspace.now_ms = now_ms
            began = clock.now_ns
            wake_ms = expiry.round(now_ms)
            took = clock.now_ns - began
            assert took <= SLICE_NS + 4 * clock.step_ns
            spent_ns += took
            if not keyspace.size:
                break
            slices += 1
            assert took * 100 <= (wake_ms - now_ms + took / 1e6) * 1e6 * 26  # a quarter at the most
            now_ms = wake_ms
        assert slices > 3 and expiry.time_cap_reached >= slices
        assert expiry.stale_percent > 10
        keyspace.databases[0].check()


def test_it_is_calm_while_little_is_stale() -> None:
    clock = Clock(20_000)
    keyspace, expiry = filled(clock, [b"%d" % n for n in range(5000)], 10_000_000)
    keyspace.databases[0].set_deadline(b"0", 50)
    keyspace.now_ms = 100
    wake_ms = expiry.round(100)
    assert wake_ms - 100 >= (100 - CALM_PERCENT) // CALM_PERCENT - 2
    while keyspace.size == 5000:
        wake_ms = expiry.round(wake_ms)
    while wake_ms < 10_000_000:
        wake_ms = expiry.round(wake_ms)
    assert wake_ms == 10_000_000 and keyspace.size == 4999


def test_deadlines_set_during_a_round_are_not_forgotten() -> None:
    clock = Clock(300_000)
    keyspace, expiry = filled(clock, [b"%d" % n for n in range(50)], 100)
    keyspace.now_ms = 100
    expiry.round(100)
    assert keyspace.size
    db = keyspace.databases[0]
    db.set(b"new", b"v")
    db.set_deadline(b"new", 5000)
    wake_ms = 101
    for _ in range(1000):
        wake_ms = expiry.round(wake_ms)
        if wake_ms >= 5000:
            break
    assert wake_ms == 5000 and keyspace.size == 1
    keyspace.now_ms = 5000
    for _ in range(100):
        wake_ms = expiry.round(max(wake_ms, 5000))
        if wake_ms == NEVER_MS:
            break
    assert wake_ms == NEVER_MS and not keyspace.size


def test_set_active_expire_0() -> None:
    node, client = node_and_client()
    node.server.background.expiry.enabled = False
    client.raw("SET", "k", "v", "PX", 5)
    node.pass_ms(5000)
    assert node.keyspace.size == 1
    node.server.background.expiry.enabled = True
    node.pass_ms(1)
    assert node.keyspace.size == 0


def test_a_swap_during_a_round_hides_no_deadline() -> None:
    clock = Clock(300_000)
    keyspace = Keyspace(2, Journal())
    expiry = Expiry(keyspace, clock)
    for db in keyspace.databases:
        for number in range(30):
            db.set(b"%d" % number, b"v")
            db.set_deadline(b"%d" % number, 1000 + 10 * db.index)
    expiry.hz = 500
    wake_ms = expiry.round(0)
    assert wake_ms == 1000
    swaps = 0
    while keyspace.size:
        keyspace.now_ms = wake_ms
        wake_ms = expiry.round(wake_ms)
        if swaps < 3:
            keyspace.swap(0, 1)
            swaps += 1
        assert wake_ms < 3000


def test_what_is_loaded_is_not_a_replicas_own() -> None:
    keyspace = Keyspace(1, Journal())
    keyspace.removes_expired = False
    keyspace.databases[0].load([(b"k", b"v", 5000)])
    assert not keyspace.own_deadlines and keyspace.databases[0].deadline(b"k") == 5000
