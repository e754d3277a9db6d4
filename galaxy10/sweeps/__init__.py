"""Sweeps: grids of experiments and Optuna studies, on this machine or on SLURM."""
