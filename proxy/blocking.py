"""Commands that wait for what other clients do: BLPOP and its kin, BLMOVE, XREAD BLOCK.

Keys in one slot: the command itself waits at the node, over a connection that is the client's alone. If that breaks or
the slot moves, it waits anew at the next node, for the time that is left; a pop that the lost node has made and not
told is lost, as it is when a single Redis ends. A client that goes takes its connection with it.

Keys in several slots: nothing that pops ever waits. The keys are tried one after another, in the client's order, so
at most one pop is under way and what it takes is delivered. In between the client waits for a sign:

- lists: at each key `BLMOVE key key LEFT LEFT`, which wakes when there is an element and leaves the list as it was
  (a WATCH on such a key notices it);
- streams: XREAD BLOCK itself, which takes nothing;
- sorted sets, and streams read by a group: a look every `LOOK_MS`.
"""

from math import inf
from typing import TYPE_CHECKING, Any

from node.datatypes.numbers import parse_float
from node.net.resp import NO_REPLY, NULL_ARRAY, Argv, CommandError, Encoded, Failure, Reply
from node.table import Run
from proxy.calls import AGAIN_MS, LOST
from proxy.link import Link
from proxy.moves import move_element
from proxy.pool import TooManyPrivate
from proxy.several import StreamWords, is_nothing
from proxy.stories import Ask, AskLink, First, Pause, Story, begin_blocking, must, value_of
from proxy.topology import parse_address

if TYPE_CHECKING:
    from proxy.server import Proxy

LOOK_MS = 20
"""How often keys are looked at whose change nobody signals."""
SIGNAL_KEYS_MAX = 64
"""At how many keys at a time one client may wait in several slots: each costs a connection."""
TIMEOUT_S_MAX = (1 << 63) // 1000
MOMENT_MS = 1.0

_LOST = (LOST, b"UNBLOCKED")


class Deadline:
    """How long a client will wait. `at` is where its timeout stands among the arguments, in units of `unit_s`."""

    def __init__(self, proxy: "Proxy", argv: Argv, at: int, unit_s: float = 1.0) -> None:
        timeout_s = parse_float(argv[at])
        if timeout_s is None or timeout_s != timeout_s:
            raise CommandError("ERR timeout is not a float or out of range")
        timeout_s *= unit_s
        if timeout_s < 0:
            raise CommandError("ERR timeout is negative")
        if timeout_s > TIMEOUT_S_MAX:
            raise CommandError("ERR timeout is out of range")
        self._proxy = proxy
        self._argv = argv
        self._at = at
        self._unit_s = unit_s
        self._until_ms = proxy.monotonic_ms() + timeout_s * 1000 if timeout_s else 0.0

    @property
    def left_ms(self) -> float:
        """What is left; 0 if there is no end to it, and less than 0 when it is over."""
        if not self._until_ms:
            return 0.0
        return self._until_ms - self._proxy.monotonic_ms() or -1.0

    @property
    def wait_ms(self) -> float:
        """How long the next wait may be; 0 if there is no end to it, but not where the end has come just now."""
        left_ms = self.left_ms
        return left_ms if left_ms >= 0 else MOMENT_MS

    @property
    def until_ms(self) -> float:
        """Until when the node may be silent."""
        return self._until_ms or inf

    @property
    def is_over(self) -> bool:
        return self.left_ms < 0

    def argv(self) -> Argv:
        """The command, for the time that is left."""
        left_ms = self.left_ms
        if not self._until_ms:
            return self._argv
        shown = b"%d" % max(1, int(left_ms)) if self._unit_s < 1 else b"%.3f" % max(0.001, left_ms / 1000)
        return [*self._argv[: self._at], shown, *self._argv[self._at + 1 :]]


# --- one slot ---------------------------------------------------------------------------------------------------------


