#!/usr/bin/env bash
# What launch/tpu_vm.sh does on every host of a slice, through ssh:
#
#   NFS=HOST:/SHARE bash unialign_jax/launch/tpu_host.sh install
#   BUCKET=... bash unialign_jax/launch/tpu_host.sh run [--config.KEY=VALUE ...]
#   bash unialign_jax/launch/tpu_host.sh status | stop
set -euo pipefail

code=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
status_file=$code.status  # of launch/run_forever.sh
SHARED=${SHARED:-/mnt/shared}
CONFIG=${CONFIG:-stage2.py}
RUN=${RUN:-${CONFIG%%.py*}}

fail() {
  echo "tpu_host, $(hostname): $*" >&2
  exit 1
}

# Prints the status file's words, "none", or "lost" after a reboot.
state() {
  local word=none number=
  [[ ! -e $status_file ]] || read -r word number <"$status_file" || true
  [[ $word != running ]] || kill -0 "$number" 2>/dev/null || word=lost
  echo "$word $number"
}

status() {
  echo "run: $(state) on $(hostname)"
}

install() {
  [[ $(state) != running* ]] || fail "a run is running here; stop it first"
  # A starting TPU VM may still be installing its updates.
  local apt=(sudo DEBIAN_FRONTEND=noninteractive apt-get -qq
    -o DPkg::Lock::Timeout=600)
  "${apt[@]}" update
  # The images have Python 3.10.
  "${apt[@]}" install --yes nfs-common python3.11 python3.11-venv
  sudo sh -c 'echo always >/sys/kernel/mm/transparent_hugepage/enabled'
  if ! mountpoint -q "$SHARED"; then
    sudo mkdir -p "$SHARED"
    sudo mount -t nfs "$NFS" "$SHARED"
  fi
  [[ -w $SHARED ]] || fail "$SHARED: cannot write; chmod it on one host"
  cd "$code"
  # shellcheck source=launch/environment.sh
  source launch/environment.sh
  prepare_environment .venv .
  # jax[tpu] has a libtpu of its own; constraints.txt has that of plans.
  grep -v '^libtpu==' constraints.txt >.venv/constraints.txt
  .venv/bin/pip install --quiet --constraint .venv/constraints.txt \
    'jax[tpu]' 'etils[epath-gcs]'
}

run() {
  [[ $(state) != running* ]] || return 0
  mountpoint -q "$SHARED" || fail "$SHARED: got no mount; install first"
  local logs=$SHARED/runs/$RUN/logs
  mkdir -p "$logs"
  rm -f "$status_file"
  # Where stages look for runs/stage1 and SD3.
  cd "$SHARED"
  # Rather an error than a run on the CPU, should the TPU not start.
  export JAX_PLATFORMS=tpu,cpu JAX_COMPILATION_CACHE_DIR=$SHARED/jax_cache
  STATUS_FILE=$status_file nohup bash "$code/launch/run_forever.sh" \
    "$code/.venv/bin/python" -m unialign_jax.train --config="$CONFIG" \
    --workdir="runs/$RUN" --config.data.root="gs://$BUCKET/features" \
    --config.encoders.text=SD3/text_encoder_3 \
    --config.encoders.tokenizer=SD3/tokenizer_3 \
    --config.encoders.image=SD3/vae \
    "$@" </dev/null >>"$logs/$(hostname).txt" 2>&1 &
  until [[ -s $status_file ]]; do
    sleep 0.1
  done
}

stop() {
  local word number
  read -r word number <<<"$(state)"
  [[ $word == running ]] || return 0
  kill -TERM "$number"
  while [[ $(state) == running* ]]; do
    sleep 1
  done
}

case ${1:-} in
  install | run | status | stop) "$@" ;;
  *) fail "got ${1:-no command}, expected install, run, status or stop" ;;
esac
