# shellcheck shell=bash disable=SC2154
# The daemons' configuration files.

make_config() {
  mkdir -p "$CONF/cni" "$LOG" "$STATE"/{etcd,containerd,kubelet,var-log}
  : > "$CONF/resolv.conf"
  audit_policy > "$CONF/audit-policy.yaml"
  containerd_config > "$CONF/containerd.toml"
  cni_config > "$CONF/cni/10-node.conflist"
  kubelet_config > "$CONF/kubelet.yaml"
  proxy_config > "$CONF/proxy.yaml"
}

# Metadata of every request but the server's own and the probes, both stages of each.
audit_policy() {
  cat <<E1
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  - { level: None, users: ["system:apiserver"] }
  - { level: None, nonResourceURLs: ["/readyz*", "/livez*", "/healthz*"] }
  - { level: Metadata }
E1
}

# restrict_oom_score_adj: without CAP_SYS_RESOURCE a negative value is refused and no sandbox starts.
containerd_config() {
  cat <<E1
version = 3
root = '$STATE/containerd/root'
state = '$STATE/containerd/state'
temp = ''
imports = []
[grpc]
  address = '$SOCKET'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = 'localhost/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = 'runc'
        SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['$CNI_BIN']
    conf_dir = '$CONF/cni'
[plugins.'io.containerd.internal.v1.opt']
  path = '$STATE/containerd/opt'
E1
}

cni_config() {
  cat <<E1
{ "cniVersion": "1.0.0", "name": "node", "plugins": [
  { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": { "type": "host-local", "dataDir": "$STATE/cni-ipam",
      "ranges": [[{ "subnet": "$POD_CIDR" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
  { "type": "portmap", "capabilities": { "portMappings": true } }
] }
E1
}

kubelet_config() {
  cat <<E1
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
containerRuntimeEndpoint: unix://$SOCKET
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $PKI/ca.crt } }
authorization: { mode: Webhook }
tlsCertFile: $PKI/kubelet.crt
tlsPrivateKeyFile: $PKI/kubelet.key
resolvConf: $CONF/resolv.conf
clusterDomain: cluster.local
volumePluginDir: $STATE/kubelet/volume-plugins
podLogsDir: /var/log/pods
failSwapOn: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: { memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi }
maxPods: 110
nodeStatusUpdateFrequency: 5s
runtimeRequestTimeout: 1m
E1
}

proxy_config() {
  cat <<E1
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: $PROXY
clientConnection: { kubeconfig: $CONF/proxy.kubeconfig }
clusterCIDR: $POD_CIDR
hostnameOverride: $NODE
bindAddress: $NODE_IP
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: { maxPerCore: 0, min: 0 }
E1
}
