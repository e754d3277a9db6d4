"""Figures for a paper and for the page: each function takes arrays or tables and returns a matplotlib Figure."""
