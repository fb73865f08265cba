"""The commands, a module a family; they may use everything that stands lower in the house."""
