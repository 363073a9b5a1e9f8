//! Finds out what the API server serves.
//!
//! # Contract
//! [`discover`] asks for aggregated discovery (`apidiscovery.k8s.io/v2`, then `v2beta1`) and walks the
//! group versions one by one where that is not served. A group version that cannot be read is
//! reported in [`Discovery::failures`] and hides nothing else.

mod aggregated;
mod legacy;

use std::collections::{BTreeMap, BTreeSet};

use crate::{api_error::RequestError, cluster::Cluster};

/// One kind as it is served in one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiResource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Plural resource name, such as `deployments`.
    pub plural: String,
    /// Singular name, such as `deployment`; may be empty.
    pub singular: String,
    /// Short names, such as `deploy`.
    pub short_names: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs, such as `list`, `watch`, `patch`.
    pub verbs: Vec<String>,
    /// Subresources with their verbs, such as `status`, `scale`.
    pub subresources: BTreeMap<String, Vec<String>>,
    /// Whether this is the version to use when none is named: the first of the group's versions,
    /// in the group's own order of preference, that serves the resource.
    pub preferred: bool,
}

impl ApiResource {
    /// Whether a verb is served.
    #[must_use]
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|served| served == verb)
    }

    /// `apps/v1`, or `v1` in the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }
}

/// A group version that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiscoveryFailure {
    /// `group/version`, or a path when even the groups are unknown.
    pub group_version: String,
    /// Why, for people.
    pub reason: String,
}

/// Everything that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Every resource in every version, sorted by group, preference of the version, and plural.
    pub resources: Vec<ApiResource>,
    /// What could not be read.
    pub failures: Vec<DiscoveryFailure>,
}

impl Discovery {
    /// The resource of that kind in that version.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, kind: &str) -> Option<&ApiResource> {
        self.resources.iter().find(|resource| {
            resource.group == group && resource.version == version && resource.kind == kind
        })
    }

    /// The resource of that kind in the version to use when none is named.
    #[must_use]
    pub fn preferred(&self, group: &str, kind: &str) -> Option<&ApiResource> {
        self.resources
            .iter()
            .find(|resource| resource.preferred && resource.group == group && resource.kind == kind)
    }
}

/// Asks the API server what it serves.
///
/// # Errors
/// [`RequestError`], when nothing at all could be read. A retry can help if it is transient.
pub async fn discover(cluster: &Cluster) -> Result<Discovery, RequestError> {
    let (core, groups) = futures::join!(under(cluster, Root::Core), under(cluster, Root::Groups));
    join(core, groups)
}

/// The same without asking for the aggregated form.
///
/// # Errors
/// As [`discover`].
pub async fn discover_one_by_one(cluster: &Cluster) -> Result<Discovery, RequestError> {
    let walk = async |root: Root| {
        let body = cluster.get_path(root.path()).await?;
        legacy::read(cluster, root, &body).await
    };
    let (core, groups) = futures::join!(walk(Root::Core), walk(Root::Groups));
    join(core, groups)
}

fn join(
    core: Result<Found, RequestError>,
    groups: Result<Found, RequestError>,
) -> Result<Discovery, RequestError> {
    let mut found = Found::default();
    let mut errors = Vec::new();
    for (root, part) in [(Root::Core, core), (Root::Groups, groups)] {
        match part {
            Ok(part) => found.merge(part),
            Err(error) => errors.push((root, error)),
        }
    }
    if errors.len() > 1
        && let Some((_, error)) = errors.pop()
    {
        return Err(error);
    }
    found
        .failures
        .extend(errors.into_iter().map(|(root, error)| DiscoveryFailure {
            group_version: root.path().to_owned(),
            reason: error.chain(),
        }));
    Ok(found.finish())
}

/// Where discovery documents live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Core,
    Groups,
}

impl Root {
    fn path(self) -> &'static str {
        match self {
            Root::Core => "/api",
            Root::Groups => "/apis",
        }
    }
}

/// Resources in the order of their groups' preference.
#[derive(Debug, Default)]
struct Found {
    resources: Vec<ApiResource>,
    failures: Vec<DiscoveryFailure>,
}

impl Found {
    fn merge(&mut self, other: Found) {
        self.resources.extend(other.resources);
        self.failures.extend(other.failures);
    }

    fn finish(mut self) -> Discovery {
        let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
        for resource in &mut self.resources {
            resource.preferred = seen.insert((resource.group.clone(), resource.plural.clone()));
        }
        self.failures.sort();
        Discovery {
            resources: self.resources,
            failures: self.failures,
        }
    }
}

async fn under(cluster: &Cluster, root: Root) -> Result<Found, RequestError> {
    match aggregated::read(cluster, root).await? {
        aggregated::Answer::Found(found) => Ok(found),
        aggregated::Answer::NotServed(body) => legacy::read(cluster, root, &body).await,
    }
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, version: &str, plural: &str) -> ApiResource {
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: plural.to_owned(),
            plural: plural.to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
            verbs: vec!["list".to_owned()],
            subresources: BTreeMap::new(),
            preferred: false,
        }
    }

    #[test]
    fn the_first_version_that_serves_a_resource_is_preferred() {
        let found = Found {
            resources: vec![
                resource("g", "v2", "a"),
                resource("g", "v1", "a"),
                resource("g", "v1", "old"),
                resource("h", "v1", "a"),
            ],
            failures: Vec::new(),
        };
        let preferred: Vec<bool> = found
            .finish()
            .resources
            .iter()
            .map(|resource| resource.preferred)
            .collect();
        assert_eq!(preferred, [true, false, true, true]);
    }
}
