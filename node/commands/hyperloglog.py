"""HyperLogLog: how many different elements were added, kept in a string of Redis's own form."""

from node.commands.family import command
from node.datatypes import hyperloglog as hll
from node.datatypes.strings import StringValue
from node.keyspace.database import Database
from node.net.resp import OK, Argv, CommandError, Encoded, Reply, Status
from node.server import Client

NOT_ONE = CommandError("WRONGTYPE Key is not a valid HyperLogLog string value.")
CORRUPTED = CommandError("INVALIDOBJ Corrupted HLL object detected")


def _checked(value: StringValue | None) -> StringValue | None:
    if value is not None and not hll.is_valid(value):
        raise NOT_ONE
    return value


def _open(db: Database, key: bytes) -> bytearray:
    """The HyperLogLog under `key`, which is one, to be changed in place."""
    opened: StringValue = db.open(key) or b""
    if type(opened) is bytearray:
        return opened
    value = bytearray(opened)
    db.replace(key, value)
    return value


@command("pfadd", -2, "write denyoom fast", acl="hyperloglog", keys="@1/range:0:1:0/RW+INSERT")
def pfadd(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    found = _checked(db.peek_string(key))
    changed = found is None
    if found is None:
        value = hll.new()
        db.set(key, value)
    else:
        value = _open(db, key)
    sparse_bytes_max = client.host.config.hll_sparse_max_bytes
    marks = hll.Marks()
    try:
        for element in argv[2:]:
            changed |= hll.add(value, element, sparse_bytes_max, marks)
    except hll.Corrupted:
        return CORRUPTED.reply
    finally:
        if changed:
            hll.make_stale(value)
            db.changed(key, "pfadd", "$")
    return 1 if changed else 0


@command("pfcount", -2, "readonly may_replicate", acl="hyperloglog", keys="@1/range:-1:1:0/RW+ACCESS")
def pfcount(client: Client, argv: Argv) -> Reply:
    db = client.db
    if len(argv) > 2:
        return hll.estimate_of(_union(db, argv[1:])[0])
    key = argv[1]
    value = _checked(db.read_string(key))
    if value is None:
        return 0
    cached = hll.cached_estimate(value)
    if cached is not None:
        return cached
    try:
        estimate = hll.refresh(_open(db, key))
    except hll.Corrupted:
        raise CORRUPTED from None
    _estimate_kept(db, key)
    return estimate


def _estimate_kept(db: Database, key: bytes) -> None:
    """The bytes of a value changed without an event: replicas and files get the command all the same."""
    keyspace = db.keyspace
    keyspace.dirty += 1
    if keyspace.listening:
        keyspace.touched(db, key)


def _union(db: Database, keys: Argv) -> tuple[bytes, bool]:
    """The registers of all these keys together, and whether one of them is dense."""
    registers = bytes(hll.REGISTERS)
    dense = False
    for key in keys:
        value = _checked(db.read_string(key))
        if value is None:
            continue
        dense |= hll.is_dense(value)
        try:
            registers = hll.maximum(registers, hll.unpack(value))
        except hll.Corrupted:
            raise CORRUPTED from None
    return registers, dense


@command(
    "pfmerge",
    -2,
    "write denyoom",
    acl="hyperloglog",
    keys="@1/range:0:1:0/RW+ACCESS+INSERT @2/range:-1:1:0/RO+ACCESS",
)
def pfmerge(client: Client, argv: Argv) -> Reply:
    key, db = argv[1], client.db
    registers, dense = _union(db, argv[1:])
    if db.peek(key) is None:
        value = hll.new()
        db.set(key, value)
    else:
        value = _open(db, key)
    if dense and not hll.is_dense(value):
        hll.to_dense(value)
    hll.raise_to(value, registers, client.host.config.hll_sparse_max_bytes)
    hll.make_stale(value)
    db.changed(key, "pfadd", "$")
    return OK


# --- a look inside ----------------------------------------------------------------------------------------------------


@command("pfdebug", 3, "write denyoom admin", acl="hyperloglog", keys="@2/range:0:1:0/RW+ACCESS")
def pfdebug(client: Client, argv: Argv) -> Reply:
    _, word, key = argv
    db = client.db
    found = _checked(db.peek_string(key))
    if found is None:
        raise CommandError("ERR The specified key does not exist")
    what = word.upper()
    try:
        if what == b"GETREG":
            _make_dense(db, key)
            return Encoded(b"*%d\r\n" % hll.REGISTERS + b"".join([b":%d\r\n" % n for n in hll.unpack(_open(db, key))]))
        if what == b"TODENSE":
            return 1 if _make_dense(db, key) else 0
        if what == b"DECODE":
            return _decoded(found)
    except hll.Corrupted:
        raise CORRUPTED from None
    if what == b"ENCODING":
        return Status(b"dense" if hll.is_dense(found) else b"sparse")
    raise CommandError(b"ERR Unknown PFDEBUG subcommand '%b'" % word)


def _make_dense(db: Database, key: bytes) -> bool:
    """True if the value was sparse."""
    value = _open(db, key)
    if hll.is_dense(value):
        return False
    hll.to_dense(value)
    db.keyspace.dirty += 1  # what it counts is the same: nobody is told
    return True


def _decoded(value: StringValue) -> bytes:
    if hll.is_dense(value):
        raise CommandError("ERR HLL encoding is not sparse")
    words = []
    for count, length, size in hll.runs(value):
        if count:
            words.append(b"v:%d,%d" % (count, length))
        else:
            words.append((b"z:%d", b"Z:%d")[size - 1] % length)
    return b" ".join(words)


SELF_TEST_ELEMENTS = 3000
SELF_TEST_ERROR_MAX = 0.04
"""Five times the standard error of 16384 registers."""


@command("pfselftest", 1, "admin", acl="hyperloglog")
def pfselftest(_client: Client, _argv: Argv) -> Reply:
    """Add the same elements to a sparse and to a dense one: both must count alike, and nearly right."""
    sparse, dense = hll.new(), hll.new()
    hll.to_dense(dense)
    marks = hll.Marks()
    for number in range(SELF_TEST_ELEMENTS):
        element = b"%d" % number
        hll.add(sparse, element, hll.DENSE_BYTES, marks)
        hll.add(dense, element, 0, marks)
    if hll.unpack(sparse) != hll.unpack(dense):
        raise CommandError("ERR TESTFAILED dense and sparse registers differ")
    estimate = hll.refresh(dense)
    if abs(estimate - SELF_TEST_ELEMENTS) > SELF_TEST_ERROR_MAX * SELF_TEST_ELEMENTS:
        raise CommandError(f"ERR TESTFAILED estimate {estimate} of {SELF_TEST_ELEMENTS} elements")
    return OK
