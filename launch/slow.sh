#!/usr/bin/env bash
# The slow half of the checks, an hour and a half on two CPU cores:
#
#   bash launch/slow.sh [FOLDER]
#
# runs the slow tests, damaged files in bulk and thirty minutes of soak, one
# after the other. What each printed and its report go to FOLDER, runs/slow by
# default. Each is run whatever became of the others; the exit status is 1
# where one of them failed.
set -euo pipefail
clone=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$clone/runs/slow}"
folder=$(cd "${1:-$clone/runs/slow}" && pwd)
cd "$clone"
trap 'exit 130' INT

# check NAME COMMAND...: runs the command and notes how it ended, and when.
results=() failed=0
check() {
  local name=$1 start=$SECONDS status=0 result=passed
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$folder/$name.log" || status=$?
  if ((status != 0)); then
    result="failed, status $status" failed=1
  fi
  results+=("$(printf '%-8s%6d s  %s' "$name" $((SECONDS - start)) "$result")")
}

bench=(.venv-test/bin/python -m unialign_jax.bench) # as test.sh makes it
check tests bash launch/test.sh -m slow --junitxml="$folder/tests.xml"
check fuzz "${bench[@]}" fuzz --json="$folder/fuzz.json"
check soak "${bench[@]}" soak --minutes=30 --json="$folder/soak.json" \
  --plot="$folder/soak.png"

echo "== reports are in $folder"
printf '%s\n' "${results[@]}"
exit "$failed"
