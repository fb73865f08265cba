"""What a replica says before the stream flows: who it is, what it understands, and from where it wants to go on."""

from node.net.dialogue import Dialogue
from node.net.resp import encode_command
from node.replication.history import NO_ID, History
from node.replication.host import ReplicationHost

FIELD_DEADLINES = b"field-deadlines"
"""Our capability (`REPLCONF capa`): no Redis before 7.4 has it, and none tells of it. Others do not know the word."""

NOT_YET = (b"-NOMASTERLINK", b"-LOADING")
"""Answers to PSYNC of a primary that is not ready: ask again later, with the same offset."""


class Refused(Exception):
    """The primary said no; the text tells why."""


def shown(line: bytes) -> str:
    """A primary's words for the log."""
    return line.decode("utf-8", "replace")


async def introduce(host: ReplicationHost, dialogue: Dialogue) -> None:
    """PING, AUTH, REPLCONF. Raises Refused, DialogueError, OSError."""
    config, log = host.config, host.log
    log.notice("Non blocking connect for SYNC fired the event.")
    await dialogue.send(b"PING\r\n")
    reply = await dialogue.line()
    if reply[:1] != b"+" and not reply.startswith((b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")):
        raise Refused(f"Error reply to PING from master: '{shown(reply)}'")
    log.notice("Master replied to PING, replication can continue...")
    requests: list[list[bytes]] = []
    if config["masterauth"]:
        user = [config["masteruser"].encode()] if config["masteruser"] else []
        requests.append([b"AUTH", *user, config["masterauth"].encode()])
    port = config["replica-announce-port"] or (config["tls-replication"] and config["tls-port"]) or config["port"]
    requests.append([b"REPLCONF", b"listening-port", b"%d" % port])
    if config["replica-announce-ip"]:
        requests.append([b"REPLCONF", b"ip-address", config["replica-announce-ip"].encode()])
    requests.append([b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", FIELD_DEADLINES])
    await dialogue.send(b"".join(map(encode_command, requests)))
    for request in requests:
        reply = await dialogue.line()
        if reply[:1] != b"-":
            continue
        if request[0] == b"AUTH":
            raise Refused(f"Unable to AUTH to MASTER: {shown(reply)}")
        option = request[1].decode()
        log.notice(f"(Non critical) Master does not understand REPLCONF {option}: {shown(reply)}")


async def ask(
    host: ReplicationHost, history: History, dialogue: Dialogue, *, resumable: bool, failover: bool = False
) -> bytes:
    """PSYNC from where we are, or from the beginning; the primary's answer. `failover`: it is to take our place first.

    Raises DialogueError, OSError.
    """
    if resumable and history.replid != NO_ID:
        replid, offset = history.replid, host.journal.offset + 1
        host.log.notice(f"Trying a partial resynchronization (request {replid}:{offset}).")
    else:
        replid, offset = "?", -1
        host.log.notice("Partial resynchronization not possible (no cached master)")
    wish = [b"FAILOVER"] if failover else []
    await dialogue.send(encode_command([b"PSYNC", replid.encode(), b"%d" % offset, *wish]))
    return await dialogue.patient_line(host.config["repl-timeout"])


def full_resync(answer: bytes) -> tuple[str, int] | None:
    """(replication id, offset) of `+FULLRESYNC id offset`; None if the answer says something else."""
    words = shown(answer).split()
    if (
        len(words) == 3
        and words[0] == "+FULLRESYNC"
        and len(words[1]) == 40
        and words[2].isascii()
        and words[2].isdigit()
    ):
        return words[1], int(words[2])
    return None
