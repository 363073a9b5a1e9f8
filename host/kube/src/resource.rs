//! Names a kind and an object the way the API server's URLs do.

use kybern_table::TableDef;

use crate::{discover::ApiResource, encode};

/// A kind with what is needed to build its URLs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Plural resource name, such as `deployments`.
    pub plural: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// A resource of that name.
    #[must_use]
    pub fn new(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> Resource {
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced,
        }
    }

    /// `apps/v1`, or `v1` in the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The name that RBAC rules and messages use: `deployments.apps`, or `pods` in the core group.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// URL path of all objects of the kind, or of those in one namespace.
    #[must_use]
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            "/api/".to_owned()
        } else {
            "/apis/".to_owned()
        };
        if !self.group.is_empty() {
            encode::push(&mut path, &self.group);
            path.push('/');
        }
        encode::push(&mut path, &self.version);
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            encode::push(&mut path, namespace);
        }
        path.push('/');
        encode::push(&mut path, &self.plural);
        path
    }
}

impl From<&ApiResource> for Resource {
    fn from(found: &ApiResource) -> Resource {
        Resource::new(
            &found.group,
            &found.version,
            &found.kind,
            &found.plural,
            found.namespaced,
        )
    }
}

impl From<&TableDef> for Resource {
    fn from(def: &TableDef) -> Resource {
        Resource::new(
            &def.key.group,
            &def.key.version,
            &def.key.kind,
            &def.plural,
            def.namespaced,
        )
    }
}

/// One object, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Its kind.
    pub resource: &'a Resource,
    /// Its namespace; ignored for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Target<'a> {
    /// The object of that name.
    #[must_use]
    pub fn new(resource: &'a Resource, namespace: Option<&'a str>, name: &'a str) -> Target<'a> {
        Target {
            resource,
            namespace,
            name,
        }
    }

    pub(crate) fn path(&self, subresource: Option<&str>) -> String {
        let mut path = self.resource.collection(self.namespace);
        path.push('/');
        encode::push(&mut path, self.name);
        if let Some(subresource) = subresource {
            path.push('/');
            encode::push(&mut path, subresource);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_scope_and_subresource() {
        let pods = Resource::new("", "v1", "Pod", "pods", true);
        let deployments = Resource::new("apps", "v1", "Deployment", "deployments", true);
        let roles = Resource::new(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRole",
            "clusterroles",
            false,
        );
        assert_eq!(pods.collection(None), "/api/v1/pods");
        assert_eq!(pods.collection(Some("a")), "/api/v1/namespaces/a/pods");
        assert_eq!(
            Target::new(&deployments, Some("a"), "web").path(Some("status")),
            "/apis/apps/v1/namespaces/a/deployments/web/status"
        );
        assert_eq!(
            Target::new(&roles, Some("ignored"), "system:node").path(None),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode"
        );
    }
}
