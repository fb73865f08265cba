"""What is wrong with a cluster: `findings` of a picture, each with the next step. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hexad.cluster.picture import Node, Picture
from hexad.cluster.steps import slots_text
from hexad.sight import ranges_of

PROBLEM, WARNING = "problem", "warning"
WAIT = "wait: the nodes settle that by themselves; if they do not, look at their logs"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. A warning is no failure: the cluster serves, but could be safer."""

    kind: str
    severity: str
    text: str
    next: str


def command(picture: Picture, name: str, *words: str) -> str:
    """A command line of ours for this cluster, for people to copy."""
    return " ".join(["hexad", "cluster", name, next((node.name for node in picture.answering), "HOST:PORT"), *words])


def findings(picture: Picture) -> list[Finding]:
    """All that is wrong, the worst first."""
    return [found for rule in RULES for found in rule(picture)]


def problems(picture: Picture) -> list[Finding]:
    """What is wrong without the warnings."""
    return [found for found in findings(picture) if found.severity == PROBLEM]


def _unreachable(picture: Picture) -> Iterator[Finding]:
    for node in picture.nodes:
        if not node.answers:
            text = f"{node.name} does not answer: {node.failure}"
            if node.is_primary and node.slots:
                text += f"; it owns {slots_text(sorted(node.slots))}"
                step = _instead_of(picture, node)
            else:
                step = f"start it again, or {command(picture, 'remove', node.id)}"
            yield Finding("unreachable", PROBLEM, text, step)


def _instead_of(picture: Picture, node: Node) -> str:
    replica = next((one for one in picture.replicas_of(node.id) if one.answers), None)
    if replica is not None:
        return f"start it again, or {command(picture, 'failover', replica.name, '--force')}"
    return f"start it again; if its data is lost, {command(picture, 'fix', '--give-up-unreachable')}"


def _failing(picture: Picture) -> Iterator[Finding]:
    for node in picture.answering:
        names = [picture.name_of(known.id) for known in node.known if known.is_failing]
        answering = [name for name in names if any(one.name == name for one in picture.answering)]
        if answering:
            text = f"{node.name} does not reach {', '.join(answering)}"
            yield Finding("failing", PROBLEM, text, "see that the bus ports (port + 10000) are open between them")


def _strangers(picture: Picture) -> Iterator[Finding]:
    """Nodes that not everybody knows."""
    for node in picture.answering:
        known = {one.id for one in node.known}
        missing = [other.name for other in picture.answering if other.id not in known]
        if missing:
            yield Finding("unknown", PROBLEM, f"{node.name} does not know {', '.join(missing)}", WAIT)


def _disagreement(picture: Picture) -> Iterator[Finding]:
    """Nodes that see other owners than the owners themselves; slots in dispute are told of elsewhere."""
    told = {node.id: node.me.ranges for node in picture.nodes if node.is_primary and node.me.ranges}
    for node in picture.answering:
        if {known.id: known.ranges for known in node.known if known.ranges} == told:
            continue  # the usual case: no need to look at every slot
        settled = ((slot, nodes[0].id) for slot, nodes in picture.claims.items() if len(nodes) == 1)
        wrong = [slot for slot, owner in settled if node.owners.get(slot) != owner]
        if wrong:
            text = f"{node.name} sees other owners of {slots_text(sorted(wrong))}"
            yield Finding("disagreement", PROBLEM, text, WAIT)


def _uncovered(picture: Picture) -> Iterator[Finding]:
    if picture.uncovered:
        yield Finding(
            "uncovered", PROBLEM, f"nobody owns {slots_text(sorted(picture.uncovered))}", command(picture, "fix")
        )


def _contested(picture: Picture) -> Iterator[Finding]:
    claimed: dict[tuple[str, ...], list[int]] = {}
    for slot, nodes in picture.contested.items():
        claimed.setdefault(tuple(node.name for node in nodes), []).append(slot)
    for names, slots in claimed.items():
        text = f"{' and '.join(names)} all claim {slots_text(sorted(slots))}"
        yield Finding("contested", PROBLEM, text, command(picture, "fix"))


def _open(picture: Picture) -> Iterator[Finding]:
    for node in picture.primaries:
        for moving, word in ((node.me.migrating, "migrating"), (node.me.importing, "importing")):
            if moving:
                text = f"{node.name} has {slots_text([slot for slot, _ in moving])} open ({word})"
                yield Finding("open", PROBLEM, text, command(picture, "fix"))


