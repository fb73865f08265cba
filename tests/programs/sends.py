"""What programs send, as docs/proxy.md tells it: read from its table, and seen by a proxy and its nodes."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support import Server
from tests.support.servers import ROOT
from tests.support.wire import Verbatim, Wire

WAITING = frozenset("blpop brpop blmove bzpopmin bzpopmax blmpop xread xreadgroup".split())
LISTENING = frozenset("subscribe psubscribe ssubscribe".split())
SCRIPTS = frozenset("eval evalsha fcall".split())
TABLE_HEAD = "| program | "


class Sends(NamedTuple):
    """The commands by which it waits and listens, whether it watches, runs scripts, has transactions over slots."""

    waits: frozenset[str]
    listens: frozenset[str]
    watches: bool
    scripts: bool
    over_slots: bool

    def is_within(self, told: Sends) -> bool:
        """Is nothing seen that is not told?"""
        flags = zip(self[2:], told[2:], strict=True)
        return (
            self.waits <= told.waits and self.listens <= told.listens and all(not seen or said for seen, said in flags)
        )


def told() -> dict[str, Sends]:
    """The table's rows, by the program's name."""
    text = (ROOT / "docs" / "proxy.md").read_text()
    rows = text[text.index(TABLE_HEAD) :].split("\n\n")[0].splitlines()[2:]
    found = {}
    for row in rows:
        name, waits, listens, watches, scripts, over_slots, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        commands = [frozenset(word.lower() for word in re.findall(r"[A-Z]{4,}", cell)) for cell in (waits, listens)]
        found[name] = Sends(*commands, *(cell != "–" for cell in (watches, scripts, over_slots)))
    return found


def seen(proxy: Server, nodes: list[Server]) -> Sends:
    """What was sent through this proxy since it began."""
    with proxy.wire() as wire:
        at_proxy = _commands(wire)
        info = wire("PROXY", "INFO")
        text = (info.text if isinstance(info, Verbatim) else info).decode()
    at_nodes: set[str] = set()
    for node in nodes:
        with node.wire() as wire:
            at_nodes |= _commands(wire)
    relaxed = int(re.search(r"relaxed_transactions:(\d+)", text).group(1))  # type: ignore[union-attr]
    return Sends(
        frozenset(at_proxy & WAITING),
        frozenset(at_proxy & LISTENING),
        "watch" in at_proxy,
        bool(at_nodes & SCRIPTS),
        relaxed > 0,
    )


def _commands(wire: Wire) -> set[str]:
    return {name.removeprefix("cmdstat_") for name in wire.info("commandstats") if name.startswith("cmdstat_")}
