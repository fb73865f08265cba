"""The command line of the server: `[file|-] [--option value…]… [-]`, as redis-server takes it.

Options become lines that are read after the file and standard input, so the last one wins.  A word that begins with
`--` is a value if an option still lacks one (`--requirepass --secret`), and `--save` alone means `save ""`.
`-v`, `--version`, `-h` and `--help` are the caller's.
"""

from typing import NamedTuple

from node.config.words import UnbalancedQuotes, quote, split_words


class CommandLine(NamedTuple):
    """`path` is the file as it was named, `options` the further lines (None: no argument at all)."""

    path: str | None
    reads_stdin: bool
    options: str | None


def parse_command_line(arguments: list[str]) -> CommandLine:
    """What the arguments after the program's name mean."""
    if not arguments:
        return CommandLine(None, False, None)
    path = arguments[0] if not arguments[0].startswith("-") else None
    first = 1 if path is not None else 0
    options: list[str] = []
    reads_stdin, lacks_value = False, False
    for at in range(first, len(arguments)):
        word = arguments[at]
        if word == "-" and at in (0, len(arguments) - 1):
            reads_stdin = True
        elif word.startswith("--") and not lacks_value:
            lacks_value = _add_option(options, word, arguments[at + 1 : at + 2])
        else:
            options.append(f"{quote(word)} ")
            lacks_value = False
    return CommandLine(path, reads_stdin, "".join(options))


def _add_option(options: list[str], word: str, following: list[str]) -> bool:
    """Begin a line with the option; true if its value is still to come."""
    options.append(f"\n{word[2:]} " if options else f"{word[2:]} ")
    try:
        words = split_words(word)
    except UnbalancedQuotes:
        words = []
    if len(words) != 1 or words[0].lower() == "--sentinel":  # a mode, not a directive: it takes no value
        return False
    is_followed_by_option = bool(following) and following[0].startswith("--")
    if word.lower() == "--save" and (is_followed_by_option or not following):
        options.append('""')
        return not is_followed_by_option
    return True