def strays(picture: Picture) -> Iterator[tuple[int, Node]]:
    """(slot, node) where a primary holds keys of a slot that another one owns, as far as they were counted."""
    for node in picture.primaries:
        for slot in node.keys_in:
            owners = picture.claims.get(slot, [])
            if owners and node not in owners:
                yield slot, node


def _strays(picture: Picture) -> Iterator[Finding]:
    astray: dict[str, list[int]] = {}
    for slot, node in strays(picture):
        astray.setdefault(node.id, []).append(slot)
    for id, slots in astray.items():
        node = picture.by_id[id]
        keys = sum(node.keys_in[slot] for slot in slots)
        text = f"{node.name} holds {keys} keys of {slots_text(sorted(slots))}, which others own"
        yield Finding("stray keys", PROBLEM, text, command(picture, "fix"))


def _state(picture: Picture) -> Iterator[Finding]:
    names = [node.name for node in picture.answering if node.state != "ok"]
    if names:
        yield Finding("state", PROBLEM, f"cluster_state is not ok on {', '.join(names)}", WAIT)


def _replicas(picture: Picture) -> Iterator[Finding]:
    for node in picture.answering:
        if node.is_primary:
            continue
        primary = picture.by_id.get(node.me.primary)
        if primary is None or not primary.is_primary:
            text = f"{node.name} follows {picture.name_of(node.me.primary)}, which is no primary"
            yield Finding("lost replica", PROBLEM, text, WAIT)
        elif not node.is_synced:
            text = f"{node.name} is without the data of its primary {primary.name}"
            yield Finding("replica link", PROBLEM, text, "wait for its sync; if it does not come, look at both logs")


def _safety(picture: Picture) -> Iterator[Finding]:
    """What serves, but not if a machine dies."""
    for node in picture.primaries:
        if not node.slots:
            continue
        replicas = [one for one in picture.replicas_of(node.id) if one.answers]
        if not replicas:
            step = command(picture, "add", "NEW-HOST:PORT", "--replica-of", node.name)
            yield Finding("no replica", WARNING, f"{node.name} has no replica", step)
        elif len({one.address[0] for one in picture.nodes}) > 1 and all(
            one.address[0] == node.address[0] for one in replicas
        ):
            text = f"{node.name} and all its replicas are on one host"
            yield Finding("one host", WARNING, text, f"add a replica on another host (--replica-of {node.name})")


def _epochs(picture: Picture) -> Iterator[Finding]:
    epochs: dict[int, list[str]] = {}
    for node in picture.primaries:
        epochs.setdefault(node.me.config_epoch, []).append(node.name)
    for epoch, names in epochs.items():
        if len(names) > 1 and epoch:
            yield Finding("epoch", WARNING, f"{' and '.join(names)} have one configuration epoch, {epoch}", WAIT)


RULES: tuple[Callable[[Picture], Iterator[Finding]], ...] = (
    _unreachable,
    _uncovered,
    _contested,
    _open,
    _strays,
    _failing,
    _strangers,
    _disagreement,
    _state,
    _replicas,
    _safety,
    _epochs,
)


def summary(picture: Picture) -> list[tuple[str, ...]]:
    """A row for each node: name, id, role, slots, keys, replicas or link; primaries first, each with its replicas."""
    rows = []
    primaries = [node for node in picture.nodes if node.is_primary]
    orphans = [node for node in picture.nodes if not node.is_primary and node.me.primary not in picture.by_id]
    for primary in primaries:
        rows.append(_row(primary, picture))
        rows += [_row(replica, picture) for replica in picture.replicas_of(primary.id)]
    return rows + [_row(node, picture) for node in orphans]


def _row(node: Node, picture: Picture) -> tuple[str, ...]:
    if not node.answers:
        condition = "no answer"
    elif node.is_primary:
        condition = f"replicas: {len(picture.replicas_of(node.id))}"
    else:
        condition = f"link {'up' if node.is_synced else 'down'}"
    role = "primary" if node.is_primary else f"  replica of {picture.name_of(node.me.primary)}"
    count = str(len(node.slots)) if node.is_primary else ""
    keys = str(node.keys) if node.answers else ""
    ranges = len(ranges_of(node.slots))
    return node.name, node.id[:8], role, count, str(ranges) if node.is_primary and ranges else "", keys, condition


HEADINGS = ("Node", "Id", "Role", "Slots", "Ranges", "Keys", "State")
