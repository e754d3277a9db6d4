"""The commands: what is typed, checked and printed."""
