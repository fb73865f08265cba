"""SORT and SORT_RO: the elements of a list, set or sorted set in order, or others that their names lead to.

BY and GET take patterns: `*` stands for the element, and what is behind `->` is a field of a hash. A pattern without
`*` leads nowhere: GET gets nothing, BY asks for the elements as they stand.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command
from node.datatypes.hashes import Hash
from node.datatypes.lists import List
from node.datatypes.numbers import parse_float
from node.datatypes.packed import Packed
from node.datatypes.sets import Set
from node.datatypes.sortedsets import SortedSet
from node.keyspace.database import WRONG_TYPE, Database
from node.net.resp import Argv, CommandError, Reply
from node.server import Client

NOT_DOUBLES = CommandError("ERR One or more scores can't be converted into double")
ELEMENT = b"#"
SPACES = b" \t\n\v\f\r"

Find = Callable[[bytes], bytes | None]
"""From an element to what a pattern leads to."""


class _Options:
    __slots__ = ("alpha", "by", "count", "descending", "gets", "start", "store", "unsorted")

    def __init__(self) -> None:
        self.alpha = self.descending = self.unsorted = False
        self.by = b""
        self.gets: list[bytes] = []
        self.start, self.count = 0, -1
        self.store: bytes | None = None


def _options(argv: Argv, *, may_store: bool, in_cluster: bool, reads_every_key: bool) -> _Options:
    options = _Options()
    at, last = 2, len(argv) - 1
    while at <= last:
        word = argv[at].upper()
        if word in (b"ASC", b"DESC"):
            options.descending = word == b"DESC"
        elif word == b"ALPHA":
            options.alpha = True
        elif word == b"LIMIT" and at + 2 <= last:
            options.start, options.count = integer(argv[at + 1]), integer(argv[at + 2])
            at += 2
        elif word == b"STORE" and may_store and at < last:
            at += 1
            options.store = argv[at]
        elif word == b"BY" and at < last:
            at += 1
            options.by = argv[at]
            if b"*" not in argv[at]:
                options.unsorted = True
            elif in_cluster:
                raise CommandError("ERR BY option of SORT denied in Cluster mode.")
            elif not reads_every_key:
                raise CommandError("ERR BY option of SORT denied due to insufficient ACL permissions.")
        elif word == b"GET" and at < last:
            if in_cluster:
                raise CommandError("ERR GET option of SORT denied in Cluster mode.")
            if not reads_every_key:
                raise CommandError("ERR GET option of SORT denied due to insufficient ACL permissions.")
            at += 1
            options.gets.append(argv[at])
        else:
            raise SYNTAX
        at += 1
    return options


def _finder(db: Database, pattern: bytes) -> Find:
    """What a pattern leads to from an element: a string, or a field of a hash; None where there is no such."""
    if pattern == ELEMENT:
        return lambda element: element
    head, star, tail = pattern.partition(b"*")
    if not star:
        return lambda _element: None
    rest, _, field = tail.partition(b"->")
    if field:
        return lambda element: _field(db, head + element + rest, field)
    return lambda element: _string(db, head + element + tail)


def _string(db: Database, key: bytes) -> bytes | None:
    value = db.read(key)
    return bytes(value) if type(value) is bytes or type(value) is bytearray else None


def _field(db: Database, key: bytes, field: bytes) -> bytes | None:
    value = db.read(key)
    if type(value) is Packed and value.form.container is Hash:
        value = db.peek_kind(key, Hash)
    return value.alive(db.keyspace.now_ms).get(field) if type(value) is Hash else None


def _elements(db: Database, key: bytes, options: _Options, *, repeatable: bool) -> list[bytes]:
    """The elements of a list, set or sorted set, as they stand; turned round where that is all of the order wanted.

    A set that nobody wants sorted comes by its bytes all the same where the order must be `repeatable`.
    """
    value = db.read(key)
    if value is None:
        return []
    kind = value.form.container if type(value) is Packed else type(value)
    if kind not in (List, Set, SortedSet):
        raise WRONG_TYPE
    holder: Any = db.peek_kind(key, kind)
    elements: list[bytes] = holder.members(0, len(holder)) if kind is SortedSet else list(holder)
    if options.unsorted and kind is Set and repeatable:
        options.unsorted, options.alpha, options.by = False, True, b""
    if options.unsorted and options.descending and kind is not Set:
        elements.reverse()
    return elements


def _double(text: bytes | None) -> float:
    """A weight, read as C's strtod does: up to a NUL, spaces before it passed over; a missing or empty one is 0."""
    if text is None:
        return 0.0
    text = text.partition(b"\0")[0]
    if not text:
        return 0.0
    number = parse_float(text.lstrip(SPACES))
    if number is None:
        raise NOT_DOUBLES
    return number


