//! A registration whose plugin is loaded and checked, before its tables are ready.

use super::check::{Use, left_kinds, used_kinds};
use super::problem::Problem;
use super::settings::{self, Given};
use crate::kinds::Served;
use crate::wiring::watches::Wanted;
use kybern_interface::{Gvk, Manifest, Registration, ResolvedImage};
use kybern_plugin::{CallLimits, Plugin};
use kybern_reconcile::{Active, KindFacts, PassLimits, Primary};
use kybern_table::{Snapshot, TableDef, TableState};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A registration whose plugin is loaded and checked.
#[derive(Clone)]
pub(crate) struct Prepared {
    /// The object.
    pub(crate) registration: Arc<Registration>,
    /// The component.
    pub(crate) plugin: Plugin,
    /// Its manifest.
    pub(crate) manifest: Arc<Manifest>,
    /// Settings as they are given.
    pub(crate) given: Given,
    /// Settings with defaults.
    pub(crate) settings: Value,
    /// What a call may use.
    pub(crate) limits: CallLimits,
    /// What its OCI reference was resolved to.
    pub(crate) image: Option<ResolvedImage>,
    /// When CRDs of it were installed or changed, on the monotonic clock; none = they were there.
    pub(crate) crds_at: Option<Duration>,
}

/// How long an API server may take to serve a CRD that it has accepted.
const CRD_TIME: Duration = Duration::from_secs(30);

impl Prepared {
    /// A kind whose CRD was installed just now is not missing: it is served in a moment.
    pub(crate) fn soften(&self, problem: Problem, now: Duration) -> Problem {
        let fresh = self
            .crds_at
            .is_some_and(|at| now.saturating_sub(at) < CRD_TIME);
        if fresh && problem.reason == "KindNotServed" {
            Problem::new(
                "InstallingCRD",
                "the CustomResourceDefinitions are installed; waiting until they are served",
            )
        } else {
            problem
        }
    }

    /// Gives it these settings instead. If they do not fit, it has what it had.
    pub(crate) fn give(&mut self, given: &Given) -> Result<(), Problem> {
        if self.given != *given {
            self.settings = settings::of(&self.plugin, given)?;
            self.given = given.clone();
        }
        Ok(())
    }

    /// The tables of every kind that it reads, writes or is in charge of.
    pub(crate) fn tables(&self, served: &Served) -> Result<Vec<TableDef>, Problem> {
        let wanted = self.wanted(served)?;
        Ok(wanted.into_iter().map(|wanted| wanted.def).collect())
    }

    /// Those tables, with the part that is to be watched: what is only read, as far as the grant
    /// reaches.
    pub(crate) fn wanted(&self, served: &Served) -> Result<Vec<Wanted>, Problem> {
        let mut wanted = Vec::new();
        for resource in &self.registration.spec.resources {
            let gvk = Gvk::new(&*resource.group, &*resource.version, &*resource.kind);
            wanted.push(Wanted::all(crate::kinds::table(served_kind(served, &gvk)?)));
        }
        for (gvk, used) in used_kinds(&self.registration.spec, &self.manifest) {
            let optional = matches!(used, Use::Read { optional: true, .. });
            let def = match served_kind(served, &gvk) {
                Ok(resource) => crate::kinds::table(resource),
                Err(_) if optional => continue,
                Err(problem) => return Err(problem),
            };
            wanted.push(match used {
                Use::Read { scope, .. } => Wanted::granted(def, &scope),
                Use::Write => Wanted::all(def),
            });
        }
        let left = left_kinds(&self.registration, &self.manifest);
        let left = left.iter().filter_map(|gvk| served.get(gvk));
        wanted.extend(left.map(|found| Wanted::all(crate::kinds::table(found))));
        Ok(wanted)
    }

    /// What the engine runs; only with kinds that are served.
    pub(crate) fn active(&self, served: &Served) -> Result<Active, Problem> {
        let primaries = self
            .registration
            .spec
            .resources
            .iter()
            .map(|resource| {
                let gvk = Gvk::new(&*resource.group, &*resource.version, &*resource.kind);
                let found = served_kind(served, &gvk)?;
                Ok(Primary {
                    facts: KindFacts {
                        plural: found.plural.clone(),
                        namespaced: found.namespaced,
                        has_status: found.subresources.contains_key("status"),
                    },
                    selector: resource.selector.clone(),
                    gvk,
                })
            })
            .collect::<Result<Vec<_>, Problem>>()?;
        Ok(Active {
            registration: Arc::clone(&self.registration),
            digest: self.plugin.digest().to_owned(),
            manifest: Arc::clone(&self.manifest),
            primaries,
            settings: self.settings.clone(),
            limits: PassLimits {
                effect_time: super::limits::effect_time(&self.registration.spec.limits)?,
                ..PassLimits::of(&self.registration.spec.limits)
            },
            has_sense: self.plugin.has_sense(),
            revisions: Vec::new(),
            missing: std::collections::BTreeSet::new(),
            trial: None,
        })
    }
}

/// The kind, or a problem that goes away when it is served as a pass needs it.
fn served_kind<'a>(served: &'a Served, gvk: &Gvk) -> Result<&'a kybern_kube::ApiResource, Problem> {
    let found = served.get(gvk).ok_or_else(|| {
        Problem::new(
            "KindNotServed",
            format!(
                "{}; install its CustomResourceDefinition, or let the host do it with spec.crds: Create",
                served.why_not(gvk)
            ),
        )
    })?;
    // Without a list nothing is known of it; without a watch nothing says that it has changed.
    match ["list", "watch"].into_iter().find(|verb| !found.can(verb)) {
        None => Ok(found),
        Some(verb) => Err(Problem::new(
            "KindUnreadable",
            format!(
                "the API server does not {verb} {gvk}, so no pass could follow it; leave it out of the plugin's manifest, or of spec.grants. `kybern sql` reads what can be listed"
            ),
        )),
    }
}

/// The first of these tables that cannot be read, and why.
pub(crate) fn unready(tables: &[TableDef], snapshot: &Snapshot) -> Option<Problem> {
    tables.iter().find_map(
        |def| match snapshot.table(&def.key).map(|table| table.state()) {
            Some(TableState::Ready { .. }) => None,
            Some(TableState::Failed(reason)) => {
                Some(Problem::new("KindUnreadable", reason.to_string()))
            }
            Some(TableState::Loading) | None => Some(Problem::new(
                "Loading",
                format!("{} is being listed", def.plural),
            )),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kybern_kube::ApiResource;

    #[test]
    fn a_kind_that_no_pass_could_follow_is_refused_with_the_reason() {
        let resource = |kind: &str, verbs: &[&str]| ApiResource {
            group: String::new(),
            version: "v1".into(),
            kind: kind.into(),
            plural: format!("{}s", kind.to_lowercase()),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            namespaced: true,
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            subresources: std::collections::BTreeMap::new(),
            preferred: true,
        };
        let served = Served::new(vec![
            resource("Pod", &["get", "list", "watch"]),
            resource("ComponentStatus", &["get", "list"]),
            resource("TokenReview", &["create"]),
        ]);
        let problem = |kind: &str| {
            let found = served_kind(&served, &Gvk::new("", "v1", kind));
            found.err().map(|problem| (problem.reason, problem.message))
        };
        assert_eq!(problem("Pod"), None);
        let told = ["ComponentStatus", "TokenReview", "Gone"].map(|kind| {
            let (reason, message) = problem(kind).unwrap();
            format!("{reason}: {message}")
        });
        insta::assert_snapshot!(told.join("\n"));
    }
}
