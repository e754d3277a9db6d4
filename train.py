#!/usr/bin/env python3
"""One experiment, or a grid of them: python train.py model=resnet50 data=galaxy10 (see --help). As `galaxy10 train`."""

import sys

from galaxy10.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
