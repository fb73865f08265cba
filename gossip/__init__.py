"""The cluster: nodes that gossip their state over Redis's binary bus, vote, and move slots."""
