//! Brings the engine, the watches and each registration's status to what the `Plugin` objects say.
//!
//! *Why.* One level-triggered loop over all registrations: they are few, and a sync that changes
//! nothing does nothing. It runs when a `Plugin`, a CRD or the state of a wanted table changed,
//! when the lead changed, and when a passing problem is to be looked at again.

use super::access;
use super::check;
use super::crds::{self, Installed};
use super::news::{Changes, Seen, states};
use super::next::{Next, Schemas};
use super::prepared::{Prepared, unready};
use super::problem::{Again, Problem, of_load};
use super::rediscover::Rediscover;
use super::report::{self, Outcome};
use super::{limits, settings, source};
use crate::kinds::{Kinds, crd_table, plugin_table};
use crate::wiring::decide::Guests;
use crate::wiring::sense::SqlSense;
use crate::wiring::watches::Watches;
use kybern_interface::{Gvk, Registration};
use kybern_kube::{Cluster, Writes};
use kybern_plugin::Runtime;
use kybern_reconcile::Engine;
use kybern_table::{Reader, Sequence, Snapshot, TableDef};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the controller works with.
pub(crate) struct Controller {
    /// Only registrations of this class.
    pub(crate) class: String,
    /// Where ConfigMap sources need no digest.
    pub(crate) namespace: String,
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// Behind the fence.
    pub(crate) writes: Writes,
    /// The tables.
    pub(crate) reader: Reader,
    /// News of commits.
    pub(crate) commits: watch::Receiver<Sequence>,
    /// What is served.
    pub(crate) kinds: Kinds,
    /// The watches.
    pub(crate) watches: Watches,
    /// The sandbox.
    pub(crate) runtime: Runtime,
    /// Loaded plugins.
    pub(crate) guests: Guests,
    /// Queries.
    pub(crate) sense: Arc<SqlSense>,
}

/// What is remembered of one registration between syncs.
struct Known {
    /// uid and generation that `prepared` was made for.
    made_for: (String, i64),
    /// The plugin, or what is wrong.
    prepared: Result<Prepared, Problem>,
    /// When a passing problem is looked at again, on the monotonic clock.
    again: Option<Duration>,
    /// What the engine runs: generation, digest and whether each kind is served as before.
    running: Option<String>,
    /// The ConfigMap that the component comes from.
    source: Option<(String, String)>,
    /// Why the source could not be read again, while the last good version goes on.
    degraded: Option<Problem>,
}

/// This replica's part: a standby loads and watches, the leader also runs and writes.
pub(crate) enum Role {
    /// Another replica leads.
    Standby,
    /// This one does, with this engine.
    Leader(Engine),
}

