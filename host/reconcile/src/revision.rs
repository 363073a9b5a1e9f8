//! The revisions of a plugin: the one that decides, and others beside it for some CRs.
//!
//! # Contract
//! A CR that names a revision by its annotation gets that one or, if it is not there, none at all.
//! Of the others a share of the CRs, picked by uid, gets the revision on trial; a CR is in or out of
//! that share for ever, and in each larger one. What is asked for and not there is told to who
//! brings it ([`Pins`]).

use crate::active::Active;
use crate::intent::{fingerprint, hash_of};
use crate::key::CrKey;
use crate::owner;
use crate::sensing;
use crate::trial::Trial;
use kybern_interface::Manifest;
use kybern_table::{KindKey, Row, Snapshot, TableState};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use tokio::sync::watch;

/// The key with which this process tells hidden settings apart.
static HIDDEN: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A revision beside the one that decides.
#[derive(Debug, Clone)]
pub struct Revision {
    /// `sha256:...` of its component.
    pub digest: String,
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    /// The registration's settings as its schema has them.
    pub settings: Value,
    /// Whether the component has a sense hook.
    pub has_sense: bool,
}

/// The digests that CRs name, by registration.
pub type Pinned = BTreeMap<Arc<str>, BTreeSet<String>>;

/// A registration with what follows from it once.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) active: Active,
    /// Fingerprint of settings, grants and everything else that is registered.
    pub(crate) fingerprint: u128,
    /// What an effect runs under: equal for an equal registration and plugin, also in another host.
    pub(crate) stamp: String,
    /// Other revisions; they have none themselves.
    revisions: Vec<Arc<Self>>,
    trial: Option<Arc<Trial>>,
}

impl Registered {
    pub(crate) fn new(mut active: Active) -> Self {
        let revisions = std::mem::take(&mut active.revisions);
        let revisions = revisions.into_iter().map(|of| {
            let active = Active {
                digest: of.digest,
                manifest: of.manifest,
                settings: of.settings,
                has_sense: of.has_sense,
                trial: None,
                ..active.clone()
            };
            Arc::new(Self::new(active))
        });
        let revisions: Vec<Arc<Self>> = revisions.collect();
        let trial = active.trial.take().and_then(|rules| {
            let found = revisions.iter().find(|of| of.active.digest == rules.digest);
            found.map(|of| Arc::new(Trial::new(rules, Arc::clone(of))))
        });
        let mut spec = serde_json::to_value(&active.registration.spec).unwrap_or_default();
        if let Some(spec) = spec.as_object_mut() {
            // What is beside the revision that decides changes nothing of what it may do.
            spec.remove("trial");
        }
        let said = json!([spec, active.settings]);
        let tried = trial.as_ref().map(|trial| &trial.rules.digest);
        // The stamp is written into records, which tenants may read: of settings that are hidden it
        // must not be a hash that can be guessed at. It is another one after a restart.
        let stamped = match active.registration.spec.settings_from.is_empty() {
            true => active.settings.clone(),
            false => json!(HIDDEN.hash_one(active.settings.to_string())),
        };
        Self {
            // With a trial everybody is asked anew: it has something to compare. What a kind's schema
            // keeps of a status is no matter of the plugin's.
            fingerprint: fingerprint(&json!([said, tried, active.manifest.status])),
            stamp: hash_of(&json!([[spec, stamped], active.digest]), &[]),
            revisions,
            trial,
            active,
        }
    }

    /// The revision that decides for this CR.
    pub(crate) fn of(self: &Arc<Self>, row: &Row) -> Arc<Self> {
        let Some(digest) = sensing::pin(row) else {
            let trial = self.trial.as_ref().filter(|trial| trial.decides());
            let trial = trial.filter(|trial| place(&row.uid()) < trial.rules.share);
            return Arc::clone(trial.map_or(self, |trial| &trial.candidate));
        };
        let found = self.revisions.iter().find(|of| of.active.digest == digest);
        Arc::clone(found.unwrap_or(self))
    }

    /// The revision that is tried.
    pub(crate) fn trial(&self) -> Option<&Arc<Trial>> {
        self.trial.as_ref()
    }

    /// The tables without which a pass cannot tell which children there are. A kind that only a
    /// revision beside it wants, and that nothing was written to, may be unreadable.
    pub(crate) fn child_tables(&self, snapshot: &Snapshot) -> Vec<KindKey> {
        let mut tables = owner::child_tables(snapshot, &self.active);
        if self.revisions.is_empty() {
            return tables;
        }
        let asks = |of: &Active, key: &KindKey| {
            let mut asks = of.manifest.writes.iter();
            asks.any(|ask| *ask.group == *key.group && *ask.kind == *key.kind)
        };
        let written = &self.active.registration.status.written;
        let was = |key: &KindKey| {
            let mut written = written.iter();
            written.any(|of| *of.group == *key.group && *of.kind == *key.kind)
        };
        let ready = |key: &KindKey| {
            let state = snapshot.table(key).map(|view| view.state());
            matches!(state, Some(TableState::Ready { .. }))
        };
        tables.retain(|key| {
            let others = self.revisions.iter().any(|of| asks(&of.active, key));
            ready(key) || was(key) || asks(&self.active, key) || !others
        });
        tables
    }

