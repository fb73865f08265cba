"""SENTINEL and the few other commands that a Sentinel answers differently than a node: INFO, PUBLISH, ROLE.

`every_spec` is a Sentinel's command table: these, and those of the families that are marked for it.
"""

from __future__ import annotations

from collections.abc import Callable

from node.commands import families
from node.commands.help import help_lines
from node.commands.info import SECTIONS, report_of, sections_wanted
from node.config import ConfigSetError
from node.datatypes.numbers import parse_int
from node.net.resp import NULL_ARRAY, Argv, CommandError, Reply, Status
from node.server import Client, Server
from node.table import FLAGS, Registry, Run, Spec
from sentinel import admin, report
from sentinel.events import (
    Event,
    Failover,
    Flush,
    HelloReceived,
    Monitor,
    QuestionReceived,
    Remove,
    ResetMatching,
    SentinelError,
    SetGlobal,
    SetOptions,
    SetPeriods,
    SimulateFailure,
)
from sentinel.hello import CHANNEL
from sentinel.service import SentinelService
from sentinel.state import Primary
from sentinel.words import HELP

SENTINEL = Registry()
SENTINEL.container("sentinel", -2, "admin sentinel only_sentinel")

NOT_AN_INTEGER = CommandError("ERR value is not an integer or out of range")
LOGLEVELS = ("debug", "verbose", "notice", "warning", "nothing")
INFO_SECTIONS = ("server", "clients", "stats", "cpu")
ALSO = ("quit",)
"""Commands without the mark that clients send to whomever they talk to."""


def command(name: str, arity: int, flags: str = "admin sentinel only_sentinel") -> Callable[[Run], Run]:
    """Let the decorated function be this subcommand of SENTINEL."""
    return SENTINEL.command(f"sentinel|{name}", arity, flags)


def every_spec() -> list[Spec]:
    """The commands of a Sentinel."""
    marked = [
        spec
        for spec in families.specs()
        if (spec.flags & FLAGS["sentinel"] or spec.name in ALSO) and spec.name not in SENTINEL.specs
    ]
    return [*marked, *SENTINEL.specs.values()]


def service(client: Client) -> SentinelService:
    """The Sentinel that the client talks to."""
    sentinel = client.host.sentinel
    assert isinstance(sentinel, SentinelService)
    return sentinel


def _order(client: Client, event: Event) -> Reply:
    """An order whose effect has to be remembered."""
    return service(client).order(event, must_save=True)


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _integer(word: bytes) -> int:
    number = parse_int(word)
    if number is None:
        raise NOT_AN_INTEGER
    return number


def _primary(client: Client, name: bytes) -> Primary:
    try:
        return admin.primary_named(service(client).look(), _text(name))
    except SentinelError as error:
        raise CommandError(str(error)) from None


# --- looking ----------------------------------------------------------------------------------------------------------


@command("masters", 2)
def masters(client: Client, _argv: Argv) -> Reply:
    core = service(client).look()
    return [dict(report.describe(core, primary)) for primary in core.state.primaries.values()]


@command("master", 3)
def master(client: Client, argv: Argv) -> Reply:
    return dict(report.describe(service(client).look(), _primary(client, argv[2])))


@command("replicas", 3)
def replicas(client: Client, argv: Argv) -> Reply:
    primary = _primary(client, argv[2])
    core = service(client).look()
    return [dict(report.describe(core, replica)) for replica in report.announced(primary)]


SENTINEL.command("sentinel|slaves", 3, "admin sentinel only_sentinel")(replicas)


@command("sentinels", 3)
def sentinels(client: Client, argv: Argv) -> Reply:
    primary = _primary(client, argv[2])
    core = service(client).look()
    return [dict(report.describe(core, fellow)) for fellow in primary.fellows.values()]


@command("get-master-addr-by-name", 3)
def get_master_addr_by_name(client: Client, argv: Argv) -> Reply:
    core = service(client).look()
    primary = core.state.primaries.get(_text(argv[2]))
    if primary is None:
        return NULL_ARRAY
    address = primary.current_address
    return [core.state.told(address).encode(), b"%d" % address.port]


@command("ckquorum", 3)
def ckquorum(client: Client, argv: Argv) -> Reply:
    reached, text = report.quorum(_primary(client, argv[2]))
    if not reached:
        raise CommandError(text)
    return Status(text.encode())


@command("myid", 2)
def myid(client: Client, _argv: Argv) -> Reply:
    return service(client).core.state.my_id.encode()


@command("info-cache", -3)
def info_cache(client: Client, argv: Argv) -> Reply:
    core = service(client).look()
    wanted = {_text(name) for name in argv[2:]}
    cached: list[Reply] = []
    for name, primary in core.state.primaries.items():
        if name in wanted:
            nodes = [primary, *primary.replicas.values()]
            cached += [
                name.encode("utf-8", "surrogateescape"),
                [[core.now_ms - node.info_ms if node.info_ms else 0, node.info or None] for node in nodes],
            ]
    return cached


@command("pending-scripts", 2)
def pending_scripts(client: Client, _argv: Argv) -> Reply:
    core = service(client).look()
    reply: Reply = core.scripts.report(core.now_ms)
    return reply


@command("help", 2, "loading stale sentinel only_sentinel")
def help_(_client: Client, _argv: Argv) -> Reply:
    return [Status(line.encode()) for line in help_lines("sentinel", HELP.strip("\n").split("\n"))]


# --- what other Sentinels say -----------------------------------------------------------------------------------------


@command("is-master-down-by-addr", 6)
def is_master_down_by_addr(client: Client, argv: Argv) -> Reply:
    port, epoch = _integer(argv[3]), _integer(argv[4])
    return service(client).order(QuestionReceived(_text(argv[2]), port, epoch, _text(argv[5])))


