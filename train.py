#!/usr/bin/env python3
"""Run one experiment or a grid: python train.py model=resnet50 data=galaxy10 (see --help). Like `galaxy10 train`."""

import sys

from galaxy10.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
