"""Users and what they may do: rules, their meaning and their text, and what was refused. Sans-IO."""
