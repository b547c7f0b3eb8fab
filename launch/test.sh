#!/usr/bin/env bash
# Makes .venv-test (once), installs the package with its test extras, runs the
# linter and the test suite but for its slow tests. Arguments go to pytest:
#   bash launch/test.sh -k diffusion
#   bash launch/test.sh -m slow
#   bash launch/test.sh -m ""          everything
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
prepare_environment .venv-test ".[test]"
# Its own requirements are a hundred packages; what the tests need of them is in
# setup.py.
.venv-test/bin/pip install --quiet --no-deps --constraint constraints.txt \
  lmms-eval
.venv-test/bin/ruff check .
.venv-test/bin/ruff format --check .
# Each file in one process: its fixtures are made, and compiled, once.
exec .venv-test/bin/python -m pytest --numprocesses=2 --dist=loadfile \
  --no-loadscope-reorder "$@"
