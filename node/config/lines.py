"""A configuration as lines of words, includes followed.

Line numbers count within one file, an included one counting for itself; what the command line adds goes on where
the main file ended.  Files are read by functions that the caller hands in, and only when their line is reached, so
that an error before an `include` is told before the file is looked for.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from node.config.errors import ConfigFileError, ConfigUnreadable
from node.config.words import UnbalancedQuotes, split_words

INCLUDE_DEPTH_MAX = 64  # a file that includes itself must end in an error, not in exhausted memory

ReadFile = Callable[[str], str]
FindFiles = Callable[[str], Iterable[str]]


class Line(NamedTuple):
    """One line: its number from 1, its trimmed text for error messages, and its words (at least one)."""

    number: int
    text: str
    words: list[str]


def read_lines(text: str, first_number: int = 1) -> Iterator[Line]:
    """The lines that say something.  Raises ConfigFileError at a line with unbalanced quotes."""
    for number, raw in enumerate(text.split("\n"), first_number):
        trimmed = raw.strip(" \t\r\n")
        if not trimmed or trimmed[0] == "#":
            continue
        try:
            words = split_words(trimmed)
        except UnbalancedQuotes:
            raise ConfigFileError("Unbalanced quotes in configuration line", number, trimmed) from None
        if words:
            yield Line(number, trimmed, words)


def follow_includes(
    lines: Iterable[Line], read_file: ReadFile, find_files: FindFiles, depth: int = 0
) -> Iterator[Line]:
    """The lines, each `include` replaced by those of the files that it names.

    Raises ConfigUnreadable, or ConfigFileError if files include one another without end.
    """
    for line in lines:
        if len(line.words) != 2 or line.words[0].lower() != "include":
            yield line
            continue
        if depth == INCLUDE_DEPTH_MAX:
            raise ConfigFileError(f"include: more than {INCLUDE_DEPTH_MAX} files deep", line.number, line.text)
        for path in matching_paths(line.words[1], find_files):
            yield from follow_includes(read_lines(read_text(path, read_file)), read_file, find_files, depth + 1)


def matching_paths(path: str, find_files: FindFiles) -> list[str]:
    """The files that a name with wildcards stands for, sorted, perhaps none; a plain name stands for itself."""
    return sorted(find_files(path)) if any(char in path for char in "*?[") else [path]


def read_text(path: str, read_file: ReadFile) -> str:
    """The text of the file.  Raises ConfigUnreadable."""
    try:
        return read_file(path)
    except OSError as error:
        raise ConfigUnreadable(path, error) from error
