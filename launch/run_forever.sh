#!/usr/bin/env bash
# Runs a training command until its run has reached the last step, again after
# every end that another start can cure:
#
#   bash launch/run_forever.sh python -m unialign_jax.train --config=stage2.py \
#     --workdir=runs/stage2 ...
#
# On several hosts it stands before the command on each of them, or once before
# `srun`. It passes SIGTERM and SIGINT on, waits until the command has saved,
# and ends too. From the environment:
#
#   MAX_FAILURES   ends in a row without a new checkpoint until it gives up (5)
#   FIRST_PAUSE    seconds until the next start (30, the time after which hosts
#                  notice that one is lost: so all start together); twice as
#                  long after each failure, until
#   LONGEST_PAUSE  seconds (240: a host that starts waits 300 for the others)
#   STOP_COMMAND   asks the command to save and end, where a signal to it does
#                  not: srun kills its tasks
#   STATUS_FILE    holds "running PID", in the end "ended STATUS"
#
# Exit status: 0 the run has reached its last step, 2 a mistake in the command
# line or the config, 3 given up, 128 + N stopped by signal N, to be continued.
set -euo pipefail

readonly mistake=2 given_up=3
workdir=
child=   # what is waited for
signal=  # what has ended this

say() {
  echo "run_forever, $(date '+%F %T'): $*" >&2
}

note() {
  [[ -z ${STATUS_FILE:-} ]] || echo "$*" >"$STATUS_FILE"
}

refuse() {
  say "$*"
  exit "$mistake"
}

pass_on() {
  signal=$1
  if [[ -n $child ]]; then
    bash -c "${STOP_COMMAND:-kill -s $signal $child}" || true
  fi
}

# pause SECONDS: less, if a signal comes.
pause() {
  local left
  for ((left = $1; left > 0; left--)); do
    [[ -z $signal ]] || return 0
    sleep 1
  done
}

# await COMMAND...: runs it to its end, whatever signals come; its exit status.
await() {
  local status=0
  # In a process group of its own: Ctrl-C in a terminal gets there once, by
  # pass_on, and can be caught there.
  set -m
  "$@" </dev/null &
  child=$!
  set +m
  [[ -z $signal ]] || pass_on "$signal"
  while kill -0 "$child" 2>/dev/null; do
    wait "$child" || true  # a signal ends `wait`, not the command
  done
  wait "$child" || status=$?
  child=
  return "$status"
}

# find_workdir COMMAND...: sets workdir to the command's.
find_workdir() {
  local word before=
  for word in "$@"; do
    case $word in
      --workdir=* | -workdir=*) workdir=${word#*=} ;;
      *) [[ $before != --workdir && $before != -workdir ]] || workdir=$word ;;
    esac
    before=$word
  done
  case $workdir in
    "") refuse "got no --workdir=DIR, expected the command's" ;;
    *://*) refuse "--workdir: got $workdir, expected a folder that is mounted" \
      "on every host (docs/launching.md)" ;;
  esac
}

# The step of the newest finished checkpoint, -1 for none.
newest_step() {
  local folder newest=-1
  for folder in "$workdir"/checkpoints/step_*; do
    if [[ $folder =~ /step_([0-9]+)$ ]]; then
      ((10#${BASH_REMATCH[1]} <= newest)) || newest=$((10#${BASH_REMATCH[1]}))
    fi
  done
  echo "$newest"
}

# The last step of the run, as its latest start has written it down.
last_step() {
  python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["train"]["steps"])' "$workdir/config.json"
}

# is_finished STATUS BEFORE: whether the run is, after a start that ended with
# STATUS and found a checkpoint of step BEFORE. Finished and saved on a signal
# are both status 0; and of several hosts one may end badly after the last save.
is_finished() {
  local newest
  newest=$(newest_step)
  (($1 == 0 || newest > $2)) && [[ -f $workdir/config.json ]] &&
    ((newest >= $(last_step)))
}

# leave_if_over STATUS BEFORE: ends this where no other start is wanted.
leave_if_over() {
  if is_finished "$1" "$2"; then
    say "finished, step $(newest_step)"
    exit 0
  elif [[ -n $signal ]]; then
    say "$signal; step $(newest_step) is saved, the same command continues"
    exit $((128 + $(kill -l "$signal")))
  fi
}

main() {
  local failures=0 seconds=${FIRST_PAUSE:-30} before after status
  while true; do
    before=$(newest_step)
    status=0
    await "$@" || status=$?
    leave_if_over "$status" "$before"
    after=$(newest_step)
    if ((after > before)); then
      failures=0 seconds=${FIRST_PAUSE:-30}
    elif ((status == mistake)); then
      refuse "no other start cures that (status $status)"
    elif ((++failures >= ${MAX_FAILURES:-5})); then
      say "status $status; given up after $failures without a new checkpoint"
      exit "$given_up"
    fi
    say "status $status at step $after, failures in a row: $failures;" \
      "again in $seconds s"
    pause "$seconds"
    # Another host's last checkpoint may be seen late.
    leave_if_over "$status" "$before"
    ((failures == 0)) || seconds=$((seconds * 2))
    ((seconds <= ${LONGEST_PAUSE:-240})) || seconds=${LONGEST_PAUSE:-240}
  done
}

trap 'pass_on TERM' TERM HUP
trap 'pass_on INT' INT
trap 'note "ended $?"' EXIT
note "running $$"
command -v "${1:-}" >/dev/null || refuse "got ${1:-no command}, expected one"
find_workdir "$@"
main "$@"
