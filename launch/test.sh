#!/usr/bin/env bash
# Makes .venv-test (once), installs the package with its test extras, runs the
# linter and the whole test suite. Arguments go to pytest:
#   bash launch/test.sh -k diffusion
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
prepare_environment .venv-test ".[test]"
.venv-test/bin/ruff check .
.venv-test/bin/ruff format --check .
exec .venv-test/bin/python -m pytest "$@"
