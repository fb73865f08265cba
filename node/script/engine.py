"""A Lua runtime and what it needs of its node: compiles scripts, runs them, stops them. Sans-IO.

What the runtime may use of the machine is bounded: memory by its allocator, time by a hook that asks `host.tick` every
`INSTRUCTIONS` instructions whether to go on, and everything else by the sandbox (`sandbox.lua`), which scripts cannot
leave. Nothing of Python is within their reach: they see neither the functions below nor exceptions of these, since
the functions never raise; what goes wrong in them for a reason of our own is kept in `broken` and raised after the run.

A function of the runtime's that is called by Lua must not fail for want of memory while it hands over its result (the
jump would leave Python's frames behind). So the sandbox calls none of them beyond `MEMORY_SHARE` of the limit, which
leaves room for all that the runtime itself may have to grow by; and bigger results ask first.
"""

from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Literal, NamedTuple, Protocol

from node.datatypes.numbers import format_double
from node.net.resp import OK, Encoded, Failure, Reply, Status
from node.script import libraries
from node.script.bytecode import keep_frames
from node.script.conversions import argument, to_lua, whole_number

MEMORY_BYTES_MAX = 512 << 20
"""What one runtime may use, all its scripts and their data together."""
MEMORY_SHARE = 0.6
INSTRUCTIONS = 20_000
"""How often the hook runs: less than a millisecond of Lua's own work (Redis: 100 000, but its commands are faster)."""
SMALL_BYTES = 64 * 1024
"""A result of this size always finds room."""
ARGUMENTS_FEW = 200
"""Up to here keys and arguments are handed over one by one, which is the faster way; Lua's stack has 8000 places."""

NO_MEMORY = Failure(b"ERR not enough memory")
NOT_TEXT = Failure(b"ERR Lua redis lib command arguments must be strings or integers")

FAILED = 1


class EngineHost(Protocol):
    """What a runtime asks of its node while a script runs."""

    def call(self, argv: list[bytes]) -> Reply:
        """Run a command of the script's; a refusal is a Failure. Replies are those of RESP2 or 3 as it wished."""

    def tick(self) -> bytes | None:
        """Some time has passed; the text of an error ends the script."""

    def log(self, level: int, text: bytes) -> None:
        """`redis.log`: level 0 to 3, debug to warning."""

    def set_resp(self, resp3: bool) -> None:
        """`redis.setresp`."""

    def set_repl(self, readers: int) -> None:
        """`redis.set_repl`: who gets the effects from now on, 1 the file, 2 replicas."""

    def acl_check(self, argv: list[bytes]) -> bool | None:
        """`redis.acl_check_cmd`: may the user run it? None if there is no such command."""


class CompileError(Exception):
    """The script is no Lua: the compiler's words, as bytes."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class LibraryError(Exception):
    """The body of a library ended in an error: its text, as bytes."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class Registered(NamedTuple):
    """A function as a library has registered it."""

    name: bytes
    function: Any
    description: bytes | Literal[False]
    flags: bytes  # their names, by commas


class Place(NamedTuple):
    """Where an error came up: the source as Lua names it (`@user_script`) and the line."""

    source: bytes
    line: bytes


