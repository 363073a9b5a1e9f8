# shellcheck shell=bash disable=SC2154
# One authority for all, a certificate for each daemon, and kubeconfigs.

key() { # file
  openssl ecparam -name prime256v1 -genkey -noout -out "$1"
}

certificate() { # name, subject, subjectAltName
  key "$PKI/$1.key"
  openssl req -new -key "$PKI/$1.key" -subj "$2" |
    openssl x509 -req -days 365 -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" \
      -set_serial "0x$(openssl rand -hex 8)" -out "$PKI/$1.crt" \
      -extfile <(printf 'keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n%s' "${3:+subjectAltName=$3}") \
      2>/dev/null
}

# JSON, which is YAML: the test program reads the administrator's.
kubeconfig() { # file, user as JSON
  jq -n --arg server "https://$NODE_IP:$API_PORT" --arg ca "$(base64 -w0 < "$PKI/ca.crt")" --argjson user "$2" '{
    apiVersion: "v1", kind: "Config",
    clusters: [{ name: "node", cluster: { server: $server, "certificate-authority-data": $ca } }],
    users: [{ name: "me", user: $user }],
    contexts: [{ name: "node", context: { cluster: "node", user: "me" } }],
    "current-context": "node"
  }' > "$1"
  chmod 600 "$1"
}

with_certificate() { # name
  jq -n --arg crt "$(base64 -w0 < "$PKI/$1.crt")" --arg key "$(base64 -w0 < "$PKI/$1.key")" \
    '{ "client-certificate-data": $crt, "client-key-data": $key }'
}

make_keys() {
  mkdir -p "$PKI" "$CONF"
  if [ ! -s "$PKI/ca.crt" ]; then
    key "$PKI/ca.key"
    openssl req -x509 -new -key "$PKI/ca.key" -subj /CN=kybern-node-ca -days 3650 -out "$PKI/ca.crt" 2>/dev/null
    key "$PKI/service-account.key"
    openssl ec -in "$PKI/service-account.key" -pubout -out "$PKI/service-account.pub" 2>/dev/null
    local k=kubernetes
    certificate apiserver /CN=kube-apiserver \
      "DNS:$k,DNS:$k.default,DNS:$k.default.svc,DNS:$k.default.svc.cluster.local,DNS:localhost,IP:$SVC_API,IP:$NODE_IP,IP:127.0.0.1"
    certificate apiserver-kubelet /O=system:masters/CN=apiserver-kubelet ""
    certificate front-proxy /CN=front-proxy ""
    certificate kcm /CN=system:kube-controller-manager ""
    certificate scheduler /CN=system:kube-scheduler ""
    certificate proxy /CN=system:kube-proxy ""
    certificate kubelet "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:$NODE_IP"
    openssl rand -hex 16 > "$PKI/admin.token"
    echo "$(cat "$PKI/admin.token"),admin,admin,system:masters" > "$PKI/tokens.csv"
    chmod 600 "$PKI/admin.token" "$PKI/tokens.csv"
  fi
  kubeconfig "$ADMIN" "$(jq -n --arg token "$(cat "$PKI/admin.token")" '{ token: $token }')"
  local name
  for name in kcm scheduler proxy kubelet; do
    kubeconfig "$CONF/$name.kubeconfig" "$(with_certificate "$name")"
  done
}