@SENTINEL.command("publish", 3, "pubsub loading stale fast may_replicate sentinel")
def publish(client: Client, argv: Argv) -> Reply:
    """PUBLISH to a Sentinel is how others say hello to it."""
    if argv[1] != CHANNEL.encode():
        raise CommandError("ERR Only HELLO messages are accepted by Sentinel instances.")
    service(client).order(HelloReceived(argv[2]))
    return 1


# --- orders -----------------------------------------------------------------------------------------------------------


@command("failover", 3)
def failover(client: Client, argv: Argv) -> Reply:
    return service(client).order(Failover(_text(argv[2])))


@command("flushconfig", 2)
def flushconfig(client: Client, _argv: Argv) -> Reply:
    return _order(client, Flush())


@command("monitor", 6)
def monitor(client: Client, argv: Argv) -> Reply:
    quorum, port = parse_int(argv[5]), parse_int(argv[4])
    if quorum is None:
        raise CommandError("ERR Invalid quorum")
    if port is None:
        raise CommandError("ERR Invalid port")
    return _order(client, Monitor(_text(argv[2]), _text(argv[3]), port, quorum))


@command("remove", 3)
def remove(client: Client, argv: Argv) -> Reply:
    return _order(client, Remove(_text(argv[2])))


@command("reset", 3)
def reset(client: Client, argv: Argv) -> Reply:
    return service(client).order(ResetMatching(argv[2]))


@command("set", -5)
def set_(client: Client, argv: Argv) -> Reply:
    return _order(client, SetOptions(_text(argv[2]), tuple(map(_text, argv[3:]))))


@command("config", -4)
def config(client: Client, argv: Argv) -> Reply:
    verb = argv[2].lower()
    if verb == b"get":
        found = admin.globals_matching(service(client).core, argv[3:], client.host.config.text("loglevel"))
        return dict(found)
    if verb == b"set":
        return _config_set(client, [_text(word) for word in argv[3:]])
    raise CommandError("ERR Only SENTINEL CONFIG GET <param> [<param> <param> ...] / SET <param> <value> "
                       "[<param> <value> ...] are supported.")  # fmt: skip


def _config_set(client: Client, words: list[str]) -> Reply:
    """All pairs, or none."""
    pairs: dict[str, str] = {}
    for at in range(0, len(words), 2):
        option = words[at].lower()
        if option not in (*admin.GLOBALS, "loglevel"):
            raise CommandError(f"ERR Invalid argument '{words[at]}' to SENTINEL CONFIG SET")
        if option in pairs:
            raise CommandError(f"ERR Duplicate argument '{words[at]}' to SENTINEL CONFIG SET")
        if at + 1 == len(words):
            raise CommandError(f"ERR Missing argument '{words[at]}' value")
        pairs[option] = words[at + 1]
        _check_global(words[at], option, words[at + 1])
    for option, value in pairs.items():
        if option == "loglevel":
            _set_loglevel(client.host, value)
        else:
            service(client).order(SetGlobal(option, value))
    return _order(client, Flush())


def _check_global(word: str, option: str, value: str) -> None:
    if option == "loglevel":
        if value.lower() not in LOGLEVELS:
            raise CommandError(f"ERR Invalid value '{value}' to SENTINEL CONFIG SET '{word}'")
        return
    try:
        admin.check_global(option, value)
    except SentinelError as error:
        raise CommandError(str(error)) from None


def _set_loglevel(server: Server, value: str) -> None:
    try:
        server.config.set([("loglevel", value)])
    except ConfigSetError as error:
        raise CommandError(str(error)) from None


@command("simulate-failure", -3)
def simulate_failure(client: Client, argv: Argv) -> Reply:
    words = [word.lower() for word in argv[2:]]
    if b"help" in words:
        return [b"crash-after-election", b"crash-after-promotion"]
    if not set(words) <= {b"crash-after-election", b"crash-after-promotion"}:
        raise CommandError("ERR Unknown failure simulation specified")
    return service(client).order(SimulateFailure(b"crash-after-election" in words, b"crash-after-promotion" in words))


@command("debug", -2)
def debug(client: Client, argv: Argv) -> Reply:
    if len(argv) > 2:
        return service(client).order(SetPeriods(tuple(map(_text, argv[2:]))))
    periods = service(client).core.state.periods
    names = admin.period_names()
    return {name.upper().encode(): b"%d" % getattr(periods, name.replace("-", "_")) for name in names}


# --- what a Sentinel tells otherwise ----------------------------------------------------------------------------------


@SENTINEL.command("role", 1, "noscript loading stale fast sentinel", acl="admin dangerous")
def role(client: Client, _argv: Argv) -> Reply:
    names: list[Reply] = [name.encode("utf-8", "surrogateescape") for name in service(client).core.state.primaries]
    return [b"sentinel", names]


@SENTINEL.command(
    "info",
    -1,
    "loading stale sentinel",
    acl="dangerous",
    tips="nondeterministic_output request_policy:all_shards response_policy:special",
)
def info(client: Client, argv: Argv) -> Reply:
    """INFO with the sections that mean something here, and one of our own."""
    words = [word.decode("latin-1").lower() for word in argv[1:]]
    wanted = sections_wanted(words)
    found = (SECTIONS[name] for name in INFO_SECTIONS if name in wanted)
    sections = [(title, fields(client.host)) for title, fields in found]
    if not words or {"sentinel", "default", "all", "everything"} & set(words):
        core = service(client).look()
        sections.append(("Sentinel", report.info_fields(core)))
    return report_of(sections).encode("utf-8", "surrogateescape")
