"""MULTI, EXEC and WATCH over nodes. A transaction is planned as a whole before anything of it is sent.

One slot: exactly a Redis's. MULTI, the commands and EXEC go to the node in one row that nothing comes between, over
the shared connection; over the private one that has watched, if keys are watched.

Several slots, `cross-slot relaxed`: one MULTI/EXEC a slot (a node refuses more), the slots with watched keys first,
the replies put together in the client's order. Each part is atomic, the whole is not isolated. A watched slot without
commands is looked at before anything is done. If a part fails when another has been done already, the reply is an
error that says which. `strict` refuses such a transaction and names keys and slots.

Commands without keys: PUBLISH and scripts run in the part of the command before them (or the first), what the proxy
answers itself is answered when the parts are back. What needs several steps by itself cannot be in a transaction over
a cluster, nor what is for all nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from node.net.resp import (
    NO_REPLY,
    NULL_ARRAY,
    OK,
    Argv,
    CommandError,
    Encoded,
    Failure,
    Reply,
    encode,
)
from node.table import Command, Run
from proxy.caching import tracking, tracking_in_transaction
from proxy.calls import AGAIN_MS, HALF_DONE, UnitCall
from proxy.cutter import elements
from proxy.link import Link
from proxy.pool import TooManyPrivate
from proxy.scatter import Part, gather, null_of, plan_of, put_together
from proxy.settings import STRICT
from proxy.shapes import crossing, forward, keys_of
from proxy.stories import AskLink, Pause, RawUnit, Story, begin, must, value_of

if TYPE_CHECKING:
    from proxy.server import Proxy

FOLLOWERS = frozenset({"publish", "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"})
"""Commands that may have no key: they go where the command before them goes."""

WATCHED_SLOTS_MAX = 64
"""In how many slots one client may watch keys: each costs a connection to a node."""


class Local:
    """A command of a transaction that the proxy answers itself."""

    def __init__(self, command: Command, argv: Argv) -> None:
        self.command = command
        self.argv = argv


@dataclass
class Group:
    """What goes to one slot: commands, and where in the transaction each belongs: (command, part of it)."""

    slot: int
    commands: list[Argv] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class TransactionPlan:
    """A transaction by slots. `cut` has the parts of commands that were cut, by their place."""

    count: int
    groups: dict[int, Group]
    local: dict[int, Local]
    cut: dict[int, list[Part]]
    keys: list[bytes]

    @property
    def is_plain(self) -> bool:
        """Is it one MULTI/EXEC of one node, whose reply is the client's?"""
        return len(self.groups) == 1 and not self.local and not self.cut


def plan_transaction(proxy: "Proxy", commands: Sequence[tuple[Command, Argv]]) -> TransactionPlan:
    """Which command goes where. Raises CommandError for one that cannot be in a transaction."""
    plan = TransactionPlan(len(commands), {}, {}, {}, [])
    followers: list[int] = []
    last: int | None = None
    for place, (command, argv) in enumerate(commands):
        keys = keys_of(command, argv)
        plan.keys += keys
        if not keys and command.name in FOLLOWERS:
            if last is None:
                followers.append(place)
            else:
                _add(plan, last, argv, place)
        elif command.run is gather and not proxy.is_together(keys):
            parts = plan_of(proxy, command, argv)
            if parts is None:  # its arguments make no sense: told when its turn comes
                plan.local[place] = Local(command, argv)
                continue
            plan.cut[place] = parts
            for number, part in enumerate(parts):
                _add(plan, part[0], part[1], place, number)
        elif keys or command.run is forward or (not proxy.topology.is_cluster and not _is_local(proxy, command)):
            slot = proxy.slot_of_command(command, argv)
            if slot is None:
                raise crossing(keys)
            last = slot
            _add(plan, slot, argv, place)
        elif _is_local(proxy, command):
            plan.local[place] = Local(command, argv)
        else:
            raise CommandError(f"ERR proxy: {command.full_name.upper()} is for all nodes: not in a transaction")
    for place in reversed(followers):
        first = next(iter(plan.groups), 0)
        group = plan.groups.setdefault(first, Group(first))
        group.commands.insert(0, commands[place][1])
        group.places.insert(0, (place, 0))
    return plan


