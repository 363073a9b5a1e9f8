//! Kinds for work without a cluster: those that every cluster has, and those of given CRDs.

use super::{KindTypes, Kinds, Served};
use anyhow::Context;
use kybern_interface::Gvk;
use kybern_kube::ApiResource;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The kinds of Kubernetes itself with the scalars of their schemas, as an API server publishes
/// them. Made by `kybern kinds --depth 4`, compared with the API server of the tests.
const BUILTIN: &str = include_str!("builtin.json");

/// One kind of the file.
#[derive(Deserialize)]
struct Entry {
    group: String,
    version: String,
    kind: String,
    plural: String,
    namespaced: bool,
    status: bool,
    types: Vec<String>,
}

/// Fills in the built-in kinds, those of the CRDs among the objects, and those of the other objects.
pub(crate) fn fill(kinds: &Kinds, objects: &[Value]) -> anyhow::Result<()> {
    let entries: Vec<Entry> =
        serde_json::from_str(BUILTIN).context("the table of built-in kinds")?;
    let mut resources: Vec<ApiResource> = Vec::new();
    let mut types: BTreeMap<(String, String), BTreeMap<String, KindTypes>> = BTreeMap::new();
    for entry in entries {
        types
            .entry((entry.group.clone(), entry.version.clone()))
            .or_default()
            .insert(entry.kind.clone(), super::types::parse(&entry.types));
        resources.push(api_resource(
            &entry.group,
            &entry.version,
            &entry.kind,
            &entry.plural,
            entry.namespaced,
            entry.status,
        ));
    }
    for crd in objects
        .iter()
        .filter(|o| o.get("kind") == Some(&Value::from("CustomResourceDefinition")))
    {
        let text = |path: &str| {
            crd.pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let group = text("/spec/group");
        let kind = text("/spec/names/kind");
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
        for version in versions.into_iter().flatten() {
            let name = version
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            types
                .entry((group.to_owned(), name.to_owned()))
                .or_default()
                .insert(
                    kind.to_owned(),
                    super::types::of_schema(
                        version
                            .pointer("/schema/openAPIV3Schema")
                            .unwrap_or(&Value::Null),
                    ),
                );
            resources.push(api_resource(
                group,
                name,
                kind,
                text("/spec/names/plural"),
                text("/spec/scope") == "Namespaced",
                version.pointer("/subresources/status").is_some(),
            ));
        }
    }
    // Objects of a kind whose CRD is not given: what can be told from themselves.
    for object in objects {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let gvk = Gvk::from_api_version(text("/apiVersion"), text("/kind"));
        let known = resources
            .iter()
            .any(|r| r.group == gvk.group && r.version == gvk.version && r.kind == gvk.kind);
        if !known && !gvk.kind.is_empty() {
            let same = ["apiVersion", "kind"];
            let alike = objects
                .iter()
                .filter(|other| same.iter().all(|key| other.get(key) == object.get(key)));
            let of = types.entry((gvk.group.clone(), gvk.version.clone()));
            let said = super::types::of_objects(alike);
            of.or_default().insert(gvk.kind.clone(), said);
            let plural = super::english_plural(&gvk.kind);
            resources.push(api_resource(
                &gvk.group,
                &gvk.version,
                &gvk.kind,
                &plural,
                true,
                true,
            ));
        }
    }
    kinds.set(Served::new(resources));
    for ((group, version), found) in types {
        kinds.set_types(&group, &version, found);
    }
    Ok(())
}

fn api_resource(
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
    namespaced: bool,
    status: bool,
) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        namespaced,
        verbs: [
            "get", "list", "watch", "create", "update", "patch", "delete",
        ]
        .map(String::from)
        .into(),
        subresources: if status {
            BTreeMap::from([(
                "status".to_owned(),
                vec!["get".to_owned(), "patch".to_owned()],
            )])
        } else {
            BTreeMap::new()
        },
        preferred: true,
    }
}
