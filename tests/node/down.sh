#!/usr/bin/env bash
# Ends the node that up.sh started and removes what it left: state, network cable, cgroups. Safe to run twice.
#   down.sh [--leftovers] [--keep]
#     --leftovers  says nothing when there was nothing
#     --keep       keeps the state for `up.sh --keep`
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/node/parts/settings.sh
. "$HERE/parts/settings.sh"

# The only process signalled is pid 1 of the node's pid namespace; the kernel ends the rest with it.
end_processes() {
  alive || return 0
  local pid
  pid=$(cat "$STATE/init.pid")
  kill -KILL "$pid"
  for _ in $(seq 100); do
    [ -d "/proc/$pid" ] || return 0
    sleep 0.1
  done
  die "pid $pid does not end"
}

# It goes with the node's network namespace, a moment later.
remove_cable() {
  for _ in $(seq 50); do
    ip link show "$VETH" > /dev/null 2>&1 || return 0
    sleep 0.1
  done
  ip link del "$VETH"
}

remove_cgroups() {
  [ -s "$STATE/cgroups" ] || return 0
  local controller path folder
  while IFS=: read -r _ controller path; do
    folder=/sys/fs/cgroup/${controller#name=}${path%/}/$CGROUP
    if [ -z "$controller" ] || [ ! -d "$folder" ]; then continue; fi
    for _ in $(seq 50); do
      find "$folder" -depth -type d -exec rmdir {} + 2> /dev/null && break
      sleep 0.1
    done
    [ ! -d "$folder" ] || echo "node: $folder could not be removed" >&2
  done < "$STATE/cgroups"
}

remove_state() { # --keep or nothing
  if [ -n "$1" ]; then
    rm -f "$STATE/init.pid" "$STATE/ready"
    return
  fi
  if grep -q " $STATE/" /proc/self/mountinfo; then
    die "something is still mounted under $STATE"
  fi
  rm -rf --one-file-system "$STATE"
}

{
  QUIET="" KEEP=""
  for argument; do
    case $argument in
    --leftovers) QUIET=1 ;;
    --keep) KEEP=--keep ;;
    *) die "usage: down.sh [--leftovers] [--keep]" ;;
    esac
  done
  if [ -d "$STATE" ]; then
    end_processes
    remove_cable
    remove_cgroups
    remove_state "$KEEP"
    [ -n "$QUIET" ] || echo "node: down"
  else
    [ -n "$QUIET" ] || echo "node: there was none"
  fi
  exit
}
