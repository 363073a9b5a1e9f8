//! CustomResourceDefinitions.

use crate::client::Client;
use crate::object::Object;
use crate::wait::{Progress, until};
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

const ESTABLISHED: Duration = Duration::from_secs(30);
const MANAGER: &str = "kybern-testcluster";

/// Applies `definition` and waits until each served version lists its kind.
pub(crate) fn install(client: &Client, definition: &Value) -> Result<()> {
    let applied = client
        .apply(definition, MANAGER)
        .context("apply the CustomResourceDefinition")?;
    wait_served(client, &applied)
}

/// The same for the definition called `name` as YAML.
pub(crate) fn install_yaml(client: &Client, name: &str, yaml: &str) -> Result<()> {
    let object = Object::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", name);
    let applied = client
        .apply_yaml(&object, yaml, MANAGER)
        .context("apply the CustomResourceDefinition")?;
    wait_served(client, &applied)
}

fn wait_served(client: &Client, definition: &Value) -> Result<()> {
    let object = Object::of(definition)?;
    client.wait_for(&object, "it is established", ESTABLISHED, |now| {
        conditions(now).any(|(kind, status)| kind == "Established" && status == "True")
    })?;
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str);
    let group = text("/spec/group").context("spec.group")?;
    let kind = text("/spec/names/kind").context("spec.names.kind")?;
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    for version in versions.into_iter().flatten() {
        let (Some(name), Some(true)) = (
            version.get("name").and_then(Value::as_str),
            version.get("served").and_then(Value::as_bool),
        ) else {
            continue;
        };
        let api_version = format!("{group}/{name}");
        // Established comes a moment before the handler does.
        until(
            &format!("{api_version} {kind} is served"),
            ESTABLISHED,
            || {
                Ok(match client.list(&api_version, kind, None) {
                    Ok(_) => Progress::Done(()),
                    Err(error) => Progress::Waiting(error.to_string()),
                })
            },
        )?;
    }
    Ok(())
}

fn conditions(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    let all = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    all.into_iter().flatten().filter_map(|condition| {
        Some((
            condition.get("type")?.as_str()?,
            condition.get("status")?.as_str()?,
        ))
    })
}
