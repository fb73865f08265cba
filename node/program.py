"""`hexad server`: the process around a node. It takes what `redis-server` takes and ends with its exit codes.

What is wrong with the configuration goes to standard error, what goes wrong later to the log; either is one clear
line and exit code 1. What belongs to a process and not to a node (signals, limits, the working directory, the pid file,
a supervisor) is set here and nowhere else.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial

from node import app, crash, listening
from node.acl.catalog import Catalog
from node.acl.rules import RuleError, UnknownName
from node.acl.users import UnmatchedParenthesis, Users, merged
from node.config import CommandLine, Config, ConfigError, ConfigFileError, parse_command_line
from node.config.lines import Line
from node.descriptors import NotEnoughDescriptors, check_clients, fit_clients
from node.log import Log
from node.oomscore import OomScore
from node.persistence.loader import LoadError
from node.platform import SIGABRT, SIGALRM, SIGINT, SIGTERM, Platform
from node.server import HEXAD_VERSION, REDIS_VERSION, CannotGoOn, CannotStart, Server
from node.supervision import supervisor_of
from node.table import CommandTable, NameTaken, Spec, UnknownCommand
from node.watchdog import Watchdog
from node.welcome import logo

VERSION = f"Redis server v={REDIS_VERSION} sha=00000000:0 malloc=libc bits=64 build={'0' * 16} hexad={HEXAD_VERSION}\n"
USAGE = """\
Usage: hexad server [/path/to/redis.conf] [options] [-]
       hexad server - (read config from stdin)
       hexad server -v or --version
       hexad server -h or --help

A file named *.yaml or *.yml holds the same directives as YAML.

Examples:
       hexad server (run the server with default conf)
       echo 'timeout 60' | hexad server -
       hexad server /etc/redis/6379.conf
       hexad server --port 7777
       hexad server --port 7777 --replicaof 127.0.0.1 8888
       hexad server /etc/myredis.yaml --loglevel verbose
"""
DEFAULT_PIDFILE = "/var/run/redis.pid"


def main(argv: Sequence[str], platform: Platform | None = None) -> int:
    """Run a node as its own process until it is told to end; the exit code."""
    platform = platform or Platform()
    words = list(argv)
    if words in (["-v"], ["--version"]):
        platform.write_out(VERSION)
        return 0
    if words in (["-h"], ["--help"]):
        platform.write_error(USAGE)
        return 1
    if words[:1] in (["--test-memory"], ["--check-system"]):
        platform.write_error(f"{words[0]}: Hexad does not test the machine; memtest86 and memtester do.\n")
        return 1
    try:
        line = parse_command_line(words)
        config_file = platform.absolute_path(line.path) if line.path is not None else ""
        config = configure(platform, line)
    except ConfigFileError as error:
        platform.write_error(error.report())
        return 1
    return Program(platform, config, config_file, is_bare=not words).run()


def configure(
    platform: Platform,
    line: CommandLine,
    *,
    specs: Callable[[], list[Spec]] = app.every_spec,
    sentinel_lines: list[Line] | None = None,
) -> Config:
    """The configuration that the command line asks for; changes the working directory. Raises ConfigFileError.

    specs -- the commands that lines may speak of.
    sentinel_lines -- gets the `sentinel` lines, if it is to be a Sentinel's configuration.
    """

    def enter(path: str) -> None:
        try:
            platform.change_directory(path)
        except OSError as error:
            raise ConfigError(error.strerror or str(error)) from None

    def read(path: str) -> str:
        return platform.read_file(path).decode("utf-8", "surrogateescape")

    lines = LineChecks(specs)
    config = Config.load(
        None if line.path is None else platform.absolute_path(line.path),
        stdin=platform.read_input().decode("utf-8", "surrogateescape") if line.reads_stdin else None,
        options=line.options,
        read_file=read,
        find_files=platform.find_files,
        checks={"dir": enter, "user": lines.check_user, "rename-command": lines.rename_command},
        sentinel_lines=sentinel_lines,
    )
    config.put("dir", platform.current_directory())
    config.on_change("dir", enter)
    if config["logfile"]:
        try:
            platform.append_text(config["logfile"], "")
        except OSError as error:
            raise ConfigFileError(f"Can't open the log file: {error.strerror}") from None
    return config


class LineChecks:
    """Looks at the lines of a configuration that speak of commands, as soon as they are read."""

    def __init__(self, specs: Callable[[], list[Spec]]) -> None:
        self._specs = specs
        self._commands: CommandTable | None = None

    @property
    def commands(self) -> CommandTable:
        """A table as the node's will be, once a line asks for it."""
        if self._commands is None:
            self._commands = CommandTable(self._specs())
        return self._commands

    def rename_command(self, words: list[str]) -> None:
        """Rename a command. Raises ConfigError."""
        old, new = (word.encode("utf-8", "surrogateescape") for word in words)
        try:
            self.commands.rename(old, new)
        except UnknownCommand:
            raise ConfigError("No such command in rename-command") from None
        except NameTaken:
            raise ConfigError("Target command name already exists") from None

    def check_user(self, words: list[str]) -> None:
        """Try the rules of a user; names that nobody knows are left to the start. Raises ConfigError."""
        name, *rules = (word.encode("utf-8", "surrogateescape") for word in words)
        user = Users(Catalog(self.commands.specs), lambda: False).new(name)
        try:
            for rule in merged(rules):
                with suppress(UnknownName):
                    user.apply(rule)
        except UnmatchedParenthesis as error:
            shown = error.start.decode("utf-8", "surrogateescape")
            raise ConfigError(f"Error in user declaration '{shown}': Unmatched parenthesis in selector") from None
        except RuleError as error:
            raise ConfigError(f"Error in user declaration '{words[0]}': {error.reason}") from None


