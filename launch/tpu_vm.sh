#!/usr/bin/env bash
# A run on a TPU slice, from a machine where gcloud is logged in:
#
#   export PROJECT=... ZONE=us-east5-b NAME=stage2 ACCELERATOR=v6e-64 \
#     NFS=10.0.0.2:/share BUCKET=...
#   bash launch/tpu_vm.sh forever [--config.KEY=VALUE ...]
#
#   create    asks for the slice as a queued resource
#   install   puts this commit, its packages and the shared folder on all hosts
#   run       starts the run in the background of all hosts; words after it go
#             to unialign_jax.train
#   status    tells the state of the slice, then of the run on every host
#   stop      has the run saved and ended
#   delete    gives the slice back
#   forever   create, install, run; again after preemption, until it is finished
#
# docs/launching.md explains it and lists the settings, environment variables.
# DRY_RUN=1 prints the gcloud commands and runs none.
set -euo pipefail

self=$(realpath "${BASH_SOURCE[0]}")
code=$(dirname "$(dirname "$self")")
on_host=unialign_jax/launch/tpu_host.sh

say() {
  echo "tpu_vm, $(date '+%F %T'): $*" >&2
}

fail() {
  say "$*"
  exit 1
}

# need VARIABLE...: ends with all that are not set.
need() {
  local name missing=()
  for name in "$@"; do
    [[ -n ${!name:-} ]] || missing+=("$name")
  done
  [[ -z ${missing[*]} ]] ||
    fail "got no ${missing[*]}, expected in the environment: docs/launching.md"
}

# tpus WORD...: gcloud on this slice's project and zone.
tpus() {
  need PROJECT ZONE NAME
  set -- gcloud compute tpus "$@" --project="$PROJECT" --zone="$ZONE" --quiet
  if [[ -n ${DRY_RUN:-} ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

on_hosts() {
  # shellcheck disable=SC2153  # NAME is the user's
  tpus tpu-vm ssh "$NAME" --worker=all --command="$1"
}

# remote WORD...: the command line for launch/tpu_host.sh on a host.
remote() {
  local name
  for name in NFS SHARED BUCKET CONFIG RUN MAX_FAILURES; do
    [[ -z ${!name:-} ]] || printf '%s=%q ' "$name" "${!name}"
  done
  printf '%q ' bash "$on_host" "$@"
}

runtime_version() {
  case $ACCELERATOR in
    v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) fail "ACCELERATOR: got $ACCELERATOR, expected v4-, v5litepod-, v5p- or" \
      "v6e-N; else set VERSION to the runtime version" ;;
  esac
}

create() {
  need ACCELERATOR
  local version flags=()
  version=${VERSION:-$(runtime_version)}
  read -ra flags <<<"${CREATE_FLAGS:-}"
  [[ -z ${SPOT:-} ]] || flags+=(--spot)
  tpus queued-resources create "$NAME" --node-id="$NAME" \
    --accelerator-type="$ACCELERATOR" --runtime-version="$version" \
    ${flags[@]+"${flags[@]}"}
}

install() {
  need NFS
  local folder
  folder=$(mktemp -d)
  # shellcheck disable=SC2064  # this folder, now
  trap "rm -rf '$folder'" EXIT
  git -C "$code" diff --quiet HEAD || say "what is not committed stays here"
  git -C "$code" archive --format=tar.gz --output="$folder/code.tgz" HEAD
  tpus tpu-vm scp "$folder/code.tgz" "$NAME:unialign_jax.tgz" --worker=all
  on_hosts "mkdir -p unialign_jax && tar -xzf unialign_jax.tgz -C unialign_jax\
 && $(remote install)"
}

run() {
  need BUCKET
  on_hosts "$(remote run "$@")"
}

stop() {
  on_hosts "$(remote stop)"
}

status() {
  tpus queued-resources describe "$NAME" --format='value(state.state)'
  hosts_status
}

# A line a host: "run: running, ended STATUS, lost or none".
hosts_status() {
  on_hosts "if [ -e $on_host ]; then $(remote status); else echo run: none; fi"
}

delete() {
  # --force: with its node.
  tpus queued-resources delete "$NAME" --force
}

# The state of the node, or of its resource where there is none, or MISSING. By
# `list`: `describe` fails alike for a slice that is gone and a lost network.
slice_state() {
  local state only=(--filter="name ~ \"/$NAME\$\"")
  state=$(tpus queued-resources list "${only[@]}" \
    --format='value(state.state)') || return
  if [[ $state == ACTIVE ]]; then
    state=$(tpus tpu-vm list "${only[@]}" --format='value(state)') || return
    state=${state:-PREEMPTED}
  fi
  echo "${state:-MISSING}"
}

# The state of the run, as its worst host tells it.
run_state() {
  local told
  told=$(hosts_status) || return
  case $told in
    *"run: ended 2 "*) echo mistake ;;
    *"run: ended 3 "*) echo given_up ;;
    *"run: none"* | *"run: lost"* | *"run: ended "[1-9]*) echo gone ;;
    *"run: running"*) echo running ;;
    *"run: ended 0 "*) echo finished ;;
    *) return 1 ;;
  esac
}

# again WORD...: this script; a failure is left to the next round of forever.
again() {
  say "$1"
  bash "$self" "$@" || { say "$1 failed, status $?" && return 1; }
}

forever() {
  need PROJECT ZONE NAME ACCELERATOR NFS BUCKET
  local state before=
  if [[ -n ${DRY_RUN:-} ]]; then
    create
    install
    run "$@"
    return
  fi
  while true; do
    state=$(slice_state) || state=unreachable
    [[ $state != READY ]] || state=$(run_state) || state=unreachable
    [[ $state == "$before" ]] || say "slice or run: $state"
    before=$state
    case $state in
      MISSING) again create || true ;;
      PREEMPTED | TERMINATED | STOPPED | HIDDEN | SUSPENDED | FAILED)
        { again delete && again create; } || true ;;
      gone) { again install && again run "$@"; } || true ;;
      finished)
        [[ -z ${DELETE_FINISHED:-} ]] || again delete
        return ;;
      mistake | given_up)
        say "the shared folder has logs of every host; the slice is still there"
        [[ $state == mistake ]] && exit 2 || exit 3 ;;
    esac
    sleep "${POLL:-60}"
  done
}

case ${1:-} in
  create | install | run | status | stop | delete | forever) "$@" ;;
  *) fail "got ${1:-no command}, expected create, install, run, status, stop," \
    "delete or forever" ;;
esac
