"""Replication: who follows whom, the replica's own requests, and waiting for replicas."""

from node.commands.family import command
from node.datatypes.numbers import parse_int
from node.keyspace.gates import AckWaiter
from node.net.resp import NO_REPLY, OK, Argv, CommandError, Encoded, Failure, Reply, split_words
from node.net.session import Waiting
from node.replication.handshake import FIELD_DEADLINES
from node.server import Client, Server

NOT_AN_INTEGER = CommandError("ERR value is not an integer or out of range")
SYNTAX_ERROR = CommandError("ERR syntax error")
TIMEOUT_MS_MAX = (1 << 63) - 1


@command("replicaof", 3, "no_async_loading admin noscript stale")
@command("slaveof", 3, "no_async_loading admin noscript stale")
def replicaof(client: Client, argv: Argv) -> Reply:
    """REPLICAOF host port | NO ONE."""
    host = client.host
    if host.cluster is not None:
        raise CommandError("ERR REPLICAOF not allowed in cluster mode.")
    replication = host.replication
    if replication.failover.under_way:
        raise CommandError("ERR REPLICAOF not allowed while failing over.")
    if argv[1].lower() == b"no" and argv[2].lower() == b"one":
        if replication.is_replica:
            replication.become_primary()
            host.config.put("replicaof", None)
            host.log.notice(f"MASTER MODE enabled (user request from '{client.addr}')")
        return OK
    port = parse_int(argv[2])
    if port is None or not 0 <= port <= 65535:
        raise CommandError("ERR Invalid master port")
    if client.role is not None:
        raise CommandError("ERR Command is not valid when client is a replica.")
    name = argv[1].decode("utf-8", "replace")
    if replication.follower is not None and replication.follower.address == (name, port):
        host.log.notice(
            "REPLICAOF would result into synchronization with the master we are already connected with. "
            "No operation performed."
        )
        return Encoded(b"+OK Already connected to specified master\r\n")
    replication.become_replica(name, port)
    host.config.put("replicaof", (name, port))
    host.log.notice(f"REPLICAOF {name}:{port} enabled (user request from '{client.addr}')")
    return OK


@command("failover", -1, "admin noscript stale")
def failover(client: Client, argv: Argv) -> Reply:
    """FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT ms]: hand over to a replica."""
    host = client.host
    if host.cluster is not None:
        raise CommandError("ERR FAILOVER not allowed in cluster mode.")
    target, timeout_ms, force, abort = _failover_options(argv)
    current = host.replication.failover
    if abort:
        if not current.under_way:
            raise CommandError("ERR No failover in progress.")
        current.abort("Failover manually aborted")
        return OK
    if current.under_way:
        raise CommandError("ERR FAILOVER already in progress.")
    current.begin(target, timeout_ms, force=force)
    return OK


def _failover_options(argv: Argv) -> tuple[tuple[str, int] | None, int, bool, bool]:
    """(target, timeout in ms or 0, FORCE, ABORT). ABORT stands alone, and nothing stands twice."""
    target, timeout_ms, force, at = None, 0, False, 1
    while at < len(argv):
        word, left = argv[at].lower(), len(argv) - at - 1
        if word == b"timeout" and left >= 1 and not timeout_ms:
            timeout_ms = _failover_timeout(argv[at + 1])
            at += 2
        elif word == b"abort" and len(argv) == 2:
            return None, 0, False, True
        elif word == b"to" and left >= 2 and target is None:
            port = parse_int(argv[at + 2])
            if port is None:
                raise NOT_AN_INTEGER
            target = argv[at + 1].decode("utf-8", "replace"), port
            at += 3
        elif word == b"force" and not force:
            force = True
            at += 1
        else:
            raise SYNTAX_ERROR
    return target, timeout_ms, force, False


def _failover_timeout(word: bytes) -> int:
    timeout_ms = parse_int(word)
    if timeout_ms is None:
        raise NOT_AN_INTEGER
    if timeout_ms <= 0:
        raise CommandError("ERR FAILOVER timeout must be greater than 0")
    return timeout_ms


@command("role", 1, "noscript loading stale fast sentinel", acl="admin dangerous")
def role(client: Client, _argv: Argv) -> Reply:
    return client.host.replication.role_reply()


@command("readonly", 1, "fast loading stale", acl="connection")
def readonly(client: Client, _argv: Argv) -> Reply:
    _need_cluster(client)
    client.readonly = True
    return OK


@command("readwrite", 1, "fast loading stale", acl="connection")
def readwrite(client: Client, _argv: Argv) -> Reply:
    _need_cluster(client)
    client.readonly = False
    return OK


def _need_cluster(client: Client) -> None:
    if client.host.cluster is None:
        raise CommandError("ERR This instance has cluster support disabled")


# --- a replica's requests ---------------------------------------------------------------------------------------------


