"""Counts of one node that no other part keeps: what INFO's stats and errorstats tell."""

from node.net.resp import Failure

ERROR_CODES_MAX = 128
"""How many different error codes are counted one by one, as in Redis."""


class Stats:
    """Counters since the start, or since CONFIG RESETSTAT."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.connections_received = 0
        self.connections_rejected = 0
        self.output_limit_disconnections = 0
        self.input_limit_disconnections = 0
        self.error_replies = 0
        self.unexpected_error_replies = 0
        self.errors: dict[str, int] = {}
        self.sync_full = self.sync_partial_ok = self.sync_partial_failed = 0
        self.stream_input_bytes = self.stream_output_bytes = 0

    def count_error(self, failure: Failure) -> None:
        """Count an error reply under its code, the first word."""
        self.error_replies += 1
        code = failure.partition(b" ")[0].decode("utf-8", "replace")
        if code in self.errors or len(self.errors) < ERROR_CODES_MAX:
            self.errors[code] = self.errors.get(code, 0) + 1
