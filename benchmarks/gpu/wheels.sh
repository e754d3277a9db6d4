#!/usr/bin/env bash
# Download the packages that the machine with a card lacks (there.txt lists what it has) into benchmarks/gpu/wheels/,
# which git ignores: run.sh installs them there without a network. Python 3.12 on x86-64 Linux, under 60 MiB together.
set -euo pipefail
exec "${PYTHON:-python3}" "$(dirname "${BASH_SOURCE[0]}")/wheels.py" fetch
