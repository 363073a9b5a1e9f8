# shellcheck shell=bash disable=SC2034
# Names, addresses and folders of the node; sourced by every other script.

CACHE=${KYBERN_CACHE:-$HOME/.cache/kybern}
STATE=$CACHE/node/state          # wiped at each fresh start, unless --keep
BIN=$CACHE/node/bin              # links to the programs; `cargo xtask node` makes them
CNI_BIN=/usr/lib/cni             # Debian's containernetworking-plugins
PKI=$STATE/pki CONF=$STATE/conf LOG=$STATE/log
ADMIN=$STATE/admin.kubeconfig
SOCKET=$STATE/containerd/containerd.sock

# What exists once on a machine: the lock says who has it.
LOCK=/run/kybern-node.lock
NODE=kybern-node                 # the Node's name, and the host name inside
VETH=kybern-node                 # the machine's end of the cable (at most 15 characters)
CGROUP=kybern-node               # below the caller's own cgroup, in each controller

NET=${KYBERN_NODE_NET:-10.250}   # first two numbers of every address
HOST_IP=$NET.0.1 NODE_IP=$NET.0.2
POD_CIDR=$NET.64.0/24
SVC_CIDR=$NET.128.0/17 SVC_API=$NET.128.1
API_PORT=26443 ETCD_PORT=33790 ETCD_PEER=33800
PROXY=${KYBERN_NODE_PROXY:-nftables} # kube-proxy's mode: nftables or iptables

export PATH=$BIN:$PATH
export NO_PROXY="$NODE_IP,$SVC_API,${NO_PROXY:-}" no_proxy="$NODE_IP,$SVC_API,${no_proxy:-}"

die() {
  echo "node: $*" >&2
  exit 1
}

# Whether pid 1 of the node runs.
alive() {
  [ -s "$STATE/init.pid" ] && grep -qz 'tests/node/parts/init.sh' "/proc/$(cat "$STATE/init.pid")/cmdline" 2>/dev/null
}
