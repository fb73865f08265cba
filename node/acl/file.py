"""ACL files: a line a user, `user NAME RULE ...`, words separated by single spaces, nothing quoted.

A file is taken whole or not at all, and its error tells of everything that is wrong with it, as Redis tells it.
"""

from collections.abc import Iterable

from node.acl.rules import RuleError, UnknownName
from node.acl.users import UnmatchedParenthesis, User, Users, is_valid_name, merged


class FileRefused(Exception):
    """The text of a file was refused; the message names file, lines and reasons."""


def read_users(text: bytes, filename: str, users: Users) -> list[User]:
    """The users of a file with that text, none of them in `users` yet. Raises FileRefused."""
    found: dict[bytes, User] = {}
    errors: list[str] = []
    for number, raw in enumerate(text.split(b"\n"), 1):
        line = raw.strip(b" \t\r\n")
        if line:
            errors += _take(line, f"{filename}:{number}", number, found, users)
    if errors:
        ending = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
        raise FileRefused(" ".join([*errors, ending]))
    return list(found.values())


def _take(line: bytes, where: str, number: int, found: dict[bytes, User], users: Users) -> list[str]:
    """Put the user of one line among those that are found; what is wrong with the line."""
    keyword, *words = line.split(b" ")
    if keyword != b"user" or not words:
        return [f"{where} should start with user keyword followed by the username."]
    name, *rules = words
    shown = name.decode("utf-8", "surrogateescape")
    if not is_valid_name(name):
        return [f"'{where}: username '{shown}' contains invalid characters."]
    if name in found:
        return [f"WARNING: Duplicate user '{shown}' found on line {number}."]
    user = found[name] = users.new(name)
    try:
        return list(_apply(user, merged(rules), where))
    except UnmatchedParenthesis:
        return [f"{where}: Unmatched parenthesis in selector definition."]


def _apply(user: User, rules: list[bytes], where: str) -> Iterable[str]:
    """Apply the rules; every unknown name is told of, but only the first error of another kind."""
    has_told = False
    for rule in rules:
        try:
            user.apply(rule)
        except UnknownName as error:
            shown = rule.decode("utf-8", "surrogateescape")
            yield f"{where}: Error in applying operation '{shown}': {error.reason}."
        except RuleError as error:
            if not has_told:
                yield f"{where}: {error.reason}."
            has_told = True


def write_users(users: Users) -> bytes:
    """The text of a file that makes these users."""
    return b"".join(user.line() + b"\n" for user in users.sorted())
