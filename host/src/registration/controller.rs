//! Brings the engine, the watches and each registration's status to what the `Plugin` objects say.
//!
//! *Why.* One level-triggered loop over all registrations: they are few, and a sync that changes
//! nothing does nothing. It runs when a `Plugin`, a CRD or the state of a wanted table changed,
//! when the lead changed, and when a passing problem is to be looked at again.

use super::bundled;
use super::dropped::Dropped;
use super::heard::Heard;
use super::hold;
use super::known::{Known, deleting, identity};
use super::latest::Latest;
use super::loads::Loads;
use super::news::{Changes, Seen, states};
use super::next::{Next, Schemas};
use super::problem::Problem;
use super::rediscover::Rediscover;
use super::releases::{Key, Progress, Releases};
use super::removal::Means;
use super::report::{self, Outcome, Reported};
use super::reviews::Reviews;
use super::revisions::{self, Revisions};
use crate::kinds::{Kinds, plugin_table};
use crate::rights::{Found, Refusals, Reviewer};
use crate::source::Sources;
use crate::values::Values;
use crate::wiring::decide::Guests;
use crate::wiring::time::Jitter;
use crate::wiring::watches::Watches;
use futures::FutureExt;
use kybern_interface::Registration;
use kybern_kube::{Cluster, Writes};
use kybern_plugin::Runtime;
use kybern_reconcile::{Active, Counters, Engine};
use kybern_sense::SqlSense;
use kybern_table::{Reader, Sequence, Snapshot};
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
    /// The one namespace that the host is kept to.
    pub(crate) only: Option<String>,
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
    /// Where components come from.
    pub(crate) sources: Sources,
    /// The sandbox.
    pub(crate) runtime: Runtime,
    /// Loaded plugins.
    pub(crate) guests: Guests,
    /// Queries.
    pub(crate) sense: Arc<SqlSense>,
    /// What is counted of passes.
    pub(crate) counters: Counters,
    /// Where settings come from.
    pub(crate) values: Values,
    /// Asks for rights.
    pub(crate) reviewer: Reviewer,
    /// Writes that were refused.
    pub(crate) refusals: Refusals,
}

/// This replica's part: a standby loads and watches, the leader also runs and writes.
pub(crate) enum Role {
    /// Another replica leads.
    Standby,
    /// This one does, with this engine.
    Leader(Engine),
}

