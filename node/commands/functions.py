"""FUNCTION, FCALL and FCALL_RO: what libraries are and how one is loaded stands in `node.script.functions`."""

from node.commands import help as texts
from node.commands.family import command, container
from node.commands.scripting import (
    KEYS_TO_READ,
    KEYS_TO_WRITE,
    MAY_WRITE,
    READS,
    check_flags,
    declared_slot,
    key_count,
)
from node.glob import compile_glob
from node.net.resp import OK, Argv, CommandError, Failure, Members, Reply, Status
from node.rdb.codec import RdbError
from node.rdb.dump import SealError, dump_functions, restore_functions
from node.script.functions import Functions, Library
from node.server import Client

ALL_SHARDS = "request_policy:all_shards response_policy:all_succeeded"
POLICIES = (b"flush", b"append", b"replace")
BAD_KEY_COUNT = CommandError("ERR Bad number of keys provided")


@command("fcall", -3, MAY_WRITE, acl="scripting", keys=KEYS_TO_WRITE)
def fcall(client: Client, argv: Argv) -> Reply:
    return _call(client, argv, False)


@command("fcall_ro", -3, READS, acl="scripting", keys=KEYS_TO_READ)
def fcall_ro(client: Client, argv: Argv) -> Reply:
    return _call(client, argv, True)


def _call(client: Client, argv: Argv, reads: bool) -> Reply:
    server = client.host
    functions: Functions = server.functions
    function = functions.find(argv[1])
    count = key_count(argv, BAD_KEY_COUNT)
    flags = function.flags
    check_flags(client, argv, flags, reads)
    engine, resp3 = functions.engine, client.resp3
    keys, args = argv[3 : 3 + count], argv[3 + count :]
    functions.called = argv
    try:
        reply: Reply = server.scripts.run(
            client,
            function.name,
            flags,
            reads or flags.no_writes,
            engine,
            lambda: engine.call(function.function, keys, args, resp3),
            is_function=True,
            slot=declared_slot(client, keys),
        )
    finally:
        functions.called = ()
    if type(reply) is Failure and engine.counted:
        server.stats.counted = reply
    return reply


# --- FUNCTION ---------------------------------------------------------------------------------------------------------

container("function")


@command("function|load", -3, "write denyoom noscript", acl="scripting", tips=ALL_SHARDS)
def load(client: Client, argv: Argv) -> Reply:
    """FUNCTION LOAD [REPLACE] code."""
    *options, code = argv[2:]
    for option in options:
        if option.lower() != b"replace":
            raise CommandError(b"ERR Unknown option given: " + option)
    server = client.host
    name: bytes = server.functions.load(code, replace=bool(options), limited=not server.keyspace.obeying)
    server.keyspace.dirty += 1
    return name


@command("function|delete", 3, "write noscript", acl="scripting", tips=ALL_SHARDS)
def delete(client: Client, argv: Argv) -> Reply:
    client.host.functions.delete(argv[2])
    client.host.keyspace.dirty += 1
    return OK


@command("function|flush", -2, "write noscript", acl="scripting", tips=ALL_SHARDS)
def flush(client: Client, argv: Argv) -> Reply:
    """FUNCTION FLUSH [ASYNC | SYNC]: both at once here, there is little to free."""
    if len(argv) > 3:
        raise _wrong_form(argv)
    if len(argv) == 3 and argv[2].lower() not in (b"sync", b"async"):
        raise CommandError("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    client.host.functions.flush()
    client.host.keyspace.dirty += 1
    return OK


@command("function|list", -2, "noscript", acl="scripting", tips="nondeterministic_output_order")
def list_(client: Client, argv: Argv) -> Reply:
    """FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]."""
    pattern, with_code = None, False
    words = iter(argv[2:])
    for word in words:
        option = word.lower()
        if option == b"withcode" and not with_code:
            with_code = True
        elif option == b"libraryname" and pattern is None:
            pattern = next(words, None)
            if pattern is None:
                raise CommandError("ERR library name argument was not given")
        else:
            raise CommandError(b"ERR Unknown argument " + word)
    fits = compile_glob(b"*" if pattern is None else pattern, nocase=True)
    libraries = client.host.functions.libraries.values()
    return [_described(library, with_code) for library in libraries if fits(library.name)]


def _described(library: Library, with_code: bool) -> Reply:
    functions = [
        {
            b"name": function.name,
            b"description": function.description,
            b"flags": Members(Status(name) for name in function.flag_names),
        }
        for function in library.functions
    ]
    described: dict[bytes, Reply] = {b"library_name": library.name, b"engine": b"LUA", b"functions": functions}
    if with_code:
        described[b"library_code"] = library.code
    return described


@command(
    "function|stats",
    2,
    "noscript allow_busy",
    acl="scripting",
    tips="nondeterministic_output request_policy:all_shards response_policy:special",
)
def stats(client: Client, argv: Argv) -> Reply:
    server = client.host
    run, functions = server.scripts.running, server.functions
    running = None
    if run is not None:
        if not run.is_function:
            return _busy(client)
        duration_ms = (server.clock_ns() - run.started_ns) // 1_000_000
        running = {b"name": run.name, b"command": list(functions.called), b"duration_ms": duration_ms}
    counts = {b"libraries_count": len(functions.libraries), b"functions_count": len(functions)}
    return {b"running_script": running, b"engines": {b"LUA": counts}}


def _busy(client: Client) -> Reply:
    reply: Reply = client.host.scripts.busy_reply
    return reply


@command(
    "function|kill",
    2,
    "noscript allow_busy",
    acl="scripting",
    tips="request_policy:all_shards response_policy:one_succeeded",
)
def kill(client: Client, argv: Argv) -> Reply:
    refusal: Reply = client.host.scripts.kill(function=True)
    return OK if refusal is None else refusal


@command("function|dump", 2, "noscript", acl="scripting")
def dump(client: Client, argv: Argv) -> Reply:
    return dump_functions(client.host.functions.codes(), client.host.config.rdbcompression)


@command("function|restore", -3, "write denyoom noscript", acl="scripting", tips=ALL_SHARDS)
def restore(client: Client, argv: Argv) -> Reply:
    """FUNCTION RESTORE payload [FLUSH | APPEND | REPLACE]."""
    if len(argv) > 4:
        raise _wrong_form(argv)
    policy = argv[3].lower() if len(argv) > 3 else b"append"
    if policy not in POLICIES:
        raise CommandError("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
    server = client.host
    functions: Functions = server.functions
    limited = not server.keyspace.obeying
    codes = _codes_of(argv[2], server.checksums_matter)
    if policy == b"flush":
        functions.replace_all(codes, limited)
    else:
        functions.restore(codes, replace=policy == b"replace", limited=limited)
    server.keyspace.dirty += 1
    return OK


def _codes_of(payload: bytes, checksum_matters: bool) -> list[bytes]:
    """The sources in what FUNCTION DUMP gave. Raises CommandError."""
    try:
        return restore_functions(payload, checksum_matters)
    except SealError:
        raise CommandError("ERR DUMP payload version or checksum are wrong") from None
    except RdbError as error:
        raise CommandError(f"ERR {error.reason}") from None


@command("function|help", 2, "loading stale", acl="scripting")
def help_(client: Client, argv: Argv) -> Reply:
    names = client.host.commands.top["function"].subcommands
    lines = texts.help_lines("function", texts.describe("function", {name.decode() for name in names}))
    return [Status(line.encode()) for line in lines]


def _wrong_form(argv: Argv) -> CommandError:
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try FUNCTION HELP." % argv[1][:128]
    )