@command("psync", -3, "no_async_loading admin no_multi noscript")
def psync(client: Client, argv: Argv) -> Reply:
    """PSYNC replid offset: go on from there, or begin with a snapshot."""
    if _is_synchronizing(client):
        return NO_REPLY
    replid = argv[1].decode("latin-1")
    if len(argv) > 3 and argv[3].lower() == b"failover":
        _take_over(client, replid)
    _refuse_sync(client)
    offset = parse_int(argv[2])
    if offset is None:
        client.host.log.notice(f"Replica {client.addr} asks for synchronization but with a wrong offset")
        raise NOT_AN_INTEGER
    return client.host.replication.primary.psync(client, replid, offset)


@command("sync", 1, "no_async_loading admin no_multi noscript")
def sync(client: Client, _argv: Argv) -> Reply:
    """SYNC: a snapshot, then the stream, without a word about offsets (replicas before 2.8)."""
    if _is_synchronizing(client):
        return NO_REPLY
    _refuse_sync(client)
    return client.host.replication.primary.sync(client)


def _is_synchronizing(client: Client) -> bool:
    """A replica that asks again is not heard."""
    return client.kind == b"replica"


def _take_over(client: Client, replid: str) -> None:
    """PSYNC replid offset FAILOVER: our primary steps down, and wants us in its place."""
    host, replication = client.host, client.host.replication
    host.log.warning(f"Failover request received for replid {replid}.")
    if not replication.is_replica:
        raise CommandError("ERR PSYNC FAILOVER can't be sent to a master.")
    if replid.lower() != replication.history.replid:
        raise CommandError("ERR PSYNC FAILOVER replid must match my replid.")
    replication.become_primary()
    host.config.put("replicaof", None)
    host.log.notice(f"MASTER MODE enabled (failover request from '{client.addr}')")


def _refuse_sync(client: Client) -> None:
    replication = client.host.replication
    if replication.failover.under_way:
        raise CommandError("NOMASTERLINK Can't SYNC while failing over")
    if replication.is_replica and not replication.link_is_up:
        raise CommandError("NOMASTERLINK Can't SYNC while not connected with my master")
    if client.out:
        raise CommandError("ERR SYNC and PSYNC are invalid with pending output")
    replica = replication.primary.replica_of(client)
    if replication.primary.is_too_old(replica):
        raise CommandError("ERR This data set has fields with deadlines, which a Redis before 7.4 cannot hold")
    if replica.parts is not None and not replica.takes_eof:
        raise CommandError("ERR Filtered replica requires EOF capability")


@command("replconf", -1, "admin noscript loading stale allow_busy")
def replconf(client: Client, argv: Argv) -> Reply:
    """REPLCONF name value...: what a replica tells of itself."""
    if len(argv) % 2 == 0:
        raise SYNTAX_ERROR
    for at in range(1, len(argv), 2):
        name, value = argv[at].lower(), argv[at + 1]
        if name == b"ack":
            return _ack(client, argv, at)
        if name == b"getack":
            return NO_REPLY  # only a primary may ask, and its stream is read elsewhere
        option = _OPTIONS.get(name)
        if option is None:
            return Failure(b"ERR Unrecognized REPLCONF option: %b" % argv[at])
        option(client, value)
    return OK


def _ack(client: Client, argv: Argv, at: int) -> Reply:
    offset = parse_int(argv[at + 1])
    fsynced = None
    if len(argv) > at + 3 and argv[at + 2].lower() == b"fack":
        fsynced = parse_int(argv[at + 3])
    if offset is not None:
        client.host.replication.primary.acknowledge(client, offset, fsynced)
    return NO_REPLY


def _listening_port(client: Client, value: bytes) -> None:
    port = parse_int(value)
    if port is None:
        raise NOT_AN_INTEGER
    client.host.replication.primary.replica_of(client).port = port


def _ip_address(client: Client, value: bytes) -> None:
    if len(value) > 255:
        raise CommandError(f"ERR REPLCONF ip-address provided by replica instance is too long: {len(value)} bytes")
    client.host.replication.primary.replica_of(client).host = value


def _capability(client: Client, value: bytes) -> None:
    replica = client.host.replication.primary.replica_of(client)
    replica.takes_eof |= value.lower() == b"eof"
    replica.takes_psync2 |= value.lower() == b"psync2"
    replica.takes_field_deadlines |= value.lower() == FIELD_DEADLINES


def _rdb_only(client: Client, value: bytes) -> None:
    number = parse_int(value)
    if number is None:
        raise NOT_AN_INTEGER
    client.host.replication.primary.replica_of(client).rdb_only = number == 1


def _rdb_filter(client: Client, value: bytes) -> None:
    words = split_words(value)
    if words is None:
        raise CommandError("ERR Missing rdb-filter-only values")
    for word in words:
        if word.lower() != b"functions":
            raise CommandError(b"ERR Unsupported rdb-filter-only option: %b" % word)
    client.host.replication.primary.replica_of(client).parts = frozenset(word.lower() for word in words)


