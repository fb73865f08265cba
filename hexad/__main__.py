"""The `hexad` command."""

import sys
from importlib import import_module

USAGE = """\
Usage: hexad up [options]                                  a cluster on this machine
       hexad server [/path/to/redis.conf] [options] [-]    one node, as redis-server
       hexad sentinel /path/to/sentinel.conf [options]     one Sentinel, as redis-sentinel
       hexad proxy --cluster HOST:PORT,... [options]       one Redis in front of a cluster
       hexad cluster SUBCOMMAND [options]                  make, mend, balance, save a cluster
       hexad check FILE... [options]                       what files of data hold
       hexad --version
       hexad --help

`hexad up --help`, and so on, tell their options.

Examples:
       hexad up                                      127.0.0.1:7000-7005, data in ./hexad-data
       hexad up --topology replication               a primary and two replicas
       hexad server --port 6379                      one node
       redis-cli -c -p 7000                          talk to it
"""


def main() -> int:
    """Run the command that the first word names; the exit code."""
    words = sys.argv[1:]
    if words[:1] == ["sentinel"] or (words[:1] == ["server"] and "--sentinel" in words):
        from sentinel.program import main as sentinel

        return sentinel(words[1:])
    if words[:1] == ["server"]:
        from node.program import main as server

        return server(words[1:])
    if words[:1] == ["proxy"]:
        return int(import_module("proxy.app").main(words[1:]))
    if words[:1] == ["up"]:
        return int(import_module("hexad.up").main(words[1:]))
    if words[:1] == ["cluster"]:
        return int(import_module("hexad.cluster.program").main(words[1:]))
    if words[:1] == ["check"]:
        return int(import_module("hexad.check").main(words[1:]))
    if words in (["--version"], ["-v"]):
        from node.server import HEXAD_VERSION

        sys.stdout.write(f"hexad {HEXAD_VERSION}\n")
        return 0
    if words in (["--help"], ["-h"], ["help"]):
        sys.stdout.write(USAGE)
        return 0
    if words:
        sys.stderr.write(f"hexad: {words[0]!r} is none of its commands\n\n")
    sys.stderr.write(USAGE)
    return 2


if __name__ == "__main__":
    sys.exit(main())