def _wait_at_node(client: Any, slot: int, deadline: Deadline | None, argv: Argv, nothing: Reply) -> Story:
    """The command's own reply, from whichever node serves its slot."""
    proxy: Proxy = client.host
    give_up_ms = 0.0
    while True:
        words, until_ms = (argv, 0.0) if deadline is None else (deadline.argv(), deadline.until_ms)
        raw = yield from _ask_alone(client, slot, words, until_ms)
        if raw[:1] != b"-":
            return Encoded(raw)
        failure: Failure = value_of(raw)
        if not (proxy.may_come_right(failure) or failure.startswith(_LOST)):
            return failure
        now_ms = proxy.monotonic_ms()
        give_up_ms = give_up_ms or now_ms + proxy.settings.retry_timeout_ms
        if deadline is not None and deadline.is_over:
            return nothing
        if now_ms > give_up_ms:
            return failure
        proxy.heed(failure)
        yield [Pause(AGAIN_MS)]
        if not failure.startswith(b"UNREACHABLE"):
            give_up_ms = 0.0


def _ask_alone(client: Any, slot: int, argv: Argv, until_ms: float) -> Story:
    """The raw reply to a command over a connection of its own, that may wait until then; ASK is followed."""
    proxy: Proxy = client.host
    try:
        link = proxy.private_link(slot, client)
    except TooManyPrivate as error:
        raise CommandError(str(error)) from None
    if link is None:
        return b"-UNREACHABLE no node serves slot %d\r\n" % slot
    link.patient_until_ms = until_ms
    try:
        (raw,) = yield [AskLink(link, argv, raw=True)]
    finally:
        proxy.pool.give_back(link)
    words = raw[1:-2].split(b" ")
    if raw[:5] == b"-ASK " and len(words) == 3:
        raw = yield from _ask_other(client, words[2], argv, until_ms)
    return raw


def _ask_other(client: Any, address: bytes, argv: Argv, until_ms: float) -> Story:
    """As `_ask_alone`, at the node that imports the slot."""
    proxy: Proxy = client.host
    try:
        node = proxy.topology.node(parse_address(address.decode("utf-8", "replace")))
        link = proxy.pool.take(node, client.private_key)
    except (ValueError, TooManyPrivate) as error:
        raise CommandError(f"ERR proxy: {error}") from None
    link.patient_until_ms = until_ms
    try:
        _, raw = yield [AskLink(link, [b"ASKING"]), AskLink(link, argv, raw=True)]
    finally:
        proxy.pool.give_back(link)
    return raw


# --- several slots ----------------------------------------------------------------------------------------------------


def _wait_for_lists(client: Any, keys: list[bytes], deadline: Deadline) -> Story:
    """Return when one of these lists may have an element, or the time is over."""
    proxy: Proxy = client.host
    asks: list[AskLink] = []
    try:
        for key in keys[:SIGNAL_KEYS_MAX]:
            link = proxy.private_link(proxy.slot(key), client)
            if link is not None:
                link.patient_until_ms = inf  # the race has an end of its own
                asks.append(AskLink(link, [b"BLMOVE", key, key, b"LEFT", b"LEFT", b"0"]))
        if not asks:
            proxy.look_soon()
            yield [Pause(AGAIN_MS)]
            return
        (replies,) = yield [First(asks, deadline.wait_ms)]
    except TooManyPrivate as error:
        raise CommandError(str(error)) from None
    finally:
        for ask in asks:
            proxy.pool.give_back(ask.link)
    for reply in replies:
        if type(reply) is Failure and not reply.startswith(b"WRONGTYPE"):
            proxy.heed(reply)
            yield [Pause(AGAIN_MS)]


def _wait_a_little(deadline: Deadline) -> Story:
    left_ms = deadline.left_ms
    yield [Pause(min(LOOK_MS, left_ms) if left_ms > 0 else LOOK_MS)]


def _pop_loop(client: Any, keys: list[bytes], attempt: Any, deadline: Deadline, *, lists: bool) -> Story:
    """Try the keys in turn until one gives or the time is over."""
    while True:
        for key in keys:
            popped = yield from attempt(client.host, key)
            if popped is not None:
                return popped
        if deadline.is_over:
            return NULL_ARRAY
        if lists:
            yield from _wait_for_lists(client, keys, deadline)
        else:
            yield from _wait_a_little(deadline)


