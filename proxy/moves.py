"""Commands that take something from one slot and put it into another: RENAME, COPY, SMOVE, LMOVE and RPOPLPUSH.

The target is written first and the source removed afterwards, by a script that looks whether it is still what was
copied: a crash in between leaves a thing twice, never lost. Another client may see it in both places for a moment.
Where the source has changed meanwhile the copy is taken back (or written anew), and the move begins again.
"""

from typing import TYPE_CHECKING, Any

from node.net.resp import OK, Argv, CommandError, Failure, Reply
from proxy.stories import Ask, Story, Turn, Unit, must

if TYPE_CHECKING:
    from proxy.server import Proxy

TRIES_MAX = 64
"""How often a source may change under a move before it is given up."""

WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
REMOVE_IF_SAME = b"if redis.call('DUMP',KEYS[1])==ARGV[1] then return redis.call('UNLINK',KEYS[1]) end return 0"
POP_IF_SAME = b"if redis.call('LINDEX',KEYS[1],ARGV[1])==ARGV[2] then redis.call(ARGV[3],KEYS[1]) return 1 end return 0"


def rename(client: Any, argv: Argv) -> Story:
    """RENAME, RENAMENX."""
    _, source, target = argv
    only_new = argv[0].lower() == b"renamenx"
    proxy: Proxy = client.host
    slot = proxy.slot(source)
    for _ in range(TRIES_MAX):
        payload, deadline_ms = yield from _fetch(proxy, source)
        if payload is None:
            raise CommandError("ERR no such key")
        stored = yield from _store(proxy, target, payload, deadline_ms, replace=not only_new)
        if not stored:
            return 0
        (removed,) = yield [Ask(slot, [b"EVAL", REMOVE_IF_SAME, b"1", source, payload])]
        if must(removed):
            return 1 if only_new else OK
        if only_new:  # what stands at the target is our own copy
            (gone,) = yield [Ask(proxy.slot(target), [b"EVAL", REMOVE_IF_SAME, b"1", target, payload])]
            must(gone)
    raise _restless(source)


def copy(client: Any, argv: Argv) -> Story:
    """COPY source target [DB 0] [REPLACE]."""
    proxy: Proxy = client.host
    replace = _copy_options(argv)
    payload, deadline_ms = yield from _fetch(proxy, argv[1])
    if payload is None:
        return 0
    stored = yield from _store(proxy, argv[2], payload, deadline_ms, replace=replace)
    return 1 if stored else 0


def _copy_options(argv: Argv) -> bool:
    replace, at = False, 3
    while at < len(argv):
        option = argv[at].lower()
        if option == b"replace":
            replace = True
        elif option == b"db" and at + 1 < len(argv):
            at += 1
            if argv[at] != b"0":
                raise CommandError("ERR DB index is out of range")
        else:
            raise CommandError("ERR syntax error")
        at += 1
    return replace


def _fetch(proxy: "Proxy", key: bytes) -> Story:
    """(payload, deadline) of a key, at one instant; (None, _) if it is not there."""
    (found,) = yield [Unit(proxy.slot(key), [[b"DUMP", key], [b"PEXPIRETIME", key]])]
    payload, deadline_ms = must(found)
    return must(payload), max(0, must(deadline_ms))


def _store(proxy: "Proxy", key: bytes, payload: bytes, deadline_ms: int, *, replace: bool) -> Story:
    """Write a copy; False if something is there that must not be replaced."""
    order = [b"RESTORE", key, b"%d" % deadline_ms, payload, b"ABSTTL"] + ([b"REPLACE"] if replace else [])
    (stored,) = yield [Ask(proxy.slot(key), order)]
    if type(stored) is Failure and stored.startswith(b"BUSYKEY"):
        return False
    must(stored)
    return True


