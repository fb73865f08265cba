"""What is told while a backup is made or restored: lines, and how far it is. JSON has only the last word."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from hexad.view import Terminal, size_text
from node.platform import Platform

LINE_MS = 5000
"""Where there is no terminal, a line tells so often how far it is."""


class Teller:
    """Tells one command's story."""

    def __init__(self, platform: Platform, *, as_json: bool) -> None:
        self._platform = platform
        self._json = as_json
        self._shown: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._done = 0
        self._told_ms = platform.monotonic_ms()

    def say(self, text: str) -> None:
        """A line for people."""
        if self._shown is not None:
            self._shown.console.print(text, highlight=False, markup=False)
        elif not self._json:
            self._platform.write_out(text + "\n")

    def result(self, text: str, fields: dict[str, Any]) -> None:
        """The last word."""
        self._platform.write_out((json.dumps(fields) if self._json else text) + "\n")

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show how far files are, while this lasts."""
        if self._json or not self._platform.is_terminal():
            yield
            return
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        with Progress(*columns, TimeRemainingColumn(), console=Terminal(), transient=True) as self._shown:
            try:
                yield
            finally:
                self._shown = None
                self._tasks.clear()

    def moved(self, name: str, size: int, total: int | None) -> None:
        """So many more bytes of a file have moved; `total` as far as it is known."""
        if self._shown is not None:
            if name not in self._tasks:
                self._tasks[name] = self._shown.add_task(name, total=total)
            self._shown.update(self._tasks[name], advance=size, total=total)
            return
        self._done += size
        now_ms = self._platform.monotonic_ms()
        if now_ms - self._told_ms >= LINE_MS:
            self._told_ms = now_ms
            self.say(f"{size_text(self._done)} so far, at {name}")
