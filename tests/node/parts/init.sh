#!/usr/bin/env bash
# Pid 1 of the node's namespaces: prepares them, starts the daemons, reaps. Started by up.sh;
# when it ends, the kernel ends everything in the node.
set -euo pipefail
# shellcheck source=tests/node/parts/settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

# Files of our own where the daemons use fixed paths.
own_files() {
  mount --make-rprivate /
  mount --make-rshared /
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/lock /run/netns /run/containerd
  mount --bind "$STATE/var-log" /var/log
  mkdir -p /var/log/pods /var/log/containers
  mkdir -p "$STATE"/var-lib/{up,work}
  mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$STATE/var-lib/up,workdir=$STATE/var-lib/work" /var/lib
}

# Machine-wide settings that the kubelet would change: it is shown the value it wants, the real one stays.
hide_sysctls() {
  local wanted file value shown
  for wanted in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=/proc/sys/${wanted%%=*} value=${wanted##*=}
    [ "$(cat "$file")" = "$value" ] && continue
    shown=$CONF/sysctl${file//\//_}
    echo "$value" > "$shown"
    mount --bind "$shown" "$file"
  done
}

# This network namespace's /sys, and cgroup v1 as seen from the cgroup namespace's root.
own_cgroups() {
  local controller
  mount -t sysfs sysfs /sys
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir -p "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
    mkdir -p "/sys/fs/cgroup/$controller/$CGROUP"
  done
  # All Pods together would count as one process among those of whoever builds on this machine.
  echo 65536 > "/sys/fs/cgroup/cpu/$CGROUP/cpu.shares"
  mkdir -p /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
  mkdir -p "/sys/fs/cgroup/systemd/$CGROUP"
  for controller in cpuset.cpus cpuset.mems; do
    cat "/sys/fs/cgroup/cpuset/$controller" > "/sys/fs/cgroup/cpuset/$CGROUP/$controller"
  done
}

# Loopback, and the cable that up.sh puts here. No default route: nothing can leave.
own_network() {
  ip link set lo up
  until ip link show node0 > /dev/null 2>&1; do sleep 0.05; done
  ip addr add "$NODE_IP/30" dev node0
  ip link set node0 up
  # A route to look up before the service's address is rewritten: the API server calls webhooks so.
  ip route add "$SVC_CIDR" dev node0 src "$NODE_IP"
  sysctl -qw net.ipv4.ip_forward=1
  # Answers of services between pods on one bridge; not every kernel has the module.
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 2> /dev/null || true
}

run() { # name, command
  local name=$1
  shift
  "$@" > "$LOG/$name.log" 2>&1 9>&- &
}

start_store_and_runtime() {
  run etcd etcd --data-dir "$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
    --listen-peer-urls "http://127.0.0.1:$ETCD_PEER" --initial-advertise-peer-urls "http://127.0.0.1:$ETCD_PEER" \
    --initial-cluster "default=http://127.0.0.1:$ETCD_PEER"
  run containerd containerd -c "$CONF/containerd.toml"
}

# Audit: written before the request goes on, in one file, so that what has an answer is in the log.
start_api_server() {
  run apiserver kube-apiserver --etcd-servers "http://127.0.0.1:$ETCD_PORT" \
    --secure-port "$API_PORT" --bind-address 0.0.0.0 --advertise-address "$NODE_IP" \
    --client-ca-file "$PKI/ca.crt" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
    --token-auth-file "$PKI/tokens.csv" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$PKI/service-account.pub" \
    --service-account-signing-key-file "$PKI/service-account.key" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --service-cluster-ip-range "$SVC_CIDR" --allow-privileged=true \
    --audit-policy-file "$CONF/audit-policy.yaml" --audit-log-path "$LOG/audit.log" \
    --audit-log-mode blocking --audit-log-maxsize 0 \
    --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
    --kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP \
    --requestheader-client-ca-file "$PKI/ca.crt" --requestheader-allowed-names front-proxy \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$PKI/front-proxy.crt" --proxy-client-key-file "$PKI/front-proxy.key"
  until curl -sf --cacert "$PKI/ca.crt" "https://127.0.0.1:$API_PORT/readyz" > /dev/null 2>&1; do sleep 0.1; done
}

start_others() {
  local config
  config=$CONF/kcm.kubeconfig
  run controller-manager kube-controller-manager --kubeconfig "$config" --authentication-kubeconfig "$config" \
    --authorization-kubeconfig "$config" --bind-address 127.0.0.1 --leader-elect=false \
    --service-account-private-key-file "$PKI/service-account.key" --root-ca-file "$PKI/ca.crt" \
    --use-service-account-credentials \
    --cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key"
  config=$CONF/scheduler.kubeconfig
  run scheduler kube-scheduler --kubeconfig "$config" --authentication-kubeconfig "$config" \
    --authorization-kubeconfig "$config" --bind-address 127.0.0.1 --leader-elect=false
  run kubelet kubelet --config "$CONF/kubelet.yaml" --kubeconfig "$CONF/kubelet.kubeconfig" \
    --root-dir "$STATE/kubelet" --hostname-override "$NODE" --node-ip "$NODE_IP"
  run proxy kube-proxy --config "$CONF/proxy.yaml"
}

# A daemon that ends is not started again: node.log says so.
reap() {
  local status
  while :; do
    status=0
    wait -n || status=$?
    [ "$status" = 127 ] || echo "a daemon ended, status $status"
    sleep 0.5
  done
}

{
  hostname "$NODE"
  own_files
  hide_sysctls
  own_cgroups
  own_network
  start_store_and_runtime
  start_api_server
  start_others
  reap
  exit
} # In braces: read whole before it runs, so an edit of this file meanwhile does no harm.
