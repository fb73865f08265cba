"""Slots, databases, deadlines, the journal, and who waits for what."""
