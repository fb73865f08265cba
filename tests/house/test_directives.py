"""No directive is ignored in silence: it has an effect, is refused, or is said to have no meaning here."""

from __future__ import annotations

from node.config.coming import BEYOND_PYTHON, COMING, WITHOUT_MEANING
from node.config.directives import DIRECTIVES
from tests.house.source import product

SHAPES = {
    "aof-": "appendonly",
    "append": "appendonly",
    "replica-ignore-disk-write-errors": "appendonly",
    "auto-aof-": "appendonly",
    "no-appendfsync-on-rewrite": "appendonly",
}
"""Beginnings of names of directives that only shape a feature, which is still to come."""
READ_OTHERWISE = {"enable-debug-command", "enable-module-command", "enable-protected-configs"}
"""By a name that is put together, and by the configuration itself."""


def shapes_what_is_to_come(name: str) -> bool:
    features = {feature for beginning, feature in SHAPES.items() if name.startswith(beginning)}
    return bool(features & COMING.keys())


def test_every_directive_is_read_somewhere() -> None:
    texts = [module.text for module in product() if not module.name.startswith("node.config")]
    unread = []
    for name, directive in DIRECTIVES.items():
        spellings = (f'"{name}"', f".{directive.attribute}", f'"{directive.alias}"')
        if not any(spelling in text for text in texts for spelling in spellings):
            unread.append(name)
    told = COMING.keys() | WITHOUT_MEANING.keys() | BEYOND_PYTHON.keys() | READ_OTHERWISE
    assert [name for name in unread if name not in told and not shapes_what_is_to_come(name)] == []


def test_what_has_no_meaning_is_read_nowhere() -> None:
    texts = [module.text for module in product() if not module.name.startswith("node.config")]
    assert [name for name in WITHOUT_MEANING if any(f'config["{name}"]' in text for text in texts)] == []
