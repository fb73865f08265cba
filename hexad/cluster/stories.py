"""The commands, each told from beginning to end: a look, a plan, its steps, and a last look. They return exit codes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Coroutine, Mapping
from fractions import Fraction
from typing import Any

from hexad.cluster import balance, membership, restart
from hexad.cluster.creating import create
from hexad.cluster.desk import FAILED, WELL, Desk
from hexad.cluster.findings import HEADINGS, command, findings, summary
from hexad.cluster.look import ask_node, count_keys, look
from hexad.cluster.measure import slot_costs
from hexad.cluster.mend import finish_moves, mend
from hexad.cluster.perform import Performer
from hexad.cluster.picture import ClusterError, Node, Picture
from hexad.cluster.steps import Reset, Restart, Step
from hexad.cluster.watching import watch
from hexad.reach import Address, address_of
from hexad.sight import SLOT_COUNT, parse_ranges, ranges_of, ranges_text

FIX_ROUNDS_MAX = 5
"""A mended fault can uncover another one, but not for ever."""

Story = Callable[[Desk, Namespace], Coroutine[Any, Any, int]]


# --- looking ----------------------------------------------------------------------------------------------------------


async def check(desk: Desk, wanted: Namespace) -> int:
    """All that is wrong; 1 if there is a problem."""
    picture = await count_keys(desk.access, await desk.look())
    _show(desk, picture)
    found = findings(picture)
    desk.tell_findings(found)
    problems = [one for one in found if one.severity == "problem"]
    covered = SLOT_COUNT - len(picture.uncovered)
    text = f"Problems: {len(problems)}." if problems else f"All is well: {covered} slots are served."
    desk.stage.tell(text, "end", ok=not problems, problems=len(problems), warnings=len(found) - len(problems))
    return FAILED if problems else WELL


async def info(desk: Desk, wanted: Namespace) -> int:
    """Who is who, and who has how much."""
    picture = await desk.look()
    _show(desk, picture)
    keys = sum(node.keys for node in picture.primaries)
    owning = [node for node in picture.primaries if node.slots]
    memory = sum(node.number("used_memory") for node in picture.answering)
    text = f"{keys} keys in {len(owning)} primaries, {len(picture.nodes)} nodes, {memory // 2**20} MB of memory."
    desk.stage.tell(text, "end", ok=True, keys=keys, primaries=len(owning), nodes=len(picture.nodes), memory=memory)
    return WELL


def _show(desk: Desk, picture: Picture) -> None:
    desk.stage.table(HEADINGS, summary(picture))
    if desk.stage.is_json:
        for node in picture.nodes:
            desk.stage.tell(
                "",
                "node",
                address=node.name,
                id=node.id,
                role="primary" if node.is_primary else "replica",
                primary=node.me.primary,
                slots=ranges_text(ranges_of(node.slots)),
                epoch=node.me.config_epoch,
                keys=node.keys if node.answers else None,
                memory=node.number("used_memory") if node.answers else None,
                version=node.info.get("hexad_version") or node.info.get("redis_version"),
                state=node.state,
                link=node.info.get("master_link_status"),
                failure=node.failure,
            )


# --- mending ----------------------------------------------------------------------------------------------------------


async def fix(desk: Desk, wanted: Namespace) -> int:
    """Mend what can be mended, round by round."""

    async def planner(picture: Picture) -> list[Step]:
        return mend(await count_keys(desk.access, picture), give_up_unreachable=wanted.give_up_unreachable)

    for number in range(FIX_ROUNDS_MAX):
        picture = await desk.look()
        if number and not _beyond_conflicts(desk.performer, await planner(picture)):
            break
        if not await desk.pursue(picture, planner, dry_run=wanted.dry_run, nothing="There is nothing to mend."):
            return FAILED
        if wanted.dry_run:
            return WELL
    for slot, key in dict.fromkeys(desk.performer.conflicts):
        name = key.decode("utf-8", "backslashreplace")
        text = f"key {name!r} of slot {slot} is on two nodes with two values; --conflicts owner|stray chooses one"
        desk.stage.tell(f"! {text}", "conflict", slot=slot, key=name, text=text)
    return max(await desk.end("Mended."), FAILED if desk.performer.conflicts else WELL)


def _beyond_conflicts(performer: Performer, steps: list[Step]) -> list[Step]:
    """What is left to mend but keys that were left on two nodes on purpose."""
    left = {slot for slot, _ in performer.conflicts}
    return [step for step in steps if getattr(step, "slot", None) not in left]


# --- slots ------------------------------------------------------------------------------------------------------------


async def _open_slots(desk: Desk, picture: Picture) -> list[Step]:
    """The steps that finish what an earlier run left open: they come before any plan."""
    slots = {slot for slot, _ in picture.open_slots()}
    return finish_moves(await count_keys(desk.access, picture, slots)) if slots else []


async def _finish_earlier(desk: Desk, dry_run: bool) -> Picture | None:
    """The cluster without open slots; None if it was not agreed to close them. Raises ClusterError."""
    picture = await desk.look_sound()
    if await _open_slots(desk, picture):
        desk.stage.say("An earlier move was cut short: it is finished first.")

        async def planner(now: Picture) -> list[Step]:
            return await _open_slots(desk, now)

        if not await desk.pursue(picture, planner, dry_run=dry_run):
            return None
        if not dry_run:
            picture = await desk.look_sound()
    return picture


async def rebalance(desk: Desk, wanted: Namespace) -> int:
    """Even out slots, keys, memory or load."""
    picture = await _finish_earlier(desk, wanted.dry_run)
    if picture is None:
        return FAILED
    weights = _weights(picture, wanted.weight)

    async def planner(now: Picture) -> list[Step]:
        opened = await _open_slots(desk, now)
        if opened:
            return opened
        owned = {node.id: node.slots for node in now.primaries}
        try:
            if wanted.by != "slots":
                costs = await slot_costs(desk.access, now, wanted.by)
                return list(balance.by_cost(owned, costs, weights, wanted.threshold))
            shares = balance.shares(owned, weights)
            return [] if balance.is_balanced(owned, shares, wanted.threshold) else list(balance.by_slots(owned, shares))
        except ValueError as error:
            raise ClusterError(str(error)) from error

    nothing = f"The slots are balanced within {wanted.threshold:g} %."
    if wanted.by != "slots":
        nothing = f"No move of a whole slot would even out the {wanted.by} any more, within {wanted.threshold:g} %."
    if not await desk.pursue(picture, planner, dry_run=wanted.dry_run, nothing=nothing):
        return FAILED
    return WELL if wanted.dry_run else await desk.end("Balanced.")


def _weights(picture: Picture, words: Mapping[str, Fraction]) -> dict[str, Fraction]:
    found = {}
    for word, weight in words.items():
        node = picture.find(word)
        if not node.is_primary:
            raise ClusterError(f"--weight {word}: it is a replica; slots belong to primaries")
        found[node.id] = weight
    return found


async def reshard(desk: Desk, wanted: Namespace) -> int:
    """Slots to one primary: those that are named, or so many of others."""
    picture = await _finish_earlier(desk, wanted.dry_run)
    if picture is None:
        return FAILED
    target = picture.find(wanted.to)
    if not target.is_primary:
        raise ClusterError(f"{target.name} is a replica: name its primary {picture.name_of(target.me.primary)}")
    owned = {node.id: node.slots for node in picture.primaries}
    if wanted.slots is not None:
        slots = parse_ranges(wanted.slots)
    else:
        sources = [picture.find(word).id for word in wanted.source] or [id for id in owned if id != target.id]
        try:
            slots = set(balance.choose(owned, [id for id in sources if id in owned and id != target.id], wanted.count))
        except ValueError as error:
            raise ClusterError(str(error)) from error
        text = ranges_text(ranges_of(slots)).replace(" ", ",")
        again = command(picture, "reshard", "--to", target.name, "--slots", text)
        desk.stage.tell(f"If it is cut short, this goes on with it: {again}", "resume", command=again)

    async def planner(now: Picture) -> list[Step]:
        moves = balance.reshard({node.id: node.slots for node in now.primaries}, target.id, slots)
        return [*await _open_slots(desk, now), *moves]

    nothing = f"{target.name} owns these slots."
    if not await desk.pursue(picture, planner, dry_run=wanted.dry_run, nothing=nothing):
        return FAILED
    return WELL if wanted.dry_run else await desk.end("Resharded.")


# --- members ----------------------------------------------------------------------------------------------------------


async def add(desk: Desk, wanted: Namespace) -> int:
    """A new node, as a primary without slots or as a replica."""
    picture = await desk.look_sound()

    async def planner(now: Picture) -> list[Step]:
        return membership.add(now, await _ask(desk, wanted.new), wanted.replica_of)

    nothing = f"{wanted.new[0]}:{wanted.new[1]} is a member already."
    if not await desk.pursue(picture, planner, dry_run=wanted.dry_run, nothing=nothing):
        return FAILED
    if wanted.dry_run:
        return WELL
    next_step = "" if wanted.replica_of else f" It owns no slots yet: {command(picture, 'rebalance')}"
    return await desk.end(f"Added.{next_step}")


async def _ask(desk: Desk, address: Address) -> Node:
    try:
        return await ask_node(desk.access, address)
    except OSError as error:
        raise ClusterError(f"{error}: start it with cluster-enabled yes") from error


async def remove(desk: Desk, wanted: Namespace) -> int:
    """A node goes, after its slots and its replicas."""
    leaving = await _leaving(desk, wanted.node)
    picture = await _finish_earlier(desk, wanted.dry_run)
    if picture is None:
        return FAILED

    async def planner(now: Picture) -> list[Step]:
        node = now.by_id.get(leaving.id)
        if node is not None:
            return [*await _open_slots(desk, now), *membership.remove(now, node)]
        try:  # all others have forgotten it: has it forgotten them?
            node = await ask_node(desk.access, leaving.address)
        except OSError:
            return []
        return [Reset(node.address)] if node.id == leaving.id and len(node.known) > 1 else []

    if not await desk.pursue(
        picture, planner, dry_run=wanted.dry_run, nothing=f"{leaving.name} is no member any more."
    ):
        return FAILED
    return WELL if wanted.dry_run else await desk.end("Removed.")


async def _leaving(desk: Desk, word: str) -> Node:
    """The node that shall go; the cluster is seen through another one from here on. Raises ClusterError.

    A run that was cut short can leave a node that the others have forgotten, and that has not forgotten them.
    """
    picture = await look(desk.access, desk.performer.seed)
    try:
        node = picture.find(word)
    except ClusterError:
        if ":" not in word:
            raise
        node = await _ask(desk, address_of(word))
        if not {known.id for known in node.known} & picture.by_id.keys():
            raise
    others = [one for one in picture.answering if one.id != node.id]
    if not others:
        raise ClusterError(f"{node.name} is the only node that answers: a cluster of one needs no removal")
    if picture.by_id.get(node.id) is not None:
        desk.performer.seed = others[0].address
    return node


# --- roles ------------------------------------------------------------------------------------------------------------


async def failover(desk: Desk, wanted: Namespace) -> int:
    """A replica takes its primary's place."""
    picture = await desk.look()
    mode = "TAKEOVER" if wanted.takeover else "FORCE" if wanted.force else ""
    to = picture.find(wanted.to) if wanted.to else None
    steps = restart.hand_over(picture, picture.find(wanted.node), to, mode)

    async def planner(_now: Picture) -> list[Step]:
        return steps

    if not await desk.pursue(picture, planner, dry_run=wanted.dry_run):
        return FAILED
    if wanted.dry_run:
        return WELL
    if mode:  # the old primary may be down: that is why
        desk.stage.tell("Handed over.", "end", ok=True)
        return WELL
    return await desk.end("Handed over.")


async def rolling_restart(desk: Desk, wanted: Namespace) -> int:
    """Every node, or those named, one after another."""
    picture = await desk.look_sound()
    only = [picture.find(word).id for word in wanted.only]
    young = [one.id for one in picture.answering if one.number("uptime_in_seconds") < wanted.skip_younger_than_s]
    done = set(young)
    homes = {node.id for node in picture.primaries if node.slots} if wanted.back else set()

    async def planner(now: Picture) -> list[Step]:
        return restart.rolling(now, only=only, done=done, homes=homes, outage=wanted.outage)

    def did(step: Step) -> None:
        if isinstance(step, Restart):
            done.add(step.node)

    if not await desk.pursue(picture, planner, dry_run=wanted.dry_run, did=did):
        return FAILED
    return WELL if wanted.dry_run else await desk.end("Restarted.")


STORIES: Mapping[str, Story] = {
    "create": create,
    "check": check,
    "fix": fix,
    "info": info,
    "add": add,
    "remove": remove,
    "rebalance": rebalance,
    "reshard": reshard,
    "failover": failover,
    "rolling-restart": rolling_restart,
    "watch": watch,
}
