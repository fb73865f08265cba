"""Functions: libraries of Lua that are part of the data set, saved and replicated as it is. Sans-IO.

A library is its source. Loading runs its body once, which registers functions and can do little else; they run in an
engine of their own, apart from EVAL's scripts. Names of functions are unique in the node, whatever their case.
Whatever changes several libraries changes all of them or none.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from node.config.words import UnbalancedQuotes, split_words
from node.net.resp import CommandError
from node.script.engine import CompileError, Engine, LibraryError
from node.script.scripts import NAMES as FLAG_NAMES
from node.script.scripts import Flags, parse_flags

CHUNK_NAME = b"@user_function"
LOAD_TIMEOUT_NS = 500_000_000
"""How long the body of a library may run, as in Redis."""
LIBRARY_BYTES = 512
"""About what a library costs beside its source and its code; a function about half of that."""

NO_FUNCTION = CommandError("ERR Function not found")
NO_LIBRARY = CommandError("ERR Library not found")
NAME_RULE = (
    "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
)
NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class EngineMaker(Protocol):
    """Who makes engines and watches over what runs in them: `node.script.running.Scripts`."""

    load_until_ns: int

    def new_engine(self, name: bytes) -> Engine: ...


class Function:
    """One function of a library."""

    __slots__ = ("description", "flag_names", "flags", "function", "name")

    def __init__(self, name: bytes, function: Any, description: bytes | None, flag_names: Sequence[bytes]) -> None:
        self.name = name
        self.function = function  # the sandbox's
        self.description = description
        self.flag_names = flag_names
        self.flags: Flags = parse_flags(b",".join(flag_names))


class Library:
    """One library: its source and what it has registered."""

    __slots__ = ("code", "functions", "name")

    def __init__(self, name: bytes, code: bytes, functions: list[Function]) -> None:
        self.name = name
        self.code = code
        self.functions = functions


class Functions:
    """All libraries of a node. `clock_ns` limits how long one may take to load."""

    def __init__(self, scripts: EngineMaker, clock_ns: Callable[[], int]) -> None:
        self._scripts = scripts
        self._clock_ns = clock_ns
        self._engine: Engine | None = None  # made when the first library comes
        self.libraries: dict[bytes, Library] = {}
        self.called: Sequence[bytes] = ()  # the command that runs a function now
        self._by_name: dict[bytes, Function] = {}  # by lower-case name

    @property
    def engine(self) -> Engine:
        """The engine of all functions."""
        if self._engine is None:
            engine = self._engine = self._scripts.new_engine(CHUNK_NAME)
            for name in ("KEYS", "ARGV", "__redis__err__handler"):
                engine.set_global(name, None)
            for name in ("breakpoint", "debug", "replicate_commands"):
                engine.set_member("redis", name, None)
        return self._engine

    def find(self, name: bytes) -> Function:
        """The function of this name in any case. Raises CommandError."""
        function = self._by_name.get(name) or self._by_name.get(name.lower())
        if function is None:
            raise NO_FUNCTION
        return function

    def codes(self) -> list[bytes]:
        """The sources of all libraries, which are all there is to save of them."""
        return [library.code for library in self.libraries.values()]

    # --- changes --------------------------------------------------------------------------------------------------

    def load(self, code: bytes, replace: bool = False, limited: bool = True) -> bytes:
        """Make a library of its source; its name. `limited`: it must not take long. Raises CommandError."""
        name, body = split_header(code)
        if not replace and name in self.libraries:
            raise CommandError(b"ERR Library '%b' already exists" % name)
        library = self._made(name, code, body, limited)
        self._adopt({**self.libraries, name: library})
        return name

    def delete(self, name: bytes) -> None:
        """Remove a library. Raises CommandError."""
        if name not in self.libraries:
            raise NO_LIBRARY
        self._adopt({known: library for known, library in self.libraries.items() if known != name})

    def flush(self) -> None:
        """Remove all libraries, with the engine and all that they have left in it."""
        self.libraries, self._by_name, self._engine = {}, {}, None

    def restore(self, codes: Iterable[bytes], *, replace: bool, limited: bool = True) -> None:
        """Add these libraries to those that are there. Raises CommandError, and then nothing has changed."""
        new = self._all_made(codes, limited)
        if not replace:
            for name in new:
                if name in self.libraries:
                    raise CommandError(b"ERR Library %b already exists" % name)
        self._adopt({**self.libraries, **new})

    def replace_all(self, codes: Iterable[bytes], limited: bool = False) -> None:
        """Have these libraries and no others. Raises CommandError, and then nothing has changed."""
        engine, self._engine = self._engine, None
        try:
            self._adopt(self._all_made(codes, limited))
        except BaseException:
            self._engine = engine
            raise

    def _all_made(self, codes: Iterable[bytes], limited: bool) -> dict[bytes, Library]:
        made: dict[bytes, Library] = {}
        for code in codes:
            name, body = split_header(code)
            if name in made:
                raise CommandError(b"ERR Library '%b' already exists" % name)
            made[name] = self._made(name, code, body, limited)
            _index(made)
        return made

    def _adopt(self, libraries: dict[bytes, Library]) -> None:
        self._by_name = _index(libraries)
        self.libraries = libraries

    def _made(self, name: bytes, code: bytes, body: bytes, limited: bool) -> Library:
        engine = self.engine
        try:
            compiled = engine.compile(body)
        except CompileError as error:
            raise CommandError(b"ERR Error compiling function: " + error.text) from None
        self._scripts.load_until_ns = self._clock_ns() + LOAD_TIMEOUT_NS if limited else 0
        try:
            found = engine.load_library(compiled)
        except LibraryError as error:
            raise CommandError(b"ERR Error registering functions: " + error.text) from None
        finally:
            self._scripts.load_until_ns = 0
        if not found:
            raise CommandError("ERR No functions registered")
        return Library(
            name,
            code,
            [Function(each.name, each.function, each.description or None, _in_order(each.flags)) for each in found],
        )

    # --- what is told of them -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many functions there are."""
        return sum(len(library.functions) for library in self.libraries.values())

    @property
    def engine_bytes(self) -> int:
        """Memory of the engine."""
        return 0 if self._engine is None else self._engine.used_bytes

    @property
    def size_bytes(self) -> int:
        """Memory that the sources and their entries take, about."""
        sources = sum(len(library.code) + LIBRARY_BYTES for library in self.libraries.values())
        return sources + len(self) * LIBRARY_BYTES // 2


