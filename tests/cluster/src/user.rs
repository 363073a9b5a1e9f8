//! Who asks the API server: users of the token file, and service accounts made on demand.

use crate::client::Client;
use crate::object::Object;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Validity of a service account's token.
const TOKEN_SECONDS: u64 = 24 * 60 * 60;

/// Someone with a bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
    pub(crate) token: String,
}

impl User {
    /// Name as the API server and its audit log know it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Creates the ServiceAccount `name` in `namespace` and a token of it.
    pub(crate) fn service_account(admin: &Client, namespace: &str, name: &str) -> Result<Self> {
        let account = Object::new("v1", "ServiceAccount", namespace, name);
        if admin.find(&account)?.is_none() {
            admin
                .create(&json!({
                    "apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": { "namespace": namespace, "name": name },
                }))
                .context("create the service account")?;
        }
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": TOKEN_SECONDS },
        });
        let answer = admin
            .post_subresource(&account, "token", &request)
            .context("ask for a token")?;
        let token = answer
            .pointer("/status/token")
            .and_then(Value::as_str)
            .context("the answer holds no token")?;
        Ok(Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: Vec::new(),
            token: token.to_owned(),
        })
    }

    /// The subject that RBAC bindings name.
    fn subject(&self) -> Value {
        let mut parts = self.name.splitn(4, ':').skip(2);
        match (
            self.name.starts_with("system:serviceaccount:"),
            parts.next(),
            parts.next(),
        ) {
            (true, Some(namespace), Some(name)) => {
                json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
            }
            _ => {
                json!({ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": self.name })
            }
        }
    }

    /// Lets the user do what `rules` (of a ClusterRole) say, in all namespaces.
    pub(crate) fn grant(&self, admin: &Client, role: &str, rules: &Value) -> Result<()> {
        admin
            .apply(
                &json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                    "metadata": { "name": role }, "rules": rules,
                }),
                "kybern-testcluster",
            )
            .context("apply the ClusterRole")?;
        admin
            .apply(
                &json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                    "metadata": { "name": role },
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
                    "subjects": [self.subject()],
                }),
                "kybern-testcluster",
            )
            .context("apply the ClusterRoleBinding")?;
        Ok(())
    }
}
