"""How many clients a process can hold: `maxclients` and the system's limit of open descriptors, fitted to each other.

Redis keeps 32 descriptors for itself (files, listeners, links), asks for the rest, and lowers `maxclients` where it
does not get them.
"""

from node.config import Config
from node.log import Log
from node.platform import Platform

RESERVED_DESCRIPTORS = 32


class NotEnoughDescriptors(Exception):
    """The limit does not even leave room for one client; the text is the line for the log."""


def fit_clients(platform: Platform, config: Config, log: Log) -> None:
    """Raise the limit for `maxclients`, or lower `maxclients` to it. Raises NotEnoughDescriptors."""
    wanted = config["maxclients"] + RESERVED_DESCRIPTORS
    before = platform.descriptor_limit()
    if before >= wanted:
        return
    limit = platform.raise_descriptor_limit(wanted)
    if limit >= wanted:
        log.notice(f"Increased maximum number of open files to {wanted} (it was originally set to {before}).")
        return
    fitting = limit - RESERVED_DESCRIPTORS
    if fitting < 1:
        raise NotEnoughDescriptors(
            f"Your current 'ulimit -n' of {limit} is not enough for the server to start. "
            f"Please increase your open file limit to at least {wanted}. Exiting."
        )
    log.warning(f"You requested maxclients of {config['maxclients']} requiring at least {wanted} max file descriptors.")
    log.warning(f"Server can't set maximum open files to {wanted} because of OS error: Operation not permitted.")
    log.warning(
        f"Current maximum open files is {limit}. maxclients has been reduced to {fitting} to compensate for low "
        "ulimit. If you need higher maxclients increase 'ulimit -n'."
    )
    config.put("maxclients", fitting)


def check_clients(platform: Platform, maxclients: int) -> str | None:
    """Why `maxclients` cannot be had at run time, for CONFIG SET; None if it can."""
    if platform.raise_descriptor_limit(maxclients + RESERVED_DESCRIPTORS) >= maxclients + RESERVED_DESCRIPTORS:
        return None
    fitting = platform.descriptor_limit() - RESERVED_DESCRIPTORS
    return f"The operating system is not able to handle the specified number of clients, try with {fitting}"
