//! From a prepared plugin to one that the engine runs, once its kinds and tables are there.

use super::controller::{Controller, Role};
use super::known::{Known, identity};
use super::prepared::unready;
use super::problem::Problem;
use super::report::Outcome;
use super::{access, check};
use kybern_interface::Registration;
use kybern_table::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Controller {
    /// Hands the registration to the engine once everything that it needs is there.
    pub(super) async fn activate(
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
}