_OPTIONS = {
    b"listening-port": _listening_port,
    b"ip-address": _ip_address,
    b"capa": _capability,
    b"rdb-only": _rdb_only,
    b"rdb-filter-only": _rdb_filter,
}


# --- waiting ----------------------------------------------------------------------------------------------------------


class AckWait(Waiting):
    """A client in WAIT."""

    __slots__ = ("client", "waiter")

    def __init__(self, client: Client, waiter: AckWaiter) -> None:
        self.client = client
        self.waiter = waiter

    def cancelled(self, _session: Client) -> None:
        self.client.host.replication.primary.gates.release(self.waiter)

    def timeout_reply(self) -> Reply:
        return self.waiter.count(self.waiter.offset)


def _timeout_ms(host: Server, text: bytes) -> int:
    timeout_ms = parse_int(text)
    if timeout_ms is None:
        raise CommandError("ERR timeout is not an integer or out of range")
    if timeout_ms < 0:
        raise CommandError("ERR timeout is negative")
    if timeout_ms > TIMEOUT_MS_MAX - host.keyspace.now_ms:
        raise CommandError("ERR timeout is out of range")
    return timeout_ms


@command("wait", 3, "blocking", acl="connection", tips="request_policy:all_shards response_policy:agg_min")
def wait(client: Client, argv: Argv) -> Reply:
    """WAIT numreplicas timeout: how many replicas have this client's writes, once they are enough or time is over."""
    host = client.host
    if host.replication.is_replica:
        raise CommandError(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is "
            "configured to be writable (which is not the default) writes to replicas are just local and are not "
            "propagated."
        )
    wanted = parse_int(argv[1])
    if wanted is None:
        raise NOT_AN_INTEGER
    timeout_ms = _timeout_ms(host, argv[2])
    primary = host.replication.primary
    count = primary.count_acks(client.write_offset)
    if count >= wanted:
        return count
    waiter = AckWaiter(client.write_offset, wanted, primary.count_acks, client.resume)
    primary.gates.hold(waiter)
    primary.getack_wanted = True
    return client.park(AckWait(client, waiter), timeout_ms)


class FsyncWait(Waiting):
    """A client in WAITAOF. It is counted as one who waits for a single acknowledgement: that all it asked for is so."""

    __slots__ = ("client", "local", "replicas", "waiter")

    def __init__(self, client: Client, local: int, replicas: int) -> None:
        self.client = client
        self.local = local
        self.replicas = replicas
        self.waiter = AckWaiter(client.write_offset, 1, self._count, lambda _count: client.resume(self.timeout_reply()))

    def counts(self) -> tuple[int, int]:
        """(here: 1 or 0, replicas): where this client's writes are fsynced."""
        host, offset = self.client.host, self.client.write_offset
        here = host.aof.is_on and host.aof.fsynced_offset >= offset
        return int(here), host.replication.primary.count_fsyncs(offset)

    def _count(self, _offset: int) -> int:
        local, replicas = self.counts()
        return int((local >= self.local and replicas >= self.replicas) or self._is_hopeless())

    def _is_hopeless(self) -> bool:
        return bool(self.local and not self.client.host.aof.is_on)

    def cancelled(self, _session: Client) -> None:
        self.client.host.replication.primary.gates.release(self.waiter)

    def timeout_reply(self) -> Reply:
        if self._is_hopeless():
            return Failure(NO_APPEND_ONLY_FILE)
        return list(self.counts())


NO_APPEND_ONLY_FILE = b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."


@command("waitaof", 4, "blocking", acl="connection", tips="request_policy:all_shards response_policy:agg_min")
def waitaof(client: Client, argv: Argv) -> Reply:
    """WAITAOF numlocal numreplicas timeout: where this client's writes are fsynced, in the end."""
    host = client.host
    local, replicas = parse_int(argv[1]), parse_int(argv[2])
    if local is None:
        raise NOT_AN_INTEGER
    if not 0 <= local <= 1:
        raise CommandError("ERR value is out of range, value must between 0 and 1")
    if replicas is None:
        raise NOT_AN_INTEGER
    if replicas < 0:
        raise CommandError("ERR value is out of range, must be positive")
    timeout_ms = _timeout_ms(host, argv[3])
    if host.replication.is_replica:
        raise CommandError(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just "
            "local and are not propagated."
        )
    if local and not host.aof.is_on:
        raise CommandError(NO_APPEND_ONLY_FILE)
    waiting = FsyncWait(client, local, replicas)
    here, there = waiting.counts()
    if here >= local and there >= replicas:
        return [here, there]
    primary = host.replication.primary
    primary.gates.hold(waiting.waiter)
    primary.getack_wanted = True
    return client.park(waiting, timeout_ms)
