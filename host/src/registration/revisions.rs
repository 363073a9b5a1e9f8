//! Other revisions of a plugin, loaded beside the one that decides: those that custom resources
//! name, and the one on trial.
//!
//! # Contract
//! A revision that a custom resource names is one that `status.previous` names, from what is kept on
//! disk by digest: nobody is asked for it. The one on trial comes from its source. Both
//! are loaded and checked like any component; a CustomResourceDefinition is installed for neither.

use super::check;
use super::controller::Controller;
use super::known::identity;
use super::loads::Loads;
use super::news::Changes;
use super::prepared::Prepared;
use super::problem::Problem;
use super::settings::{self, Given};
use crate::source::{Fetch, Fetched, What};
use kybern_interface::{Registration, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What is loaded beside what decides, by registration and digest.
#[derive(Default)]
pub(super) struct Revisions {
    of: BTreeMap<String, BTreeMap<String, Held>>,
    /// Digests that custom resources name and that never ran here, by registration.
    strange: BTreeMap<String, BTreeSet<String>>,
}

struct Held {
    /// uid and generation of the registration.
    made_for: (String, i64),
    /// The settings that it was made with.
    given: Given,
    got: Result<Prepared, Problem>,
    /// The ConfigMap that it is to come from, of the one on trial.
    source: Option<(String, String)>,
    /// When to look again.
    again: Option<Duration>,
    /// Looks in a row that came to nothing.
    failures: u32,
}

impl Held {
    /// With these settings; none if it has to be made anew for them.
    fn with(mut self, given: &Given) -> Option<Self> {
        if self.given == *given {
            return Some(self);
        }
        self.given = given.clone();
        let gives = self.got.as_mut().ok()?.give(given);
        gives.is_ok().then_some(self)
    }
}

/// The name under which the component on trial is fetched.
fn trial_of(registration: &str) -> String {
    // No registration is called like that.
    format!("{registration}/trial")
}

/// The name under which a revision that ran before is compiled.
fn former_of(registration: &str, digest: &str) -> String {
    format!("{registration}/{digest}")
}

/// Whether a registration still has a use for what is under way under this name.
pub(super) fn wants(registration: &Registration, name: &str) -> bool {
    name != trial_of(registration.name()) || registration.spec.trial.is_some()
}

/// The registration for which something is under way.
pub(super) fn worked_for(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// Where the component on trial comes from; none without a trial.
fn origin(registration: &Registration) -> Option<&Source> {
    let spec = &registration.spec;
    let trial = spec.trial.as_ref()?;
    Some(trial.source.as_ref().unwrap_or(&spec.source))
}

/// Whether this digest runs here, or did.
fn ran(registration: &Registration, digest: &str) -> bool {
    let status = &registration.status;
    let active = status.active.iter().map(|of| &of.digest);
    let mut ran = active.chain(status.previous.iter().map(|of| &of.digest));
    ran.any(|of| of == digest)
}

impl Revisions {
    /// Those of a registration that are loaded.
    pub(super) fn loaded(&self, registration: &str) -> impl Iterator<Item = (&String, &Prepared)> {
        let of = self.of.get(registration).into_iter().flatten();
        of.filter_map(|(digest, held)| Some((digest, held.got.as_ref().ok()?)))
    }

    /// Why a revision is not there.
    pub(super) fn problem(&self, registration: &str, digest: &str) -> Option<&Problem> {
        self.of.get(registration)?.get(digest)?.got.as_ref().err()
    }

    /// Forgets those of a registration that cannot run.
    pub(super) fn forget(&mut self, registration: &str) {
        self.of.remove(registration);
        self.strange.remove(registration);
    }

    /// The digests that custom resources name and that are not there.
    pub(super) fn missing(&self, registration: &str) -> BTreeSet<String> {
        let of = self.of.get(registration).into_iter().flatten();
        let missing = of.filter(|(_, held)| held.got.is_err());
        let strange = self.strange.get(registration).into_iter().flatten();
        let missing = missing.map(|(digest, _)| digest);
        missing.chain(strange).cloned().collect()
    }

    /// Forgets those of registrations that are gone.
    pub(super) fn retain(&mut self, there: impl Fn(&str) -> bool) {
        self.of.retain(|name, _| there(name));
        self.strange.retain(|name, _| there(name));
    }

    /// ConfigMaps changed: what was to come from one of them and is not there is looked for again.
    /// What is there has its digest, whatever becomes of the ConfigMap.
    pub(super) fn changed(&mut self, changes: &Changes, now: Duration) {
        let all = self.of.values_mut().flat_map(BTreeMap::values_mut);
        for held in all.filter(|held| held.got.is_err()) {
            if held.source.as_ref().is_some_and(|at| changes.concern(at)) {
                held.again = Some(now);
            }
        }
    }

    /// How long nothing is to be looked at again.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        let all = self.of.values().flat_map(BTreeMap::values);
        let again = all.filter_map(|held| held.again).min()?;
        Some(again.saturating_sub(now))
    }

    /// Whether one is to be looked at again.
    pub(super) fn due(&self, now: Duration) -> bool {
        self.wait(now).is_some_and(|wait| wait.is_zero())
    }
}

impl Controller {
    /// Loads what is wanted beside the revision that decides, and forgets the rest.
    pub(super) async fn revise(
        &self,
        registration: &Arc<Registration>,
        main: &Prepared,
        pinned: BTreeSet<String>,
        revisions: &mut Revisions,
        loads: &mut Loads,
    ) {
        let trial = registration.spec.trial.as_ref().map(|trial| &trial.digest);
        // Only what ran here is loaded, however many digests are named.
        let (mut wanted, mut strange): (BTreeSet<String>, BTreeSet<String>) = pinned
            .into_iter()
            .partition(|digest| ran(registration, digest));
        strange.retain(|digest| trial != Some(digest));
        wanted.extend(trial.cloned());
        wanted.remove(main.plugin.digest());
        let name = registration.name();
        let mut before = revisions.of.remove(name).unwrap_or_default();
        let mut now = BTreeMap::new();
        for digest in wanted {
            let made_for = identity(registration);
            let time = crate::clock::monotonic();
            let held = before.remove(&digest);
            let held = held.filter(|held| held.made_for == made_for);
            let held = held.and_then(|held| held.with(&main.given));
            let failures = held.as_ref().map_or(0, |held| held.failures);
            let held = held.filter(|held| {
                // Whoever fetches or compiles says when it is here: then it is looked at again.
                let fetching = held.got.as_ref().is_err_and(Problem::is_under_way);
                !fetching && held.again.is_none_or(|again| again > time)
            });
            let held = match held {
                Some(held) => held,
                None => {
                    let tried = trial == Some(&digest);
                    let work = match tried {
                        true => trial_of(name),
                        false => former_of(name, &digest),
                    };
                    let got = self.revision(registration, main, &digest, tried, &work, loads);
                    let got = got.await;
                    if !got.as_ref().is_err_and(Problem::is_under_way) {
                        loads.settle(&work);
                    }
                    let failures = match &got {
                        Ok(_) => 0,
                        Err(problem) if problem.is_under_way() => failures,
                        Err(_) => failures.saturating_add(1),
                    };
                    let pause = got.as_ref().err();
                    let pause = pause.and_then(|problem| problem.again.pause(failures));
                    let source = origin(registration).filter(|_| tried);
                    let source = source.and_then(|source| source.config_map.as_ref());
                    Held {
                        made_for,
                        given: main.given.clone(),
                        got,
                        source: source.map(|of| (of.namespace.clone(), of.name.clone())),
                        again: pause.map(|pause| time.saturating_add(pause)),
                        failures,
                    }
                }
            };
            now.insert(digest, held);
        }
        revisions.of.insert(name.to_owned(), now);
        revisions.strange.insert(name.to_owned(), strange);
    }

    /// One revision, loaded and checked.
    async fn revision(
        &self,
        registration: &Arc<Registration>,
        main: &Prepared,
        digest: &str,
        tried: bool,
        work: &str,
        loads: &mut Loads,
    ) -> Result<Prepared, Problem> {
        let fetched = if tried {
            self.on_trial(registration, digest, loads).await?
        } else {
            self.former(registration, digest).await?
        };
        let plugin = self.loaded(work, &fetched, loads).await?;
        let image = fetched.image;
        let manifest = Arc::new(plugin.manifest().clone());
        let spec = &registration.spec;
        check::manifest(spec, &manifest)?;
        let settings = settings::of(&plugin, &main.given)?;
        Ok(Prepared {
            registration: Arc::clone(registration),
            plugin,
            manifest,
            given: main.given.clone(),
            settings,
            image,
            limits: main.limits.clone(),
            crds_at: None,
        })
    }

    /// A revision that ran here before, from disk. Nothing that others run: whoever may annotate a
    /// custom resource names it.
    async fn former(&self, registration: &Registration, digest: &str) -> Result<Fetched, Problem> {
        let unknown = |why: &str| Problem::new("RevisionUnknown", format!("{digest} {why}"));
        let oci = registration.spec.source.oci.as_ref();
        if oci.is_some_and(|oci| oci.verify.is_some()) {
            return Err(unknown(
                "is not known to be signed as spec.source.oci.verify asks",
            ));
        }
        let kept = self.sources.kept(digest).await;
        kept.ok_or_else(|| unknown("is not kept any more"))
    }

    /// The component on trial, from where it is.
    async fn on_trial(
        &self,
        registration: &Registration,
        digest: &str,
        loads: &mut Loads,
    ) -> Result<Fetched, Problem> {
        let source = origin(registration).unwrap_or(&registration.spec.source);
        let fetch = Fetch {
            source: source.clone(),
            digest: Some(digest.to_owned()),
            resolved: None,
            what: What::Component,
        };
        let name = trial_of(registration.name());
        let fetched = self.component(&name, fetch, loads).await;
        let fetched = self.or_kept(fetched, source, Some(digest)).await?;
        self.sources.keep(&fetched).await;
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(60);

    fn failed(source: Option<&str>) -> Held {
        Held {
            made_for: Default::default(),
            given: Given {
                values: Default::default(),
                hidden: false,
            },
            got: Err(Problem::new("NotThere", "it is not there")),
            source: source.map(|name| ("team".to_owned(), name.to_owned())),
            again: None,
            failures: 1,
        }
    }

    fn revisions() -> Revisions {
        let held = [Some("code"), Some("other"), None].map(failed);
        let held = held.into_iter().zip(["1", "2", "3"]);
        let held = held.map(|(held, digest)| (digest.to_owned(), held));
        Revisions {
            of: BTreeMap::from([("app".to_owned(), held.collect())]),
            strange: BTreeMap::new(),
        }
    }

    fn due(config_maps: Option<&[&str]>) -> Vec<String> {
        let named = |name: &&str| ("team".to_owned(), (*name).to_owned());
        let mut revisions = revisions();
        assert!(!revisions.due(NOW));
        let changes = Changes {
            plugins: false,
            crds: false,
            groups: BTreeSet::new(),
            config_maps: config_maps.map(|all| all.iter().map(named).collect()),
        };
        revisions.changed(&changes, NOW);
        let all = revisions.of.values().flatten();
        let due = all.filter(|(_, held)| held.again == Some(NOW));
        due.map(|(digest, _)| digest.clone()).collect()
    }

    #[test]
    fn what_is_not_there_is_looked_for_when_its_config_map_changes() {
        assert_eq!(due(Some(&["code", "third"])), ["1"]);
        assert_eq!(due(Some(&["third"])), [""; 0]);
        // Which changed is not known: after too many changes.
        assert_eq!(due(None), ["1", "2"]);
    }
}
