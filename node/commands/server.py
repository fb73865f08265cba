"""The node itself: SHUTDOWN, TIME, LOLWUT."""

from node.commands.family import command
from node.datatypes.numbers import parse_int
from node.net.resp import OK, Argv, CommandError, Reply, Verbatim
from node.server import REDIS_VERSION, Client
from node.shutdown import Wishes

SYNTAX_ERROR = CommandError("ERR syntax error")


@command("time", 1, "loading stale fast", tips="nondeterministic_output")
def time(client: Client, argv: Argv) -> Reply:
    """TIME: seconds since 1970, and microseconds of the running one."""
    now_us = client.host.platform.now_us()
    return [b"%d" % (now_us // 1_000_000), b"%d" % (now_us % 1_000_000)]


@command("shutdown", -1, "admin noscript loading stale no_multi sentinel allow_busy")
def shutdown(client: Client, argv: Argv) -> Reply:
    """SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]."""
    words = {word.lower() for word in argv[1:]}
    if not words <= {b"nosave", b"save", b"now", b"force", b"abort"} or {b"save", b"nosave"} <= words:
        raise SYNTAX_ERROR
    ending, scripts = client.host.shutdown, client.host.scripts
    if b"abort" not in words:
        if scripts.busy:  # half of what a script does is not to be saved
            if b"nosave" not in words:
                return scripts.busy_reply
            words.add(b"now")
            scripts.shut_down()
        return ending.ask(client, Wishes(*(name.encode() in words for name in Wishes._fields)))
    if len(words) > 1:
        raise SYNTAX_ERROR
    if not ending.abort():
        raise CommandError("ERR No shutdown in progress.")
    return OK


# --- LOLWUT -----------------------------------------------------------------------------------------------------------

HONEYCOMB_COLUMNS, HONEYCOMB_ROWS = 10, 4
HONEYCOMB_MAX = 40
"""Cells side by side, and rows of them."""
HONEY_SHARE = 1 / 3
"""How many of the cells are full."""


@command("lolwut", -1, "readonly fast")
def lolwut(client: Client, argv: Argv) -> Reply:
    """LOLWUT [VERSION version [columns [rows]]]: with a version, a piece of honeycomb, filled as luck will have it."""
    drawing = ""
    if len(argv) > 2 and argv[1].lower() == b"version":
        numbers = [parse_int(word) for word in argv[2:5]]
        if None in numbers:
            raise CommandError("ERR value is not an integer or out of range")
        sizes = [min(max(number or 1, 1), HONEYCOMB_MAX) for number in numbers[1:]]
        drawing = honeycomb(client, *sizes)
    return Verbatim(f"{drawing}Redis ver. {REDIS_VERSION}\n".encode())


def honeycomb(client: Client, columns: int = HONEYCOMB_COLUMNS, rows: int = HONEYCOMB_ROWS) -> str:
    """Hexagons of two lines each; some cells hold honey."""
    luck = client.host.platform.random
    lines = [" / \\" * columns]
    for row in range(rows):
        cells = "".join("| * " if luck.random() < HONEY_SHARE else "|   " for _ in range(columns))
        lines.append("  " * (row % 2) + cells + "|")
        if row == rows - 1:
            lines.append("  " * (row % 2) + r" \ /" * columns)
        elif row % 2:
            lines.append(" / \\" * columns + " /")
        else:
            lines.append(r" \ /" * columns + " \\")
    return "\n".join(lines) + "\n\n"
