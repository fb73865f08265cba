"""`hexad cluster`: the process around its commands: options, signals, exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import trio

from hexad.backup import program as backup
from hexad.cluster.access import Access
from hexad.cluster.desk import Desk
from hexad.cluster.mover import Pace
from hexad.cluster.options import parser
from hexad.cluster.perform import KEEP, Performer
from hexad.cluster.picture import ClusterError
from hexad.cluster.stage import Stage
from hexad.cluster.stories import STORIES
from hexad.reach import credentials_of
from node.platform import SIGINT, SIGTERM, Platform

FAILED = 1
BACKUP = ("backup", "restore")
AGAIN = "The same words again go on from what is there"


def main(argv: Sequence[str], platform: Platform | None = None) -> int:
    """Run `hexad cluster`; the exit code."""
    platform = platform or Platform()
    try:
        wanted = parser().parse_args(argv)
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0)
    if wanted.subcommand in BACKUP:
        return backup.run(wanted, platform)
    try:
        return trio.run(_run, wanted, platform)
    except (ClusterError, OSError) as error:
        Stage(platform, as_json=wanted.json).failed(f"hexad cluster {wanted.subcommand}: {error}")
        return FAILED
    except KeyboardInterrupt:  # while it asked
        Stage(platform, as_json=wanted.json).failed(f"\nhexad cluster {wanted.subcommand}: nothing was changed")
        return FAILED


async def _run(wanted: argparse.Namespace, platform: Platform) -> int:
    """Run the command until it ends, or a signal comes."""
    access = Access(platform, credentials_of(wanted, platform), wanted.timeout_ms)
    stage = Stage(platform, as_json=wanted.json, yes=getattr(wanted, "yes", False))
    code = FAILED
    failure: Exception | None = None
    over = trio.CancelScope()
    soon, started = platform.soon(), trio.current_time()

    def stop(_number: int) -> None:
        if stage.is_asking:
            raise KeyboardInterrupt
        soon(over.cancel)

    try:
        with platform.on_signals(stop, SIGINT, SIGTERM), over:
            try:
                code = await STORIES[wanted.subcommand](_desk(wanted, access, stage), wanted)
            except (ClusterError, OSError) as error:
                failure = error
    finally:
        access.close()
    if failure is not None:
        raise failure
    if over.cancelled_caught:
        if wanted.subcommand == "watch":
            return 0
        raise ClusterError(f"cut short. {_how_to_go_on(wanted, trio.current_time() - started)}")
    return code


def _how_to_go_on(wanted: argparse.Namespace, elapsed_s: float) -> str:
    """What goes on with a command that was cut short after so long."""
    if wanted.subcommand == "rolling-restart":
        young_s = max(wanted.skip_younger_than_s, 0) + int(elapsed_s) + 1
        return f"--skip-younger-than-s {young_s:.0f} leaves alone who has been restarted, if that is said at once"
    if wanted.subcommand == "reshard" and wanted.count:
        return "The command that was printed first goes on with it"
    return AGAIN


def _desk(wanted: argparse.Namespace, access: Access, stage: Stage) -> Desk:
    fields = vars(wanted)
    pace = Pace(fields.get("batch_keys", 100), fields.get("keys_per_s", 0), fields.get("pause_ms", 0.0))
    seed = wanted.nodes[0] if wanted.subcommand == "create" else wanted.cluster
    on_conflict, command = fields.get("conflicts", KEEP), fields.get("command", "")
    return Desk(access, stage, Performer(access, seed, pace, on_conflict=on_conflict, command=command))
