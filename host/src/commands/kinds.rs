//! `kybern kinds`: what a cluster serves, with the scalars of each schema, as JSON.
//!
//! The file of built-in kinds that simulations use is made with it.

use crate::args::KindsArgs;
use crate::terminal::say;
use anyhow::Context;
use kybern_kube::{OpenApiTypes, PathStep};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Prints one entry a line, sorted.
pub(crate) async fn run(args: KindsArgs) -> anyhow::Result<ExitCode> {
    let cluster = crate::cluster::connect(&args.cluster).await?;
    let found = kybern_kube::discover(&cluster)
        .await
        .context("discovery failed")?;
    let mut schemas: BTreeMap<(String, String), OpenApiTypes> = BTreeMap::new();
    let mut lines = Vec::new();
    for resource in &found.resources {
        if !resource.preferred || !resource.can("list") {
            continue;
        }
        let place = (resource.group.clone(), resource.version.clone());
        if !schemas.contains_key(&place) {
            let types = kybern_kube::openapi_types(&cluster, &place.0, &place.1).await?;
            schemas.insert(place.clone(), types);
        }
        let types: Vec<String> = schemas
            .get(&place)
            .and_then(|kinds| kinds.get(&resource.kind))
            .into_iter()
            .flatten()
            .filter(|path| {
                let keys = path.steps.iter().filter(|step| matches!(step, PathStep::Key(_))).count();
                let of_object = !matches!(path.steps.first(), Some(PathStep::Key(first)) if matches!(first.as_str(), "metadata" | "apiVersion" | "kind"));
                of_object && args.depth.is_none_or(|depth| keys <= depth)
            })
            .map(ToString::to_string)
            .collect();
        lines.push(json!({
            "group": resource.group, "version": resource.version, "kind": resource.kind,
            "plural": resource.plural, "namespaced": resource.namespaced,
            "status": resource.subresources.contains_key("status"), "types": types,
        }));
    }
    lines.sort_by_key(|entry| {
        let text = |key: &str| {
            entry
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        (text("group"), text("kind"), text("version"))
    });
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    say!("[\n{}\n]", text.join(",\n"));
    Ok(ExitCode::SUCCESS)
}
