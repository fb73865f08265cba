"""Words of a configuration line: Redis's quoting rules, both ways.

In double quotes `\\n \\r \\t \\b \\a \\xHH` are escapes and a backslash before anything else gives that; in single
quotes only `\\'` is one.  A closing quote must be followed by white space or the end.  Text stands for bytes:
what is not UTF-8 travels as surrogate escapes.
"""

_SPACE = b" \t\n\v\f\r\0"
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
_QUOTED = {0x5C: "\\\\", 0x22: '\\"', 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x07: "\\a", 0x08: "\\b"}
_HEX = frozenset(b"0123456789abcdefABCDEF")


class UnbalancedQuotes(ValueError):
    """A quote is not closed, or something sticks to a closing one."""


def split_words(line: str) -> list[str]:
    """The words of a line with their quotes undone.  Raises UnbalancedQuotes."""
    data = line.encode(errors="surrogateescape")
    if b'"' not in data and b"'" not in data:
        return [_text(word) for word in data.split()]
    words: list[str] = []
    at = 0
    while True:
        while at < len(data) and data[at] in _SPACE:
            at += 1
        if at >= len(data):
            return words
        word, at = _one_word(data, at)
        words.append(_text(word))


def words_within(word: str) -> list[str]:
    """The words of a line in one that is quoted as a whole; none where its inner quotes are unbalanced, as in Redis."""
    try:
        return split_words(word)
    except UnbalancedQuotes:
        return []


def _one_word(data: bytes, at: int) -> tuple[bytes, int]:
    word = bytearray()
    while at < len(data) and data[at] not in _SPACE:
        byte = data[at : at + 1]
        if byte in (b'"', b"'"):
            piece, at = _quoted(data, at + 1, byte)
            word += piece
            if at < len(data) and data[at] not in _SPACE:
                raise UnbalancedQuotes(data)
            break
        word += byte
        at += 1
    return bytes(word), at


def _quoted(data: bytes, at: int, quote_mark: bytes) -> tuple[bytes, int]:
    piece = bytearray()
    while at < len(data):
        byte = data[at : at + 1]
        if byte == quote_mark:
            return bytes(piece), at + 1
        following = data[at + 1 : at + 2]
        if byte != b"\\" or not following or (quote_mark == b"'" and following != b"'"):
            piece += byte
            at += 1
        elif quote_mark == b'"' and following == b"x" and _HEX.issuperset(data[at + 2 : at + 4]) and at + 3 < len(data):
            piece.append(int(data[at + 2 : at + 4], 16))
            at += 4
        else:
            piece += _ESCAPES.get(following, following) if quote_mark == b'"' else following
            at += 2
    raise UnbalancedQuotes(data)


def quote(word: str) -> str:
    """The word in double quotes, so that `split_words` gives it back and the line stays printable ASCII."""
    parts = []
    for byte in word.encode(errors="surrogateescape"):
        parts.append(_QUOTED.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"))
    return '"' + "".join(parts) + '"'


def _text(word: bytes) -> str:
    return word.decode(errors="surrogateescape")
