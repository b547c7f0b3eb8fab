#!/usr/bin/env bash
# From a clone to pictures and captions on two CPU cores, in about 12 minutes:
#
#   bash launch/quickstart.sh [FOLDER]
#
# makes .venv (once), writes the Shapes world with its features, trains
# configs/shapes.py and measures the result on held-out samples. All files go
# to FOLDER/runs/shapes; FOLDER is the clone by default. Stopped and run again,
# it goes on where it was; when all is done, it only measures again.
set -euo pipefail
clone=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$clone}"
folder=$(cd "${1:-$clone}" && pwd)
cd "$clone"
source launch/environment.sh
# The training loop saves and ends in peace on Ctrl-C; then this ends too.
trap 'exit 130' INT

# phase NAME COMMAND...: runs the command and notes how long it took.
timings=()
phase() {
  local name=$1 start=$SECONDS
  shift
  echo "== $name"
  "$@"
  timings+=("$(printf '%-12s%5d s' "$name" $((SECONDS - start)))")
}

phase environment prepare_environment .venv "."
# configs/shapes.py names its features relative to here.
cd "$folder"
python=$clone/.venv/bin/python
phase data "$python" -m unialign_jax.shapes.build --out=runs/shapes/features
phase training "$python" -m unialign_jax.train --config=shapes.py \
  --workdir=runs/shapes/run
phase report "$python" -m unialign_jax.shapes.report --workdir=runs/shapes/run

echo "== everything is in $folder/runs/shapes; timings:"
printf '%s\n' "${timings[@]}"
