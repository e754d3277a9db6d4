"""The run directory: files, lock, status, and lists of runs."""
