#!/usr/bin/env python3
"""A hyperparameter study: python sweep.py sweep=resnet50 sweep.n_trials=40 (see --help). As `galaxy10 sweep`."""

import sys

from galaxy10.cli.sweep import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
