//! From a `Plugin` object to a loaded, checked plugin.

use super::check;
use super::controller::{Controller, Role};
use super::crds::{self, Installed};
use super::jobs::Job;
use super::known::Known;
use super::loads::{Arrived, Loads};
use super::prepared::Prepared;
use super::problem::Problem;
use super::{given, limits, settings};
use crate::source::{Fetch, Fetched, SourceError, What};
use kybern_interface::{Registration, Source};
use std::sync::Arc;

impl Controller {
    /// From the object to a loaded, checked plugin.
    pub(super) async fn prepare(
        &self,
        registration: &Arc<Registration>,
        all: &[Arc<Registration>],
        role: &Role,
        before: Option<&Known>,
        loads: &mut Loads,
    ) -> Result<Prepared, Problem> {
        let spec = &registration.spec;
        check::spec(spec, &self.namespace)?;
        check::conflicts(registration, all)?;
        let limits = limits::of(&spec.limits)?;
        let fetch = wanted(registration, role, before)?;
        // A tag that was not resolved for good may be another component soon.
        let by_tag = spec.source.oci.is_some() && fetch.resolved.is_none();
        let fetched = self.component(registration.name(), fetch, loads).await;
        // What runs goes on as it is, and what is wrong with its source is told.
        let running = before.and_then(|known| known.prepared.as_ref().ok());
        let running = running.map(|prepared| prepared.plugin.digest());
        let pinned = spec.digest.as_deref().filter(|pin| running != Some(*pin));
        let fetched = self.or_kept(fetched, &spec.source, pinned).await?;
        let fetched = self
            .bundled(registration.name(), spec, fetched, loads)
            .await?;
        // A standby runs what the leader promoted, nothing else.
        if let (Role::Standby, Some(active)) = (role, &registration.status.active)
            && active.digest != fetched.digest
        {
            let digest = &fetched.digest;
            return Err(Problem::passing(
                "WaitingForLeader",
                format!("the source holds {digest}; the leader has not promoted it yet"),
            ));
        }
        let plugin = self.loaded(registration.name(), &fetched, loads).await;
        let plugin = plugin.map_err(|problem| match by_tag && !problem.is_under_way() {
            true => Problem::far(problem.reason, problem.message),
            false => problem,
        })?;
        let manifest = Arc::new(plugin.manifest().clone());
        check::manifest(spec, &manifest)?;
        let given = given::followed(spec, &self.values).await?;
        let settings = settings::of(&plugin, &given)?;
        let mut crds_at = None;
        if matches!(role, Role::Leader(_)) {
            let manager = registration.field_manager();
            let installed = crds::install(&self.writes, spec.crds, &manifest.crds, &manager);
            // Each look resolves the tag anew while there is no good one.
            let installed = installed.await.map_err(|problem| match by_tag {
                true => Problem::far(problem.reason, problem.message),
                false => problem,
            })?;
            if installed == Installed::Changed {
                crds_at = Some(crate::clock::monotonic());
            }
        }
        self.sources.keep(&fetched).await;
        Ok(Prepared {
            registration: Arc::clone(registration),
            plugin,
            manifest,
            given,
            settings,
            limits,
            image: fetched.image,
            crds_at,
        })
    }

    /// What goes on while its source cannot be had follows its settings all the same; those that
    /// cannot be had, or do not fit, leave the last good ones.
    pub(super) async fn give_anew(&self, registration: &Registration, prepared: &mut Prepared) {
        if let Ok(given) = given::followed(&registration.spec, &self.values).await {
            // What is wrong with them is told by the look that ends with it.
            let _ = prepared.give(&given);
        }
    }

    /// What was fetched. If the source has another component than the pinned one, that one from
    /// disk: the way back to what ran before. Not where a signature is to be looked at.
    pub(super) async fn or_kept(
        &self,
        fetched: Result<Fetched, Problem>,
        source: &Source,
        digest: Option<&str>,
    ) -> Result<Fetched, Problem> {
        let verified = source.oci.as_ref().is_some_and(|oci| oci.verify.is_some());
        match (fetched, digest) {
            (Err(problem), Some(digest)) if problem.reason == "DigestMismatch" && !verified => {
                self.sources.kept(digest).await.ok_or(problem)
            }
            (fetched, _) => fetched,
        }
    }

    /// The component, if it is near or on disk; else it is fetched, and is here another time.
    pub(super) async fn component(
        &self,
        name: &str,
        fetch: Fetch,
        loads: &mut Loads,
    ) -> Result<Fetched, Problem> {
        let mut near = fetch.clone();
        let mut was_kept = false;
        match loads.downloads.take(name, &fetch) {
            Job::Unknown => {}
            Job::Running => return Err(Problem::fetching()),
            Job::Ended(Err(problem)) => return Err(problem),
            Job::Ended(Ok(Arrived::Here(fetched))) => return Ok(fetched),
            Job::Ended(Ok(Arrived::Kept(image))) => {
                was_kept = true;
                near.resolved = image.map(|image| image.digest);
            }
        }
        let far = fetch.is_far();
        match self.sources.near(&near, Some(&self.cluster)).await {
            Err(SourceError::NotKept) if was_kept => {
                let what = "what was fetched is not on disk any more: is the disk full?";
                return Err(Problem::far("SourceUnavailable", what));
            }
            Err(SourceError::NotKept) => {}
            other => return other.map_err(|error| error.problem(far)),
        }
        let (sources, cluster, asked) = (self.sources.clone(), self.cluster.clone(), fetch.clone());
        loads.downloads.begin(name, fetch, async move {
            let fetched = sources.fetch(&asked, Some(&cluster)).await;
            let fetched = fetched.map_err(|error| error.problem(far))?;
            Ok(match sources.keeps(&fetched) {
                true => Arrived::Kept(fetched.image),
                false => Arrived::Here(fetched),
            })
        });
        Err(Problem::fetching())
    }
}

/// What is to be fetched. A tag is resolved once, by the leader: after that its digest is meant.
fn wanted(
    registration: &Registration,
    role: &Role,
    before: Option<&Known>,
) -> Result<Fetch, Problem> {
    let spec = &registration.spec;
    let mut fetch = Fetch {
        source: spec.source.clone(),
        digest: spec.digest.clone(),
        resolved: None,
        what: What::Component,
    };
    let Some(oci) = &spec.source.oci else {
        return Ok(fetch);
    };
    let told = registration.status.resolved.as_ref();
    let own = before.and_then(|known| known.prepared.as_ref().ok()?.image.as_ref());
    let found = match role {
        Role::Leader(_) if before.is_some_and(|k| k.resolves(registration)) => None,
        Role::Leader(_) => own.filter(|own| own.image == oci.image).or(told),
        Role::Standby => told,
    };
    let found = found.filter(|resolved| {
        // The status is written by more than the host.
        resolved.image == oci.image && crate::source::is_digest(&resolved.digest)
    });
    fetch.resolved = found.map(|resolved| resolved.digest.clone());
    let waits = matches!(role, Role::Standby) && found.is_none() && !oci.image.contains('@');
    if waits {
        let what = format!(
            "{} is resolved by the leader, which has not said yet to what",
            oci.image
        );
        return Err(Problem::passing("WaitingForLeader", what));
    }
    Ok(fetch)
}
