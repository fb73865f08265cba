"""Replication by Redis's PSYNC: the primary's side, the replica's side, and the backlog between them."""
