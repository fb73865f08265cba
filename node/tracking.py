"""Client-side caching: who keeps copies of which keys, and who is told that they are old. Sans-IO.

A client that has said CLIENT TRACKING ON is served the careful way from then on; no other client pays. Two modes:

- By default the keys that it reads are remembered (`remember`). The first change of one is told to all who read it,
  and the key is forgotten: who reads it again is told again. The table has a bound, `tracking-table-max-keys`: what is
  beyond goes by chance, and is told as if it had changed.
- With BCAST nothing is remembered: all changed keys that begin with one of the client's prefixes are told, collected
  for each prefix until the batch of requests ends (`broadcast`).

Messages are RESP3 pushes, or, redirected to a client that speaks RESP2 and is subscribed, messages of the channel
`__redis__:invalidate`. What a client's own command sends to it follows the reply of that command (`Session.push`).

A client is found by its number, since it may be gone or redirected to one that is. Numbers stay in the table when their
clients end: whoever is not tracking any more is passed over. Once nobody tracks the table is dropped.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from node.keyspace.indexed import IndexedKeys
from node.net.resp import Argv, Push, Reply
from node.table import Command

CHANNEL = b"__redis__:invalidate"
EVICTED_STEP = 100
"""So many keys beyond the bound go with one command; with each further one so many more, until the bound is met."""
READERS_UNTRACKED = frozenset({"eval_ro", "evalsha_ro", "fcall_ro"})
"""They read nothing themselves: the commands that they run do."""

Client = Any
"""A `Session`, whose type would make a circle of imports."""


class Tracker:
    """How one client is tracked. `prefixes` only with BCAST; `redirect` is the number of another client, or 0."""

    __slots__ = ("bcast", "broken", "caching", "client", "noloop", "optin", "optout", "prefixes", "redirect")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.redirect = 0
        self.bcast = self.optin = self.optout = self.noloop = False
        self.caching = False  # CLIENT CACHING was said, for the next command or transaction
        self.broken = False  # the client that it is redirected to was gone when there was something to say
        self.prefixes: dict[bytes, None] = {}


class Figures(NamedTuple):
    """How many clients track, how many keys are remembered, for how many clients in sum, and how many prefixes."""

    clients: int
    keys: int
    items: int
    prefixes: int


class Prefix:
    """Who hears of the keys that begin alike, and which have changed since they last heard."""

    __slots__ = ("keys", "trackers")

    def __init__(self) -> None:
        self.trackers: dict[Tracker, None] = {}
        self.keys: dict[bytes, Client] = {}  # by whom it was changed last, if by a client that tracks


class TrackingHost(Protocol):
    """What tracking needs of its node."""

    @property
    def sessions(self) -> Mapping[int, Client]: ...


class Tracking:
    """The clients of a node that keep copies.

    `listen` says whether changes are to be told to `outdated`; `random_below` draws a number; `wake` sees to it that
    `broadcast` is called soon, where no batch of requests is being served.
    """

    def __init__(
        self,
        host: TrackingHost,
        listen: Callable[[bool], None],
        random_below: Callable[[int], int],
        wake: Callable[[], None],
        keys_max: Callable[[], int],
    ) -> None:
        self._host = host
        self._listen = listen
        self._random_below = random_below
        self._wake = wake
        self._keys_max = keys_max
        self.trackers: dict[int, Tracker] = {}  # by number of the client
        self.prefixes: dict[bytes, Prefix] = {}
        self.items = 0  # pairs of a key and a client who has read it
        self._holders: dict[bytes, int | set[int]] = {}  # key -> the client who has read it, or several
        self._order = IndexedKeys([])  # the same keys, to draw one by chance
        self._changed: dict[bytes, Prefix] = {}  # the prefixes that have something to say
        self._running: Client = None  # whose command is running, if it may be one that tracks
        self._short_rounds = 0  # how often in a row the table was still too big

    def figures(self) -> Figures:
        """What INFO tells."""
        return Figures(len(self.trackers), len(self._holders), self.items, len(self.prefixes))

    # --- who tracks -----------------------------------------------------------------------------------------------

    def track(self, client: Client, tracker: Tracker) -> None:
        """The client is tracked like this from now on; with BCAST, prefixes that it had before stay."""
        old = client.tracker
        if tracker.bcast and not tracker.prefixes:
            tracker.prefixes[b""] = None
        if old is not None:
            tracker.caching = old.caching
            tracker.prefixes = {**old.prefixes, **tracker.prefixes}
        for text in tracker.prefixes:
            self.prefixes.setdefault(text, Prefix()).trackers[tracker] = None
        if old is not None:
            self._leave_prefixes(old)
        if not self.trackers:
            self._listen(True)
        self.trackers[client.id] = tracker
        client.set_tracker(tracker)

    def untrack(self, client: Client) -> None:
        """The client keeps no copies any more, or is gone."""
        tracker = client.tracker
        if tracker is None:
            return
        self._leave_prefixes(tracker)
        client.set_tracker(None)
        del self.trackers[client.id]
        if not self.trackers:
            self._holders, self._order, self.items = {}, IndexedKeys([]), 0
            self._listen(False)

    def _leave_prefixes(self, tracker: Tracker) -> None:
        for text in tracker.prefixes:
            prefix = self.prefixes[text]
            del prefix.trackers[tracker]
            if not prefix.trackers:
                del self.prefixes[text]
                self._changed.pop(text, None)

    # --- a command of a client that tracks ------------------------------------------------------------------------

    def execute(self, client: Client, argv: Argv, run: Callable[[Client, Argv], Reply]) -> Reply:
        """Run a command of a client that is tracked, or may be once its transaction has run.

        Commands of others may run inside: a script that takes long lets them in.
        """
        outer, self._running = self._running, client
        reply = run(client, argv)
        self._running = outer
        tracker = client.tracker
        if tracker is not None and tracker.caching and client.transaction is None and argv[0].lower() != b"client":
            tracker.caching = False
        return reply

    def remember(self, tracker: Tracker, command: Command, argv: Argv) -> None:
        """A command that reads was run for the tracker's client: it may keep what it got."""
        if command.name not in READERS_UNTRACKED:
            self.remember_keys(tracker, [argv[at] for at in command.key_positions(argv) or ()])

    def remember_keys(self, tracker: Tracker, keys: Iterable[bytes]) -> None:
        """The tracker's client gets these keys' values, and may keep them."""
        if tracker.bcast or (tracker.optin and not tracker.caching) or (tracker.optout and tracker.caching):
            return
        number = tracker.client.id
        for key in keys:
            self._hold(key, number)
        self.keep_bound()

    def keep_bound(self) -> bool:
        """Forget some keys if the table holds more than it may; True if there are still too many."""
        bound = self._keys_max()
        if len(self._holders) > bound > 0:
            self._shrink()
        else:
            self._short_rounds = 0
        return self._short_rounds > 0

    def _hold(self, key: bytes, number: int) -> None:
        holders = self._holders.get(key)
        if holders is None:
            self._holders[key] = number
            self._order.add(key)
        elif isinstance(holders, set):
            if number in holders:
                return
            holders.add(number)
        elif holders == number:
            return
        else:
            self._holders[key] = {holders, number}
        self.items += 1

    def _shrink(self) -> None:
        """The table is too big: forget keys by chance, and let nobody believe that they are still watched over."""
        bound = self._keys_max()
        for _ in range(EVICTED_STEP * (self._short_rounds + 1)):
            self._tell_holders(self._order.keys[self._random_below(len(self._holders))], by_itself=True)
            if len(self._holders) <= bound:
                self._short_rounds = 0
                return
        self._short_rounds += 1

    # --- changes --------------------------------------------------------------------------------------------------

    def outdated(self, key: bytes, by_itself: bool) -> None:
        """`key` has changed or has gone; by itself if no client did it."""
        if self.prefixes:
            self._collect(key, None if by_itself else self._running)
        if key in self._holders:
            self._tell_holders(key, by_itself)

    def emptied(self) -> None:
        """All keys of a database or of several have gone: no copy is good any more, of whatever."""
        self._holders, self._order, self.items = {}, IndexedKeys([]), 0
        for tracker in list(self.trackers.values()):
            self._tell(tracker, None)

    def _collect(self, key: bytes, by: Client) -> None:
        if not self._changed:
            self._wake()
        for text, prefix in self.prefixes.items():
            if key.startswith(text):
                prefix.keys[key] = by
                self._changed[text] = prefix

    def _tell_holders(self, key: bytes, by_itself: bool) -> None:
        holders = self._holders.pop(key)
        self._order.remove(key)
        numbers = holders if isinstance(holders, set) else {holders}
        self.items -= len(numbers)
        for number in numbers:
            tracker = self.trackers.get(number)
            if (
                tracker is None
                or tracker.bcast
                or (tracker.noloop and tracker.client is self._running and not by_itself)
            ):
                continue
            self._tell(tracker, [key])

    def broadcast(self) -> None:
        """A batch of requests is over: tell what has changed meanwhile to those who hear of prefixes."""
        if not self._changed:
            return
        changed, self._changed = self._changed, {}
        for _, prefix in sorted(changed.items()):
            keys, prefix.keys = prefix.keys, {}
            everything = sorted(keys)
            for tracker in list(prefix.trackers):
                wanted = (
                    [key for key in everything if keys[key] is not tracker.client] if tracker.noloop else everything
                )
                if wanted:
                    self._tell(tracker, wanted)

    # --- telling --------------------------------------------------------------------------------------------------

    def _tell(self, tracker: Tracker, keys: Sequence[bytes] | None) -> None:
        """Send that copies of `keys` are old; None: of all keys."""
        client = tracker.client
        if tracker.redirect:
            client = self._host.sessions.get(tracker.redirect)
            if client is None:
                tracker.broken = True
                if tracker.client.resp3:
                    tracker.client.push(Push([b"tracking-redir-broken", tracker.redirect]))
                return
        if client.resp3:
            client.push(Push([b"invalidate", keys]))
        elif tracker.redirect and client.subscriptions is not None:
            client.push([b"message", CHANNEL, keys])
