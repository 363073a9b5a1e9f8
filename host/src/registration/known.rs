//! What the controller remembers of one registration between syncs.

use super::controller::Role;
use super::given;
use super::limits;
use super::prepared::Prepared;
use super::problem::Problem;
use crate::source::{BundleSource, SETTING};
use crate::values::ObjectAt;
use crate::wiring::watches::Wanted;
use kybern_interface::{PluginSpec, Registration, Source};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is remembered of one registration between syncs.
pub(super) struct Known {
    /// uid and generation that `prepared` was made for.
    pub(super) made_for: (String, i64),
    /// The plugin, or what is wrong.
    pub(super) prepared: Result<Prepared, Problem>,
    /// When a passing problem is looked at again, on the monotonic clock.
    pub(super) again: Option<Duration>,
    /// What the engine runs: generation, digest and whether each kind is served as before.
    pub(super) running: Option<String>,
    /// What of which kinds that needs: also while another version of it is being prepared.
    pub(super) needs: Vec<Wanted>,
    /// The ConfigMaps that the component and its bundle come from.
    pub(super) sources: Vec<(String, String)>,
    /// The objects that settings come from.
    pub(super) settings: BTreeSet<ObjectAt>,
    /// What is wrong with the source or the settings now, while the last good version goes on.
    pub(super) degraded: Option<Problem>,
    /// Looks in a row that came to nothing.
    failures: u32,
    /// What a standby was told to load: the digest that the leader resolved a tag to.
    pub(super) told: Option<String>,
    /// Whether the next look asks the registry anew what the tag is.
    resolve: bool,
}

impl Known {
    /// What is known after a look; a source that went bad does not stop what it gave before.
    pub(super) fn after(
        before: Option<Self>,
        registration: &Registration,
        looked: Result<Prepared, Problem>,
        role: &Role,
    ) -> Self {
        let made_for = identity(registration);
        let told = registration.status.resolved.as_ref();
        let told = told.map(|resolved| resolved.digest.clone());
        let fetching = looked.as_ref().is_err_and(Problem::is_under_way);
        let before = match before {
            // Nothing new is known until it is here.
            Some(known) if fetching && known.made_for == made_for && known.prepared.is_ok() => {
                let again = None;
                return Self {
                    again,
                    told,
                    ..known
                };
            }
            other => other,
        };
        let same = before.as_ref().filter(|known| known.made_for == made_for);
        let failed = same.map_or(0, |known| known.failures);
        let failures = match &looked {
            Ok(_) => 0,
            Err(_) if fetching => failed,
            Err(_) => failed.saturating_add(1),
        };
        let polling = polling(registration, role);
        let resolve = match fetching {
            true => same.is_some_and(|known| known.resolve),
            false => polling.is_some(),
        };
        let pause = match &looked {
            Ok(_) => polling,
            Err(_) if fetching => None,
            Err(problem) => problem.again.pause(failures).or(polling),
        };
        let running = before.as_ref().and_then(|known| known.running.clone());
        let needs = before.as_ref().map(|known| known.needs.clone());
        let last_good = before.and_then(|known| known.last_good(registration));
        let (prepared, degraded) = match (looked, last_good) {
            (Err(problem), Some(good)) => (Ok(good), Some(problem)),
            (looked, _) => (looked, None),
        };
        let bundle = BundleSource::of(&registration.spec.settings).ok().flatten();
        let bundle = bundle.and_then(|bundle| bundle.place().config_map);
        let maps = registration.spec.source.config_map.iter().chain(&bundle);
        let sources = maps.map(|of| (of.namespace.clone(), of.name.clone()));
        let sources = sources.collect();
        Self {
            made_for,
            prepared,
            again: pause.map(|pause| crate::clock::monotonic().saturating_add(pause)),
            running,
            needs: needs.unwrap_or_default(),
            settings: given::named(&registration.spec).into_keys().collect(),
            sources,
            degraded,
            failures,
            told,
            resolve,
        }
    }

    /// Whether this look asks the registry anew what the tag is.
    pub(super) fn resolves(&self, registration: &Registration) -> bool {
        self.resolve && self.made_for == identity(registration)
    }

    /// What goes on while the registration as it is now cannot be had: it asks for the same but
    /// for where the component comes from.
    fn last_good(self, registration: &Registration) -> Option<Prepared> {
        let same_object = self.made_for.0 == identity(registration).0;
        let good = self.prepared.ok()?;
        let same = same_object && alike(&good.registration.spec, &registration.spec);
        same.then_some(good)
    }
}

/// How often the leader asks anew what the tag is; none if it does not.
fn polling(registration: &Registration, role: &Role) -> Option<Duration> {
    let oci = registration.spec.source.oci.as_ref()?;
    let by_tag = matches!(role, Role::Leader(_)) && !oci.image.contains('@');
    limits::poll_interval(oci).ok()?.filter(|_| by_tag)
}

/// Whether two specs differ at most in where the component comes from.
fn alike(one: &PluginSpec, other: &PluginSpec) -> bool {
    let rest = |spec: &PluginSpec| PluginSpec {
        source: Source::default(),
        digest: None,
        trial: None,
        settings: {
            let mut settings = spec.settings.clone();
            settings.remove(SETTING);
            settings
        },
        ..spec.clone()
    };
    rest(one) == rest(other)
}

/// uid and generation.
pub(super) fn identity(registration: &Registration) -> (String, i64) {
    let uid = registration
        .metadata
        .get("uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    (uid.to_owned(), registration.generation())
}

/// Whether its deletion was asked for.
pub(super) fn deleting(registration: &Registration) -> bool {
    registration
        .metadata
        .get("deletionTimestamp")
        .is_some_and(|t| !t.is_null())
}
