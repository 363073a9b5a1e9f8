//! Discovery one group version at a time, for servers without the aggregated form.

use futures::StreamExt;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    api_error::RequestError,
    cluster::Cluster,
    exchange::{Call, exchange},
};

use super::{ApiResource, DiscoveryFailure, Found, Root, group_version};

/// How many group versions are read at a time.
const CONCURRENCY: usize = 8;

#[derive(Deserialize)]
struct CoreVersions {
    #[serde(default)]
    versions: Vec<String>,
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    #[serde(default)]
    versions: Vec<GroupVersion>,
    #[serde(default)]
    preferred_version: Option<GroupVersion>,
}

#[derive(Clone, Deserialize, PartialEq, Eq)]
struct GroupVersion {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Served>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Served {
    name: String,
    #[serde(default)]
    singular_name: String,
    #[serde(default)]
    namespaced: bool,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
}

pub(super) async fn read(
    cluster: &Cluster,
    root: Root,
    body: &[u8],
) -> Result<Found, RequestError> {
    let versions = group_versions(root, body).map_err(|source| RequestError::Decode {
        what: format!("GET {}", root.path()),
        source,
    })?;
    let lists = futures::stream::iter(versions)
        .map(|(group, version)| async move {
            let path = format!("{}/{}", root.path(), group_version(&group, &version));
            let list = get::<ResourceList>(cluster, path).await;
            (group, version, list)
        })
        // In order, because the order says which version is preferred.
        .buffered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await;
    let mut found = Found::default();
    for (group, version, list) in lists {
        match list {
            Ok(list) => found.resources.extend(resources(&group, &version, list)),
            Err(error) => found.failures.push(DiscoveryFailure {
                group_version: group_version(&group, &version),
                reason: error.chain(),
            }),
        }
    }
    Ok(found)
}

async fn get<T: DeserializeOwned>(cluster: &Cluster, path: String) -> Result<T, RequestError> {
    let call = Call::get(cluster, path);
    let body = exchange(cluster, &call).await?;
    serde_json::from_slice(&body).map_err(|source| RequestError::Decode {
        what: call.what(),
        source,
    })
}

/// Group versions, the preferred version of each group first.
fn group_versions(root: Root, body: &[u8]) -> Result<Vec<(String, String)>, serde_json::Error> {
    if root == Root::Core {
        let core: CoreVersions = serde_json::from_slice(body)?;
        return Ok(core
            .versions
            .into_iter()
            .map(|version| (String::new(), version))
            .collect());
    }
    let list: GroupList = serde_json::from_slice(body)?;
    let mut all = Vec::new();
    for mut group in list.groups {
        if let Some(preferred) = group.preferred_version {
            // Stable: the others keep their order.
            group.versions.sort_by_key(|version| *version != preferred);
        }
        all.extend(
            group
                .versions
                .into_iter()
                .map(|one| (group.name.clone(), one.version)),
        );
    }
    Ok(all)
}

fn resources(group: &str, version: &str, list: ResourceList) -> Vec<ApiResource> {
    let (subresources, main): (Vec<Served>, Vec<Served>) = list
        .resources
        .into_iter()
        .partition(|served| served.name.contains('/'));
    let mut all: Vec<ApiResource> = main
        .into_iter()
        .map(|served| ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: served.kind,
            plural: served.name,
            singular: served.singular_name,
            short_names: served.short_names,
            namespaced: served.namespaced,
            verbs: served.verbs,
            subresources: Default::default(),
            preferred: false,
        })
        .collect();
    for served in subresources {
        let Some((plural, subresource)) = served.name.split_once('/') else {
            continue;
        };
        if let Some(resource) = all.iter_mut().find(|resource| resource.plural == plural) {
            resource
                .subresources
                .insert(subresource.to_owned(), served.verbs);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_version_comes_first() {
        let body = br#"{"groups":[{"name":"g","versions":[{"groupVersion":"g/v1beta1","version":"v1beta1"},
            {"groupVersion":"g/v1","version":"v1"}],"preferredVersion":{"groupVersion":"g/v1","version":"v1"}}]}"#;
        let versions = group_versions(Root::Groups, body).expect("parses");
        let wanted = [
            ("g".to_owned(), "v1".to_owned()),
            ("g".to_owned(), "v1beta1".to_owned()),
        ];
        assert_eq!(versions, wanted);
    }

    #[test]
    fn subresources_join_their_resource() {
        let list: ResourceList = serde_json::from_str(
            r#"{"resources":[{"name":"pods/log","kind":"Pod","namespaced":true,"verbs":["get"]},
               {"name":"pods","singularName":"pod","kind":"Pod","namespaced":true,"verbs":["list"],"shortNames":["po"]}]}"#,
        )
        .expect("parses");
        let all = resources("", "v1", list);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].subresources["log"], ["get"]);
        assert_eq!(all[0].api_version(), "v1");
    }
}
