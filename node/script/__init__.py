"""Scripts: the Lua engine, its sandbox, and what a running script may do. What it needs of a node is handed in."""