class Engine:
    """One runtime. `name` is the chunk name of its scripts: `@user_script` or `@user_function`."""

    def __init__(
        self, host: EngineHost, version: str, name: bytes = b"@user_script", memory_bytes_max: int = MEMORY_BYTES_MAX
    ) -> None:
        from lupa.lua51 import LuaRuntime  # here and not above: a node without scripts does not load it

        self.host = host
        self.name = name
        self.resp3 = False  # what the running script asked for
        self.place: Place | None = None  # of the error that ended the last run
        self.counted = False  # that error was a command's, which has counted it
        self.broken: BaseException | None = None  # a bug of ours that a script ran into
        self._memory_bytes_max = memory_bytes_max
        self._lua = LuaRuntime(
            encoding=None,
            source_encoding="latin-1",
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_refuse_attribute,
            max_memory=memory_bytes_max,
        )
        self._make_table = self._lua.table_from
        sandbox = files(__package__).joinpath("sandbox.lua").read_bytes()
        exports = self._lua.compile(sandbox, name=b"=sandbox")(
            self._make_table(self._functions()),
            self._make_table(_constants(version)),
            memory_bytes_max * MEMORY_SHARE / 1024,
            INSTRUCTIONS,
        )
        self._exports: dict[bytes, Any] = dict(exports.items())
        self._run, self._run_with = self._exports[b"run"], self._exports[b"run_with"]
        self._call, self._call_with = self._exports[b"call"], self._exports[b"call_with"]
        self._exports[b"add_libraries"](libraries.source("support"), self._make_table(libraries.sources()))

    # --- for scripts and functions --------------------------------------------------------------------------------

    def compile(self, text: bytes, name: bytes | None = None) -> Any:
        """A function of the sandbox that runs `text`. Raises CompileError."""
        name = name or self.name
        if text.startswith(b"\x1b"):
            raise CompileError(name.lstrip(b"@=") + b": bytecode is not accepted")
        result = self._exports[b"compile"](text, name)
        if type(result) is tuple:
            raise CompileError(result[1])
        return self._exports[b"load"](keep_frames(result), name)

    def run(self, script: Any, keys: Sequence[bytes], args: Sequence[bytes], resp3: bool) -> Reply:
        """Run a compiled script, with KEYS and ARGV as globals; `resp3`: how its reply is to be encoded."""
        return self._enter(self._run, self._run_with, script, keys, args, resp3)

    def call(self, function: Any, keys: Sequence[bytes], args: Sequence[bytes], resp3: bool) -> Reply:
        """As `run`, for a function that takes keys and arguments as its two parameters."""
        return self._enter(self._call, self._call_with, function, keys, args, resp3)

    def load_library(self, body: Any) -> list["Registered"]:
        """Run the compiled body of a library of functions: what it registers. Raises LibraryError."""
        result = self._guard(self._exports[b"load_library"], body)
        if type(result) is tuple:
            raise LibraryError(result[1])
        parts = list(result.values())
        return [Registered(*parts[at : at + 4]) for at in range(0, len(parts), 4)]

    def array(self, items: Sequence[Any]) -> Any:
        """A Lua table of these values."""
        self._lua.set_max_memory(0)
        try:
            return self._make_table(items)
        finally:
            self._lua.set_max_memory(self._memory_bytes_max)

    def set_member(self, library: str, name: str, value: Any) -> None:
        """Change a member of a library; None takes it away."""
        self._exports[b"set_member"](library.encode(), name.encode(), value)

    def set_global(self, name: str, value: Any) -> None:
        """Change a global name; None takes it away."""
        self._exports[b"set_global"](name.encode(), value)

    @property
    def used_bytes(self) -> int:
        """Memory that the runtime has taken."""
        return int(self._lua.get_memory_used(total=True))

    def collect(self) -> None:
        """Free what no script can reach any more."""
        self._lua.gccollect()

    # --- running --------------------------------------------------------------------------------------------------

    def _enter(
        self, run: Any, run_with: Any, body: Any, keys: Sequence[bytes], args: Sequence[bytes], resp3: bool
    ) -> Reply:
        """Hand `body` its keys and arguments, one by one to `run` or as two tables to `run_with`: what it returns."""
        self.place = None
        self.resp3 = self.counted = False
        words = (*keys, *args)
        if len(words) > ARGUMENTS_FEW:
            result = self._guard(run_with, body, resp3, self.array(keys), self.array(args))
        else:
            size = sum(map(len, words))
            if size > SMALL_BYTES:
                self._make_room(size)
            result = self._guard(run, body, resp3, len(keys), *words)
        kind = type(result)
        if kind is bytes or kind is int or result is None:
            return result
        return whole_number(result) if kind is float else self._unusual(*result)

    def _guard(self, run: Any, *args: Any) -> Any:
        """What a function of the sandbox returns; (FAILED, text) where it comes to no end of its own."""
        try:
            result = run(*args)
        except Exception as error:  # of the runtime itself, as when memory ends
            self._exports[b"recover"]()
            self._lua.gccollect()
            result = (FAILED, b"ERR " + str(error or "not enough memory").encode("latin-1", "replace"))
        if self.broken is not None:
            broken, self.broken = self.broken, None
            raise broken
        return result

    def _unusual(self, outcome: int, text: bytes, source: Any = None, line: Any = None, counted: Any = None) -> Reply:
        if outcome != FAILED:
            return Encoded(text)
        if self._lua.get_memory_used() > self._memory_bytes_max * MEMORY_SHARE:
            self._lua.gccollect()  # what it failed with; the next one would fail, too
        if source is not None and line is not None:
            self.place = Place(source, line)
        self.counted = bool(counted)
        return Failure(text)

    def _make_room(self, size: int) -> None:
        """Arguments of `size` bytes are about to be handed over: what was left behind goes first."""
        need = size + SMALL_BYTES
        if self._lua.get_memory_used() + need > self._memory_bytes_max:
            self._lua.gccollect()
            self._lua.set_max_memory(max(self._memory_bytes_max, self._lua.get_memory_used() + need))

    # --- what Lua calls -------------------------------------------------------------------------------------------

    def _functions(self) -> dict[bytes, Any]:
        """The functions that the sandbox gets. None of them raises."""
        host = self.host

        def set_resp(version: int) -> None:
            self.resp3 = version == 3
            host.set_resp(self.resp3)

        def acl_check(words: Any, count: int) -> Any:
            argv = self._arguments(words[at] for at in range(1, count + 1))
            if argv is None:
                return None, NOT_TEXT.removeprefix(b"ERR ")
            allowed = host.acl_check(argv)
            return allowed if allowed is not None else (None, b"Invalid command passed to redis.acl_check_cmd()")

        functions: dict[bytes, Callable[..., Any]] = {
            b"tick": host.tick,
            b"log": host.log,
            b"set_resp": set_resp,
            b"set_repl": host.set_repl,
            b"acl_check": acl_check,
            b"sha1": lambda text: sha1(text, usedforsecurity=False).hexdigest().encode(),
            b"double_text": lambda number: format_double(float(number)),
            b"speaks_resp3": lambda: self.resp3,
        }
        guarded = {name: self._guarded(function) for name, function in functions.items()}
        guarded[b"call"] = self._caller()
        guarded[b"call_many"] = self._caller_of_many()
        return guarded

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that keeps its exceptions from Lua."""

        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except BaseException as error:
                return self._fails(error)

        return call

    def _fails(self, error: BaseException) -> tuple[None, bytes]:
        self.broken = error
        return None, b"ERR internal error"

    def _caller(self) -> Callable[..., Any]:
        """redis.call and pcall: every command of every script goes through here."""
        host_call = self.host.call
        answer = self._answer

        def call(*args: Any) -> Any:
            try:
                argv = []
                for word in args:
                    if type(word) is not bytes:
                        word = argument(word)
                        if word is None:
                            return None, NOT_TEXT
                    argv.append(word)
                reply = host_call(argv)
                kind = type(reply)
                if kind is int or (kind is bytes and len(reply) <= SMALL_BYTES):
                    return reply
                if reply is OK:
                    return None, None, b"OK"
                return answer(reply)
            except BaseException as error:
                return self._fails(error)

        return call

    def _caller_of_many(self) -> Callable[..., Any]:
        """As `_caller`, for many arguments, which come in a table."""

        def call(words: Any, count: int) -> Any:
            argv = self._arguments(words[at] for at in range(1, count + 1))
            return (None, NOT_TEXT) if argv is None else self._answer(self.host.call(argv))

        return self._guarded(call)

    @staticmethod
    def _arguments(words: Any) -> list[bytes] | None:
        argv = []
        for word in words:
            text = argument(word)
            if text is None:
                return None
            argv.append(text)
        return argv

    def _answer(self, reply: Reply) -> Any:
        """What a call returns to Lua: a value; (None, error); or (None, None, status)."""
        kind = type(reply)
        if kind is Failure:
            return None, bytes(reply)
        if kind is Status:
            return None, None, bytes(reply)
        lua = self._lua
        if kind is bytes:
            if lua.get_memory_used() + len(reply) + SMALL_BYTES > self._memory_bytes_max:
                return None, bytes(NO_MEMORY)
            return reply
        if kind is Encoded and reply[:1] == b"+":
            return None, None, bytes(reply[1:-2])
        lua.set_max_memory(0)  # what is made here cannot fail half way; beyond the limit the script fails afterwards
        try:
            value = to_lua(reply, self._make_table, self.resp3)
        finally:
            lua.set_max_memory(self._memory_bytes_max)
        if type(value) is bytes and lua.get_memory_used() + len(value) + SMALL_BYTES > self._memory_bytes_max:
            return None, bytes(NO_MEMORY)
        return value


def _refuse_attribute(_object: Any, _name: Any, _setting: bool) -> str:
    raise AttributeError("scripts have no business with Python")


def _constants(version: str) -> dict[bytes, Any]:
    major, minor, patch = map(int, version.split("."))
    return {
        b"LOG_DEBUG": 0,
        b"LOG_VERBOSE": 1,
        b"LOG_NOTICE": 2,
        b"LOG_WARNING": 3,
        b"REPL_NONE": 0,
        b"REPL_AOF": 1,
        b"REPL_SLAVE": 2,
        b"REPL_REPLICA": 2,
        b"REPL_ALL": 3,
        b"REDIS_VERSION": version.encode(),
        b"REDIS_VERSION_NUM": major << 16 | minor << 8 | patch,
    }
