"""What can be wrong with a configuration, and in whose words it is told."""

REDIS_VERSION = "7.2.6"  # the version that the error form shows


class ConfigError(Exception):
    """A value was refused; `reason` says why in Redis's words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ConfigSetError(Exception):
    """CONFIG SET changed nothing; the text is the whole error reply, its code included."""


class ConfigFileError(Exception):
    """The start is refused; `report()` is what belongs on standard error, and the exit code is 1.

    `line_number` and `line` are None when no single line is to blame.
    """

    def __init__(self, reason: str, line_number: int | None = None, line: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.line_number, self.line = reason, line_number, line

    def report(self) -> str:
        """The lines for standard error, each ended by a newline."""
        where = ""
        if self.line_number is not None:
            where = f"Reading the configuration file, at line {self.line_number}\n>>> '{self.line}'\n"
        return f"\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n{where}{self.reason}\n"


class ConfigUnreadable(ConfigFileError):
    """The file itself, or one that it includes, cannot be read; Redis logs this as one line."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"Fatal error, can't open config file '{path}': {error.strerror or error}")
        self.path = path

    def report(self) -> str:
        return f"{self.reason}\n"
