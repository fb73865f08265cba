"""EVAL and its kin, and SCRIPT: what scripts are and how one runs stands in `node.script`."""

from collections.abc import Callable, Sequence

from node.commands import help as texts
from node.commands.arguments import NOT_AN_INTEGER, integer
from node.commands.family import command, container
from node.commands.script_calls import is_stale
from node.guards import IN_SCRIPTS
from node.net.resp import OK, Argv, CommandError, Failure, Reply, Status
from node.script.running import Scripts
from node.script.scripts import Flags, Script
from node.server import Client
from node.slots import slot_of
from node.table import WRITE, Command

MAY_WRITE = "noscript skip_monitor may_replicate no_mandatory_keys stale"
READS = "noscript skip_monitor no_mandatory_keys stale readonly"
KEYS_TO_WRITE = "@2/keynum:0:1:1/RW+ACCESS+UPDATE"
KEYS_TO_READ = "@2/keynum:0:1:1/RO+ACCESS"

SHA_DIGITS = 40
NO_SCRIPT = CommandError("NOSCRIPT No matching script. Please use EVAL.")
MASTERDOWN = CommandError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")


@command("eval", -3, MAY_WRITE, acl="scripting", keys=KEYS_TO_WRITE)
def eval_(client: Client, argv: Argv) -> Reply:
    return _evaluate(client, argv, False, _of_text)


@command("evalsha", -3, MAY_WRITE, acl="scripting", keys=KEYS_TO_WRITE)
def evalsha(client: Client, argv: Argv) -> Reply:
    return _evaluate(client, argv, False, _of_sha)


@command("eval_ro", -3, READS, acl="scripting", keys=KEYS_TO_READ)
def eval_ro(client: Client, argv: Argv) -> Reply:
    return _evaluate(client, argv, True, _of_text)


@command("evalsha_ro", -3, READS, acl="scripting", keys=KEYS_TO_READ)
def evalsha_ro(client: Client, argv: Argv) -> Reply:
    return _evaluate(client, argv, True, _of_sha)


def _of_text(scripts: Scripts, text: bytes) -> Script:
    return scripts.cache.of_text(text)


def _of_sha(scripts: Scripts, sha: bytes) -> Script:
    script = scripts.cache.of_sha(sha)
    if script is None:
        raise NO_SCRIPT
    return script


def _evaluate(client: Client, argv: Argv, reads: bool, find: Callable[[Scripts, bytes], Script]) -> Reply:
    scripts: Scripts = client.host.scripts
    if find is _of_sha and len(argv[1]) != SHA_DIGITS:
        raise NO_SCRIPT
    count = key_count(argv)
    script = find(scripts, argv[1])
    flags = script.flags
    check_flags(client, argv, flags, reads)
    engine, resp3 = scripts.engine, client.resp3
    keys, args = argv[3 : 3 + count], argv[3 + count :]
    reply = scripts.run(
        client,
        script.sha,
        flags,
        reads or flags.no_writes,
        engine,
        lambda: engine.run(script.function, keys, args, resp3),
        slot=declared_slot(client, keys),
    )
    if type(reply) is Failure and engine.counted:
        client.host.stats.counted = reply
    return reply


def declared_slot(client: Client, keys: Sequence[bytes]) -> int:
    """The slot of the keys that a script or function is given, in cluster mode, where all are in one; else -1."""
    return slot_of(keys[0]) if keys and client.host.cluster is not None else -1


def key_count(argv: Argv, complaint: CommandError = NOT_AN_INTEGER) -> int:
    """How many keys a script or function is given; `complaint` is raised where no number says so."""
    count = integer(argv[2], complaint)
    if count > len(argv) - 3:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise CommandError("ERR Number of keys can't be negative")
    return count


def check_flags(client: Client, argv: Argv, flags: Flags, reads: bool) -> None:
    """Raise CommandError where what a script says about itself forbids to run it here and now.

    One that says nothing may begin anywhere (but on a stale replica): its commands are checked one by one.
    """
    server = client.host
    if not flags.allow_stale and server.replication.is_replica and is_stale(server):
        raise MASTERDOWN
    if not flags.declared:
        return
    if flags.no_cluster and server.cluster is not None:
        raise CommandError("ERR Can not run script on cluster, 'no-cluster' flag is set.")
    if flags.no_writes:
        return
    if reads:
        raise CommandError("ERR Can not execute a script with write flag using *_ro command.")
    if server.keyspace.obeying:
        return
    if server.gates & WRITE:
        _check_conditions(client, argv, WRITE)
    if not flags.allow_oom and not server.has_room(argv):
        raise CommandError("OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'")


def _check_conditions(client: Client, argv: Argv, wanted: int) -> None:
    """What stands against any command of these flags now stands against a script that will write."""
    server = client.host
    assumed = Command(server.commands.top["eval"].spec)
    assumed.flags |= wanted
    for mask, guard in server.active_guards:
        if mask & wanted and isinstance(guard, IN_SCRIPTS):
            refusal = guard.check(client, assumed, argv)
            if type(refusal) is Failure:
                raise CommandError(bytes(refusal))


# --- SCRIPT -----------------------------------------------------------------------------------------------------------

container("script")


@command(
    "script|load", 3, "noscript stale", acl="scripting", tips="request_policy:all_nodes response_policy:all_succeeded"
)
def load(client: Client, argv: Argv) -> Reply:
    scripts: Scripts = client.host.scripts
    return scripts.cache.load(argv[2]).sha


@command(
    "script|exists", -3, "noscript", acl="scripting", tips="request_policy:all_shards response_policy:agg_logical_and"
)
def exists(client: Client, argv: Argv) -> Reply:
    return [int(client.host.scripts.cache.knows(sha)) for sha in argv[2:]]


@command("script|flush", -2, "noscript", acl="scripting", tips="request_policy:all_nodes response_policy:all_succeeded")
def flush(client: Client, argv: Argv) -> Reply:
    """SCRIPT FLUSH [ASYNC | SYNC]: both at once here, there is little to free."""
    if len(argv) > 3 or (len(argv) == 3 and argv[2].lower() not in (b"sync", b"async")):
        raise CommandError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    client.host.scripts.flush()
    return OK


@command(
    "script|kill",
    2,
    "noscript allow_busy",
    acl="scripting",
    tips="request_policy:all_shards response_policy:one_succeeded",
)
def kill(client: Client, argv: Argv) -> Reply:
    refusal: Reply = client.host.scripts.kill()
    return OK if refusal is None else refusal


@command("script|debug", 3, "noscript", acl="scripting")
def debug(client: Client, argv: Argv) -> Reply:
    """SCRIPT DEBUG YES | SYNC | NO: only NO, since there is no debugger."""
    mode = argv[2].lower()
    if mode == b"no":
        return OK
    if mode in (b"yes", b"sync"):
        raise CommandError("ERR Hexad has no script debugger: SCRIPT DEBUG knows only NO")
    raise CommandError("ERR Use SCRIPT DEBUG YES/SYNC/NO")


@command("script|help", 2, "loading stale", acl="scripting")
def help_(client: Client, argv: Argv) -> Reply:
    names = client.host.commands.top["script"].subcommands
    lines = texts.help_lines("script", texts.describe("script", {name.decode() for name in names}))
    return [Status(line.encode()) for line in lines]
