"""Figures: each function takes arrays or tables and returns a matplotlib Figure."""
