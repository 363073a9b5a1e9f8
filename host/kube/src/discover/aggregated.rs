//! Aggregated discovery: everything in two answers (KEP-3352).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    api_error::RequestError,
    cluster::Cluster,
    exchange::{Call, exchange},
};

use super::{ApiResource, DiscoveryFailure, Found, Root, group_version};

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// What the server made of the question.
pub(super) enum Answer {
    Found(Found),
    /// It answered with the old document, which is this.
    NotServed(Bytes),
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Served>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Served {
    resource: String,
    #[serde(default)]
    response_kind: Option<Kind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    singular_resource: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    subresources: Vec<Subresource>,
}

#[derive(Default, Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct Subresource {
    subresource: String,
    #[serde(default)]
    verbs: Vec<String>,
}

pub(super) async fn read(cluster: &Cluster, root: Root) -> Result<Answer, RequestError> {
    let mut call = Call::get(cluster, root.path().to_owned());
    call.accept = ACCEPT;
    let body = exchange(cluster, &call).await?;
    parse(body).map_err(|source| RequestError::Decode {
        what: call.what(),
        source,
    })
}

fn parse(body: Bytes) -> Result<Answer, serde_json::Error> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(default)]
        kind: String,
    }
    let typed: Typed = serde_json::from_slice(&body)?;
    if typed.kind != "APIGroupDiscoveryList" {
        return Ok(Answer::NotServed(body));
    }
    let list: GroupList = serde_json::from_slice(&body)?;
    debug_assert_eq!(list.kind, typed.kind);
    let mut found = Found::default();
    for group in list.items {
        let name = group.metadata.name;
        for version in group.versions {
            if version.freshness == "Stale" {
                found.failures.push(DiscoveryFailure {
                    group_version: group_version(&name, &version.version),
                    reason: "the API server that serves it does not answer; what is known of it is stale".to_owned(),
                });
            }
            for served in version.resources {
                found
                    .resources
                    .extend(served.into_resource(&name, &version.version));
            }
        }
    }
    Ok(Answer::Found(found))
}

impl Served {
    /// Nothing for a resource that has only subresources (it then has no kind).
    fn into_resource(self, group: &str, version: &str) -> Option<ApiResource> {
        let kind = self.response_kind.unwrap_or_default();
        // `serviceaccounts/token` and the like answer with kinds of other groups, but a resource
        // itself is always of the group that lists it.
        let foreign = !kind.version.is_empty() && (kind.group != group || kind.version != version);
        if kind.kind.is_empty() || foreign {
            return None;
        }
        let subresources: BTreeMap<String, Vec<String>> = self
            .subresources
            .into_iter()
            .map(|sub| (sub.subresource, sub.verbs))
            .collect();
        Some(ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.kind,
            plural: self.resource,
            singular: self.singular_resource,
            short_names: self.short_names,
            namespaced: self.scope == "Namespaced",
            verbs: self.verbs,
            subresources,
            preferred: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_versions_and_subresources_are_read() {
        let body = Bytes::from_static(
            br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[
            {"metadata":{"name":"apps"},"versions":[{"version":"v1","freshness":"Current","resources":[
              {"resource":"deployments","responseKind":{"group":"apps","version":"v1","kind":"Deployment"},"scope":"Namespaced",
               "singularResource":"deployment","verbs":["list","watch"],"shortNames":["deploy"],
               "subresources":[{"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"},"verbs":["get"]}]}]}]},
            {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale"}]}]}"#,
        );
        let Answer::Found(found) = parse(body).expect("parses") else {
            panic!("not aggregated")
        };
        assert_eq!(found.resources.len(), 1);
        let deployment = &found.resources[0];
        assert_eq!(deployment.api_version(), "apps/v1");
        assert_eq!(deployment.short_names, ["deploy"]);
        assert!(deployment.namespaced && deployment.can("watch") && !deployment.can("create"));
        assert_eq!(deployment.subresources["scale"], ["get"]);
        assert_eq!(found.failures[0].group_version, "metrics.k8s.io/v1beta1");
    }

    #[test]
    fn the_old_document_is_recognised() {
        let body = Bytes::from_static(br#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#);
        assert!(matches!(parse(body).expect("parses"), Answer::NotServed(_)));
    }
}
