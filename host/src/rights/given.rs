//! What rules give: of all of the cluster, and of the namespaces that rights name.
//!
//! *Limits.* A list is asked for once for all looks at the same time, and kept for
//! [`RightsConfig::rules_age`](super::review::RightsConfig).

use super::review::Account;
use kybern_kube::{Right, Rules};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most lists that are kept.
const LISTS: usize = 256;

/// One list of rules; none = it could not be had.
pub(super) type List = Option<Arc<Rules>>;

/// Whose list it is, and of which namespace; of all of the cluster if absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListOf {
    pub(super) account: Option<Account>,
    pub(super) namespace: Option<String>,
}

/// Lists, with the time of each.
#[derive(Default)]
pub(super) struct Lists(BTreeMap<ListOf, (Duration, List)>);

impl Lists {
    /// One that is younger than this.
    pub(super) fn get(&mut self, of: &ListOf, age: Duration) -> Option<List> {
        let now = crate::clock::monotonic();
        self.0.retain(|_, (at, _)| now.saturating_sub(*at) < age);
        self.0.get(of).map(|(_, list)| list.clone())
    }

    /// Keeps one that came just now, unless there are too many.
    pub(super) fn keep(&mut self, of: ListOf, list: List) {
        if self.0.len() < LISTS {
            self.0.insert(of, (crate::clock::monotonic(), list));
        }
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
