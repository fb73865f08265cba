"""The configuration of a node: every directive of Redis 7.2's redis.conf, pure and without the outside.

`Config` holds the values; `parse_command_line` understands the server's arguments.  Files are read by functions
that the caller hands in; texts are str in which bytes that are not UTF-8 travel as surrogate escapes.
"""

from node.config.coming import BEYOND_PYTHON, WITHOUT_MEANING
from node.config.commandline import CommandLine, parse_command_line
from node.config.config import DEFAULTS, Config
from node.config.directives import ALIASES, DIRECTIVES, Directive, find_directive
from node.config.errors import ConfigError, ConfigFileError, ConfigSetError, ConfigUnreadable
from node.config.values import OutputLimit, OutputLimits

__all__ = [
    "ALIASES",
    "BEYOND_PYTHON",
    "DEFAULTS",
    "DIRECTIVES",
    "WITHOUT_MEANING",
    "CommandLine",
    "Config",
    "ConfigError",
    "ConfigFileError",
    "ConfigSetError",
    "ConfigUnreadable",
    "Directive",
    "OutputLimit",
    "OutputLimits",
    "find_directive",
    "parse_command_line",
]