def _is_local(proxy: "Proxy", command: Command) -> bool:
    return command.run is proxy.originals.get(command.full_name) or command.run is tracking


def _add(plan: TransactionPlan, slot: int, argv: Argv, place: int, part: int = 0) -> None:
    group = plan.groups.setdefault(slot, Group(slot))
    group.commands.append(argv)
    group.places.append((place, part))


# --- WATCH ------------------------------------------------------------------------------------------------------------


def watch(client: Any, argv: Argv) -> Reply:
    """WATCH key [key ...]: each slot's keys by a connection of the client's own."""
    if client.transaction is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    return begin(client, _watch(client, argv[1:]))


def _watch(client: Any, keys: list[bytes]) -> Story:
    proxy: Proxy = client.host
    by_slot: dict[int, list[bytes]] = {}
    for key in keys:
        by_slot.setdefault(proxy.slot(key), []).append(key)
    if len(by_slot) > 1 and proxy.settings.cross_slot == STRICT:
        raise crossing(keys, "watched keys")
    if len(by_slot.keys() | client.watching.keys()) > WATCHED_SLOTS_MAX:
        raise CommandError(f"ERR proxy: keys of more than {WATCHED_SLOTS_MAX} slots cannot be watched at a time")
    for slot, some in by_slot.items():
        yield from _watch_slot(client, slot, some)
    return OK


def _watch_slot(client: Any, slot: int, keys: list[bytes]) -> Story:
    proxy: Proxy = client.host
    until_ms = proxy.monotonic_ms() + proxy.settings.retry_timeout_ms
    while True:
        link = client.watching.get(slot)
        is_new = link is None
        if link is None:
            try:
                link = proxy.private_link(slot, client)
            except TooManyPrivate as error:
                raise CommandError(str(error)) from None
        if link is None:
            reply: Reply = Failure(b"UNREACHABLE no node serves the slot")
        else:
            client.watching[slot] = link
            (reply,) = yield [AskLink(link, [b"WATCH", *keys])]
        if type(reply) is not Failure:
            return None
        if link is not None and is_new:
            client.watching.pop(slot, None)
            proxy.pool.drop(link)
        if not is_new or not proxy.may_come_right(reply) or proxy.monotonic_ms() >= until_ms:
            raise CommandError(bytes(reply))
        proxy.heed(reply)
        yield [Pause(AGAIN_MS)]


# --- EXEC -------------------------------------------------------------------------------------------------------------


def execute(client: Any, argv: Argv) -> Reply:
    """EXEC: plan what was queued, and carry it out."""
    transaction = client.transaction
    if transaction is None:
        raise CommandError("ERR EXEC without MULTI")
    watching, client.watching = client.watching, {}
    proxy: Proxy = client.host
    silent = client.reply_mode != b"on"
    client.end_transaction()
    try:
        if transaction.spoiled:
            raise CommandError("EXECABORT Transaction discarded because of previous errors.")
        plan = plan_transaction(proxy, transaction.commands)
        if proxy.settings.cross_slot == STRICT and len(plan.groups.keys() | watching.keys()) > 1:
            raise crossing(plan.keys, "keys of one transaction")
    except CommandError as error:
        proxy.release(watching)
        text = error.reply
        raise CommandError(text if text.startswith(b"EXECABORT") else b"EXECABORT " + text) from None
    for command, words in transaction.commands:
        client.may_keep(command, words)
    if plan.is_plain and not watching:
        (group,) = plan.groups.values()
        key = client.link_key
        loads = proxy.known_scripts.loads_for(group.commands)
        call = UnitCall(proxy.router, client, group.commands, group.slot, key, before=loads, silent=silent)
        client.answers.append(call)
        proxy.router.send(call)
        return NO_REPLY
    if len(plan.groups) > 1:
        proxy.relaxed_transactions += 1
    return begin(client, _carry_out(client, plan, watching))


