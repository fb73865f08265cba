"""CLUSTER MIGRATION (Redis 8.4), MIGRATESLOTS and its like (Valkey 9), and what two nodes say to each other."""

from __future__ import annotations

from gossip.commands import CLUSTER, command, service
from gossip.moving.mover import Mover
from gossip.state import is_node_id
from node.datatypes.numbers import parse_int
from node.net.resp import NO_REPLY, OK, Argv, CommandError, Reply
from node.server import Client
from node.slots import SLOTS
from node.table import Registry

SYNTAX_ERROR = CommandError("ERR syntax error")


def registry() -> Registry:
    """The commands of CLUSTER, those of this module among them."""
    return CLUSTER


def _mover(client: Client) -> Mover:
    return service(client).mover


def _number(word: bytes) -> int:
    number = parse_int(word)
    if number is None:
        raise CommandError("ERR value is not an integer or out of range")
    return number


def parse_ranges(words: Argv) -> int:
    """The bitmap of `first last [first last ...]`.  Raises CommandError."""
    if not words or len(words) % 2:
        raise SYNTAX_ERROR
    slots = 0
    for first, last in zip(map(_number, words[::2]), map(_number, words[1::2]), strict=True):
        if not (0 <= first < SLOTS and 0 <= last < SLOTS):
            raise CommandError("ERR Invalid or out of range slot")
        if first > last:
            raise CommandError(f"ERR start slot number {first} is greater than end slot number {last}")
        bits = (1 << last + 1) - (1 << first)
        if bits & slots:
            raise CommandError(f"ERR slot range {first}-{last} overlaps with one before")
        slots |= bits
    return slots


def _id(word: bytes) -> str:
    text = word.decode("latin-1")
    if not is_node_id(text):
        raise CommandError("ERR a node or a task is named by 40 lower-case letters and digits")
    return text


# --- Redis 8.4: run at the target -----------------------------------------------------------------------------------


@command("cluster|migration")
def migration(client: Client, argv: Argv) -> Reply:
    """CLUSTER MIGRATION IMPORT first last ... | STATUS [ID id | ALL] | CANCEL (ID id | ALL)."""
    mover, action, words = _mover(client), argv[2].upper(), argv[3:]
    if action == b"IMPORT":
        return mover.begin_import(parse_ranges(words)).id.encode()
    if action == b"STATUS":
        wanted = _wanted(words or [b"ALL"])
        return [task.status() for task in mover.book.tasks.values() if wanted in ("", task.id)]
    if action == b"CANCEL":
        wanted = _wanted(words)
        return mover.cancel(lambda task: wanted in ("", task.id))
    raise CommandError("ERR unknown CLUSTER MIGRATION action. Try CLUSTER HELP")


def _wanted(words: Argv) -> str:
    """The id of `ID id`; nothing for `ALL`.  Raises CommandError."""
    if len(words) == 1 and words[0].upper() == b"ALL":
        return ""
    if len(words) == 2 and words[0].upper() == b"ID":
        return _id(words[1])
    raise SYNTAX_ERROR


# --- Valkey 9: run at the source ------------------------------------------------------------------------------------


@command("cluster|migrateslots")
def migrateslots(client: Client, argv: Argv) -> Reply:
    """CLUSTER MIGRATESLOTS SLOTSRANGE first last ... NODE id [SLOTSRANGE ... NODE id ...]."""
    wanted: list[tuple[int, str]] = []
    words = argv[2:]
    while words:
        if words[0].upper() != b"SLOTSRANGE":
            raise SYNTAX_ERROR
        end = next((at for at, word in enumerate(words) if word.upper() == b"NODE"), 0)
        if not end or end + 1 >= len(words):
            raise SYNTAX_ERROR
        wanted.append((parse_ranges(words[1:end]), _id(words[end + 1])))
        words = words[end + 2 :]
    _mover(client).begin_migrate(wanted)
    return OK


@command("cluster|getslotmigrations")
def getslotmigrations(client: Client, _argv: Argv) -> Reply:
    return [task.job() for task in _mover(client).book.tasks.values()]


@command("cluster|cancelslotmigrations")
def cancelslotmigrations(client: Client, _argv: Argv) -> Reply:
    _mover(client).cancel(lambda task: task.operation == "migrate")
    return OK


# --- between two nodes ------------------------------------------------------------------------------------------------


@command("cluster|syncslots")
def syncslots(client: Client, argv: Argv) -> Reply:
    """What the target says to the source, or (PULL) a source to the target: see `gossip.moving`."""
    mover, action, words = _mover(client), argv[2].upper(), argv[3:]
    match action, words:
        case b"SYNC", [task_id, target_id, *ranges]:
            mover.synchronize(client, _id(task_id), _id(target_id), parse_ranges(ranges))  # it has answered by itself
        case b"PULL", [task_id, *ranges]:
            mover.begin_import(parse_ranges(ranges), _id(task_id), pulled=True)
            return OK
        case b"ACK", [bytes_run]:
            mover.acknowledged(client, _number(bytes_run))
        case b"PAUSE", [epoch]:
            mover.pause_asked(client, _number(epoch))
        case b"GIVEUP", [reason]:
            mover.given_up(client, reason.decode("utf-8", "replace"))
        case _:
            raise SYNTAX_ERROR
    return NO_REPLY
