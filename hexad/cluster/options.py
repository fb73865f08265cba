"""The words of `hexad cluster`: every subcommand's arguments and help."""

from __future__ import annotations

import argparse
from fractions import Fraction

from hexad.backup.program import add_backup_parsers
from hexad.cluster.measure import KEYS, LOAD, MEMORY
from hexad.cluster.perform import KEEP, OWNER, STRAY
from hexad.reach import add_reach, address, positive
from hexad.sight import parse_ranges

DESCRIPTION = """\
Make, look at, mend, grow, shrink, balance, restart and save a cluster of Hexad or Redis nodes.

CLUSTER is HOST:PORT of any node; other nodes are named by HOST:PORT, or the beginning of their id.
Plans are shown, and asked for, before they run. What is cut short is run again with the same
words, and goes on from what is there; reshard --count and rolling-restart print other words for it.
"""

EPILOG = """\
The password is read from HEXAD_PASSWORD or REDISCLI_AUTH, too.

examples:
  hexad cluster create 10.0.0.1:7000 10.0.0.2:7000 10.0.0.3:7000 10.0.0.1:7001 10.0.0.2:7001 10.0.0.3:7001
  hexad cluster check 127.0.0.1:7000
  hexad cluster add 127.0.0.1:7000 127.0.0.1:7006 && hexad cluster rebalance 127.0.0.1:7000
  hexad cluster rolling-restart 127.0.0.1:7000 --command 'systemctl restart redis-%p' --back

`hexad cluster SUBCOMMAND --help` tells the rest.
exit codes: 0 well; 1 there are problems, or it failed or was not agreed to; 2 wrong use.
"""

