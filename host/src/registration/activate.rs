//! From a prepared plugin to one that the engine runs, once its kinds and tables are there.

use super::check::{Use, used_kinds};
use super::controller::{Controller, Role};
use super::dropped::Dropped;
use super::known::{Known, identity};
use super::prepared::{Prepared, unready};
use super::problem::Problem;
use super::report::Outcome;
use super::revisions::Revisions;
use super::{access, check, status_shape, trial};
use crate::kinds::Served;
use kybern_interface::{Gvk, PluginSpec, Registration};
use kybern_reconcile::{Active, Engine, Revision};
use kybern_table::Snapshot;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

impl Controller {
    /// What comes of the registration, and what the engine runs once everything is there.
    pub(super) async fn activate(
        &self,
        registration: &Arc<Registration>,
        known: &mut BTreeMap<String, Known>,
        revisions: &Revisions,
        role: &Role,
        snapshot: &Snapshot,
    ) -> (Outcome, Option<Active>, Option<Problem>) {
        let broken = |problem| (Outcome::Broken(problem), None, None);
        let Some(entry) = known.get_mut(registration.name()) else {
            return broken(Problem::passing("Loading", "not looked at yet"));
        };
        let prepared = match &entry.prepared {
            Ok(prepared) => prepared,
            Err(problem) => {
                // The last good version goes on only while the object asks for the same.
                if entry.running.take().is_some()
                    && let Role::Leader(engine) = role
                {
                    engine.unregister(registration.name()).await;
                }
                return broken(problem.clone());
            }
        };
        let served = self.kinds.served();
        if !served.complete() {
            return broken(Problem::passing(
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
            let mut active = prepared.active(&served)?;
            let asked = &active.manifest.status;
            let (kept, unsupported) = status_shape::kept(asked, &active.primaries, snapshot);
            if kept != *asked {
                Arc::make_mut(&mut active.manifest).status = kept;
            }
            let access = access::of(&registration.spec, &prepared.manifest, &served);
            self.sense
                .admit(
                    registration.name(),
                    &active.digest,
                    access,
                    &prepared.manifest,
                )
                .await?;
            let beside = self.beside(&mut active, prepared, revisions, &served, snapshot);
            let trial_problem = beside.await;
            Ok((active, unsupported, trial_problem))
        };
        let (active, unsupported, trial_problem) = match ready.await {
            Ok(ready) => ready,
            Err(problem) => {
                let problem = prepared.soften(problem, crate::clock::monotonic());
                if problem.reason != "Loading"
                    && entry.running.take().is_some()
                    && let Role::Leader(engine) = role
                {
                    engine.unregister(registration.name()).await;
                }
                return broken(problem);
            }
        };
        self.guests.insert(
            registration.name(),
            prepared.plugin.clone(),
            prepared.limits.clone(),
        );
        if let Role::Leader(_) = role
            && let Err(error) = entry.held.hold(&self.writes, registration).await
        {
            return broken(Problem::passing(
                "FinalizerFailed",
                format!("the finalizer could not be added: {error}"),
            ));
        }
        let outcome = Outcome::Active {
            digest: active.digest.clone(),
            version: prepared.manifest.version.clone(),
            world: prepared.manifest.world.clone(),
            image: prepared.image.clone(),
            resources: active.primaries.iter().map(|p| p.gvk.clone()).collect(),
            written: used_kinds(&registration.spec, &prepared.manifest)
                .into_iter()
                .filter(|(_, used)| *used == Use::Write)
                .map(|(gvk, _)| gvk)
                .chain(written_beside(&registration.spec, &active))
                .chain(check::left_kinds(
                    &prepared.registration,
                    &prepared.manifest,
                ))
                .collect(),
            degraded: entry.degraded.clone(),
            unsupported,
            failing: None,
            trial: None,
            ungranted: check::ungranted(&registration.spec, &prepared.manifest),
            releasing: None,
        };
        (outcome, Some(active), trial_problem)
    }

    /// Puts the revisions that can run now beside the one that decides. Why that on trial cannot.
    async fn beside(
        &self,
        active: &mut Active,
        main: &Prepared,
        revisions: &Revisions,
        served: &Served,
        snapshot: &Snapshot,
    ) -> Option<Problem> {
        let registration = &main.registration;
        let name = registration.name();
        let mut why = None;
        let rules = registration.spec.trial.as_ref().map(trial::rules);
        let on_trial = rules.as_ref().and_then(|rules| rules.as_ref().ok());
        active.missing = revisions.missing(name);
        for (digest, prepared) in revisions.loaded(name) {
            let ready = self.runs_beside(active, digest, prepared, served, snapshot);
            if let Err(problem) = ready.await {
                tracing::debug!(plugin = name, digest, message = %problem.message, "a revision cannot run now");
                if on_trial.is_some_and(|rules| rules.digest == *digest) {
                    why = Some(problem);
                }
            }
        }
        match rules {
            Some(Err(problem)) => return Some(problem),
            Some(Ok(rules)) if !trial::is_over(registration) => active.trial = Some(rules),
            _ => {}
        }
        why
    }

    /// Puts one revision beside the one that decides, if it can run now.
    async fn runs_beside(
        &self,
        active: &mut Active,
        digest: &str,
        prepared: &Prepared,
        served: &Served,
        snapshot: &Snapshot,
    ) -> Result<(), Problem> {
        let registration = &prepared.registration;
        if let Some(problem) = unready(&prepared.tables(served)?, snapshot) {
            return Err(problem);
        }
        let access = access::of(&registration.spec, &prepared.manifest, served);
        let admitted = self
            .sense
            .admit(registration.name(), digest, access, &prepared.manifest);
        admitted.await?;
        let (plugin, limits) = (prepared.plugin.clone(), prepared.limits.clone());
        self.guests.insert(registration.name(), plugin, limits);
        let mut manifest = Arc::clone(&prepared.manifest);
        let (kept, _) = status_shape::kept(&manifest.status, &active.primaries, snapshot);
        if kept != manifest.status {
            Arc::make_mut(&mut manifest).status = kept;
        }
        active.revisions.push(Revision {
            digest: digest.to_owned(),
            manifest,
            settings: prepared.settings.clone(),
            has_sense: prepared.plugin.has_sense(),
        });
        Ok(())
    }

    /// Hands the registration to the engine, unless it has it already.
    pub(super) async fn hand_over(
        &self,
        engine: &Engine,
        active: Active,
        entry: &mut Known,
        dropped: &Dropped,
    ) {
        let name = active.name().to_owned();
        let beside = active.revisions.iter();
        let beside: Vec<_> = beside.map(|of| (&of.digest, &of.manifest.status)).collect();
        let mut settings = DefaultHasher::new();
        active.settings.hash(&mut settings);
        for revision in &active.revisions {
            revision.settings.hash(&mut settings);
        }
        let settings = settings.finish();
        let fingerprint = format!(
            "{:?} {} {:?} {:?} {beside:?} {:?} {:?} {settings:x}",
            identity(&active.registration),
            active.digest,
            active.primaries,
            active.manifest.status,
            active.trial,
            active.missing,
        );
        if entry.running.as_deref() == Some(&fingerprint) {
            return;
        }
        if entry.running.is_some() && !dropped.is_empty() {
            // A pass of before could still write to what is about to be let go of.
            engine.unregister(&name).await;
        }
        tracing::info!(plugin = name, digest = %active.digest, "registration is active");
        engine.register(active);
        entry.running = Some(fingerprint);
        let served = self.kinds.served();
        entry.needs = match &entry.prepared {
            Ok(prepared) => prepared.wanted(&served).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
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
}

/// The kinds that the revisions beside the one that decides may write.
fn written_beside(spec: &PluginSpec, active: &Active) -> Vec<Gvk> {
    let manifests = active.revisions.iter().map(|of| &of.manifest);
    let used = manifests.flat_map(|manifest| used_kinds(spec, manifest));
    let written = used.filter(|(_, used)| *used == Use::Write);
    written.map(|(gvk, _)| gvk).collect()
}
