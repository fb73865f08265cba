"""The libraries that every script finds: cjson, cmsgpack, struct and bit.

They are Lua source, so that no Python object is in a script's reach and their work counts against a script's limits
of time and memory like its own. A text runs once for each Lua state, as a chunk that gets what `support.lua` returns
and returns the library's table; it finds Lua's whole standard library (`debug.getinfo`, `newproxy`) and keeps in locals
what it needs of it. Errors name the place where the script called the library, as a C function's would.
"""

from importlib import resources

NAMES = ("cjson", "cmsgpack", "struct", "bit")


def source(name: str) -> bytes:
    """The text of a library, or of what they share: "support"."""
    return resources.files(__package__).joinpath(f"{name}.lua").read_bytes()


def sources() -> dict[bytes, bytes]:
    """The texts of all libraries by name."""
    return {name.encode(): source(name) for name in NAMES}
