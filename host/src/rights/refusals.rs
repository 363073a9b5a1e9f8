//! Writes that the API server refused (403): a reason to ask anew what may be done.
//!
//! *Limits.* Each kind is noted once until somebody looks; no more than [`MOST`].

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// Most that are noted.
const MOST: usize = 256;

/// What was refused, to which plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refused {
    /// The registration.
    pub(crate) plugin: String,
    /// API group.
    pub(crate) group: String,
    /// The plural.
    pub(crate) plural: String,
}

/// Refusals since the last look. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Refusals {
    noted: Arc<Mutex<BTreeSet<Refused>>>,
    news: Arc<Notify>,
}

impl Refusals {
    /// Notes one.
    pub(crate) fn note(&self, refused: Refused) {
        let mut noted = self.noted.lock();
        if noted.len() < MOST && noted.insert(refused) {
            self.news.notify_one();
        }
    }

    /// Those since this was asked last.
    pub(crate) fn take(&self) -> BTreeSet<Refused> {
        std::mem::take(&mut *self.noted.lock())
    }

    /// Until one is noted.
    pub(crate) async fn changed(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_told_once_and_they_are_bounded() {
        let refusals = Refusals::default();
        let of = |n: usize| Refused {
            plugin: format!("p{n}"),
            group: String::new(),
            plural: "pods".into(),
        };
        refusals.note(of(1));
        refusals.note(of(1));
        refusals.changed().await;
        assert_eq!(refusals.take(), BTreeSet::from([of(1)]));
        (0..1_000).for_each(|n| refusals.note(of(n)));
        assert_eq!(refusals.take().len(), MOST);
        assert!(refusals.take().is_empty());
    }
}