def _popper(name: bytes) -> Any:
    """BLPOP, BRPOP, BZPOPMIN, BZPOPMAX at one key, without waiting."""

    def attempt(proxy: "Proxy", key: bytes) -> Story:
        (popped,) = yield [Ask(proxy.slot(key), [name, key])]
        if _is_lost(popped) or is_nothing(must(popped)) or popped == []:
            return None
        return [key, popped] if name in (b"LPOP", b"RPOP") else [key, *popped]

    return attempt


def _multi_popper(name: bytes, rest: Argv) -> Any:
    """BLMPOP, BZMPOP at one key, without waiting."""

    def attempt(proxy: "Proxy", key: bytes) -> Story:
        (popped,) = yield [Ask(proxy.slot(key), [name, b"1", key, *rest])]
        return None if _is_lost(popped) or is_nothing(must(popped)) else popped

    return attempt


def _is_lost(popped: Reply) -> bool:
    """Has a node gone before it told what it had popped? Then the client waits on, as one in a single slot does."""
    return type(popped) is Failure and popped.startswith(_LOST)


# --- commands ---------------------------------------------------------------------------------------------------------


def _one_slot(client: Any, argv: Argv) -> int | None:
    proxy: Proxy = client.host
    command = proxy.commands.resolve(argv)
    assert command is not None
    if client.may_block:
        return proxy.slot_of_command(command, argv)
    return None


def pop(client: Any, argv: Argv) -> Reply:
    """BLPOP, BRPOP, BZPOPMIN, BZPOPMAX: key [key ...] timeout."""
    deadline = Deadline(client.host, argv, len(argv) - 1)
    slot = _one_slot(client, argv)
    if slot is not None:
        story = _wait_at_node(client, slot, deadline, argv, NULL_ARRAY)
    else:
        name = argv[0].upper()[1:]
        story = _pop_loop(client, argv[1:-1], _popper(name), deadline, lists=not name.startswith(b"Z"))
    return begin_blocking(client, story, NULL_ARRAY)


def multi_pop(client: Any, argv: Argv) -> Reply:
    """BLMPOP, BZMPOP: timeout numkeys key [key ...] END [COUNT count]."""
    deadline = Deadline(client.host, argv, 1)
    slot = _one_slot(client, argv)
    if slot is not None:
        story = _wait_at_node(client, slot, deadline, argv, NULL_ARRAY)
    else:
        count = int(argv[2])
        name = argv[0].upper()[1:]
        attempt = _multi_popper(name, argv[3 + count :])
        story = _pop_loop(client, argv[3 : 3 + count], attempt, deadline, lists=name == b"LMPOP")
    return begin_blocking(client, story, NULL_ARRAY)


def move(client: Any, argv: Argv) -> Reply:
    """BLMOVE source target LEFT|RIGHT LEFT|RIGHT timeout, and BRPOPLPUSH source target timeout."""
    deadline = Deadline(client.host, argv, len(argv) - 1)
    slot = _one_slot(client, argv)
    if slot is not None:
        return begin_blocking(client, _wait_at_node(client, slot, deadline, argv, None), None)
    ends = [word.lower() for word in argv[3:-1]] or [b"right", b"left"]
    if any(end not in (b"left", b"right") for end in ends):
        raise CommandError("ERR syntax error")
    return begin_blocking(client, _move(client, argv[1], argv[2], ends, deadline), None)


def _move(client: Any, source: bytes, target: bytes, ends: list[bytes], deadline: Deadline) -> Story:
    while True:
        moved = yield from move_element(client.host, source, target, ends[0] == b"left", ends[1] == b"left")
        if moved is not None or deadline.is_over:
            return moved
        yield from _wait_for_lists(client, [source], deadline)


def read_streams(client: Any, argv: Argv) -> Reply:
    """XREAD, XREADGROUP, with and without BLOCK."""
    proxy: Proxy = client.host
    command = proxy.commands.resolve(argv)
    assert command is not None
    slot = proxy.slot_of_command(command, argv)
    blocks = any(word.lower() == b"block" for word in argv[1:-2])
    if slot is not None and not blocks:
        client.begin_call(command, argv, slot)
        return NO_REPLY
    words = StreamWords(argv)
    if slot is not None:
        return begin_blocking(client, _streams_of_one_slot(client, slot, words), NULL_ARRAY)
    return begin_blocking(client, _streams(client, words, by_group=command.name == "xreadgroup"), NULL_ARRAY)


