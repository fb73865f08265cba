"""`hexad cluster backup` and `hexad cluster restore`: options, signals, exit codes."""

import argparse
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import trio

from hexad.backup.folder import Folder
from hexad.backup.manifest import BackupError, Manifest
from hexad.backup.nodes import Address, Credentials, Nodes, address_of
from hexad.backup.reading import sources_of
from hexad.backup.restoring import Outcome, Restore
from hexad.backup.sending import GOES_ON
from hexad.backup.taking import PAUSE_MS, Backup
from hexad.backup.telling import Teller
from hexad.view import size_text
from node.platform import SIGINT, SIGTERM, Platform

WELL, FAILED = 0, 1
PASSWORD_VARIABLES = ("HEXAD_PASSWORD", "REDISCLI_AUTH")
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
    reach = made.add_argument_group("how nodes are reached")
    node = "any node (default: 127.0.0.1:7000)"
    reach.add_argument("--node", type=_address, default=("127.0.0.1", 7000), metavar="HOST:PORT", help=node)
    reach.add_argument("--user", default="", metavar="NAME", help="who we are")
    reach.add_argument("--password", default="", metavar="PASSWORD", help="safer: HEXAD_PASSWORD, REDISCLI_AUTH")
    reach.add_argument("--timeout-ms", type=_positive, default=5000, metavar="MS", help="for an answer (5000)")
    reach.add_argument("--tls", action="store_true", help="connect by TLS")
    reach.add_argument("--cacert", default="", metavar="FILE", help="the CA whose certificates are believed")
    reach.add_argument("--cert", default="", metavar="FILE", help="our certificate, if nodes want one")
    reach.add_argument("--key", default="", metavar="FILE", help="its private key")
    reach.add_argument("--insecure", action="store_true", help="believe any certificate")
    return made


def _address(text: str) -> Address:
    try:
        return address_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _pause(text: str) -> int:
    number = _positive(text)
    if not 500 <= number <= PAUSE_MS_MAX:
        raise argparse.ArgumentTypeError(f"a pause has 500 to {PAUSE_MS_MAX} ms")
    return number


def main(argv: Sequence[str], platform: Platform | None = None) -> int:
    """Run one of the two; the exit code."""
    made = argparse.ArgumentParser("hexad cluster", allow_abbrev=False)
    add_backup_parsers(made.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND"))
    try:
        wanted = made.parse_args(argv)
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0)
    return run(wanted, platform or Platform())


def run(wanted: argparse.Namespace, platform: Platform) -> int:
    """Do what the parsed words say; the exit code."""
    teller = Teller(platform, as_json=wanted.json)
    story, short = (_backup, "no backup was made") if wanted.subcommand == "backup" else (_restore, GOES_ON)
    try:
        if trio.run(_until_signal, story, wanted, platform, teller):
            return WELL
        reason = f"cut short. {short}"
    except (BackupError, OSError) as error:
        reason = str(error)
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
    known = next(filter(None, map(platform.environment, PASSWORD_VARIABLES)), "")
    mine = Credentials(
        wanted.user,
        wanted.password or known,
        wanted.tls,
        wanted.cacert,
        wanted.cert,
        wanted.key,
        wanted.insecure,
    )
    return Nodes(platform, mine, wanted.timeout_ms)