def _carry_out(client: Any, plan: TransactionPlan, watching: dict[int, Link]) -> Story:
    """Watched slots without commands, then watched ones with commands, one after another; then all others at once."""
    proxy: Proxy = client.host
    done: dict[int, bytes] = {}  # slot -> EXEC's reply
    try:
        idle = [slot for slot in watching if slot not in plan.groups]
        for slot in [*idle, *(slot for slot in watching if slot in plan.groups)]:
            group = plan.groups.get(slot, Group(slot))
            executed = yield from _execute_watched(proxy, watching[slot], group.commands)
            if executed is None:
                if done:
                    raise _half_done(plan, done, b"a watched key has changed")
                return NULL_ARRAY
            _check_part(plan, done, executed)
            if slot in plan.groups:
                done[slot] = executed
        rest = [group for slot, group in plan.groups.items() if slot not in watching]
        replies = yield [RawUnit(group.slot, group.commands) for group in rest]
        failed = [raw for raw in replies if raw[:1] == b"-"]
        done.update({group.slot: raw for group, raw in zip(rest, replies, strict=True) if raw[:1] != b"-"})
        if failed:
            _check_part(plan, done, failed[0])
        return _assembled(client, plan, done)
    finally:
        proxy.release(watching)


def _execute_watched(proxy: "Proxy", link: Link, commands: list[Argv]) -> Story:
    """EXEC's raw reply over the connection that has watched; None if a watched key has changed, or the node."""
    loads = proxy.known_scripts.loads_for(commands)
    if loads:
        yield [AskLink(link, argv) for argv in loads]
    replies = yield [
        AskLink(link, [b"MULTI"], raw=True),
        *(AskLink(link, argv, raw=True) for argv in commands),
        AskLink(link, [b"EXEC"], raw=True),
    ]
    executed: bytes = replies[-1]
    if executed in (b"*-1\r\n", b"_\r\n", b"$-1\r\n") or executed.startswith((b"-MOVED", b"-ASK", b"-UNREACHABLE")):
        return None
    if executed[:1] == b"-":
        refused = next((raw for raw in replies if raw[:1] == b"-"), executed)
        if refused.startswith((b"-MOVED", b"-ASK", b"-TRYAGAIN", b"-CLUSTERDOWN", b"-UNREACHABLE")):
            return None
        return b"-EXECABORT Transaction discarded because of: " + refused[1:] if refused is not executed else executed
    return executed


def _check_part(plan: TransactionPlan, done: dict[int, bytes], raw: bytes) -> None:
    """A part that failed is the reply, with what has been done already."""
    if raw[:1] != b"-":
        return
    failure = value_of(raw)
    if done:
        raise _half_done(plan, done, bytes(failure))
    must(failure)


def _half_done(plan: TransactionPlan, done: dict[int, bytes], why: bytes) -> CommandError:
    slots = b", ".join(b"%d" % slot for slot in done)
    numbers = sorted({place + 1 for slot in done for place, _ in plan.groups[slot].places})
    shown = b", ".join(b"%d" % number for number in numbers)
    return CommandError(
        b"%bcommands %b (slots %b) were run, the others were not or are unknown: %b" % (HALF_DONE, shown, slots, why)
    )


def _assembled(client: Any, plan: TransactionPlan, done: dict[int, bytes]) -> Reply:
    """EXEC's reply in the client's order."""
    pieces: dict[tuple[int, int], bytes] = {}
    for slot, raw in done.items():
        pieces.update(zip(plan.groups[slot].places, elements(raw), strict=True))
    out = bytearray(b"*%d\r\n" % plan.count)
    for place in range(plan.count):
        if place in plan.local:
            encode(_answer_here(client, plan.local[place]), out, client.resp3)
        elif place in plan.cut:
            parts = plan.cut[place]
            out += put_together(parts, [pieces[place, number] for number in range(len(parts))], null_of(client))
        else:
            out += pieces[place, 0]
    return Encoded(bytes(out))


def _answer_here(client: Any, local: Local) -> Reply:
    run: Run = tracking_in_transaction if local.command.run is tracking else local.command.run
    try:
        return run(client, local.argv)
    except CommandError as error:
        return error.reply
