//! CustomResourceDefinitions.

use crate::client::Client;
use crate::object::Object;
use crate::wait::{Progress, until};
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

const ESTABLISHED: Duration = Duration::from_secs(30);

/// Applies `definition` and waits until each served version lists its kind.
pub(crate) fn install(client: &Client, definition: &Value) -> Result<()> {
    client
        .apply(definition, "kybern-testcluster")
        .context("apply the CustomResourceDefinition")?;
    let object = Object::of(definition)?;
    until(&format!("{object} is established"), ESTABLISHED, || {
        let now = client.get(&object)?;
        let established =
            conditions(&now).any(|(kind, status)| kind == "Established" && status == "True");
        Ok(match established {
            true => Progress::Done(()),
            false => Progress::Waiting(
                now.pointer("/status/conditions")
                    .unwrap_or(&Value::Null)
                    .to_string(),
            ),
        })
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
