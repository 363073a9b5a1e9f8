#!/usr/bin/env bash
# Starts a real single-node Kubernetes cluster in namespaces of its own and waits until pods may be made.
#   up.sh [--attached] [--keep] ARCHIVE...
#     --attached  stays, and the node ends with this process; without it the node runs until down.sh
#     --keep      goes on with the state of the last time
#     ARCHIVE     an OCI archive of an image to load
# `cargo xtask node up` builds what it needs and calls it. See README.md.
# shellcheck disable=SC2317 # wait_for calls functions by name
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/node/parts/settings.sh
. "$HERE/parts/settings.sh"
# shellcheck source=tests/node/parts/keys.sh
. "$HERE/parts/keys.sh"
# shellcheck source=tests/node/parts/config.sh
. "$HERE/parts/config.sh"

BEGAN=$(date +%s%N)
say() { printf 'node: %6.1f s  %s\n' "$((($(date +%s%N) - BEGAN) / 1000000))e-3" "$*"; }

kc() { kubectl --kubeconfig "$ADMIN" "$@"; }

wait_for() { # seconds, what, command...
  local left=$(($1 * 10)) what=$2
  shift 2
  until "$@" > /dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || die "$what: not in time; the logs are in $LOG"
    alive || die "$what: the node ended; the logs are in $LOG: $(tail -n 3 "$LOG/node.log")"
    sleep 0.1
  done
  say "$what"
}

# One node on a machine: whoever holds the lock says so in it. Pid 1 of the node keeps it.
take_lock() {
  exec 9<> "$LOCK"
  flock --nonblock 9 && return
  local held
  held="there is a node on this machine already: $(cat "$LOCK")"
  # Tests wait for other tests.
  if [ -n "$ATTACHED" ]; then
    say "$held; waiting until it ends"
    flock --timeout 900 9 && return
  fi
  die "$held. End it there with \`cargo xtask node down\`"
}

write_lock() { # pid 1 of the node
  printf 'pid %s of %s, state %s, since %s\n' "$1" "$(cd "$HERE/../.." && pwd)" "$STATE" "$(date -u +%FT%TZ)" > "$LOCK"
}

# Addresses that lead elsewhere already would be cut off.
require_free_addresses() {
  local taken
  taken=$(ip -4 route show root "$NET.0.0/16")
  [ -z "$taken" ] || die "$NET.0.0/16 is in use here ($taken): set KYBERN_NODE_NET to the first two numbers of a free /16"
}

start() {
  local parent pid=""
  # util-linux: the node's pid 1 ends with unshare, and unshare with us when attached.
  local tie=()
  [ -z "$ATTACHED" ] || tie=(setpriv --pdeathsig KILL)
  setsid "${tie[@]}" unshare --mount --net --pid --cgroup --uts --ipc --fork --kill-child --mount-proc \
    bash "$HERE/parts/init.sh" > "$LOG/node.log" 2>&1 < /dev/null &
  parent=$!
  for _ in $(seq 100); do
    pid=$(tr -d ' ' < "/proc/$parent/task/$parent/children" 2> /dev/null || true)
    [ -n "$pid" ] && grep -qz parts/init.sh "/proc/$pid/cmdline" 2> /dev/null && break
    pid=""
    sleep 0.1
  done
  [ -n "$pid" ] || die "the namespaces could not be made: $(cat "$LOG/node.log")"
  echo "$pid" > "$STATE/init.pid"
  write_lock "$pid"
  cat "/proc/$pid/cgroup" > "$STATE/cgroups"
  ip link add "$VETH" type veth peer name node0 netns "$pid"
  ip addr add "$HOST_IP/30" dev "$VETH"
  ip link set "$VETH" up
  ip route replace "$POD_CIDR" via "$NODE_IP"
  ip route replace "$SVC_CIDR" via "$NODE_IP"
}

load() { # archive...
  local archive
  for archive in "$@"; do
    ctr -a "$SOCKET" -n k8s.io image import "$archive" > "$LOG/load.log" 2>&1 ||
      die "$archive could not be loaded: $(tail -n 3 "$LOG/load.log")"
  done
  say "$# images loaded"
}

node_is_ready() {
  kc get node "$NODE" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}' | grep -q True &&
    kc get --raw "/api/v1/nodes/$NODE/proxy/healthz"
}

{
  ATTACHED="" KEEP=""
  while :; do
    case ${1:-} in
    --attached) ATTACHED=1 ;;
    --keep) KEEP=--keep ;;
    *) break ;;
    esac
    shift
  done
  [ "${#SOCKET}" -lt 108 ] || die "$SOCKET is too long for a socket: set KYBERN_CACHE to a shorter path"
  take_lock
  "$HERE/down.sh" --leftovers $KEEP
  require_free_addresses
  mkdir -p "$STATE"
  make_keys
  make_config
  say "keys and configuration made"
  start
  wait_for 90 "API server ready" kc get --raw /readyz
  wait_for 60 "containerd ready" ctr -a "$SOCKET" version
  load "$@"
  wait_for 90 "node Ready" node_is_ready
  wait_for 60 "pods may be made" kc -n default get serviceaccount default
  echo $$ > "$STATE/ready"
  [ -z "$ATTACHED" ] || wait
  exit
} # In braces: read whole before it runs, so an edit of this file meanwhile does no harm.
