"""What the parts of the Sentinel machine share: the state, the moment, and the effects being collected.

Rules of this file. It decides nothing. A part is a module of functions that take the Core first; they change the
state and `emit` effects. `save` is a wish that `finish` puts in front of everything else: what an event promises to
others (a vote, an epoch) is on disk before it leaves.
"""

from __future__ import annotations

from random import Random
from typing import Protocol

from sentinel.events import Effect, Log, Publish, SaveConfig, WakeAt
from sentinel.scripts import Scripts
from sentinel.state import Address, Instance, Link, Primary, State, is_ip


class Facts(Protocol):
    """What the machine asks of the node around it."""

    def port(self) -> int:
        """The port at which fellows reach us."""

    def password(self) -> str:
        """Our `requirepass`, which fellows are taken to share unless `sentinel-pass` says otherwise."""

    def resolve(self, host: str) -> str:
        """The IP address behind a name, or nothing."""

    def is_executable(self, path: str) -> bool:
        """Whether there is a program to run at this path."""


class Core:
    """One Sentinel's view and the event that is being handled."""

    def __init__(self, state: State, facts: Facts, rng: Random) -> None:
        self.state = state
        self.facts = facts
        self.rng = rng
        self.now_ms = 0
        self.effects: list[Effect] = []
        self.scripts = Scripts()
        self.links: dict[int, Link] = {}
        self._next_link = 1
        self._save = False

    def begin(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.effects = []
        self._save = False

    def finish(self) -> list[Effect]:
        """The effects of this event, in order."""
        return [SaveConfig(), *self.effects] if self._save else self.effects

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def save(self) -> None:
        """The configuration file is to be written before anything of this event leaves."""
        self._save = True

    def log(self, level: str, text: str) -> None:
        self.emit(Log(level, text))

    def new_link(self, link: Link) -> int:
        number = self._next_link
        self._next_link += 1
        self.links[number] = link
        return number

    def wake_in(self, delay_ms: int) -> None:
        self.emit(WakeAt(self.now_ms + delay_ms))

    # ---- telling -------------------------------------------------------------------------------------------------

    def event(self, level: str, kind: str, instance: Instance | None, more: str = "") -> None:
        """Tell log, subscribers and notification script of an event that names its instance; `more` follows."""
        text = self.described(instance) if instance is not None else ""
        self.tell(level, kind, instance, f"{text} {more}" if text and more else text or more)

    def tell(self, level: str, kind: str, instance: Instance | None, text: str) -> None:
        """As `event`, with a text of its own."""
        self.log(level, f"{kind} {text}")
        if level != "debug":
            self.emit(Publish(kind, text))
        if level == "warning" and instance is not None and instance.config.notification_script:
            self.scripts.schedule(self, (instance.config.notification_script, kind, text))

    def described(self, instance: Instance) -> str:
        """An instance as events name it: `<type> <name> <ip> <port>`, and its primary unless it is one."""
        text = f"{instance.word} {instance.name} {self.place(instance.address)}"
        primary = instance.primary
        return text if primary is instance else f"{text} @ {primary.name} {self.place(primary.address)}"

    def place(self, address: Address) -> str:
        """`<ip> <port>`."""
        return f"{self.state.told(address)} {address.port}"

    def reconfig_script(self, primary: Primary, role: str, state: str, old: Address, new: Address) -> None:
        """Run client-reconfig-script, if there is one: clients have to go from `old` to `new`."""
        path = primary.config.reconfig_script
        if path:
            told = self.state.told
            words = (path, primary.name, role, state, told(old), str(old.port), told(new), str(new.port))
            self.scripts.schedule(self, words)

    # ---- addresses -----------------------------------------------------------------------------------------------

    def address(self, host: str, port: int) -> Address | None:
        """The address of a host; None if it is a name and names are not wanted.

        A name that cannot be resolved now may be later: it is resolved anew for each link.
        """
        if is_ip(host):
            return Address(host, host, port)
        if not host or not self.state.resolve_hostnames:
            self.log("warning", f"Failed to resolve hostname '{host}'")
            return None
        return Address(host, self.facts.resolve(host), port)
