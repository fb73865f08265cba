"""What is secret in a command: taken out before anybody may read what others have sent (the slow log, MONITOR)."""

from collections.abc import Iterator

from node.config.directives import find_directive

REDACTED = b"(redacted)"


def redacted(full_name: str, argv: list[bytes]) -> list[bytes]:
    """The arguments of a command without its secrets, for whoever may read what others have sent."""
    secret = _SECRETS.get(full_name)
    if secret is None:
        return argv
    places = set(secret(argv))
    return [REDACTED if at in places else arg for at, arg in enumerate(argv)] if places else argv


def _of_auth(argv: list[bytes]) -> Iterator[int]:
    """AUTH [user] password; what has more words is refused unseen, as in Redis."""
    return iter(range(1, len(argv)) if len(argv) <= 3 else ())


def _all_after_the_subcommand(argv: list[bytes]) -> Iterator[int]:
    return iter(range(2, len(argv)))


def _third(argv: list[bytes]) -> Iterator[int]:
    return iter((2,))


def _of_config_set(argv: list[bytes]) -> Iterator[int]:
    """The values of directives that are secret."""
    for at in range(2, len(argv) - 1, 2):
        directive = find_directive(argv[at].decode("latin-1"))
        if directive is not None and directive.is_sensitive:
            yield at + 1


def _of_hello(argv: list[bytes]) -> Iterator[int]:
    """HELLO version [AUTH user password] [SETNAME name]; a password without its user is no less secret."""
    at = 2
    while at < len(argv):
        option = argv[at].lower()
        if option == b"auth":
            yield from range(at + 1, min(at + 3, len(argv)))
            at += 2
        at += 1 + (option == b"setname")


def _of_migrate(argv: list[bytes]) -> Iterator[int]:
    """MIGRATE host port key db timeout [COPY] [REPLACE] [AUTH password | AUTH2 user password] [KEYS key ...]."""
    for at in range(6, len(argv)):
        option = argv[at].lower()
        if option == b"keys":
            return
        if option == b"auth" and at + 1 < len(argv):
            yield at + 1
        if option == b"auth2" and at + 2 < len(argv):
            yield from (at + 1, at + 2)


_SECRETS = {
    "acl|deluser": _third,
    "acl|getuser": _third,
    "acl|setuser": _all_after_the_subcommand,
    "auth": _of_auth,
    "config|set": _of_config_set,
    "hello": _of_hello,
    "migrate": _of_migrate,
}
