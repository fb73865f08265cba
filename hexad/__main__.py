"""The `hexad` command."""

import sys
from importlib import import_module

USAGE = """\
Usage: hexad server [/path/to/redis.conf] [options] [-]    one node, with redis-server's options
       hexad up [options]                                  a six-node cluster on this machine
       hexad --version
       hexad --help
"""


def main() -> int:
    """Run the command that the first word names; the exit code."""
    words = sys.argv[1:]
    if words[:1] == ["server"]:
        from node.program import main as server

        return server(words[1:])
    if words[:1] == ["up"]:
        return int(import_module("hexad.up").main(words[1:]))
    if words in (["--version"], ["-v"]):
        from importlib.metadata import version

        sys.stdout.write(f"hexad {version('hexad')}\n")
        return 0
    wanted = words in (["--help"], ["-h"], ["help"])
    (sys.stdout if wanted else sys.stderr).write(USAGE)
    return 0 if wanted else 2


if __name__ == "__main__":
    sys.exit(main())
