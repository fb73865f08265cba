"""The Hexad node: a Redis-compatible server. The rooms and what may lean on what stand in README.md."""