    /// Whether what decides for CRs that name nothing is the same.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.active.digest == other.active.digest
            && self.active.primaries == other.active.primaries
    }

    /// Whether only what is beside the revision that decides is another.
    pub(crate) fn differs_beside(&self, other: &Self) -> bool {
        let beside = |of: &Self| {
            let digests: Vec<String> = of
                .revisions
                .iter()
                .map(|r| r.active.digest.clone())
                .collect();
            let trial = of.trial.as_ref().map(|trial| trial.rules.clone());
            (digests, trial, of.active.missing.clone())
        };
        self.is_as(other) && beside(self) != beside(other)
    }

    /// Goes on with the trial of the one before, if it is the same. Whether it is.
    pub(crate) fn goes_on(&self, before: &Self) -> bool {
        let (Some(now), Some(then)) = (&self.trial, &before.trial) else {
            return false;
        };
        self.is_as(before) && now.continues(then)
    }

    /// Whether `other` is this registration, whichever of its revisions.
    pub(crate) fn is(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let same = |of: &Arc<Self>| Arc::ptr_eq(of, other);
        same(self) || self.revisions.iter().any(same)
    }
}

/// Below which share a CR is in it.
fn place(uid: &str) -> u8 {
    u8::try_from(fingerprint(&Value::from(uid)) % 100).unwrap_or_default()
}

/// Which revisions CRs name.
#[derive(Default)]
pub(crate) struct Pins {
    by_cr: Mutex<HashMap<CrKey, String>>,
    pinned: watch::Sender<Pinned>,
}

impl Pins {
    /// A CR names this revision now, or none.
    pub(crate) fn note(&self, key: &CrKey, digest: Option<String>) {
        let mut by_cr = self.by_cr.lock();
        if by_cr.get(key) == digest.as_ref() {
            return;
        }
        match digest {
            Some(digest) => by_cr.insert(key.clone(), digest),
            None => by_cr.remove(key),
        };
        let of = by_cr.iter().filter(|(cr, _)| cr.plugin == key.plugin);
        let digests: BTreeSet<String> = of.map(|(_, digest)| digest.clone()).collect();
        self.tell(&key.plugin, digests);
    }

    /// The registration is gone.
    pub(crate) fn forget_plugin(&self, plugin: &Arc<str>) {
        self.by_cr.lock().retain(|key, _| key.plugin != *plugin);
        self.tell(plugin, BTreeSet::new());
    }

    pub(crate) fn pinned(&self) -> watch::Receiver<Pinned> {
        self.pinned.subscribe()
    }

    fn tell(&self, plugin: &Arc<str>, digests: BTreeSet<String>) {
        self.pinned.send_if_modified(|all| {
            let before = all.get(plugin).cloned().unwrap_or_default();
            let changed = before != digests;
            if digests.is_empty() {
                all.remove(plugin);
            } else {
                all.insert(Arc::clone(plugin), digests);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kybern_table::KindKey;

    #[test]
    fn about_a_share_of_all_uids_is_in_it_and_stays_in_a_larger_one() {
        let uids: Vec<String> = (0..10_000).map(|n| format!("0a1b-{n}")).collect();
        for share in [1, 10, 50, 99] {
            let count = uids.iter().filter(|uid| place(uid) < share).count();
            let wanted = usize::from(share) * 100;
            assert!(
                count.abs_diff(wanted) < 200,
                "{count} of 10,000 for {share} %"
            );
        }
        assert!(uids.iter().all(|uid| place(uid) < 100));
    }

    #[test]
    fn what_crs_name_is_told_once_for_each_change() {
        let pins = Pins::default();
        let key = |name: &str| CrKey {
            plugin: "p".into(),
            table: KindKey::new("g", "v1", "K"),
            namespace: "ns".into(),
            name: name.into(),
        };
        let mut pinned = pins.pinned();
        let mut told = || {
            let changed = pinned.has_changed().unwrap();
            let now = pinned.borrow_and_update().get("p").cloned();
            changed.then_some(now)
        };
        let one = |digest: &str| Some(Some(BTreeSet::from([digest.to_owned()])));
        pins.note(&key("a"), None);
        assert_eq!(told(), None);
        pins.note(&key("a"), Some("1".into()));
        assert_eq!(told(), one("1"));
        pins.note(&key("b"), Some("1".into()));
        pins.note(&key("a"), Some("1".into()));
        assert_eq!(told(), None, "the same digest");
        pins.note(&key("a"), Some("2".into()));
        pins.note(&key("b"), None);
        assert_eq!(told(), one("2"));
        pins.note(&key("a"), None);
        assert_eq!(told(), Some(None));
        pins.note(&key("a"), Some("3".into()));
        pins.forget_plugin(&"p".into());
        assert_eq!(told(), Some(None));
    }
}
