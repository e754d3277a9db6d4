"""The run directory: its files, its lock, its record, and lists of them."""