impl Controller {
    /// Syncs until `shutdown`. `roles` says who leads.
    pub(crate) async fn run(
        mut self,
        mut roles: watch::Receiver<Arc<Role>>,
        shutdown: CancellationToken,
    ) {
        let mut known: BTreeMap<String, Known> = BTreeMap::new();
        let mut at = Sequence(0);
        let mut seen = Seen::default();
        let mut due = true;
        let mut discovery = Rediscover::now();
        let mut role = Arc::clone(&roles.borrow_and_update());
        loop {
            let snapshot = self.reader.snapshot();
            let changes = Changes::between(at, &snapshot);
            at = snapshot.sequence();
            let now_seen = states(&snapshot);
            due |= changes.plugins || changes.crds || now_seen != seen;
            seen = now_seen;
            if changes.crds {
                discovery = Rediscover::now();
                changes
                    .groups
                    .iter()
                    .for_each(|group| self.kinds.forget_types(group));
            }
            if discovery.due() {
                match self.kinds.discover(&self.cluster).await {
                    Ok(()) => {
                        discovery.done();
                        self.sense.set_catalog(self.kinds.catalog());
                    }
                    Err(error) => {
                        discovery.later();
                        tracing::warn!(error = %format!("{error:#}"), "discovery failed; tried again");
                    }
                }
                due = true;
            }
            for k in known.values_mut() {
                let source_changed = k.source.as_ref().is_some_and(|source| {
                    changes
                        .config_maps
                        .as_ref()
                        .is_none_or(|all| all.contains(source))
                });
                // What a CRD's state stood in the way of is tried again when a CRD changes.
                let crd_changed =
                    changes.crds && matches!(&k.prepared, Err(p) if p.reason.starts_with("CRD"));
                if source_changed || crd_changed {
                    k.again = Some(Duration::ZERO);
                }
            }
            let now = crate::clock::monotonic();
            due |= known.values().any(|k| k.again.is_some_and(|t| t <= now));
            let mut wait = discovery.wait();
            if due {
                // By identity, not by the news of it: two changes in a row are one piece of news.
                let now_role = Arc::clone(&roles.borrow_and_update());
                if !Arc::ptr_eq(&role, &now_role) {
                    role = now_role;
                    for k in known.values_mut() {
                        k.running = None;
                        // A standby prepares less than a leader: no CRDs, only promoted digests.
                        k.again = Some(Duration::ZERO);
                    }
                }
                let next = self.sync(&snapshot, &mut known, &role).await;
                due = matches!(next, Next::Soon | Next::Later);
                match next {
                    Next::Later => wait = wait.min(Duration::from_secs(5)),
                    // A CRD is served a moment after it says so.
                    Next::Unserved => discovery.later(),
                    Next::Soon => wait = Duration::from_millis(500),
                    Next::OnChange => {}
                }
                wait = wait.min(discovery.wait());
            }
            let now = crate::clock::monotonic();
            for k in known.values() {
                if let Some(again) = k.again {
                    wait = wait.min(again.saturating_sub(now).max(Duration::from_millis(50)));
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.commits.changed() => if changed.is_err() { return },
                changed = roles.changed() => {
                    if changed.is_err() { return }
                    due = true;
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One sync of everything.
    async fn sync(
        &self,
        snapshot: &Snapshot,
        known: &mut BTreeMap<String, Known>,
        role: &Role,
    ) -> Next {
        let mut next = Next::OnChange;
        let (registrations, broken) = self.registrations(snapshot);
        for (name, problem) in broken {
            tracing::error!(plugin = %name, message = %problem.message, "registration cannot be read");
        }
        // Gone without our finalizer, or of another class now.
        let gone: Vec<String> = known
            .keys()
            .filter(|name| registrations.iter().all(|r| r.name() != name.as_str()))
            .cloned()
            .collect();
        for name in gone {
            known.remove(&name);
            if let Role::Leader(engine) = role {
                engine.unregister(&name).await;
            }
            self.guests.retain(&name, None);
            self.sense.forget(&name);
        }
        for registration in &registrations {
            let stale = known.get(registration.name()).is_none_or(|k| {
                k.made_for != identity(registration)
                    || k.again.is_some_and(|t| t <= crate::clock::monotonic())
            });
            if stale && !deleting(registration) {
                let prepared = self.prepare(registration, &registrations, role).await;
                let again = match &prepared {
                    Err(Problem {
                        again: Again::After(wait),
                        ..
                    }) => Some(crate::clock::monotonic().saturating_add(*wait)),
                    _ => None,
                };
                let made_for = identity(registration);
                let before = known.remove(registration.name());
                let running = before.as_ref().and_then(|k| k.running.clone());
                // A source that cannot be read for a while does not stop what it gave before.
                let last_good = before
                    .filter(|k| k.made_for == made_for && again.is_some())
                    .and_then(|k| k.prepared.ok());
                let (prepared, degraded) = match (prepared, last_good) {
                    (Err(problem), Some(good)) => (Ok(good), Some(problem)),
                    (prepared, _) => (prepared, None),
                };
                let source = registration.spec.source.config_map.as_ref();
                known.insert(
                    registration.name().to_owned(),
                    Known {
                        made_for,
                        prepared,
                        again,
                        running,
                        source: source.map(|s| (s.namespace.clone(), s.name.clone())),
                        degraded,
                    },
                );
            }
        }
        if self.watch_wanted(&registrations, known).await == Schemas::Missing {
            next = Next::Unserved;
        }
        let snapshot = self.reader.snapshot();
        for registration in &registrations {
            let outcome = if deleting(registration) {
                match self.remove(registration, known, role).await {
                    Some(outcome) => {
                        next = Next::Soon;
                        outcome
                    }
                    None => continue,
                }
            } else {
                self.activate(registration, known, role, &snapshot).await
            };
            if let Outcome::Broken(Problem {
                reason: "KindNotServed" | "InstallingCRD",
                ..
            }) = outcome
                && next == Next::OnChange
            {
                next = Next::Unserved;
            }
            if let Outcome::Broken(Problem {
                again: Again::After(_),
                ..
            }) = outcome
                && next == Next::OnChange
            {
                next = Next::Later;
            }
            if let Role::Leader(_) = role
                && let Err(error) = report::write(&self.writes, registration, &outcome).await
            {
                tracing::warn!(plugin = registration.name(), %error, "status of the registration could not be written; tried again");
                next = Next::Soon;
            }
        }
        next
    }

    /// The registrations of this class, and those that cannot be read.
    fn registrations(
        &self,
        snapshot: &Snapshot,
    ) -> (Vec<Arc<Registration>>, Vec<(String, Problem)>) {
        let mut good = Vec::new();
        let mut broken = Vec::new();
        for value in crate::tables::objects(snapshot, &plugin_table().key) {
            let class = value
                .pointer("/spec/class")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if class != self.class {
                continue;
            }
            let name = value
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            match serde_json::from_value::<Registration>(value) {
                Ok(registration) => good.push(Arc::new(registration)),
                Err(error) => broken.push((name, Problem::new("InvalidSpec", error.to_string()))),
            }
        }
        good.sort_by(|a, b| a.name().cmp(b.name()));
        (good, broken)
    }

    /// From the object to a loaded, checked plugin.
    async fn prepare(
        &self,
        registration: &Arc<Registration>,
        all: &[Arc<Registration>],
        role: &Role,
    ) -> Result<Prepared, Problem> {
        let spec = &registration.spec;
        check::spec(spec, &self.namespace)?;
        check::conflicts(registration, all)?;
        let limits = limits::of(&spec.limits)?;
        let bytes = source::fetch(&spec.source, Some(&self.cluster)).await?;
        let digest = source::digest(&bytes);
        if let Some(wanted) = &spec.digest
            && *wanted != digest
        {
            return Err(Problem::passing(
                "DigestMismatch",
                format!(
                    "spec.digest is {wanted}, but the source holds {digest}; pin the digest that you reviewed, or restore the source"
                ),
            ));
        }
        // A standby runs what the leader promoted, nothing else.
        if let (Role::Standby, Some(active)) = (role, &registration.status.active)
            && active.digest != digest
        {
            return Err(Problem::passing(
                "WaitingForLeader",
                format!("the source holds {digest}; the leader has not promoted it yet"),
            ));
        }
        let runtime = self.runtime.clone();
        let plugin = tokio::task::spawn_blocking(move || runtime.load(&bytes))
            .await
            .map_err(|_| Problem::passing("LoadFailed", "loading was interrupted"))?
            .map_err(|error| of_load(&error))?;
        let manifest = Arc::new(plugin.manifest().clone());
        check::manifest(spec, &manifest)?;
        let settings = settings::resolve(&spec.settings, &manifest.settings_schema)?;
        let mut crds_at = None;
        if matches!(role, Role::Leader(_)) {
            let manager = registration.field_manager();
            let installed =
                crds::install(&self.writes, spec.crds, &manifest.crds, &manager).await?;
            if installed == Installed::Changed {
                crds_at = Some(crate::clock::monotonic());
            }
        }
        Ok(Prepared {
            registration: Arc::clone(registration),
            plugin,
            manifest,
            settings,
            limits,
            crds_at,
        })
    }

    /// Watches what the registrations need, and what the host itself needs.
    async fn watch_wanted(
        &self,
        registrations: &[Arc<Registration>],
        known: &BTreeMap<String, Known>,
    ) -> Schemas {
        let served = self.kinds.served();
        let mut wanted: BTreeMap<kybern_table::KindKey, TableDef> = BTreeMap::new();
        let mut want = |def: TableDef| {
            wanted.entry(def.key.clone()).or_insert(def);
        };
        want(plugin_table());
        want(crd_table());
        for registration in registrations {
            if registration.spec.source.config_map.is_some()
                && let Some(found) = served.get(&Gvk::new("", "v1", "ConfigMap"))
            {
                want(crate::kinds::table(found));
            }
            if let Some(Ok(prepared)) = known.get(registration.name()).map(|k| &k.prepared)
                && let Ok(tables) = prepared.tables(&served)
            {
                tables.into_iter().for_each(&mut want);
            }
            // What has to be released must be seen, even if the plugin cannot be loaded.
            for def in super::removal::tables(registration, &served) {
                want(def);
            }
        }
        let mut schemas = Schemas::Settled;
        for def in wanted.values() {
            if self.kinds.wants_types(&def.key.group, &def.key.version) {
                self.kinds
                    .learn_types(&self.cluster, &def.key.group, &def.key.version)
                    .await;
                self.sense.set_catalog(self.kinds.catalog());
                if self.kinds.wants_types(&def.key.group, &def.key.version) {
                    schemas = Schemas::Missing;
                }
            }
        }
        self.watches.set(wanted.into_values().collect()).await;
        schemas
    }

    /// Hands the registration to the engine once everything that it needs is there.
    async fn activate(
        &self,
        registration: &Arc<Registration>,
        known: &mut BTreeMap<String, Known>,
        role: &Role,
        snapshot: &Snapshot,
    ) -> Outcome {
        let Some(entry) = known.get_mut(registration.name()) else {
            return Outcome::Broken(Problem::passing("Loading", "not looked at yet"));
        };
        let prepared = match &entry.prepared {
            Ok(prepared) => prepared,
            Err(problem) => {
                // The last good version goes on only while the object still asks for it.
                if entry.running.take().is_some()
                    && let Role::Leader(engine) = role
                {
                    engine.unregister(registration.name()).await;
                }
                return Outcome::Broken(problem.clone());
            }
        };
        let served = self.kinds.served();
        if !served.complete() {
            return Outcome::Broken(Problem::passing(
                "Loading",
                "the API server has not said yet what it serves",
            ));
        }
        let running = entry.running.is_some();
        let ready = async {
            let tables = prepared.tables(&served)?;
            // It delays activation only: what runs goes on when a dependency has trouble.
            if !running && let Some(missing) = self.missing_dependency(registration, snapshot) {
                return Err(missing);
            }
            if let Some(problem) = unready(&tables, snapshot) {
                return Err(problem);
            }
            let active = prepared.active(&served)?;
            let access = access::of(&registration.spec, &prepared.manifest, &served);
            self.sense
                .admit(registration.name(), access, &prepared.manifest)
                .await?;
            Ok(active)
        };
        let active = match ready.await {
            Ok(active) => active,
            Err(problem) => {
                let problem = prepared.soften(problem, crate::clock::monotonic());
                if problem.reason != "Loading"
                    && entry.running.take().is_some()
                    && let Role::Leader(engine) = role
                {
                    engine.unregister(registration.name()).await;
                }
                return Outcome::Broken(problem);
            }
        };
        self.guests.insert(
            registration.name(),
            prepared.plugin.clone(),
            prepared.limits.clone(),
        );
        if let Role::Leader(engine) = role {
            if let Err(error) = super::removal::hold(&self.writes, registration).await {
                return Outcome::Broken(Problem::passing(
                    "FinalizerFailed",
                    format!("the finalizer could not be added: {error}"),
                ));
            }
            let fingerprint = format!(
                "{:?} {} {:?}",
                identity(registration),
                active.digest,
                active.primaries
            );
            if entry.running.as_deref() != Some(&fingerprint) {
                tracing::info!(plugin = registration.name(), digest = %active.digest, "registration is active");
                engine.register(active.clone());
                entry.running = Some(fingerprint);
            }
        }
        self.guests
            .retain(registration.name(), Some(&active.digest));
        Outcome::Active {
            digest: active.digest,
            version: prepared.manifest.version.clone(),
            world: prepared.manifest.world.clone(),
            degraded: entry.degraded.clone(),
            ungranted: check::ungranted(&registration.spec, &prepared.manifest),
        }
    }

    /// A registration that this one depends on and that is not Ready.
    fn missing_dependency(
        &self,
        registration: &Registration,
        snapshot: &Snapshot,
    ) -> Option<Problem> {
        let all = self.registrations(snapshot).0;
        registration.spec.depends_on.iter().find_map(|name| {
            let ready = all.iter().find(|r| r.name() == name).is_some_and(|r| {
                r.status
                    .conditions
                    .iter()
                    .any(|c| c.kind == "Ready" && c.status == "True")
            });
            (!ready).then(|| {
                Problem::new(
                    "WaitingForDependency",
                    format!("Plugin {name}, named in spec.dependsOn, is not Ready"),
                )
            })
        })
    }

    /// Lets go of everything, then lets the object go. None: it is gone.
    async fn remove(
        &self,
        registration: &Arc<Registration>,
        known: &mut BTreeMap<String, Known>,
        role: &Role,
    ) -> Option<Outcome> {
        let Role::Leader(engine) = role else {
            return None;
        };
        if !super::removal::held(registration) {
            return None;
        }
        engine.unregister(registration.name()).await;
        let served = self.kinds.served();
        let (active, unreadable) =
            super::removal::active(registration, &served, &self.reader.snapshot());
        if let Some(problem) = unreadable {
            return Some(Outcome::Broken(problem));
        }
        let released = engine.release(&active, registration.spec.on_removal).await;
        tracing::info!(
            plugin = registration.name(),
            crs = released.crs,
            children = released.children,
            failures = released.failures.len(),
            "released"
        );
        if !released.failures.is_empty() {
            return Some(Outcome::Broken(Problem::passing(
                "Releasing",
                format!("not released yet: {}", released.failures.join("; ")),
            )));
        }
        match super::removal::let_go(&self.writes, registration).await {
            Ok(()) => {
                known.remove(registration.name());
                self.guests.retain(registration.name(), None);
                self.sense.forget(registration.name());
                None
            }
            Err(error) => Some(Outcome::Broken(Problem::passing(
                "Releasing",
                format!("the finalizer could not be removed: {error}"),
            ))),
        }
    }
}

fn identity(registration: &Registration) -> (String, i64) {
    let uid = registration
        .metadata
        .get("uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    (uid.to_owned(), registration.generation())
}

fn deleting(registration: &Registration) -> bool {
    registration
        .metadata
        .get("deletionTimestamp")
        .is_some_and(|t| !t.is_null())
}

/// The kind as URLs name it, for the rest of this folder.
pub(super) fn plugin_resource() -> kybern_kube::Resource {
    kybern_kube::Resource::from(&plugin_table())
}
