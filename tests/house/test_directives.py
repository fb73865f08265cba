"""No directive is ignored in silence: it has an effect, is refused, or is said to have no meaning here."""

from __future__ import annotations

from node.config.coming import BEYOND_PYTHON, WITHOUT_MEANING
from node.config.directives import DIRECTIVES
from tests.house.source import product

READ_OTHERWISE = {"enable-debug-command", "enable-module-command", "enable-protected-configs"}
"""By a name that is put together, and by the configuration itself."""


def test_every_directive_is_read_somewhere() -> None:
    texts = [module.text for module in product() if not module.name.startswith("node.config")]
    unread = []
    for name, directive in DIRECTIVES.items():
        spellings = (f'"{name}"', f".{directive.attribute}", f'"{directive.alias}"')
        if not any(spelling in text for text in texts for spelling in spellings):
            unread.append(name)
    told = WITHOUT_MEANING.keys() | BEYOND_PYTHON.keys() | READ_OTHERWISE
    assert [name for name in unread if name not in told] == []


def test_what_has_no_meaning_is_read_nowhere() -> None:
    texts = [module.text for module in product() if not module.name.startswith("node.config")]
    assert [name for name in WITHOUT_MEANING if any(f'config["{name}"]' in text for text in texts)] == []
