"""Scripts and functions through the proxy.

EVAL, EVALSHA and FCALL go to the node of their keys; over several slots they are refused. EVAL without keys goes
where its first argument would go as a key: channels_redis, for one, hands its keys to scripts so. A script is
remembered by its SHA1 when it comes by (EVAL, SCRIPT LOAD): a node that does not know it (a new one, one that failed
over) is told it again, and the client does not notice.
"""

from hashlib import sha1
from typing import Any

from node.net.resp import NO_REPLY, Argv, Failure, Reply
from node.table import READ
from proxy.calls import Call, Ignored
from proxy.everywhere import on_all
from proxy.shapes import crossing, keys_of
from proxy.stories import Story, must

SCRIPTS_MAX = 10_000
SCRIPT_BYTES_MAX = 64 << 20
"""What is remembered; the scripts that were used last stay."""


class KnownScripts:
    """Texts of scripts by their SHA1 in hex, lower case."""

    def __init__(self) -> None:
        self._texts: dict[bytes, bytes] = {}
        self._size_bytes = 0

    def __contains__(self, sha: bytes) -> bool:
        return sha.lower() in self._texts

    def learn(self, text: bytes) -> None:
        """Remember a script."""
        sha = sha1(text, usedforsecurity=False).hexdigest().encode()
        if self._texts.pop(sha, None) is None:
            self._size_bytes += len(text)
        self._texts[sha] = text
        while len(self._texts) > SCRIPTS_MAX or (self._size_bytes > SCRIPT_BYTES_MAX and len(self._texts) > 1):
            oldest = next(iter(self._texts))
            self._size_bytes -= len(self._texts.pop(oldest))

    def text(self, sha: bytes) -> bytes | None:
        """The script with this digest, if it has come by."""
        return self._texts.get(sha.lower())

    def forget(self) -> None:
        """SCRIPT FLUSH."""
        self._texts.clear()
        self._size_bytes = 0

    def loads_for(self, commands: list[Argv]) -> list[Argv]:
        """The SCRIPT LOADs that make sure that the EVALSHAs of a transaction find their scripts."""
        found: dict[bytes, None] = {}
        for argv in commands:
            name = argv[0].lower()
            if name in (b"evalsha", b"evalsha_ro") and len(argv) > 1 and (text := self.text(argv[1])) is not None:
                found[text] = None
            elif name in (b"eval", b"eval_ro") and len(argv) > 1:
                self.learn(argv[1])
        return [[b"SCRIPT", b"LOAD", text] for text in found]


class ShaCall(Call):
    """EVALSHA: a node that does not know the script is told it, once."""

    __slots__ = ("text",)
    text: bytes | None

    def refused(self, raw: bytes) -> None:
        text, self.text = self.text, None
        if text is None or not raw.startswith(b"-NOSCRIPT"):
            self.text = text
            super().refused(raw)
            return
        self.owner.detour()
        self.router.send_after(Ignored([b"SCRIPT", b"LOAD", text]), self)


def evaluate(client: Any, argv: Argv) -> Reply:
    """EVAL, EVAL_RO."""
    client.host.known_scripts.learn(argv[1])
    return _send(client, argv, None)


def evaluate_sha(client: Any, argv: Argv) -> Reply:
    """EVALSHA, EVALSHA_RO."""
    return _send(client, argv, client.host.known_scripts.text(argv[1]))


def _send(client: Any, argv: Argv, text: bytes | None) -> Reply:
    proxy = client.host
    command = proxy.commands.find(argv[0])
    slot = proxy.slot_of_command(command, argv)
    if argv[2] == b"0" and len(argv) > 3:  # programs for a single Redis may hand keys to scripts as arguments
        slot = proxy.slot(argv[3])
    if slot is None:
        raise crossing(keys_of(command, argv), "keys of a script")
    key = client.link_key
    client.may_keep(command, argv)
    call = ShaCall(proxy.router, client, argv, slot, key, command.flags & READ != 0)
    call.text = text
    if client.reply_mode != b"on":
        call.silent = True
    client.answers.append(call)
    proxy.router.send(call)
    return NO_REPLY


def load(client: Any, argv: Argv) -> Story:
    """SCRIPT LOAD: on all primaries."""
    replies = yield from on_all(client.host, argv)
    for _, reply in replies:
        must(reply)
    client.host.known_scripts.learn(argv[2])
    return replies[0][1]


def flush(client: Any, argv: Argv) -> Story:
    """SCRIPT FLUSH: on all primaries."""
    replies = yield from on_all(client.host, argv)
    for _, reply in replies:
        must(reply)
    client.host.known_scripts.forget()
    return replies[0][1]


def exist(client: Any, argv: Argv) -> Story:
    """SCRIPT EXISTS: a script that can be loaded again is there, wherever else it is not."""
    replies = yield from on_all(client.host, argv)
    lists = [must(reply) for _, reply in replies]
    known = client.host.known_scripts
    return [int(all(found) or sha in known) for sha, *found in zip(argv[2:], *lists, strict=True)]


def kill(client: Any, argv: Argv) -> Story:
    """SCRIPT KILL, FUNCTION KILL: wherever one runs."""
    replies = yield from on_all(client.host, argv)
    good = [reply for _, reply in replies if type(reply) is not Failure]
    return good[0] if good else replies[0][1]