def smove(client: Any, argv: Argv) -> Story:
    """SMOVE source target member."""
    _, source, target, member = argv
    proxy: Proxy = client.host
    from_slot, to_slot = proxy.slot(source), proxy.slot(target)
    is_member, kind = yield [
        Ask(from_slot, [b"SISMEMBER", source, member], reads=True),
        Ask(to_slot, [b"TYPE", target], reads=True),
    ]
    if not must(is_member):
        if kind not in (b"none", b"set"):
            (there,) = yield [Ask(from_slot, [b"EXISTS", source], reads=True)]
            if must(there):
                raise CommandError(WRONG_TYPE)
        return 0
    if kind not in (b"none", b"set"):
        raise CommandError(WRONG_TYPE)
    (added,) = yield [Ask(to_slot, [b"SADD", target, member])]
    must(added)
    (removed,) = yield [Ask(from_slot, [b"SREM", source, member])]
    if must(removed):
        return 1
    if added:  # somebody else has moved or removed it meanwhile
        yield [Ask(to_slot, [b"SREM", target, member])]
    return 0


def lmove(client: Any, argv: Argv) -> Story:
    """LMOVE source target LEFT|RIGHT LEFT|RIGHT, and RPOPLPUSH source target."""
    _, source, target = argv[:3]
    ends = [word.lower() for word in argv[3:5]] or [b"right", b"left"]
    if any(end not in (b"left", b"right") for end in ends):
        raise CommandError("ERR syntax error")
    moved = yield from move_element(client.host, source, target, ends[0] == b"left", ends[1] == b"left")
    return moved


def move_element(proxy: "Proxy", source: bytes, target: bytes, from_left: bool, to_left: bool) -> Story:
    """Move one element; None if there is none. The moves from one list are made one after another."""
    turn = Turn(source)
    try:
        yield [turn]
        for _ in range(TRIES_MAX):
            element, is_over = yield from _try_to_move(proxy, source, target, from_left, to_left)
            if is_over:
                return element
        raise _restless(source)
    finally:
        proxy.turns.end(turn)


def _try_to_move(proxy: "Proxy", source: bytes, target: bytes, from_left: bool, to_left: bool) -> Story:
    from_slot, to_slot = proxy.slot(source), proxy.slot(target)
    index = b"0" if from_left else b"-1"
    element, kind = yield [
        Ask(from_slot, [b"LINDEX", source, index], reads=True),
        Ask(to_slot, [b"TYPE", target], reads=True),
    ]
    if must(element) is None:
        return None, True
    if must(kind) not in (b"none", b"list"):
        raise CommandError(WRONG_TYPE)
    (pushed,) = yield [Ask(to_slot, [b"LPUSH" if to_left else b"RPUSH", target, element])]
    must(pushed)
    pop = b"LPOP" if from_left else b"RPOP"
    (popped,) = yield [Ask(from_slot, [b"EVAL", POP_IF_SAME, b"1", source, index, element, pop])]
    if type(popped) is Failure:
        raise CommandError(b"%b; the element stands in '%b' and perhaps in '%b' still" % (popped, target, source))
    if not popped:
        yield [Ask(to_slot, [b"LREM", target, b"1" if to_left else b"-1", element])]
    return element, bool(popped)


def _restless(source: bytes) -> CommandError:
    name = source.decode("utf-8", "backslashreplace")
    return CommandError(f"ERR proxy: '{name}' changed {TRIES_MAX} times while it was to be moved to another slot")


def msetnx(client: Any, argv: Argv) -> Story:
    """MSETNX over slots, where `cross-slot` is relaxed: looks first, then sets. Not isolated."""
    proxy: Proxy = client.host
    pairs = argv[1:]
    keys = pairs[::2]
    found = yield [Ask(proxy.slot(key), [b"EXISTS", key], reads=True) for key in keys]
    if any(must(reply) for reply in found):
        return 0
    parts: dict[int, Argv] = {}
    for key, value in zip(keys, pairs[1::2], strict=True):
        parts.setdefault(proxy.slot(key), [b"MSET"]).extend((key, value))
    stored: list[Reply] = yield [Ask(slot, part) for slot, part in parts.items()]
    for reply in stored:
        must(reply)
    return 1