def open_log(platform: Platform, config: Config) -> Log:
    """The log that the configuration names: standard output or a file, and the system's log beside it."""
    path = config["logfile"]

    def write_to_file(text: str) -> None:
        try:
            platform.append_text(path, text)  # opened each time, so that it may be renamed at any time
        except OSError:
            return  # nowhere is left to tell it

    log = Log(platform, write_to_file if path else platform.write_out, config["loglevel"])
    if config["syslog-enabled"]:
        log.copy = platform.open_syslog(config["syslog-ident"], config["syslog-facility"])
    return log


class Program:
    """One run of the process, from its configuration to its exit code."""

    def __init__(self, platform: Platform, config: Config, config_file: str, *, is_bare: bool) -> None:
        self.platform = platform
        self.config = config
        self.config_file = config_file
        self.is_bare = is_bare  # no argument at all
        self.log = open_log(platform, config)
        self.supervisor = supervisor_of(platform, config["supervised"], self.log)
        self.is_daemon = config["daemonize"] and not self.supervisor.name
        self.exit_code = 0
        self.has_reported = False

    def run(self) -> int:
        """Live; the exit code."""
        platform, log = self.platform, self.log
        platform.ignore_signals()
        platform.tame_collector()
        if self.is_daemon:
            platform.detach_from_terminal()
        platform.close_inherited_descriptors()
        if self.config["crash-log-enabled"]:
            platform.report_faults(self.config["logfile"])
        self.log_beginning()
        try:
            server = self.build()
        except CannotStart as error:
            log.warning(str(error))
            return 1
        server.config_file = self.config_file
        server.executable = platform.program
        server.supervised = self.supervisor.name or "no"
        log.role = server.role_letter
        log.notice("monotonic clock: POSIX clock_gettime")
        try:
            self.fit_limits(server)
            self.fit_oom_score(server)
            app.run(server, self.serve)
        except (listening.CannotListen, NotEnoughDescriptors) as error:
            log.warning(str(error))
            return 1
        except Exception as error:
            if not self.has_reported:
                self.report_crash(server, error)
            return 1
        return self.exit_code

    def build(self) -> Server:
        """The node. Raises CannotStart."""
        return app.build(self.platform, self.config, self.log)

    def running(self, server: Server) -> AbstractAsyncContextManager[None]:
        """Serve while the block runs. Raises CannotListen."""
        return app.running(server)

    def report_crash(self, server: Server, error: Exception) -> None:
        """A bug of ours ends the node: leave all that helps to find it."""
        self.has_reported = True
        if isinstance(crash.first_of(error), CannotGoOn):
            return  # no bug of ours, and its line is in the log
        crash.write_report(server, error)

    def log_beginning(self) -> None:
        """The first lines: what starts here, and how it was configured."""
        log, pid = self.log, self.platform.pid
        log.role = lambda: "C"
        log.notice("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo")
        log.notice(f"Redis version={REDIS_VERSION}, bits=64, commit=00000000, modified=0, pid={pid}, just started")
        if self.is_bare:
            log.warning(
                "Warning: no config file specified, using the default config. In order to specify a config file use "
                "hexad server /path/to/redis.conf"
            )
        else:
            log.notice("Configuration loaded")

    def fit_limits(self, server: Server) -> None:
        """Descriptors for the clients that are wanted; a word on a short queue. Raises NotEnoughDescriptors."""
        platform, config = self.platform, self.config
        fit_clients(platform, config, self.log)

        def fit(maxclients: int) -> None:
            if (reason := check_clients(platform, maxclients)) is not None:
                raise ConfigError(reason)

        config.on_change("maxclients", fit)
        backlog_max = platform.listen_backlog_max()
        if 0 < backlog_max < config["tcp-backlog"]:
            self.log.warning(
                f"WARNING: The TCP backlog setting of {config['tcp-backlog']} cannot be enforced because "
                f"/proc/sys/net/core/somaxconn is set to the lower value of {backlog_max}."
            )

    def fit_oom_score(self, server: Server) -> None:
        """Tell the system how readily it may end this process, now and with each change of its role."""
        score = OomScore(self.platform, self.config, self.log, lambda: server.role_letter() == "S")
        server.replication.role_changed = score.follow_role
        score.follow_role()

    async def serve(self, server: Server) -> None:
        """The node's life, from its first listener to its last word."""
        over = app.Ending()
        server.crashed = lambda error: self.report_crash(server, error)
        shutdown = server.shutdown
        shutdown.ended = over.end
        shutdown.before_end = partial(self.remove_traces, server)
        shutdown.tell_supervisor = self.supervisor.tell
        on_signals = self.platform.on_signals
        async with self.running(server):
            with (
                on_signals(self.signal_handler(server), SIGTERM, SIGINT),
                on_signals(self.stack_teller(server), SIGABRT, SIGALRM),
            ):
                self.write_pidfile()
                self.show_who(server)
                self.log.notice("Server initialized")
                server.spawn(self.make_ready, server)
                self.exit_code = await over.wait()

    async def make_ready(self, server: Server) -> None:
        """Load the data set, while signals are heard and clients get -LOADING."""
        try:
            await app.load(server)
        except LoadError as error:
            self.log.warning(str(error))
            server.shutdown.ended(1)
            return
        server.platform.settle_memory()
        self.tell_ready(server)

    def signal_handler(self, server: Server) -> Callable[[int], None]:
        """What a signal calls, in the midst of anything: it leaves the work to the node, unless it must end at once."""
        platform, shutdown, soon = self.platform, server.shutdown, self.platform.soon()

        def say(text: str) -> None:
            self.log.raw(f"{platform.pid}:signal-handler ({platform.now_ms() // 1000}) {text}\n")

        def handle(number: int) -> None:
            if number == SIGINT and shutdown.signalled:
                say("You insist... exiting now.")
                if server.saver is not None:
                    server.saver.remove_unfinished()
                platform.exit_now(1)
            if server.loading is not None:
                say("Received shutdown signal during loading, exiting now.")
                platform.exit_now(0)
            say(f"Received {'SIGINT' if number == SIGINT else 'SIGTERM'} scheduling shutdown...")
            shutdown.signalled = number
            soon(shutdown.act_on_signal)

        return handle

    def stack_teller(self, server: Server) -> Callable[[int], None]:
        """What a signal calls that asks where the node is: SIGABRT, which ends it, or SIGALRM, the watchdog's too."""
        watchdog = Watchdog(server)

        def handle(number: int) -> None:
            if number == SIGABRT:
                crash.write_signal_report(server, number)
                self.platform.end_by_signal(number)
            else:
                expired = watchdog.has_expired
                crash.write_stacks(server, "--- WATCHDOG TIMER EXPIRED ---" if expired else "Received SIGALRM")

        return handle

    def show_who(self, server: Server) -> None:
        """The drawing for people, or lines for programs; " PID: n" stands in either."""
        platform, config, log = self.platform, self.config, self.log
        mode = server.mode
        port = config["port"] or config["tls-port"]
        for_people = platform.is_terminal() and not config["logfile"] and not config["syslog-enabled"]
        if for_people or config["always-show-logo"]:
            log.raw(logo(HEXAD_VERSION, REDIS_VERSION, mode, port, platform.pid))
        else:
            log.notice(f"Running mode={mode}, port={port}.")
            log.notice(f"PID: {platform.pid}")
        platform.name_process(f"hexad *:{port}")

    def tell_ready(self, server: Server) -> None:
        """The node serves: say so to whoever waits for it."""
        for address in listening.described(self.config):
            self.log.notice(f"Ready to accept connections {address.kind}")
        waits = server.role_letter() == "S"
        status = "Ready to accept connections"
        if waits:
            status += " in read-only mode. Waiting for MASTER <-> REPLICA sync"
        self.supervisor.tell(f"STATUS={status}\n")
        self.supervisor.tell("READY=1\n")

    @property
    def pidfile(self) -> str:
        path: str = self.config["pidfile"]
        return path or (DEFAULT_PIDFILE if self.is_daemon else "")

    def write_pidfile(self) -> None:
        """Leave the process's number where it is wanted; a node without it runs nevertheless, as in Redis."""
        if self.pidfile:
            try:
                self.platform.write_text(self.pidfile, f"{self.platform.pid}\n")
            except OSError as error:
                self.log.warning(f"Failed to write PID file: {error.strerror}")

    def remove_traces(self, server: Server) -> None:
        """The process ends: its number stands for nothing any more, nor does its socket's name."""
        if self.pidfile:
            self.log.notice("Removing the pid file.")
            self.platform.remove_if_there(self.pidfile)
        listening.remove_unix_socket(server)
