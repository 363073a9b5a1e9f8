//! Letting go of everything that a registration holds, so that nothing stays Terminating without it.

use crate::act::{Actor, uid_of};
use crate::active::{Active, Primary};
use crate::engine::{Deps, Released};
use crate::error::WriteError;
use crate::finalizer;
use crate::key::CrKey;
use crate::owner::{Owner, child_ref, inventory, provably_ours};
use crate::patched::{self, Patched};
use crate::prune::is_precious;
use crate::record::{self, Record};
use crate::traits::{ObjectRef, WriteBody};
use crate::undo::{self, Stubborn, Way};
use kybern_interface::{Propagation, RemovalPolicy};
use kybern_table::{ChunkView, Row, TableState};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What becomes of the CRs' finalizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finalizers {
    /// Ours goes once the children are let go of.
    Remove,
    /// Passes go on and decide.
    Keep,
}

/// Releases every CR of a registration, whether its selector still selects it or not.
pub(crate) async fn run(
    deps: &Deps,
    active: &Active,
    policy: RemovalPolicy,
    finalizers: Finalizers,
) -> Released {
    let mut released = Released::default();
    let snapshot = deps.reader.snapshot();
    let without_record = OnceLock::new();
    for primary in &active.primaries {
        let table = primary.table();
        let Some(view) = snapshot.table(&table) else {
            released
                .failures
                .push(format!("{table} is not watched: its CRs are not known"));
            continue;
        };
        if !matches!(view.state(), TableState::Ready { .. }) {
            released
                .failures
                .push(format!("{table} cannot be read now: its CRs are not known"));
            continue;
        }
        let rows = view.scan().and_then(|chunks| {
            let rows = chunks.iter().map(ChunkView::rows);
            rows.collect::<Result<Vec<_>, _>>()
        });
        let rows = match rows {
            Ok(rows) => rows,
            Err(expired) => {
                released.failures.push(format!("{table}: {expired}"));
                continue;
            }
        };
        for row in rows.into_iter().flatten() {
            let cr = Cr {
                deps,
                active,
                primary,
                row: &row,
                without_record: &without_record,
            };
            let before = released.failures.len();
            let owner = cr.children(policy, &mut released).await;
            cr.patches(&owner, policy, finalizers, &mut released).await;
            // As long as the record says what is left to be taken back it stays.
            if finalizers == Finalizers::Remove && released.failures.len() == before {
                cr.record(&owner, &mut released).await;
                if released.failures.len() == before {
                    cr.finalizer(&owner, &mut released).await;
                }
            }
        }
    }
    released
}

/// One CR that is let go of.
struct Cr<'a> {
    deps: &'a Deps,
    active: &'a Active,
    primary: &'a Primary,
    row: &'a Row,
    /// The patches of all CRs by their managers, looked for when the first has no record.
    without_record: &'a OnceLock<BTreeMap<String, Vec<Patched>>>,
}

