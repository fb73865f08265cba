"""Small graphs out of characters, as LATENCY GRAPH draws them.

A column a value, `rows` lines of three steps each (`_`, `o`, `#`), filled below with `|`; under a blank line stand the
labels, written downwards. Heights go by the logarithm of the value above the least one.
"""

from collections.abc import Sequence
from math import log

STEPS = "_o#"
FILL = "|"


def sparkline(values: Sequence[tuple[int, str]], rows: int, columns_max: int) -> str:
    """The graph of (value, label) pairs; more than `columns_max` of them go on in another one below."""
    if not values:
        return ""
    low = min(value for value, _ in values)
    height = log(max(value for value, _ in values) - low + 1)
    steps = [_step(value - low, height, rows * len(STEPS)) for value, _ in values]
    parts = []
    for at in range(0, len(values), columns_max):
        labels = [label for _, label in values[at : at + columns_max]]
        parts.append(_bars(steps[at : at + columns_max], rows) + " " * len(labels) + "\n" + _downwards(labels))
    return "\n".join(parts)


def _step(above: int, height: float, steps: int) -> int:
    return min(int(log(above + 1) * steps / height), steps - 1) if height else 0


def _bars(steps: Sequence[int], rows: int) -> str:
    lines = []
    for row in reversed(range(rows)):
        base = row * len(STEPS)
        lines.append("".join(_cell(step - base) for step in steps))
    return "".join(line + "\n" for line in lines)


def _cell(above: int) -> str:
    if above < 0:
        return " "
    return STEPS[above] if above < len(STEPS) else FILL


def _downwards(labels: Sequence[str]) -> str:
    depth = max(map(len, labels))
    return "".join("".join(label[row : row + 1] or " " for label in labels) + "\n" for row in range(depth))
