#!/usr/bin/env bash
# Measure and check galaxy10 on the card of this machine, in eight minutes at most (README.md beside this file).
#
#   bash benchmarks/gpu/run.sh [OUT] [--only 3,6]     OUT: folder for results.json and log.txt (default: build/gpu)
#   bash benchmarks/gpu/run.sh [OUT] --small          every step shortened, on the CPU, in two minutes
#
# Needs no network and no git. Packages that are not installed here come from benchmarks/gpu/wheels (wheels.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python="${PYTHON:-python3}"
out=build/gpu
if [[ $# -gt 0 && $1 != -* ]]; then out=$1; shift; fi
here=benchmarks/gpu

if ! "$python" "$here/wheels.py" check >/dev/null; then
  packages=$(mktemp -d)
  trap 'rm -rf "$packages"' EXIT
  shopt -s nullglob
  wheels=("$here"/wheels/*.whl)
  if [[ ${#wheels[@]} -gt 0 ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
      --root-user-action=ignore --target "$packages" "${wheels[@]}"
  fi
  export PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}"
fi
"$python" "$here/wheels.py" check || [[ $? -eq 1 ]] || {  # what only other packages require may never be used
  echo "packages are missing; type: bash $here/wheels.sh, on a machine with a network"
  exit 2
}
"$python" "$here/run.py" "$out" --seconds "$((480 - SECONDS))" "$@"
