//! What a control plane is started with.

use crate::user::User;

/// What a control plane is started with; by default etcd and the API server alone.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(crate) flags: Vec<String>,
    pub(crate) feature_gates: Vec<String>,
    pub(crate) controller_manager: bool,
    pub(crate) nodes: u32,
    pub(crate) users: Vec<(String, Vec<String>)>,
}

impl Options {
    /// Etcd and the API server alone: nothing writes but the test and what it starts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more flag of the API server, such as `--max-requests-inflight=10`.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// One more feature gate of the API server, such as `ShardedListAndWatch=true`.
    #[must_use]
    pub fn feature_gate(mut self, gate: &str) -> Self {
        self.feature_gates.push(gate.to_owned());
        self
    }

    /// Also the built-in controllers: Deployments get Pods, namespaces end, garbage is collected.
    #[must_use]
    pub fn with_controller_manager(mut self) -> Self {
        self.controller_manager = true;
        self
    }

    /// Also kwok with this many fake nodes and the scheduler: Pods become Ready.
    #[must_use]
    pub fn with_kwok(mut self, nodes: u32) -> Self {
        self.nodes = nodes;
        self
    }

    /// Also a user with a token of their own, in these groups; without RBAC rules they may nothing.
    #[must_use]
    pub fn user(mut self, name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        self.users.push((name.to_owned(), groups));
        self
    }

    /// Users with fresh tokens, the administrator first.
    pub(crate) fn make_users(&self) -> anyhow::Result<Vec<User>> {
        let admin = ("admin".to_owned(), vec!["system:masters".to_owned()]);
        std::iter::once(&admin)
            .chain(&self.users)
            .map(|(name, groups)| {
                Ok(User {
                    name: name.clone(),
                    groups: groups.clone(),
                    token: crate::keys::token()?,
                })
            })
            .collect()
    }
}
