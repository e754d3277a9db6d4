"""Many experiments: grids, studies, workers."""
