"""A proxy, built from its parts and run: `hexad proxy`.

`main` is the process around it: configuration, signals, exit code. SIGTERM drains: nobody new is let in, who is idle or
waits for others is let go, what is under way is answered, and after `drain-timeout` at the latest the process ends; a
second signal ends it at once.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from gossip import words
from node import listening, obeying
from node.access import UsersRefused
from node.app import Ending, Entrance, keep_time, watched
from node.commands import families, script_calls
from node.config import CommandLine, Config, ConfigFileError, parse_command_line
from node.crash import write_report
from node.descriptors import NotEnoughDescriptors, fit_clients
from node.log import Log
from node.migration import Migration
from node.net.peer import CLOSE_NOW, OPEN
from node.persistence.saver import Saver
from node.platform import SIGINT, SIGTERM, Platform
from node.program import configure, open_log
from node.replication.replication import Replication
from node.script.functions import Functions
from node.script.running import Scripts
from node.server import REDIS_VERSION, CannotStart
from node.shutdown import Shutdown
from node.tls import CANNOT_START, CannotUseTls
from proxy import commands
from proxy.server import Proxy
from proxy.session import ProxySession
from proxy.settings import ProxySettings, read
from proxy.stories import BlockedTelling
from proxy.watch import Watch, dial

DRAIN_LOOK_S = 0.02
"""How often a proxy that drains looks whether somebody still has something under way."""
FIRST_LOOK_TIMEOUT_S = 5.0
"""How long clients are kept out while nothing is known of the nodes; then they are let in and wait by themselves."""

USAGE = """\
Usage: hexad proxy [/path/to/proxy.conf|.yaml] --cluster HOST:PORT,... [options]
       hexad proxy --sentinel HOST:PORT,... --master-name NAME [options]
       hexad proxy --nodes HOST:PORT,... [options]

One Redis in front of many: clients that know no cluster talk to it as to a single server.

Options (each may stand in the file, without the dashes):
       --listen [HOST:]PORT                   where clients come (6380)
       --backend-user NAME, --backend-password PASSWORD
                                              who the proxy is to the nodes
       --backend-login NAME USER PASSWORD     clients who are NAME here are USER there (may be repeated)
       --read-policy primary|prefer-replica|nearest
       --cross-slot relaxed|strict            transactions whose keys are in several slots
       --unknown-outcome error|close          for a client whose command was lost with its node (error)
       --retry-timeout MS                     how long a command waits for a node that can take it (15000)
       --node-timeout MS                      how long a node may owe an answer (15000)
       --refresh-period MS                    time between looks at the topology (5000)
       --drain-timeout MS                     how long clients have to end after SIGTERM (10000)
       and what hexad server has for clients: --bind, --requirepass, --user, --aclfile, --maxclients, --timeout,
       --logfile, --loglevel...