impl Cr<'_> {
    /// Children first: a CR that is being deleted goes as soon as its finalizer does.
    async fn children(&self, policy: RemovalPolicy, released: &mut Released) -> Owner {
        let Self { deps, active, .. } = *self;
        let plugin = active.name().into();
        let key = CrKey::of(&plugin, &self.primary.table(), self.row);
        let owner = Owner::of(active, self.primary, &key, self.row);
        let actor = Actor::new(deps, active, &owner);
        let children = deps.reader.read(|snapshot| {
            let children = inventory(snapshot, active, &owner)?;
            let named = children
                .into_iter()
                .map(|child| (child_ref(snapshot, &child), child));
            Ok(named.collect::<Vec<_>>())
        });
        for (target, child) in children {
            if !provably_ours(&child.row, &owner) {
                continue;
            }
            let delete = policy == RemovalPolicy::DeleteChildren && !is_precious(&child.table);
            let result = if delete && child.row.deleting() {
                continue;
            } else if delete {
                actor.prune(&target, &child).await
            } else {
                actor.orphan(&target, &child).await
            };
            match result {
                Ok(()) => released.children += 1,
                Err(error) => released.failures.push(format!("{target}: {error}")),
            }
        }
        owner
    }

    /// Patches of objects of the kinds that are let go of: taken back, or owned by nobody.
    async fn patches(
        &self,
        owner: &Owner,
        policy: RemovalPolicy,
        finalizers: Finalizers,
        released: &mut Released,
    ) {
        // Before the first patch comes the finalizer.
        if !self.has_finalizer() {
            return;
        }
        let (target, secret) = match self.secret(owner).await {
            Ok(found) => found,
            Err((target, error)) => {
                released.failures.push(format!("{target}: {error}"));
                return;
            }
        };
        let read = |secret: &Value| Record::read(secret, self.active.name(), owner);
        let (secret, mut record) = match secret.as_ref().map(read) {
            Some(Ok(record)) => (secret, record),
            Some(Err(why)) => {
                tracing::warn!(%target, %why, "a record is not used: patches are looked for");
                (None, self.lost(owner))
            }
            // It may have gone before its CR.
            None => (None, self.lost(owner)),
        };
        let actor = Actor::new(self.deps, self.active, owner);
        let mut left = Vec::new();
        let before = record.patches.len();
        for patched in std::mem::take(&mut record.patches) {
            if finalizers == Finalizers::Keep && !self.named(&patched.target()) {
                left.push(patched);
                continue;
            }
            let way = match policy {
                RemovalPolicy::Orphan => Way::HandOver,
                RemovalPolicy::DeleteChildren => Way::Undo(Stubborn::HandedOver),
            };
            match undo::undo(&actor, &patched, way).await {
                Ok(()) => released.patches += 1,
                Err(error) => {
                    let what = patched.target();
                    released.failures.push(format!("{what}: {error}"));
                    left.push(patched);
                }
            }
        }
        record.patches = left;
        if let Some(secret) = secret
            && finalizers == Finalizers::Keep
            && record.patches.len() < before
        {
            self.keep(&actor, &target, &secret, &record, released).await;
        }
    }

    /// What is known of a CR without its record.
    fn lost(&self, owner: &Owner) -> Record {
        let search = || {
            let all = |snapshot: &_| patched::search_all(snapshot, self.active);
            self.deps.reader.read(all)
        };
        let all = self.without_record.get_or_init(search);
        let manager = self.active.patch_manager(&owner.uid);
        Record {
            patches: all.get(&manager).cloned().unwrap_or_default(),
            ..Record::default()
        }
    }

    /// Whether the registration's grants name the kind of this object.
    fn named(&self, target: &ObjectRef) -> bool {
        let grants = &self.active.registration.spec.grants.write;
        grants
            .iter()
            .any(|g| g.group == target.gvk.group && g.kinds.contains(&target.gvk.kind))
    }

    fn has_finalizer(&self) -> bool {
        self.row.finalizers().contains(&self.active.finalizer())
    }

    /// The CR's record, if there is one and the host may read it.
    async fn secret(
        &self,
        owner: &Owner,
    ) -> Result<(ObjectRef, Option<Value>), (ObjectRef, WriteError)> {
        let target = record::target(self.active.name(), owner, &self.deps.home);
        match self.deps.apply.read(&target).await {
            Ok(secret) => Ok((target, secret)),
            // Not worth to hold the registration for: without that right nothing was recorded.
            Err(error) if error.is_forbidden() => {
                tracing::warn!(%target, %error, "a record is not read");
                Ok((target, None))
            }
            Err(error) => Err((target, error)),
        }
    }

    /// What passes go on with.
    async fn keep(
        &self,
        actor: &Actor<'_>,
        target: &ObjectRef,
        secret: &Value,
        record: &Record,
        released: &mut Released,
    ) {
        let version = secret
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let patch = match record.patch(version, self.active.name(), actor.owner) {
            Ok(patch) => patch,
            Err(why) => {
                released.failures.push(format!("{target}: {why}"));
                return;
            }
        };
        let manager = self.active.manager();
        let body = WriteBody::JsonPatch { patch, manager };
        if let Err(error) = actor.write_as_host(target, body).await {
            released.failures.push(format!("{target}: {error}"));
        }
    }

    /// What was remembered is of use to nobody else.
    async fn record(&self, owner: &Owner, released: &mut Released) {
        if !self.active.keeps_records() && !self.has_finalizer() {
            return;
        }
        let target = record::target(self.active.name(), owner, &self.deps.home);
        let result = match self.deps.apply.read(&target).await {
            Ok(None) => Ok(()),
            Ok(Some(secret)) => {
                let actor = Actor::new(self.deps, self.active, owner);
                let body = WriteBody::Delete {
                    uid: uid_of(&secret),
                    propagation: Propagation::Background,
                };
                // As it was written: the plugin's own account may do less.
                match actor.write_as_host(&target, body).await {
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => {}
            // Not worth to hold the registration for: it goes with its CR.
            Err(error) if error.is_forbidden() => tracing::warn!(%target, %error, "a record stays"),
            Err(error) => released.failures.push(format!("{target}: {error}")),
        }
    }

    async fn finalizer(&self, owner: &Owner, released: &mut Released) {
        let actor = Actor::new(self.deps, self.active, owner);
        let target = owner.object();
        let reader = &self.deps.reader;
        let current = reader
            .read(|snapshot| crate::owner::find(snapshot, &target))
            .filter(|current| current.uid() == self.row.uid());
        let finalizer = self.active.finalizer();
        let patch = current.and_then(|current| finalizer::remove(&current.value(), &finalizer));
        if let Some(patch) = patch {
            match actor.patch_as_host(&target, patch).await {
                Ok(_) => released.crs += 1,
                Err(error) if error.is_not_found() => released.crs += 1,
                Err(error) => released.failures.push(format!("{target}: {error}")),
            }
        }
    }
}
