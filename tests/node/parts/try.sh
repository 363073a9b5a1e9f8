#!/usr/bin/env bash
# Tries what the node does first; the last line on stderr says what the machine does not allow.
set -euo pipefail
# shellcheck source=tests/node/parts/settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

if [ "${1:-}" = inside ]; then
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run
  mount -t sysfs sysfs /sys
  mount -t tmpfs tmpfs /sys/fs/cgroup
  mkdir /sys/fs/cgroup/memory
  mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory
  # containerd's layers lie in the cache; an overlay cannot lie on an overlay.
  mkdir "$2"/{lower,upper,work,merged}
  mount -t overlay overlay -o "lowerdir=$2/lower,upperdir=$2/upper,workdir=$2/work" "$2/merged"
  ip link add tried0 type veth peer name tried1
  ip link add tried2 type bridge
  nft add table ip kybern-tried
else
  mkdir -p "$CACHE/node"
  folder=$(mktemp -d "$CACHE/node/try.XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  unshare --mount --net --pid --cgroup --uts --ipc --fork --mount-proc bash "$0" inside "$folder"
fi
