"""How readily the system ends this process where memory runs out: `oom-score-adj`, by the role of the node.

Of the three values the first is a primary's and the second a replica's; the third is for child processes, of which
there are none. What the process was started with is what `relative` adds to, and what `no` restores.
"""

from collections.abc import Callable

from node.config import Config, ConfigError
from node.log import Log
from node.platform import Platform

SCORE_MIN, SCORE_MAX = -1000, 1000


class OomScore:
    """The score of one process."""

    def __init__(self, platform: Platform, config: Config, log: Log, is_replica: Callable[[], bool]) -> None:
        self._platform = platform
        self._config = config
        self._log = log
        self._is_replica = is_replica
        self._found: int | None = None  # what it was before it was changed
        for name in ("oom-score-adj", "oom-score-adj-values"):
            config.on_change(name, lambda _value: self._settings_changed())

    def _settings_changed(self) -> None:
        if not self._fit():
            raise ConfigError("Failed to apply new oom_score_adj configuration, check server logs.")

    def follow_role(self) -> None:
        """The node's role is known, or has changed."""
        self._fit()

    def _fit(self) -> bool:
        """Have the score that settings and role ask for; False where the system does not let us: the log says why."""
        kind = self._config["oom-score-adj"]
        if kind == "no":
            found, self._found = self._found, None
            return found is None or self._write(found)
        if self._found is None:
            try:
                self._found = self._platform.oom_score()
            except (OSError, ValueError) as error:
                self._log.warning(f"Unable to read oom_score_adj: {error}")
                return False
        score = self._config["oom-score-adj-values"][self._is_replica()]
        if kind != "absolute":
            score += self._found
        return self._write(min(max(score, SCORE_MIN), SCORE_MAX))

    def _write(self, score: int) -> bool:
        try:
            self._platform.set_oom_score(score)
        except OSError as error:
            self._log.warning(f"Unable to write oom_score_adj: {error.strerror}")
            return False
        return True
