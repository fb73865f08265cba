"""The commands of a node as access rules name them: by their original names, subcommands and categories.

A rule for a container ("config") or a category means the subcommands too; a renamed command keeps its name in rules.
"""

from collections.abc import Iterable

from node.table import ACL_CATEGORIES, Spec


class Catalog:
    """The names that rules may use. All are in lower case; subcommands are "container|subcommand"."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self._categories = {spec.name: spec.acl for spec in specs}
        self._families: dict[str, list[str]] = {}
        for name in self._categories:
            self._families.setdefault(name.partition("|")[0], []).append(name)
        self.names = frozenset(self._categories)
        self._members = {category: self._means(category) for category in ACL_CATEGORIES}

    def _means(self, category: str) -> frozenset[str]:
        found: set[str] = set()
        for name, categories in self._categories.items():
            if category in categories:
                found |= self.family(name)
        return frozenset(found)

    def is_container(self, name: str) -> bool:
        """Does the command have subcommands?"""
        return len(self._families.get(name, ())) > 1

    def family(self, name: str) -> frozenset[str]:
        """The command and its subcommands. Raises KeyError if there is no such command."""
        return frozenset(self._families[name]) if name in self._families else frozenset((name,))

    def category(self, name: str) -> frozenset[str] | None:
        """All commands that a rule for the category speaks of, subcommands of its containers too; None: unknown."""
        return self._members.get(name)

    def listed(self, category: str) -> list[str] | None:
        """The commands that are of the category themselves, as ACL CAT lists them; None: unknown."""
        if category not in self._members:
            return None
        return [name for name, categories in self._categories.items() if category in categories]