"""


def build(platform: Platform, config: Config, settings: ProxySettings, log: Log) -> Proxy:
    """A proxy that nobody can reach yet. Raises CannotStart: its users are wrong."""
    specs, originals = commands.specs([*families.specs(), *words.refused()])
    proxy = Proxy(platform, config, specs, log, settings)
    proxy.originals = originals
    try:
        proxy.access.load_configured()
    except UsersRefused as error:
        raise CannotStart(str(error)) from None
    proxy.replication = Replication(proxy, obeying.obey_row)  # these six have nothing to do here: INFO asks them
    proxy.saver = Saver(proxy)
    proxy.migration = Migration(proxy)
    proxy.shutdown = Shutdown(proxy)
    proxy.scripts = Scripts(proxy, REDIS_VERSION, script_calls.call, script_calls.acl_check)
    proxy.functions = Functions(proxy.scripts, proxy.clock_ns)
    try:
        proxy.tls.configure()
    except CannotUseTls:
        raise CannotStart(CANNOT_START) from None
    for name in ("latency-monitor-threshold", "slowlog-log-slower-than", "slowlog-max-len"):
        config.on_change(name, lambda _value: proxy.judge_slowness())
    proxy.judge_slowness()
    proxy.memory.begin()
    config.on_change("loglevel", log.set_level)
    config.on_change("latency-tracking", proxy.track_latency)
    proxy.track_latency(config["latency-tracking"])
    log.role = proxy.role_letter
    return proxy


@asynccontextmanager
async def running(proxy: Proxy) -> AsyncIterator[Entrance]:
    """Run a proxy that has been built, until the block ends. Raises CannotListen."""
    listeners = listening.open_all(proxy)
    watch = Watch(proxy)
    try:
        async with trio.open_nursery() as nursery:
            proxy.spawn = lambda task, *args: nursery.start_soon(watched, proxy, task, *args)
            proxy.begin_dialling = lambda link: proxy.spawn(dial, proxy, link)
            proxy.look_soon_hook = watch.look_soon
            entrance = Entrance(proxy, nursery)
            try:
                proxy.spawn(keep_time, proxy)
                proxy.spawn(proxy.reactor.run)
                with trio.move_on_after(FIRST_LOOK_TIMEOUT_S):
                    await watch.look()
                proxy.spawn(watch.run)
                entrance.add(listeners)
                yield entrance
            finally:
                entrance.close()
            nursery.cancel_scope.cancel()
    finally:
        proxy.reactor.close()


async def drain(proxy: Proxy, entrance: Entrance) -> None:
    """Let all go who can, as soon as they can, and everybody after `drain-timeout`."""
    proxy.is_draining = True
    proxy.log.notice("Draining: no new connections")
    entrance.close()
    with trio.move_on_after(proxy.settings.drain_timeout_ms / 1000):
        while True:
            for client in list(proxy.sessions.values()):
                if isinstance(client, ProxySession) and may_go(client):
                    client.close(CLOSE_NOW)
            if not proxy.sessions:
                break
            await trio.sleep(DRAIN_LOOK_S)
    proxy.log.notice(f"Drained; {len(proxy.sessions)} clients are cut off")


def may_go(client: ProxySession) -> bool:
    """Has this client nothing under way that an answer is owed for?"""
    if isinstance(client.parked, BlockedTelling):
        return True
    idle = client.served >= len(client.commands) and not client.parser.waiting_bytes and client.transaction is None
    return idle and client.parked is None and client.closing == OPEN and not client.answers and not client.out


# --- the process ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str], platform: Platform | None = None) -> int:
    """Run a proxy as its own process until it is told to end; the exit code."""
    platform = platform or Platform()
    words_given = list(argv)
    if not words_given or words_given in (["-h"], ["--help"]):
        platform.write_error(USAGE)
        return 0 if words_given else 1
    try:
        line = parse_command_line(words_given)
        settings, rest = read(line.path, line.options, lambda path: platform.read_file(path).decode("utf-8", "replace"))
        config = configure(platform, CommandLine(None, False, rest))
        log = open_log(platform, config)
        proxy = build(platform, config, settings, log)
    except ConfigFileError as error:
        platform.write_error(error.report())
        return 1
    except CannotStart as error:
        platform.write_error(f"{error}\n")
        return 1
    return _live(platform, proxy)


def _live(platform: Platform, proxy: Proxy) -> int:
    platform.ignore_signals()
    platform.tame_collector()
    try:
        fit_clients(platform, proxy.config, proxy.log)
        return trio.run(_serve, platform, proxy)
    except (listening.CannotListen, NotEnoughDescriptors) as error:
        proxy.log.warning(str(error))
        return 1
    except Exception as error:
        write_report(proxy, error)
        return 1


async def _serve(platform: Platform, proxy: Proxy) -> int:
    over = Ending()
    soon = platform.soon()
    signals = 0

    def handle(_number: int) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            platform.exit_now(1)
        soon(lambda: over.end(0))

    async with running(proxy) as entrance:
        with platform.on_signals(handle, SIGTERM, SIGINT):
            platform.name_process(f"hexad proxy *:{proxy.config['port']}")
            proxy.log.notice(f"Ready to accept connections tcp, port {proxy.config['port']}")
            code = await over.wait()
            await drain(proxy, entrance)
            listening.remove_unix_socket(proxy)
            return code
    raise AssertionError("the proxy ended by itself")
