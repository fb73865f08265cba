"""Glob patterns as KEYS, SCAN, PSUBSCRIBE and CONFIG GET understand them: `*`, `?`, `[a-c]`, `[^x]` and `\\`.

Every element but `*` takes exactly one byte.  So a pattern is a row of fixed-length pieces between stars, and
the leftmost place of each piece is always good enough: nothing is ever tried twice, and a hostile `a*a*a*…b`
costs one walk over the text.  The pieces become one regular expression of atomic groups; the shapes met most
(`literal`, `prefix*`, `*suffix`, `*middle*`) become plain bytes methods, which are several times faster.

Oddities kept: a class ends at the first `]` (so `[]` matches nothing and `[^]` anything), an unclosed class ends
with the pattern, a range may be written backwards, and only the empty pattern matches the empty text.
"""

import re
from collections.abc import Callable
from functools import lru_cache

Predicate = Callable[[bytes], bool]

CACHED_PATTERNS_MAX = 512  # a client that asks with ever new patterns must not fill the memory

_STAR, _ANY, _OPEN, _CLOSE, _ESCAPE, _NOT, _DASH = b"*?[]\\^-"

Piece = list[frozenset[int] | None]  # for each byte of the text the set it must be in; None: any byte


@lru_cache(maxsize=CACHED_PATTERNS_MAX)  # a memo of a pure function: nodes in one process may share it
def compile_glob(pattern: bytes, nocase: bool = False) -> Predicate:
    """A predicate that tells whether a whole text matches `pattern`; `nocase` ignores the case of ASCII letters."""
    pieces = _parse(pattern, nocase)
    literals = [_literal(piece) for piece in pieces]
    match literals:
        case [bytes(only)]:
            return only.__eq__
        case [bytes(head), b""]:
            return lambda text: text.startswith(head) and text != b""
        case [b"", bytes(tail)]:
            return lambda text: text.endswith(tail)
        case [b"", bytes(middle), b""]:
            return lambda text: middle in text
    return _by_regex(pieces)


def _by_regex(pieces: list[Piece]) -> Predicate:
    sources = [b"".join(map(_one_byte, piece)) for piece in pieces]
    head, *middle = sources
    source = head
    if middle:
        tail = middle.pop()
        source += b"".join(b"(?>.*?" + piece + b")" for piece in middle) + b".*" + tail
    full_match = re.compile(source, re.DOTALL).fullmatch
    return lambda text: text != b"" and full_match(text) is not None


def _one_byte(choice: frozenset[int] | None) -> bytes:
    if choice is None:
        return b"."
    if not choice:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(choice)) + b"]"


def _literal(piece: Piece) -> bytes | None:
    """The only text that the piece matches, if there is just one."""
    if any(choice is None or len(choice) != 1 for choice in piece):
        return None
    return bytes(byte for choice in piece if choice is not None for byte in choice)


def _parse(pattern: bytes, nocase: bool) -> list[Piece]:
    """The pieces between the stars; stars that follow one another count as one."""
    pieces: list[Piece] = [[]]
    at, end = 0, len(pattern)
    while at < end:
        byte = pattern[at]
        if byte == _STAR:
            if at == 0 or pieces[-1]:
                pieces.append([])
            at += 1
            continue
        if byte == _OPEN:
            choice, at = _parse_class(pattern, at + 1, nocase)
            pieces[-1].append(choice)
            continue
        if byte == _ESCAPE and at + 1 < end:
            at += 1
            byte = pattern[at]
            pieces[-1].append(_same(byte, nocase))
        else:
            pieces[-1].append(None if byte == _ANY else _same(byte, nocase))
        at += 1
    return pieces


def _parse_class(pattern: bytes, at: int, nocase: bool) -> tuple[frozenset[int], int]:
    """The bytes of the class whose first byte is at `at`, and where the pattern goes on."""
    end = len(pattern)
    negated = at < end and pattern[at] == _NOT
    at += negated
    choice: set[int] = set()
    while at < end and pattern[at] != _CLOSE:
        if pattern[at] == _ESCAPE and at + 1 < end:
            choice.add(pattern[at + 1])  # the one place where `nocase` is not heeded
            at += 2
        elif at + 2 < end and pattern[at + 1] == _DASH:
            choice |= _range(pattern[at], pattern[at + 2], nocase)
            at += 3
        else:
            choice |= _same(pattern[at], nocase)
            at += 1
    return (frozenset(range(256)) - choice if negated else frozenset(choice)), at + 1


def _range(first: int, last: int, nocase: bool) -> set[int]:
    low, high = min(first, last), max(first, last)
    if not nocase:
        return set(range(low, high + 1))
    low, high = _lower(low), _lower(high)  # only after they were put in order, so a range may become empty
    return {byte for byte in range(256) if low <= _lower(byte) <= high}


def _same(byte: int, nocase: bool) -> frozenset[int]:
    char = bytes((byte,))
    return frozenset(char.lower() + char.upper()) if nocase else frozenset(char)


def _lower(byte: int) -> int:
    return byte + 32 if 65 <= byte <= 90 else byte