SLOTS_HELP = "which ones, as in 0-99,200: those that the node has already stay, so this may be run again"
BY_HELP = "what to even out (default: slots). Memory and load are told by nodes that know CLUSTER SLOT-STATS; of \
others only the sum is known, and spread over their slots by keys"
COMMAND_HELP = (
    "how a node is restarted: %%h stands for its host, %%p for its port, %%i for its id. Without it the node is \
told to SHUTDOWN, and its supervisor (systemd, a restart policy) starts it again"
)
RESTART_HELP = (
    "restart nodes one after another: replicas first, then each primary after it has handed over to its best \
replica; all must be well in between"
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    form = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("hexad cluster", None, DESCRIPTION, EPILOG, formatter_class=form, allow_abbrev=False)
    subparsers = made.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    add_parsers(subparsers)
    add_backup_parsers(subparsers)
    return made


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommands of this package."""
    one = _adder(subparsers)
    create = one("create", "join new, empty nodes to a cluster", plan=True, cluster=False)
    create.add_argument("nodes", nargs="+", type=address, metavar="HOST:PORT", help="the nodes")
    create.add_argument("--replicas", type=int, default=1, metavar="N", help="of each primary (default: 1)")

    one("check", "tell what is wrong: unreachable nodes, slots, keys, replicas, opinions")
    fix = one("fix", "mend open, ownerless and contested slots, and keys on nodes that do not own them", plan=True)
    fix.add_argument("--give-up-unreachable", action="store_true", help="give slots of dead primaries to others")
    conflicts = "a key that two nodes have with two values: keep both, only the owner's, or the other (default: keep)"
    fix.add_argument("--conflicts", choices=(KEEP, OWNER, STRAY), default=KEEP, help=conflicts)
    one("info", "tell who is who, and who has how much")

    add = one("add", "bring a new node in, as a primary without slots or as a replica", plan=True)
    add.add_argument("new", type=address, metavar="NEW", help="HOST:PORT of the new, empty node")
    add.add_argument("--replica-of", metavar="NODE", help="a primary, or `auto`: the one with fewest replicas")
    remove = one("remove", "take a node out, after its slots and replicas have gone to others", plan=True)
    remove.add_argument("node", metavar="NODE", help="the node")

    rebalance = one("rebalance", "even out slots, keys, memory or load over the primaries, new ones too", plan=True)
    rebalance.add_argument("--by", choices=("slots", KEYS, MEMORY, LOAD), default="slots", help=BY_HELP)
    weight = "how much of the whole a node gets beside others (default: 1; 0 empties it); may be repeated"
    rebalance.add_argument("--weight", action=_Weights, default={}, metavar="NODE=W", help=weight)
    threshold = "leave alone what is off its share by less (default: 2)"
    rebalance.add_argument("--threshold", type=_percent, default=2.0, metavar="PERCENT", help=threshold)
    reshard = one("reshard", "move slots to one primary", plan=True)
    reshard.add_argument("--to", required=True, metavar="NODE", help="the primary that gets them")
    which = reshard.add_mutually_exclusive_group(required=True)
    which.add_argument("--slots", type=_slots, metavar="RANGES", help=SLOTS_HELP)
    which.add_argument("--count", type=positive, metavar="N", help="so many, of each source in proportion")
    source = "for --count: a primary that gives some; may be repeated (default: all)"
    reshard.add_argument("--from", dest="source", action="append", default=[], metavar="NODE", help=source)

    failover = one("failover", "let a replica take its primary's place", plan=True)
    failover.add_argument("node", metavar="NODE", help="the primary, or the replica that takes over")
    failover.add_argument("--to", metavar="REPLICA", help="which replica of the primary (default: the most complete)")
    modes = failover.add_mutually_exclusive_group()
    modes.add_argument("--force", action="store_true", help="the primary is dead: do not ask it (voters are)")
    modes.add_argument("--takeover", action="store_true", help="do not even ask the voters: for when most are dead")
    rolling = one("rolling-restart", RESTART_HELP, plan=True)
    rolling.add_argument("--command", default="", metavar="COMMAND", help=COMMAND_HELP)
    rolling.add_argument("--only", action="append", default=[], metavar="NODE", help="this one; may be repeated")
    rolling.add_argument("--back", action="store_true", help="primaries take their places back")
    rolling.add_argument("--outage", action="store_true", help="restart primaries without replicas, too")
    young = "leave alone who has been up for less: goes on with a restart that was cut short"
    rolling.add_argument("--skip-younger-than-s", type=float, default=0.0, metavar="S", help=young)
    watch = one("watch", "show all nodes until Ctrl-C; with --json, a line for each change")
    watch.add_argument("--looks", type=positive, default=0, metavar="N", help="end after so many looks")


class _adder:
    """Adds subcommands with the options that they share."""

    def __init__(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        self._subparsers = subparsers

    def __call__(self, name: str, text: str, *, plan: bool = False, cluster: bool = True) -> argparse.ArgumentParser:
        made = self._subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        if cluster:
            made.add_argument("cluster", type=address, metavar="CLUSTER", help="HOST:PORT of any node of the cluster")
        made.add_argument("--json", action="store_true", help="tell everything as JSON, an object a line")
        if plan:
            made.add_argument("--yes", action="store_true", help="run the plan without asking")
            made.add_argument("--dry-run", action="store_true", help="show the plan, and end")
        if name in ("fix", "rebalance", "reshard", "remove"):
            pace = made.add_argument_group("pace")
            pace.add_argument("--keys-per-s", type=positive, default=0, metavar="N", help="move keys no faster")
            pace.add_argument("--pause-ms", type=float, default=0.0, metavar="MS", help="rest for each slot")
            pace.add_argument("--batch-keys", type=positive, default=100, metavar="N", help="keys a MIGRATE (100)")
        add_reach(made)
        return made


class _Weights(argparse.Action):
    """NODE=W, repeated, into a dict."""

    def __call__(
        self, made: argparse.ArgumentParser, found: argparse.Namespace, value: object, _: object = None
    ) -> None:
        name, equals, text = str(value).rpartition("=")
        try:
            weight = Fraction(text)
        except (ValueError, ZeroDivisionError):
            weight = Fraction(-1)
        if not equals or not name or weight < 0:
            raise argparse.ArgumentError(self, f"{value!r} is no NODE=WEIGHT such as 127.0.0.1:7000=0.5")
        setattr(found, self.dest, {**getattr(found, self.dest), name: weight})


def _slots(text: str) -> str:
    try:
        parse_ranges(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage")
    return value