/// What goes on between syncs.
struct Ongoing {
    releases: Releases,
    heard: Heard,
    loads: Loads,
    revisions: Revisions,
    reviews: Reviews,
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
        let mut role = Latest::of(&mut roles);
        let mut ongoing = Ongoing {
            releases: Releases::new(Arc::new(Jitter)),
            heard: Heard::of(role.get()),
            loads: Loads::default(),
            revisions: Revisions::default(),
            reviews: Reviews::default(),
        };
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
                let source_changed = k.sources.iter().any(|of| changes.concern(of));
                // What a CRD's state stood in the way of is tried again when a CRD changes.
                let problem = k.prepared.as_ref().err().or(k.degraded.as_ref());
                let crd_changed =
                    changes.crds && problem.is_some_and(|p| p.reason.starts_with("CRD"));
                if source_changed || crd_changed {
                    k.again = Some(Duration::ZERO);
                }
            }
            let values = self.values.take_changed();
            for k in known.values_mut() {
                if !k.settings.is_disjoint(&values) {
                    k.again = Some(Duration::ZERO);
                }
            }
            for name in ongoing.loads.ended() {
                due = true;
                if let Some(k) = known.get_mut(bundled::registration_of(&name)) {
                    k.again = Some(Duration::ZERO);
                }
            }
            let now = crate::clock::monotonic();
            ongoing.revisions.changed(&changes, now);
            due |= ongoing.revisions.due(now);
            for refused in self.refusals.take() {
                ongoing.reviews.refused(&refused, now);
            }
            due |= ongoing.reviews.due(now);
            due |= known.values().any(|k| k.again.is_some_and(|t| t <= now));
            let mut wait = discovery.wait();
            if due {
                if role.changed(&mut roles) {
                    ongoing.heard = Heard::of(role.get());
                    ongoing.releases.retain(|_| false);
                    ongoing.reviews.retain(|_| false, &self.reviewer);
                    for k in known.values_mut() {
                        k.running = None;
                        // A standby prepares less than a leader: no CRDs, only promoted digests.
                        k.again = Some(Duration::ZERO);
                    }
                }
                let next = self
                    .sync(&snapshot, &mut known, &mut ongoing, role.get())
                    .await;
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
            if let Some(again) = ongoing.revisions.wait(now) {
                wait = wait.min(again.max(Duration::from_millis(500)));
            }
            if let Some(again) = ongoing.reviews.wait(now) {
                wait = wait.min(again.max(Duration::from_millis(500)));
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.commits.changed() => if changed.is_err() { return },
                changed = roles.changed() => {
                    if changed.is_err() { return }
                    due = true;
                }
                () = ongoing.releases.changed() => due = true,
                () = ongoing.heard.changed() => due = true,
                () = ongoing.loads.changed() => due = true,
                () = ongoing.reviews.changed() => due = true,
                () = self.refusals.changed() => {}
                () = self.values.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One sync of everything.
    async fn sync(
        &self,
        snapshot: &Snapshot,
        known: &mut BTreeMap<String, Known>,
        ongoing: &mut Ongoing,
        role: &Role,
    ) -> Next {
        let Ongoing {
            releases,
            heard,
            loads,
            revisions,
            reviews,
        } = ongoing;
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
            self.guests.retain(&name, &[]);
            self.sense.retain(&name, &[]);
            self.counters.forget(&name);
        }
        let there = |name: &str| {
            let of = registrations.iter().find(|r| r.name() == name);
            of.filter(|of| !deleting(of))
        };
        loads.retain(|name| {
            there(revisions::worked_for(name)).is_some_and(|of| revisions::wants(of, name))
        });
        revisions.retain(|name| there(name).is_some());
        reviews.retain(|name| there(name).is_some(), &self.reviewer);
        self.follow_values(&registrations);
        for registration in &registrations {
            let before = known.get(registration.name());
            if deleting(registration) {
                if let Some(known) = known.get_mut(registration.name()) {
                    known.again = None;
                }
                continue;
            }
            if !stale(registration, before, role) {
                continue;
            }
            let prepared = self
                .prepare(registration, &registrations, role, before, loads)
                .await;
            if !prepared.as_ref().is_err_and(Problem::is_under_way) {
                loads.settle(registration.name());
            }
            let before = known.remove(registration.name());
            let mut entry = Known::after(before, registration, prepared, role);
            if let Ok(prepared) = &mut entry.prepared {
                self.give_anew(registration, prepared).await;
            }
            known.insert(registration.name().to_owned(), entry);
        }
        for registration in &registrations {
            let main = known.get(registration.name());
            let main = main.and_then(|known| known.prepared.as_ref().ok());
            match main.filter(|_| !deleting(registration)) {
                None => revisions.forget(registration.name()),
                Some(main) => {
                    let pinned = heard.pinned(registration.name());
                    self.revise(registration, main, pinned, revisions, loads)
                        .await;
                }
            }
        }
        self.sources
            .hold(registrations.iter().flat_map(|r| in_use(r)));
        if self.watch_wanted(&registrations, known, revisions).await == Schemas::Missing {
            next = Next::Unserved;
        }
        let snapshot = self.reader.snapshot();
        releases.retain(|name| registrations.iter().any(|r| r.name() == name));
        for registration in &registrations {
            if deleting(registration) {
                if let Some(outcome) = self.remove(registration, releases, role) {
                    next = next.or(&outcome);
                    if self.report(registration, &outcome, None).await == Reported::Failed {
                        next = Next::Soon;
                    }
                }
                continue;
            }
            let (mut outcome, active, trial_problem) = self
                .activate(registration, known, revisions, role, &snapshot)
                .await;
            let digests = active.as_ref().map(digests);
            let Role::Leader(engine) = role else {
                next = next.or(&outcome);
                self.keep(registration, digests);
                continue;
            };
            if let Outcome::Active { failing, trial, .. } = &mut outcome {
                *failing = heard.trouble(registration.name());
                let main = known.get(registration.name());
                let main = main.and_then(|known| known.prepared.as_ref().ok());
                let wanted = registration.spec.trial.as_ref();
                let loading =
                    wanted.and_then(|of| revisions.problem(registration.name(), &of.digest));
                let problem = loading.cloned().or(trial_problem);
                let seen = heard.trial(registration.name());
                *trial = main
                    .and_then(|main| super::trial::going(registration, main, problem, seen))
                    .map(Box::new);
            }
            let dropped = Dropped::of(registration);
            // A release of before must not go on beside passes over what is named again.
            let key = (!dropped.is_empty()).then(|| release_key(registration));
            releases.keep(registration.name(), key.as_ref());
            if let Some(key) = &key
                && let Outcome::Active { releasing, .. } = &mut outcome
            {
                let problem = match releases.progress(registration.name(), key) {
                    Some(Progress::Released) => None,
                    Some(Progress::Failing(problem)) => Some(Some(problem)),
                    Some(Progress::Running) | None => Some(None),
                };
                *releasing = problem.map(|problem| Box::new((dropped.clone(), problem)));
            }
            next = next.or(&outcome);
            let found = self.review(registration, &outcome, reviews);
            let reported = self.report(registration, &outcome, found).await;
            if reported == Reported::Failed {
                next = Next::Soon;
            }
            let (Some(active), Some(entry)) = (active, known.get_mut(registration.name())) else {
                continue;
            };
            // What a pass may leave something on is in the status before the pass.
            if reported == Reported::Failed && !outcome.recorded(registration) {
                continue;
            }
            self.hand_over(engine, active, entry, &dropped).await;
            // Not before: what was there until now may be under way.
            self.keep(registration, digests);
            // Only a registration that is accepted as it is now shows what was dropped on purpose.
            if key.is_some() {
                self.follow(registration, releases, engine);
            }
        }
        next
    }

    /// Forgets all revisions but these; nothing if it is not known which run.
    fn keep(&self, registration: &Registration, digests: Option<Vec<String>>) {
        if let Some(digests) = digests {
            self.guests.retain(registration.name(), &digests);
            self.sense.retain(registration.name(), &digests);
        }
    }

    /// Writes the status if it is not as this outcome has it.
    async fn report(
        &self,
        registration: &Registration,
        outcome: &Outcome,
        found: Option<&Found>,
    ) -> Reported {
        match report::write(&self.writes, registration, outcome, found).await {
            Ok(()) => Reported::Done,
            Err(error) => {
                tracing::warn!(plugin = registration.name(), %error, "status of the registration could not be written; tried again");
                Reported::Failed
            }
        }
    }

    /// The registrations of this class, and those that cannot be read.
    pub(super) fn registrations(
        &self,
        snapshot: &Snapshot,
    ) -> (Vec<Arc<Registration>>, Vec<(String, Problem)>) {
        let mut good = Vec::new();
        let mut broken = Vec::new();
        let key = plugin_table().key;
        let objects = crate::tables::objects(snapshot, &key).unwrap_or_else(|_| {
            self.reader
                .read(|newest| crate::tables::objects(newest, &key))
        });
        for value in objects {
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

    /// Lets go of everything, then lets the object go. None: nothing stands in the way so far.
    fn remove(
        &self,
        registration: &Arc<Registration>,
        releases: &mut Releases,
        role: &Role,
    ) -> Option<Outcome> {
        let Role::Leader(engine) = role else {
            return None;
        };
        if !hold::held(registration) {
            return None;
        }
        match self.follow(registration, releases, engine) {
            Progress::Failing(problem) => Some(Outcome::Releasing(problem)),
            Progress::Running | Progress::Released => None,
        }
    }

    /// Begins a release unless it was begun, and says how far it is.
    fn follow(
        &self,
        registration: &Registration,
        releases: &mut Releases,
        engine: &Engine,
    ) -> Progress {
        let key = release_key(registration);
        let means = Means {
            engine: engine.clone(),
            reader: self.reader.clone(),
            kinds: self.kinds.clone(),
            writes: self.writes.clone(),
            name: registration.name().to_owned(),
            uid: key.uid.clone(),
        };
        releases.follow(registration.name(), key, || {
            Box::new(move || means.clone().attempt().boxed())
        })
    }
}

/// The digests that a registration needs to start, to be gone back to, and to try.
fn in_use(registration: &Registration) -> impl Iterator<Item = &str> {
    let (spec, status) = (&registration.spec, &registration.status);
    let trial = spec.trial.iter().map(|trial| trial.digest.as_str());
    let resolved = status.resolved.iter().map(|of| of.digest.as_str());
    let active = status.active.iter().map(|of| of.digest.as_str());
    let previous = status.previous.iter().map(|of| of.digest.as_str());
    let all = spec.digest.as_deref().into_iter().chain(trial);
    all.chain(resolved).chain(active).chain(previous)
}

/// All revisions that a registration runs.
fn digests(active: &Active) -> Vec<String> {
    let others = active.revisions.iter().map(|of| of.digest.clone());
    others.chain([active.digest.clone()]).collect()
}

/// Whether the registration is to be looked at anew.
fn stale(registration: &Registration, before: Option<&Known>, role: &Role) -> bool {
    let Some(known) = before else {
        return true;
    };
    let told = || registration.status.resolved.as_ref().map(|r| &r.digest);
    known.made_for != identity(registration)
        || known.again.is_some_and(|t| t <= crate::clock::monotonic())
        || (matches!(role, Role::Standby) && known.told.as_ref() != told())
}

fn release_key(registration: &Registration) -> Key {
    let (uid, generation) = identity(registration);
    Key {
        uid,
        generation,
        whole: deleting(registration),
    }
}

/// The kind as URLs name it, for the rest of this folder.
pub(super) fn plugin_resource() -> kybern_kube::Resource {
    kybern_kube::Resource::from(&plugin_table())
}
