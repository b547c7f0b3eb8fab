# Sourced by the scripts beside it: a virtual environment of the project's own.

# prepare_environment FOLDER REQUIREMENT
# Makes the environment where it is missing and installs the pinned packages
# where setup.py or constraints.txt changed since; the system's Python is only
# asked to make the environment.
prepare_environment() {
  local folder=$1 requirement=$2 python wanted
  if [[ ! -x $folder/bin/python ]]; then
    python=$(find_python)
    echo "Making $folder with $($python --version)"
    "$python" -m venv "$folder"
  fi
  wanted=$(cat setup.py constraints.txt | sha256sum)
  if [[ $(cat "$folder/installed" 2>/dev/null) != "$wanted" ]]; then
    echo "Installing $requirement into $folder (several minutes at first)"
    "$folder/bin/pip" install --quiet --constraint constraints.txt \
      --editable "$requirement"
    echo "$wanted" >"$folder/installed"
  fi
}

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3; do
    if "$candidate" -c 'import sys, venv
raise SystemExit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "No Python 3.11 or 3.12 with the venv module found, expected one of" \
    "python3.11, python3.12, python3; install it first." >&2
  return 1
}
