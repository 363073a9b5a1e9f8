//! What rules give: of all of the cluster, and of the namespaces that rights name.
//!
//! *Limits.* A list is asked for once for all looks at the same time, and kept for
//! `rules_age`; all that are kept have no more than `rules_bytes`
//! ([`RightsConfig`](super::review::RightsConfig)).

use super::review::Account;
use kybern_kube::{Right, Rules};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What each list counts beside its rules: also one that could not be had.
const OVERHEAD: usize = 256;

/// One list of rules; none = it could not be had.
pub(super) type List = Option<Arc<Rules>>;

/// Whose list it is, and of which namespace; of all of the cluster if absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListOf {
    pub(super) account: Option<Account>,
    pub(super) namespace: Option<String>,
}

/// Lists that are kept.
pub(super) struct Lists {
    all: BTreeMap<ListOf, Kept>,
    bytes: usize,
    most: usize,
}

struct Kept {
    at: Duration,
    bytes: usize,
    list: List,
}

impl Lists {
    /// With at most so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            bytes: 0,
            most,
        }
    }

    /// One that is younger than this.
    pub(super) fn get(&mut self, of: &ListOf, age: Duration) -> Option<List> {
        let now = crate::clock::monotonic();
        self.all.retain(|_, kept| now.saturating_sub(kept.at) < age);
        self.bytes = self.all.values().map(|kept| kept.bytes).sum();
        self.all.get(of).map(|kept| kept.list.clone())
    }

    /// Keeps one that came just now, if there is room: those that are there do for others too.
    pub(super) fn keep(&mut self, of: ListOf, list: List) {
        let rules = list.as_ref().map_or(0, |rules| rules.bytes());
        let bytes = rules.saturating_add(OVERHEAD);
        let all = self.bytes.saturating_add(bytes);
        if all <= self.most {
            self.bytes = all;
            let at = crate::clock::monotonic();
            self.all.insert(of, Kept { at, bytes, list });
        }
    }

    /// Bytes of those that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What the rules of an account give.
pub(super) struct Given {
    everywhere: List,
    within: BTreeMap<String, List>,
}

impl Given {
    /// What holds in all of the cluster.
    pub(super) fn everywhere(list: List) -> Self {
        Self {
            everywhere: list,
            within: BTreeMap::new(),
        }
    }

    /// And what holds in a namespace.
    pub(super) fn within(&mut self, namespace: String, list: List) {
        self.within.insert(namespace, list);
    }

    /// Whether a rule allows it.
    pub(super) fn allow(&self, right: &Right) -> bool {
        let within = right.namespace.as_ref();
        let within = within.and_then(|namespace| self.within.get(namespace));
        let lists = [Some(&self.everywhere), within].into_iter().flatten();
        lists.flatten().any(|rules| rules.allow(right))
    }

    /// Namespaces whose rules may give what these do not; none if nothing may be listed.
    pub(super) fn unlisted<'a>(
        &self,
        rights: impl IntoIterator<Item = &'a Right>,
    ) -> BTreeSet<&'a str> {
        let rights = rights.into_iter();
        let open = rights.filter(|right| self.everywhere.is_some() && !self.allow(right));
        open.filter_map(|right| right.namespace.as_deref())
            .collect()
    }
}
