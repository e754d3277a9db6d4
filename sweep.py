#!/usr/bin/env python3
"""Run a hyperparameter study: python sweep.py sweep=resnet50 sweep.n_trials=40 (see --help). Like `galaxy10 sweep`."""

import sys

from galaxy10.cli.sweep import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
