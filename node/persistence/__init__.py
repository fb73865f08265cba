"""Data that survives: RDB files, written from snapshots and loaded again."""
