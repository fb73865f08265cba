"""`hexad cluster backup` and `hexad cluster restore`: options, signals, exit codes."""

import argparse
from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio

from hexad.backup.folder import Folder
from hexad.backup.manifest import BackupError, Manifest
from hexad.backup.nodes import Nodes
from hexad.backup.reading import sources_of
from hexad.backup.restoring import Outcome, Restore
from hexad.backup.sending import GOES_ON
from hexad.backup.taking import PAUSE_MS, Backup
from hexad.backup.telling import Teller
from hexad.reach import add_reach, address, credentials_of, positive
from hexad.view import size_text
from node.platform import SIGINT, SIGTERM, Platform

WELL, FAILED = 0, 1
PAUSE_MS_MAX = 600_000
STATE_NAME = "restore.state"

BACKUP_TEXT = """\
Save all shards as they are at one moment: an RDB file each, and a manifest.

DIR is made, or is empty; it is a backup once manifest.json is in it. Writes wait for some
milliseconds while the snapshots begin, reads do not. A write that somebody could have seen
answered before he sent another one is never missing where the other one is there.
Works with Hexad and Redis nodes, and with a single server.
"""
RESTORE_TEXT = """\
Put a backup, or RDB files of any origin, into a cluster of any number of shards, or a server.

PATH is a directory that `backup` made, one that holds *.rdb files, or such a file. Every file is
read and checked before anything is changed. Keys keep their expiry; libraries of functions come,
too. What is cut short goes on when the same command is run again. A long value comes in pieces,
so that its node is not held up; a stream is always one RESTORE.
"""


def add_backup_parsers(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The two subcommands; `run` does what they say."""
    backup = _parser(subparsers, "backup", "save all shards as they are at one moment", BACKUP_TEXT)
    backup.add_argument("dir", metavar="DIR", help="where to")
    pause = f"how long writes may wait at most while snapshots begin (default: {PAUSE_MS})"
    backup.add_argument("--pause-ms", type=_pause, default=PAUSE_MS, metavar="MS", help=pause)
    restore = _parser(subparsers, "restore", "put a backup or RDB files into a cluster or server", RESTORE_TEXT)
    restore.add_argument("paths", nargs="+", metavar="PATH", help="where from")
    room = restore.add_mutually_exclusive_group()
    room.add_argument("--replace", action="store_true", help="keys that are there already are overwritten, others stay")
    room.add_argument("--flush", action="store_true", help="all that is there is removed first")
    state = f"where to keep how far it is (default: {STATE_NAME} beside the files)"
    restore.add_argument("--state", default="", metavar="FILE", help=state)


def _parser(subparsers: Any, name: str, short: str, text: str) -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    made = cast(
        argparse.ArgumentParser,
        subparsers.add_parser(name, help=short, description=text, formatter_class=form, allow_abbrev=False),
    )
    made.add_argument("--json", action="store_true", help="tell the result as JSON")
    node = "any node (default: 127.0.0.1:7000)"
    reach = add_reach(made)
    reach.add_argument("--node", type=address, default=("127.0.0.1", 7000), metavar="HOST:PORT", help=node)
    return made


def _pause(text: str) -> int:
    number = positive(text)
    if not 500 <= number <= PAUSE_MS_MAX:
        raise argparse.ArgumentTypeError(f"a pause has 500 to {PAUSE_MS_MAX} ms")
    return number


def run(wanted: argparse.Namespace, platform: Platform) -> int:
    """Do what the parsed words say; the exit code."""
    teller = Teller(platform, as_json=wanted.json)
    story, short = (_backup, "no backup was made") if wanted.subcommand == "backup" else (_restore, GOES_ON)
    try:
        if trio.run(_until_signal, story, wanted, platform, teller):
            return WELL
        reason = f"cut short. {short}"
    except BackupError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
    platform.write_error(f"hexad cluster {wanted.subcommand}: {reason}\n")
    return FAILED


Story = Callable[[argparse.Namespace, Platform, Teller], Awaitable[None]]


async def _until_signal(story: Story, wanted: argparse.Namespace, platform: Platform, teller: Teller) -> bool:
    """Whether the story was told to its end. Raises BackupError, OSError."""
    over = trio.CancelScope()
    soon = platform.soon()
    with platform.on_signals(lambda _number: soon(over.cancel), SIGINT, SIGTERM), over:
        await story(wanted, platform, teller)
        return True
    return False


async def _backup(wanted: argparse.Namespace, platform: Platform, teller: Teller) -> None:
    folder = Folder(platform, wanted.dir)
    manifest = await Backup(_nodes(wanted, platform), wanted.node, folder, teller, wanted.pause_ms).take()
    teller.result(_told(wanted.dir, manifest), manifest.as_json())


def _told(directory: str, manifest: Manifest) -> str:
    size = size_text(sum(shard.size_bytes for shard in manifest.shards))
    keys = sum(shard.keys for shard in manifest.shards)
    return f"{directory}: {len(manifest.shards)} shards, {keys} keys, {size}"


async def _restore(wanted: argparse.Namespace, platform: Platform, teller: Teller) -> None:
    sources = sources_of(platform, wanted.paths)
    first = wanted.paths[0]
    beside = first if platform.is_directory(first) else first.rpartition("/")[0] or "."
    state = wanted.state or platform.join_path(beside, STATE_NAME)
    work = Restore(_nodes(wanted, platform), wanted.node, teller, state, replace=wanted.replace, flush=wanted.flush)
    outcome = await work.run(sources)
    teller.result(_done(outcome), _as_json(outcome))


def _as_json(outcome: Outcome) -> dict[str, int]:
    return {
        "restored": outcome.restored,
        "there": outcome.there,
        "expired": outcome.expired,
        "strays": outcome.strays,
        "functions": outcome.functions,
        "primaries": outcome.primaries,
    }


def _done(outcome: Outcome) -> str:
    more = [
        f"{count} {what}"
        for count, what in (
            (outcome.there, "were there already"),
            (outcome.expired, "had expired"),
            (outcome.strays, "were another shard's"),
            (outcome.functions, "libraries of functions"),
        )
        if count
    ]
    return "; ".join([f"{outcome.restored} keys restored into {outcome.primaries} primaries", *more])


def _nodes(wanted: argparse.Namespace, platform: Platform) -> Nodes:
    return Nodes(platform, credentials_of(wanted, platform), wanted.timeout_ms)