def _streams_of_one_slot(client: Any, slot: int, words: StreamWords) -> Story:
    proxy: Proxy = client.host
    yield from _fix_ends(proxy, words)
    part = words.parts(proxy)[slot]
    if words.block_ms is None:
        return (yield from _wait_at_node(client, slot, None, part, NULL_ARRAY))
    argv = [part[0], b"BLOCK", b"%d" % words.block_ms, *part[1:]]
    return (yield from _wait_at_node(client, slot, Deadline(proxy, argv, 2, 0.001), argv, NULL_ARRAY))


def _streams(client: Any, words: StreamWords, *, by_group: bool) -> Story:
    proxy: Proxy = client.host
    if words.block_ms is None:
        replies = yield [Ask(slot, part) for slot, part in words.parts(proxy).items()]
        return words.joined(replies)
    deadline = Deadline(proxy, [b"%d" % words.block_ms], 0, 0.001)
    yield from _fix_ends(proxy, words)
    while True:
        if by_group:
            found = yield from _given_to_group(proxy, words)
        else:
            replies = yield [Ask(slot, part, reads=True) for slot, part in words.parts(proxy).items()]
            found = words.joined(replies)
        if not is_nothing(found):
            return found
        if deadline.is_over:
            return NULL_ARRAY
        if by_group:
            yield from _wait_a_little(deadline)
        else:
            yield from _wait_for_streams(client, words, deadline)


def _given_to_group(proxy: "Proxy", words: StreamWords) -> Story:
    """What XREADGROUP finds now. What is given must get there: one part at a time, and none after one that failed."""
    given: list[Reply] = []
    for slot, part in words.parts(proxy).items():
        (reply,) = yield [Ask(slot, part)]
        if type(reply) is not Failure:
            given.append(reply)
        elif is_nothing(words.joined(given)):
            must(reply)
        else:
            break
    return words.joined(given)


def _fix_ends(proxy: "Proxy", words: StreamWords) -> Story:
    """`$` means the end of a stream as it is now, however often it is looked at afterwards."""
    open_ends = [key for key, entry in words.streams if entry == b"$"]
    if not open_ends:
        return
    replies = yield [Ask(proxy.slot(key), [b"XINFO", b"STREAM", key], reads=True) for key in open_ends]
    ends: dict[bytes, bytes] = {}
    for key, reply in zip(open_ends, replies, strict=True):
        if type(reply) is Failure and reply.startswith(b"ERR no such key"):
            ends[key] = b"0-0"
            continue
        fields = must(reply)
        if not isinstance(fields, dict):
            fields = dict(zip(fields[::2], fields[1::2], strict=True))
        ends[key] = bytes(fields[b"last-generated-id"])
    words.streams = [(key, ends.get(key, entry) if entry == b"$" else entry) for key, entry in words.streams]


def _wait_for_streams(client: Any, words: StreamWords, deadline: Deadline) -> Story:
    proxy: Proxy = client.host
    asks: list[AskLink] = []
    try:
        for slot, part in words.parts(proxy).items():
            link: Link | None = proxy.private_link(slot, client)
            if link is not None:
                link.patient_until_ms = inf  # the race has an end of its own
                asks.append(AskLink(link, [part[0], b"BLOCK", b"0", *part[1:]]))
        if not asks:
            proxy.look_soon()
            yield [Pause(AGAIN_MS)]
            return
        (replies,) = yield [First(asks, deadline.wait_ms)]
    except TooManyPrivate as error:
        raise CommandError(str(error)) from None
    finally:
        for ask in asks:
            proxy.pool.give_back(ask.link)
    for reply in replies:
        if type(reply) is Failure:
            proxy.heed(reply)
            yield [Pause(AGAIN_MS)]


RUNS: dict[str, Run] = {
    **dict.fromkeys(("blpop", "brpop", "bzpopmin", "bzpopmax"), pop),
    **dict.fromkeys(("blmpop", "bzmpop"), multi_pop),
    **dict.fromkeys(("blmove", "brpoplpush"), move),
    **dict.fromkeys(("xread", "xreadgroup"), read_streams),
}
