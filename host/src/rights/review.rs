//! Asks the API server what the host, or a service account, may do.

use super::answers::{Answered, Answers};
use super::given::{Given, List, ListOf, Lists};
use super::lacks::{Found, Lacks};
use super::needs::Needs;
use kybern_kube::{Cluster, Impersonate, RequestError, Right};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bounds of reviews.
#[derive(Debug, Clone)]
pub(crate) struct RightsConfig {
    /// Looks at once; others wait.
    pub(crate) looks: usize,
    /// Rights of an account that one look asks for one by one.
    pub(crate) rights: usize,
    /// Namespaces whose rules one look lists for an account.
    pub(crate) namespaces: usize,
    /// For how long one list of rules does for all.
    pub(crate) rules_age: Duration,
    /// Bytes of such lists; what is over them is asked for by each look.
    pub(crate) rules_bytes: usize,
    /// Until a registration that has all rights is looked at again.
    pub(crate) refresh: Duration,
}

impl Default for RightsConfig {
    fn default() -> Self {
        Self {
            looks: 4,
            rights: 64,
            namespaces: 16,
            rules_age: Duration::from_secs(5),
            rules_bytes: 16 << 20,
            refresh: Duration::from_secs(600),
        }
    }
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
}

impl Account {
    fn user(&self) -> Impersonate {
        Impersonate::service_account(&self.namespace, &self.name)
    }
}

/// What is to be reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What the host needs.
    pub(crate) host: Needs,
    /// What the service account needs.
    pub(crate) account: Option<(Account, Needs)>,
}

/// How closely it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the rules give is believed.
    Rules,
    /// Something was refused: each right is asked for, as far as the bound allows.
    Each,
    /// Goes on with those that a look at each has left.
    Rest,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) running: AtomicUsize,
    pub(super) rules: AtomicU64,
    pub(super) rights: AtomicU64,
    /// Bytes of the lists of rules that are kept.
    pub(super) rules_bytes: AtomicUsize,
    /// Rights that are missing, by registration.
    pub(super) missing: Mutex<BTreeMap<String, usize>>,
}

/// Asks. Clones share bounds and what was answered just now.
#[derive(Clone)]
pub(crate) struct Reviewer {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    config: RightsConfig,
    turns: Semaphore,
    /// Locked while one is asked for, so that looks at the same time share it.
    lists: tokio::sync::Mutex<Lists>,
    counts: Counts,
}

/// Counts one more while it lives.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reviewer {
    /// On this cluster.
    pub(crate) fn new(cluster: Cluster, config: RightsConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                cluster,
                turns: Semaphore::new(config.looks),
                lists: tokio::sync::Mutex::new(Lists::new(config.rules_bytes)),
                config,
                counts: Counts::default(),
            }),
        }
    }

    /// The bounds.
    pub(crate) fn config(&self) -> &RightsConfig {
        &self.inner.config
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    /// What a registration lacks, for the metric; none once it is gone.
    pub(crate) fn told(&self, plugin: &str, missing: Option<usize>) {
        let mut all = self.inner.counts.missing.lock();
        match missing {
            Some(missing) => all.insert(plugin.to_owned(), missing),
            None => all.remove(plugin),
        };
    }

    /// Looks once. An error is one of the connection or of the API server: nothing is known then.
    /// What former looks were answered to the same needs counts until it is asked again.
    pub(crate) async fn look(
        &self,
        asked: &Asked,
        depth: Depth,
        answered: &mut Answered,
    ) -> Result<Found, RequestError> {
        let inner = &self.inner;
        let Ok(_turn) = inner.turns.acquire().await else {
            return Ok(Found::default());
        };
        inner.counts.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&inner.counts.running);
        let answers = &mut answered.host;
        let host = inner.lacks(None, &asked.host, depth, answers).await?;
        let account = match &asked.account {
            None => None,
            Some((account, needs)) => {
                let answers = &mut answered.account;
                let lacks = inner.lacks(Some(account), needs, depth, answers).await?;
                let name = format!("service account {}/{}", account.namespace, account.name);
                Some((name, lacks))
            }
        };
        Ok(Found { host, account })
    }
}

impl Inner {
    async fn lacks(
        &self,
        by: Option<&Account>,
        needs: &Needs,
        depth: Depth,
        answers: &mut Answers,
    ) -> Result<Lacks, RequestError> {
        let rules = self.given(by, needs).await;
        let (given, open): (Vec<&Right>, Vec<&Right>) =
            needs.iter().partition(|right| rules.allow(right));
        let doubted = match depth {
            Depth::Rules => Vec::new(),
            Depth::Each | Depth::Rest => given,
        };
        if depth == Depth::Each {
            answers.doubt();
        }
        let user = by.map(Account::user);
        for right in answers.begin(&open, &doubted, self.config.rights) {
            self.counts.rights.fetch_add(1, Ordering::Relaxed);
            match self.cluster.may(right, user.as_ref()).await {
                Ok(allowed) => answers.note(right, allowed),
                Err(RequestError::Api(refused)) if matches!(refused.code, 401 | 403 | 404) => {
                    answers.forget();
                    return Ok(Lacks {
                        unknown: Some(refused.message),
                        ..Lacks::default()
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Lacks {
            missing: answers.missing(),
            unasked: answers.unasked(&open),
            unsure: answers.unsure(&doubted),
            unknown: None,
        })
    }

    /// What rules give of this: those that hold everywhere, and, where they do not do, those of the
    /// namespaces that rights name, as far as the bound allows.
    async fn given(&self, by: Option<&Account>, needs: &Needs) -> Given {
        let mut given = Given::everywhere(self.list(by, None).await);
        let namespaces = given.unlisted(needs);
        for namespace in namespaces.into_iter().take(self.config.namespaces) {
            let list = self.list(by, Some(namespace)).await;
            given.within(namespace.to_owned(), list);
        }
        given
    }

    /// The rules of an account, at most as old as [`RightsConfig::rules_age`].
    async fn list(&self, by: Option<&Account>, namespace: Option<&str>) -> List {
        let of = ListOf {
            account: by.cloned(),
            namespace: namespace.map(str::to_owned),
        };
        let mut lists = self.lists.lock().await;
        if let Some(list) = lists.get(&of, self.config.rules_age) {
            return list;
        }
        self.counts.rules.fetch_add(1, Ordering::Relaxed);
        let user = by.map(Account::user);
        let list = match self.cluster.rules(namespace, user.as_ref()).await {
            Ok(rules) => Some(Arc::new(rules)),
            Err(error) => {
                // Each right is asked for then.
                tracing::debug!(%error, "no list of rules");
                None
            }
        };
        lists.keep(of, list.clone());
        let bytes = lists.bytes();
        self.counts.rules_bytes.store(bytes, Ordering::Relaxed);
        list
    }
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