def _index(libraries: dict[bytes, Library]) -> dict[bytes, Function]:
    """All functions by their names in lower case. Raises CommandError where two libraries have the same."""
    functions: dict[bytes, Function] = {}
    for library in libraries.values():
        own: dict[bytes, Function] = {}
        for function in library.functions:
            name = function.name.lower()
            if name in functions:
                raise CommandError(b"ERR Function %b already exists" % function.name)
            own.setdefault(name, function)
        functions |= own
    return functions


def _in_order(flags: bytes) -> list[bytes]:
    """The names of flags `a,b`, each once, in the order in which they are always shown."""
    given = flags.split(b",")
    return [name for name in FLAG_NAMES if name in given]


def split_header(code: bytes) -> tuple[bytes, bytes]:
    """The name of a library and its Lua, of which the line end of the first line is a part. Raises CommandError."""
    if not code.startswith(b"#!"):
        raise CommandError("ERR Missing library metadata")
    line, end, body = code.partition(b"\n")
    if not end or b"\0" in line:
        raise CommandError("ERR Invalid library metadata")
    try:
        engine, *options = (word.encode("utf-8", "surrogateescape") for word in split_words(_as_text(line)))
    except UnbalancedQuotes:
        raise CommandError("ERR Invalid library metadata") from None
    name = _library_name(options)
    if not name or not NAME_BYTES.issuperset(name):
        raise CommandError(NAME_RULE)
    if engine[2:].lower() != b"lua":
        raise CommandError(b"ERR Engine '%b' not found" % engine[2:])
    return name, end + body


def _as_text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _library_name(options: list[bytes]) -> bytes:
    name = None
    for option in options:
        key, equals, value = option.partition(b"=")
        if key.lower() != b"name" or not equals:
            raise CommandError(b"ERR Invalid metadata value given: " + option)
        if name is not None:
            raise CommandError("ERR Invalid metadata value, name argument was given multiple times")
        name = value
    if name is None:
        raise CommandError("ERR Library name was not given")
    return name
