"""The scripts that a node knows, by the SHA1 of their text. Sans-IO.

A script that was loaded (SCRIPT LOAD) stays until SCRIPT FLUSH. Those that came with EVAL are kept as well, but only
the `EVALUATED_MAX` used last, as in Redis 7.4: clients that write their arguments into the text would otherwise fill
the memory.
"""

from collections.abc import Callable
from hashlib import sha1
from typing import Any, NamedTuple

from node.net.resp import Argv, CommandError

EVALUATED_MAX = 500
"""How many scripts are kept that nobody has loaded."""
SCRIPT_BYTES = 512
"""About what a script costs beside its text and its code."""


class Flags(NamedTuple):
    """What a script says about itself in its first line; `declared` is False where it has no such line."""

    declared: bool = False
    no_writes: bool = False
    allow_oom: bool = False
    allow_stale: bool = False
    no_cluster: bool = False
    allow_cross_slot_keys: bool = False


UNDECLARED = Flags(allow_cross_slot_keys=True)
NAMES = {name.replace("_", "-").encode(): name for name in Flags._fields if name != "declared"}


class Script:
    """A compiled script."""

    __slots__ = ("flags", "function", "loaded", "sha", "text")

    def __init__(self, sha: bytes, text: bytes, flags: Flags, function: Any) -> None:
        self.sha = sha  # lower-case hexadecimal digits
        self.text = text
        self.flags = flags
        self.function = function
        self.loaded = False  # by SCRIPT LOAD: not to be forgotten


def parse_flags(text: bytes) -> Flags:
    """The flags of a list `a,b`. Raises CommandError."""
    wanted: dict[str, bool] = {}
    for word in filter(None, text.split(b",")):
        if word not in NAMES:
            raise CommandError(b"ERR Unexpected flag in script shebang: " + word)
        wanted[NAMES[word]] = True
    return Flags(declared=True, **wanted)


def split_shebang(text: bytes) -> tuple[Flags, bytes]:
    """The flags of a script and its Lua. Raises CommandError where the first line makes no sense.

    The line end stays, so that the lines of errors are those of the whole text.
    """
    if not text.startswith(b"#!"):
        return UNDECLARED, text
    line, end, body = text.partition(b"\n")
    if not end:
        raise CommandError("ERR Invalid script shebang")
    engine, *options = line.split()
    if engine != b"#!lua":
        raise CommandError(b"ERR Unexpected engine in script shebang: " + engine)
    flags = Flags(declared=True)
    for option in options:
        name, equals, value = option.partition(b"=")
        if name != b"flags" or not equals:
            raise CommandError(b"ERR Unknown lua shebang option: " + option)
        flags = parse_flags(value)
    return flags, end + body


Compile = Callable[[bytes], Any]
"""Makes a function of Lua text; raises CommandError."""


class Cache:
    """All scripts of a node."""

    def __init__(self, compile_text: Compile) -> None:
        self._compile = compile_text
        self._by_text: dict[bytes, Script] = {}
        self._by_sha: dict[bytes, Script] = {}
        self._evaluated: dict[bytes, None] = {}  # SHA1s that may be forgotten, the one used longest ago first
        self.evicted = 0  # how many were forgotten for want of room

    def __len__(self) -> int:
        return len(self._by_sha)

    @property
    def size_bytes(self) -> int:
        """Memory that the texts and their entries take, about."""
        return sum(len(script.text) + SCRIPT_BYTES for script in self._by_sha.values())

    def of_text(self, text: bytes) -> Script:
        """The script of this text, compiled now if it is new. Raises CommandError."""
        script = self._by_text.get(text)
        if script is None:
            return self._add(text)
        if not script.loaded:
            self._used(script)
        return script

    def of_sha(self, sha: bytes) -> Script | None:
        """The script whose SHA1 has these digits, in any case."""
        script = self._by_sha.get(sha) or self._by_sha.get(sha.lower())
        if script is not None and not script.loaded:
            self._used(script)
        return script

    def load(self, text: bytes) -> Script:
        """Know a script for good. Raises CommandError."""
        script = self.of_text(text)
        script.loaded = True
        self._evaluated.pop(script.sha, None)
        return script

    def knows(self, sha: bytes) -> bool:
        return sha.lower() in self._by_sha

    def clear(self) -> None:
        """Forget all of them."""
        self._by_text.clear()
        self._by_sha.clear()
        self._evaluated.clear()

    def _add(self, text: bytes) -> Script:
        flags, lua = split_shebang(text)
        sha = sha1(text, usedforsecurity=False).hexdigest().encode()
        script = self._by_text[text] = self._by_sha[sha] = Script(sha, text, flags, self._compile(lua))
        self._evaluated[sha] = None
        if len(self._evaluated) > EVALUATED_MAX:
            oldest = next(iter(self._evaluated))
            del self._evaluated[oldest]
            del self._by_text[self._by_sha.pop(oldest).text]
            self.evicted += 1
        return script

    def _used(self, script: Script) -> None:
        del self._evaluated[script.sha]
        self._evaluated[script.sha] = None


def declared_flags(name: str, argv: Argv, cache: Cache, functions: Any) -> Flags:
    """What the script or function says of itself that EVAL, EVALSHA or FCALL, by its name, is to run.

    UNDECLARED for other commands, and where there is no such script or its flags make no sense: its run will say so.
    """
    flags = UNDECLARED
    try:
        if name == "eval":
            flags, _ = split_shebang(argv[1])
        elif name == "evalsha":
            script = cache.of_sha(argv[1])
            flags = UNDECLARED if script is None else script.flags
        elif name == "fcall":
            flags = functions.find(argv[1]).flags
    except CommandError as error:
        error.forget()
    return flags
