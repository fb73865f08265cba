"""What every command of `hexad cluster` works with: the nodes, the stage, and plans that are pursued to their end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from hexad.cluster.access import Access
from hexad.cluster.findings import Finding, command, findings
from hexad.cluster.look import look
from hexad.cluster.mover import WorldChanged
from hexad.cluster.perform import Performer
from hexad.cluster.picture import ClusterError, Picture
from hexad.cluster.stage import Stage
from hexad.cluster.steps import Step, text_of

SETTLE_S = 10.0
"""For what gossip settles by itself: a look at a cluster that has just changed waits so long before it complains."""
SETTLE_DAMAGED_S = 2.0
"""The same where there is damage, too, of which much of that may come."""
PASSING = frozenset({"disagreement", "unknown", "epoch", "state", "failing"})
BLOCKING = frozenset({"uncovered", "contested", "disagreement", "state", "unknown"})
"""What nothing is moved in."""
STALLS_MAX = 5
"""So often in a row a plan may be made anew without any step having been done in between."""
STALL_S = 1.0
LOOK_S = 0.2
WELL, FAILED = 0, 1

Planner = Callable[[Picture], Awaitable[list[Step]]]


class Desk:
    """One command at work."""

    def __init__(self, access: Access, stage: Stage, performer: Performer) -> None:
        self.access = access
        self.stage = stage
        self.performer = performer
        self.moved_slots = self.moved_keys = 0

    async def look(self) -> Picture:
        """The cluster, after gossip has had its time to settle. Raises ClusterError."""
        started = trio.current_time()
        while True:
            picture = await look(self.access, self.performer.seed)
            kinds = {found.kind for found in findings(picture) if found.severity == "problem" or found.kind in PASSING}
            limit_s = SETTLE_S if kinds <= PASSING else SETTLE_DAMAGED_S
            if not kinds & PASSING or trio.current_time() > started + limit_s:
                return picture
            await trio.sleep(LOOK_S)

    async def look_sound(self) -> Picture:
        """The cluster, if slots can be moved in it. Raises ClusterError."""
        picture = await self.look()
        wrong = [found for found in findings(picture) if found.kind in BLOCKING]
        silent = [node.name for node in picture.nodes if node.is_primary and node.slots and not node.answers]
        if silent:
            raise ClusterError(f"{', '.join(silent)}: primaries that do not answer: {command(picture, 'check')}")
        if wrong:
            raise ClusterError(f"{wrong[0].text}: {command(picture, 'fix')} first")
        return picture

    def tell_findings(self, found: Sequence[Finding]) -> None:
        for one in found:
            text = f"{'!' if one.severity == 'problem' else '-'} {one.text}\n    next: {one.next}"
            self.stage.tell(text, "finding", kind=one.kind, severity=one.severity, text=one.text, next=one.next)

    async def pursue(
        self,
        picture: Picture,
        planner: Planner,
        *,
        dry_run: bool = False,
        nothing: str = "There is nothing to do.",
        did: Callable[[Step], None] = lambda _step: None,
    ) -> bool:
        """Plan, show the plan, ask, and do it; where the cluster changes meanwhile, plan anew.

        False if it was not agreed to.  did -- is told of each step that is done.  Raises ClusterError.
        """
        steps = await planner(picture)
        if not steps:
            self.stage.tell(nothing, "plan", steps=[], slots=0)
            return True
        self.stage.plan(steps, picture)
        if dry_run:
            return True
        if not self.stage.agreed():
            return False
        self.performer.picture = picture
        stalls = 0
        while steps:
            done, failure = await self._run(steps, did)
            if failure is None:
                break
            stalls = 1 if done else stalls + 1
            if stalls > STALLS_MAX:
                raise ClusterError(f"{failure}. {command(picture, 'check')} tells how things stand")
            self.stage.say(f"{failure}: looking again")
            await trio.sleep(STALL_S)
            steps = await planner(await self.performer.look())
        return True

    async def _run(self, steps: Sequence[Step], did: Callable[[Step], None]) -> tuple[int, Exception | None]:
        """Do steps until one fails; how many were done, and why the next one was not."""
        with self.stage.progress(steps) as bar:

            def moved(slots: int, keys: int) -> None:
                self.moved_slots += slots
                self.moved_keys += keys
                bar.moved(slots)

            for number, step in enumerate(steps, 1):
                bar.begin(number, text_of(step, self.performer.picture))
                try:
                    await self.performer.perform(step, moved)
                except (WorldChanged, OSError) as error:
                    return number - 1, error
                bar.finish(step)
                did(step)
        return len(steps), None

    async def end(self, text: str) -> int:
        """Look whether all is well after the work; the exit code."""
        wrong = [found for found in findings(await self.look()) if found.severity == "problem"]
        self.tell_findings(wrong)
        counts = {"slots": self.moved_slots, "keys": self.moved_keys}
        moved = f" {self.moved_slots} slots and {self.moved_keys} keys have moved." if any(counts.values()) else ""
        if wrong:
            moved += " All is not well."
        self.stage.tell(f"{text}{moved}", "end", ok=not wrong, **counts)
        return FAILED if wrong else WELL
