"""The names of a replication history: what a partial resynchronization is decided by. Sans-IO.

A history is named by an id, and a byte in it by its offset. After a promotion a node goes on under a new id, and
remembers the old one and up to where both histories are the same (`second_offset`), so that the other replicas of its
former primary need no full copy (PSYNC2).
"""

NO_ID = "0" * 40


class History:
    """The ids of the stream that a node sends or follows."""

    def __init__(self, replid: str) -> None:
        self.replid = replid
        self.replid2 = NO_ID
        self.second_offset = -1  # the first offset that `replid2` does not cover

    def renew(self, replid: str) -> None:
        """Begin a history that has nothing in common with what was."""
        self.replid = replid
        self.replid2 = NO_ID
        self.second_offset = -1

    def continue_as(self, replid: str, offset: int) -> None:
        """From the byte after `offset` on the same stream has another name."""
        self.replid2 = self.replid
        self.second_offset = offset + 1
        self.replid = replid

    def covers(self, replid: str, offset: int) -> bool:
        """Is the byte at `offset` of history `replid` the one at that offset of ours?"""
        return replid == self.replid or (replid == self.replid2 and offset <= self.second_offset)
