"""The last words of a node that met a bug of its own: what happened where, and the state it was in.

The form is Redis's, since log collectors look for its first line. Values and arguments of clients are left out:
they may be secrets.
"""

from collections.abc import Callable
from traceback import format_exception

from node.commands.info import SECTIONS, report
from node.server import REDIS_VERSION, Server

RULE = "------"


def write_report(server: Server, error: BaseException) -> None:
    """Tell the log all that a bug report needs, or, without `crash-log-enabled`, what happened."""
    last_words = f"Hexad crashed by an exception nobody expected: {_last_words(error)}"
    _write(server, last_words, "".join(format_exception(error)))


def write_signal_report(server: Server, number: int) -> None:
    """As `write_report`, where a signal ends the node in the midst of anything."""
    last_words = f"Redis {REDIS_VERSION} crashed by signal: {number}, si_code: 0"
    _write(server, last_words, server.platform.stacks())


def write_stacks(server: Server, head: str) -> None:
    """Tell the log where the node is just now: somebody asks, or it has been there for too long."""
    server.log.raw(f"\n{head}\n\n{_stack_trace(server.platform.stacks())}--------\n")


def _stack_trace(stacks: str) -> str:
    return f"{RULE} STACK TRACE {RULE}\n{stacks}\n{RULE} STACK TRACE DONE {RULE}\n"


def _write(server: Server, last_words: str, stacks: str) -> None:
    log = server.log
    if not server.config["crash-log-enabled"]:
        log.warning(last_words)
        return
    log.raw("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n")
    log.warning(last_words)
    log.raw(f"\n{_stack_trace(stacks)}")
    for title, tell in (("INFO OUTPUT", _info), ("CLIENT LIST OUTPUT", _clients)):
        log.raw(f"\n{RULE} {title} {RULE}\n{_attempt(tell, server)}\n")
    log.raw("\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n")


def first_of(error: BaseException) -> BaseException:
    """The exception itself, out of the groups that nurseries put around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _last_words(error: BaseException) -> str:
    error = first_of(error)
    return f"{type(error).__name__}: {error}"


def _info(server: Server) -> str:
    return report(server, SECTIONS).replace("\r\n", "\n")


def _clients(server: Server) -> str:
    return "\n".join(
        f"id={client.id} addr={client.addr} db={client.db.index} "
        f"cmd={client.last_command.full_name if client.last_command else 'NULL'}"
        for client in server.clients.sessions.values()
    )


def _attempt(tell: Callable[[Server], str], server: Server) -> str:
    """What `tell` has to say, as far as the broken state lets it."""
    try:
        return tell(server)
    except Exception as error:
        return f"(not available: {error!r})"