def _sort(db: Database, elements: list[bytes], options: _Options) -> None:
    """Put the elements in order. Raises CommandError where they, or what BY leads to, are no numbers."""
    weigh = _finder(db, options.by) if options.by else None
    if options.alpha:
        elements.sort(key=_text_key(weigh, exact=options.store is not None), reverse=options.descending)
        return
    weights = [_double(element if weigh is None else weigh(element)) for element in elements]
    pairs = sorted(zip(weights, elements, strict=True), reverse=options.descending)
    elements[:] = [element for _, element in pairs]


def _text_key(weigh: Find | None, exact: bool) -> Callable[[bytes], tuple[bool, bytes]]:
    """By bytes: all of them for a list that is stored, else up to a NUL, as C compares. What is missing is least."""

    def key(element: bytes) -> tuple[bool, bytes]:
        text = element if weigh is None else weigh(element)
        if text is None:
            return False, b""
        return True, text if exact else text.partition(b"\0")[0]

    return key


def _limited(elements: list[bytes], options: _Options) -> list[bytes]:
    size = len(elements)
    start = min(max(options.start, 0), size)
    stop = size if options.count < 0 else start + options.count
    return list(islice(elements, start, min(stop, size)))


def _run(client: Client, argv: Argv, may_store: bool) -> Reply:
    options = _options(
        argv,
        may_store=may_store,
        in_cluster=client.host.config.cluster_enabled,
        reads_every_key=not client.restricted or _reads_every_key(client, argv),
    )
    db = client.db
    in_script = client.host.scripts.running is not None
    elements = _elements(db, argv[1], options, repeatable=in_script or options.store is not None)
    if not options.unsorted:
        _sort(db, elements, options)
    found: list[bytes | None] = [*_limited(elements, options)]
    if options.gets:
        finders = [_finder(db, pattern) for pattern in options.gets]
        found = [find(element) for element in found if element is not None for find in finders]
    if options.store is None:
        return found
    return _store(client, options.store, [element or b"" for element in found])


def _reads_every_key(client: Client, argv: Argv) -> bool:
    """BY and GET lead to keys that nobody can tell beforehand: so they take a user that may read all of them."""
    found = client.host.commands.resolve(argv)
    return found is not None and client.host.access.reads_every_key(client, found, argv)


def _store(client: Client, key: bytes, elements: list[bytes]) -> int:
    db = client.db
    if not elements:
        db.delete(key)
        return 0
    db.set(key, List(elements))
    db.keyspace.appeared(db, key)  # also where something else stood there: somebody may wait for a list
    db.changed(key, "sortstore", "l")
    db.keyspace.dirty += len(elements) - 1
    return len(elements)


def _find_keys(argv: Argv) -> list[int]:
    """The source, and the last STORE."""
    found = [1]
    at = 2
    while at < len(argv):
        word = argv[at].upper()
        if word in (b"LIMIT", b"GET", b"BY"):
            at += 2 if word == b"LIMIT" else 1
        elif word == b"STORE" and at + 1 < len(argv):
            at += 1
            found[1:] = [at]
        at += 1
    return found


@command(
    "sort",
    -2,
    "write denyoom",
    acl="set sortedset list dangerous",
    keys="@1/range:0:1:0/RO+ACCESS ?/?/RO+ACCESS ?/?/OW+UPDATE",
    find_keys=_find_keys,
)
def sort(client: Client, argv: Argv) -> Reply:
    return _run(client, argv, may_store=True)


@command(
    "sort_ro",
    -2,
    "readonly",
    acl="set sortedset list dangerous",
    keys="@1/range:0:1:0/RO+ACCESS ?/?/RO+ACCESS",
    find_keys=lambda _argv: [1],
)
def sort_ro(client: Client, argv: Argv) -> Reply:
    return _run(client, argv, may_store=False)
