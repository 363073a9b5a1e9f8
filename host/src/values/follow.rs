//! One watch for each object that is wanted.

use super::ValuesConfig;
use super::object::{Got, Keys, ObjectAt, Seen, Track};
use kybern_kube::watch::{NoObserver, Openings};
use kybern_kube::{Cluster, Scope, WatchConfig, WatchTarget, watch};
use kybern_table::Batch;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Batches that wait: each is the one object.
const WAITING: usize = 2;

/// Objects that are followed. Clones share them.
#[derive(Clone)]
pub(crate) struct Values {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    watch: WatchConfig,
    openings: Openings,
    config: ValuesConfig,
    all: Mutex<BTreeMap<ObjectAt, Followed>>,
    changed: Mutex<BTreeSet<ObjectAt>>,
    news: Notify,
    shutdown: CancellationToken,
}

struct Followed {
    keys: Keys,
    seen: Seen,
    _task: AbortOnDropHandle<()>,
}

impl Values {
    /// Nothing is followed yet.
    pub(crate) fn new(
        cluster: Cluster,
        watch: WatchConfig,
        config: ValuesConfig,
        shutdown: CancellationToken,
    ) -> Self {
        let openings = Openings::new(config.openings);
        let watch = WatchConfig {
            openings: Some(openings.clone()),
            ..watch
        };
        Self {
            inner: Arc::new(Inner {
                cluster,
                watch,
                openings,
                config,
                all: Mutex::default(),
                changed: Mutex::default(),
                news: Notify::new(),
                shutdown,
            }),
        }
    }

    /// Follows these keys of these objects from now on, and nothing else.
    pub(crate) fn follow(&self, mut wanted: BTreeMap<ObjectAt, Keys>) {
        let mut all = self.inner.all.lock();
        all.retain(|at, followed| wanted.get(at) == Some(&followed.keys));
        wanted.retain(|at, _| !all.contains_key(at));
        for (at, keys) in wanted {
            if all.len() >= self.inner.config.objects {
                // The registration's condition says so.
                tracing::debug!(object = %at, "not followed: registrations name too many objects");
                continue;
            }
            let followed = Followed {
                keys: keys.clone(),
                seen: Seen::Pending,
                _task: self.start(at.clone(), keys),
            };
            all.insert(at, followed);
        }
    }

    fn start(&self, at: ObjectAt, keys: Keys) -> AbortOnDropHandle<()> {
        let inner = Arc::clone(&self.inner);
        let (sink, mut batches) = mpsc::channel::<Batch>(WAITING);
        let mut target = WatchTarget::all(at.kind.def());
        target.scope = Scope {
            namespace: Some(at.namespace.clone()),
            field_selector: Some(format!("metadata.name={}", at.name)),
            ..Scope::default()
        };
        let watching = watch(
            inner.cluster.clone(),
            target,
            inner.watch.clone(),
            sink,
            Arc::new(NoObserver),
            inner.shutdown.child_token(),
        );
        let taking = async move {
            let mut track = Track::default();
            while let Some(batch) = batches.recv().await {
                for change in batch.changes {
                    track.step(change, &at, &keys, inner.config.value_bytes);
                }
                inner.tell(&at, &keys, &track.seen);
            }
        };
        AbortOnDropHandle::new(TaskTracker::new().spawn(async {
            tokio::join!(watching, taking);
        }))
    }

    /// What is known of an object; none if it is not followed.
    pub(crate) fn seen(&self, at: &ObjectAt) -> Option<Seen> {
        let all = self.inner.all.lock();
        all.get(at).map(|followed| followed.seen.clone())
    }

    /// Waits until something is known of these, for so long.
    pub(crate) async fn known(&self, wanted: &[ObjectAt], within: Duration) {
        let known = async {
            loop {
                let news = self.inner.news.notified();
                tokio::pin!(news);
                // From here on no news is missed.
                news.as_mut().enable();
                let pending = |at: &ObjectAt| self.seen(at) == Some(Seen::Pending);
                if !wanted.iter().any(pending) {
                    return;
                }
                news.await;
            }
        };
        let _ = tokio::time::timeout(within, known).await;
    }

    /// The objects of which something else is known since this was asked last.
    pub(crate) fn take_changed(&self) -> BTreeSet<ObjectAt> {
        std::mem::take(&mut *self.inner.changed.lock())
    }

    /// Until something else is known of one.
    pub(crate) async fn changed(&self) {
        let news = self.inner.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        if self.inner.changed.lock().is_empty() {
            news.await;
        }
    }

    /// How many are listed, or have a watch that opens.
    pub(super) fn opening(&self) -> usize {
        self.inner.openings.running()
    }

    /// How many are followed, and the bytes that are kept of them.
    pub(super) fn usage(&self) -> (usize, usize) {
        let all = self.inner.all.lock();
        let bytes = |followed: &Followed| match &followed.seen {
            Seen::There(values) => values.values().map(size).sum(),
            _ => 0,
        };
        (all.len(), all.values().map(bytes).sum())
    }
}

fn size(got: &Got) -> usize {
    match got {
        Got::Value(value) => value.bytes().len(),
        Got::TooLarge(_) => 0,
    }
}

impl Inner {
    fn tell(&self, at: &ObjectAt, keys: &Keys, seen: &Seen) {
        {
            let mut all = self.all.lock();
            let followed = all.get_mut(at).filter(|of| of.keys == *keys);
            let Some(followed) = followed.filter(|of| of.seen != *seen) else {
                return;
            };
            followed.seen = seen.clone();
        }
        self.changed.lock().insert(at.clone());
        self.news.notify_waiters();
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
