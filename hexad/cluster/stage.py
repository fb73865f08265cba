"""What is told while a command runs: plans, questions, progress; for people, or as lines of JSON.

At a terminal there is a bar; elsewhere each step is a line. JSON is one object a line, with `event` first: "plan",
"step", "note", "finding", "end" and so on; questions cannot be asked then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hexad.cluster.picture import ClusterError, Picture
from hexad.cluster.steps import MoveSlots, Step, as_json, text_of
from hexad.view import Terminal
from node.platform import Platform

STEPS_SHOWN_MAX = 40
"""Of a longer plan the end is only counted."""


class Stage:
    """Tells one command's story."""

    def __init__(self, platform: Platform, *, as_json: bool = False, yes: bool = False) -> None:
        self._platform = platform
        self._json = as_json
        self._yes = yes
        self._terminal = Terminal(highlight=False) if platform.is_terminal() and not as_json else None
        self._bar: Progress | None = None
        self.is_asking = False
        """Somebody is being asked: a signal must end that, since nothing else can."""

    @property
    def is_json(self) -> bool:
        return self._json

    def say(self, text: str) -> None:
        """A line for people; a note in JSON."""
        self.tell(text, "note", text=text)

    def tell(self, line: str, event: str, /, **fields: Any) -> None:
        """The same thing in both forms: a text, and an event with its fields."""
        if self._json:
            self._platform.write_out(json.dumps({"event": event, **fields}) + "\n")
        elif self._bar is not None:
            self._bar.console.print(Text(line), soft_wrap=True)
        elif line:
            self._platform.write_out(line + "\n")

    def failed(self, text: str) -> None:
        """The last word of a command that could not do its work."""
        if self._json:
            self.tell(text, "error", text=text)
        self._platform.write_error(text + "\n")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for people; nothing in JSON, whose events tell the same."""
        if self._json:
            return
        if self._terminal is None:
            widths = [max(len(row[at]) for row in [headings, *rows]) for at in range(len(headings))]
            for row in [headings, *rows]:
                line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                self._platform.write_out(line.rstrip() + "\n")
            return
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for heading in headings:
            shown.add_column(heading, overflow="fold")
        for row in rows:
            shown.add_row(*map(Text, row))
        self._terminal.print(shown)

    # --- plans ----------------------------------------------------------------------------------------------------

    def plan(self, steps: Sequence[Step], picture: Picture) -> None:
        lines = [f"  {text_of(step, picture)}" for step in steps[:STEPS_SHOWN_MAX]]
        if len(steps) > STEPS_SHOWN_MAX:
            lines.append(f"  ... and {len(steps) - STEPS_SHOWN_MAX} more")
        moved = sum(len(step.slots) for step in steps if isinstance(step, MoveSlots))
        head = f"The plan: {len(steps)} steps" + (f", {moved} slots move" if moved else "")
        told = [as_json(step, picture) for step in steps]
        self.tell("\n".join([head, *lines]), "plan", steps=told, slots=moved)

    def agreed(self) -> bool:
        """Ask whether the plan shall run. Raises ClusterError where nobody can be asked."""
        if self._yes:
            return True
        if self._terminal is None:
            raise ClusterError("nobody can be asked here: add --yes to run the plan, or --dry-run to see it only")
        self._platform.write_out("Run it? [y/N] ")
        self.is_asking = True
        try:
            answer = self._platform.read_line()
        finally:
            self.is_asking = False
        if answer.strip().lower() in ("y", "yes"):
            return True
        self.say("Nothing was changed.")
        return False

    # --- progress -------------------------------------------------------------------------------------------------

    @contextmanager
    def progress(self, steps: Sequence[Step]) -> Iterator[Bar]:
        """Show how far these steps are, while this lasts."""
        bar = Bar(self, steps)
        if self._terminal is None:
            yield bar
            return
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Progress(*columns, console=self._terminal, transient=True) as shown:
            self._bar = bar.shown = shown
            bar.task = shown.add_task("", total=bar.total)
            try:
                yield bar
            finally:
                self._bar = None


class Bar:
    """How far a plan is: a slot that moves counts as one, and so does any other step."""

    def __init__(self, stage: Stage, steps: Sequence[Step]) -> None:
        self._stage = stage
        self._steps = steps
        self.total = sum(weight(step) for step in steps)
        self.done = 0
        self.shown: Progress | None = None
        self.task: Any = None

    def begin(self, number: int, text: str) -> None:
        """The step of that number, from 1, begins."""
        of = len(self._steps)
        if self.shown is None:
            self._stage.tell(f"[{number}/{of}] {text}", "step", number=number, of=of, text=text)
        else:
            self.shown.update(self.task, description=text if len(text) < 60 else text[:57] + "...")

    def moved(self, slots: int) -> None:
        """So many more slots have moved."""
        self._advance(slots)

    def finish(self, step: Step) -> None:
        """The step is done."""
        if not isinstance(step, MoveSlots):
            self._advance(1)

    def _advance(self, units: int) -> None:
        self.done += units
        if self.shown is not None:
            self.shown.update(self.task, completed=self.done)


def weight(step: Step) -> int:
    return len(step.slots) if isinstance(step, MoveSlots) else 1
