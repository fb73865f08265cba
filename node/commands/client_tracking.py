"""CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR: what a client asks for that keeps copies of values."""

from collections.abc import Iterable

from node.commands.arguments import SYNTAX, integer
from node.commands.family import command
from node.net.resp import OK, Argv, CommandError, Members, Reply
from node.server import Client
from node.tracking import Tracker

USUAL = "noscript loading stale sentinel"
UNTRACKED = -1
"""What stands for the client to which invalidations are redirected where nothing is tracked."""


@command("client|tracking", -3, USUAL, acl="connection")
def tracking(client: Client, argv: Argv) -> Reply:
    """CLIENT TRACKING (ON|OFF) [REDIRECT id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]."""
    mode = argv[2].lower()
    if mode == b"on":
        client.host.tracking.track(client, wanted_tracker(client, argv))
        return OK
    _options(client, argv)
    if mode == b"off":
        client.host.tracking.untrack(client)
        return OK
    raise SYNTAX


def wanted_tracker(client: Client, argv: Argv) -> Tracker:
    """How CLIENT TRACKING ON wants the client to be tracked. Raises CommandError."""
    wanted, given = _options(client, argv)
    _check(wanted, given, client.tracker)
    return wanted


def _options(client: Client, argv: Argv) -> tuple[Tracker, list[bytes]]:
    """How it wants to be tracked, and the prefixes as they were given: one may stand there twice."""
    tracker = Tracker(client)
    given: list[bytes] = []
    words = iter(argv[3:])
    for word in words:
        option = word.lower()
        if option == b"bcast":
            tracker.bcast = True
        elif option == b"optin":
            tracker.optin = True
        elif option == b"optout":
            tracker.optout = True
        elif option == b"noloop":
            tracker.noloop = True
        elif option not in (b"redirect", b"prefix") or (value := next(words, None)) is None:
            raise SYNTAX
        elif option == b"prefix":
            tracker.prefixes[value] = None
            given.append(value)
        else:
            _redirect(tracker, value)
    return tracker, given


def _redirect(tracker: Tracker, word: bytes) -> None:
    if tracker.redirect:
        raise CommandError("ERR A client can only redirect to a single other client")
    number = integer(word)
    if number not in tracker.client.host.sessions:
        raise CommandError("ERR The client ID you want redirect to does not exist")
    tracker.redirect = number


def _check(wanted: Tracker, given: list[bytes], old: Tracker | None) -> None:
    """Do the options go together, and with how the client is tracked already?"""
    if given and not wanted.bcast:
        raise CommandError("ERR PREFIX option requires BCAST mode to be enabled")
    if old is not None and old.bcast != wanted.bcast:
        raise CommandError(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it "
            "with a different mode."
        )
    if wanted.bcast and (wanted.optin or wanted.optout):
        raise CommandError("ERR OPTIN and OPTOUT are not compatible with BCAST")
    if wanted.optin and wanted.optout:
        raise CommandError("ERR You can't specify both OPTIN mode and OPTOUT mode")
    if old is not None and ((wanted.optin and old.optout) or (wanted.optout and old.optin)):
        raise CommandError(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it "
            "with a different mode."
        )
    for at, prefix in enumerate(given):
        _check_overlap(prefix, sorted(old.prefixes) if old is not None else (), "an existing")
        _check_overlap(prefix, given[at + 1 :], "another provided")


def _check_overlap(prefix: bytes, others: Iterable[bytes], which: str) -> None:
    for other in others:
        if prefix.startswith(other) or other.startswith(prefix):
            raise CommandError(
                b"ERR Prefix '%b' overlaps with %b prefix '%b'. Prefixes for a single client must not overlap."
                % (prefix, which.encode(), other)
            )


@command("client|caching", 3, USUAL, acl="connection")
def caching(client: Client, argv: Argv) -> Reply:
    """CLIENT CACHING (YES|NO): of the next command, or the next transaction."""
    tracker = client.tracker
    if tracker is None:
        raise CommandError(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
            "enabled"
        )
    mode = argv[2].lower()
    if mode not in (b"yes", b"no"):
        raise SYNTAX
    if mode == b"yes" and not tracker.optin:
        raise CommandError("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    if mode == b"no" and not tracker.optout:
        raise CommandError("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    tracker.caching = True
    return OK


@command("client|getredir", 2, USUAL, acl="connection")
def getredir(client: Client, argv: Argv) -> Reply:
    return UNTRACKED if client.tracker is None else client.tracker.redirect


@command("client|trackinginfo", 2, USUAL, acl="connection")
def trackinginfo(client: Client, argv: Argv) -> Reply:
    tracker = client.tracker
    if tracker is None:
        return {b"flags": Members([b"off"]), b"redirect": UNTRACKED, b"prefixes": []}
    told = {
        b"on": True,
        b"bcast": tracker.bcast,
        b"optin": tracker.optin,
        b"caching-yes": tracker.optin and tracker.caching,
        b"optout": tracker.optout,
        b"caching-no": tracker.optout and tracker.caching,
        b"noloop": tracker.noloop,
        b"broken_redirect": tracker.broken,
    }
    return {
        b"flags": Members(flag for flag, true in told.items() if true),
        b"redirect": tracker.redirect,
        b"prefixes": sorted(tracker.prefixes),
    }
