"""The product's source as syntax trees, for the tests of the house. Nothing of it is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("node", "gossip", "sentinel", "proxy", "hexad")


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, its path from the root, its text."""

    name: str
    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def package(self) -> str:
        """The package from which its relative imports start."""
        return self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of each import wherever it stands, for type checking and in functions too.

        `from a.b import c` gives `a.b.c`: whether that is a module or a name in one is the reader's to decide.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                for alias in node.names:
                    yield node.lineno, base if alias.name == "*" else f"{base}.{alias.name}"

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.package.split(".")
        above = parts[: len(parts) - node.level + 1]
        return ".".join([*above, node.module] if node.module else above)


def module_of(path: str, text: str) -> Module:
    """The module that the file at `path` (from the root, with slashes) would be."""
    dotted = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    return Module(dotted, path, text)


def product() -> list[Module]:
    """Every module of the product, sorted by path."""
    paths = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
    return [module_of(p.relative_to(ROOT).as_posix(), p.read_text("utf-8")) for p in paths]
