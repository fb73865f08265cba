"""Stand-in until the real configuration lands."""

from typing import Any


class Config(dict[str, Any]):
    pass
