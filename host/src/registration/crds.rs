//! The CRDs that a manifest embeds: created, updated, never deleted.

use super::problem::Problem;
use bytes::Bytes;
use kybern_interface::CrdPolicy;
use kybern_kube::{ApplyOptions, RequestError, Resource, Target, WriteOptions, Writes};
use kybern_reconcile::Kept;
use serde_json::Value;

/// What was done with the CRDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    /// They were there, or are left to others.
    Unchanged,
    /// At least one was created or changed: what is served changes soon.
    Changed,
}

/// Brings the CRDs to what the policy asks for.
pub(crate) async fn install(
    writes: &Writes,
    policy: CrdPolicy,
    crds: &[Value],
    manager: &str,
) -> Result<Installed, Problem> {
    let mut installed = Installed::Unchanged;
    if policy == CrdPolicy::Skip {
        return Ok(installed);
    }
    for crd in crds {
        let name = crd
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let resource = Resource::new(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            false,
        );
        let target = Target::new(&resource, None, name);
        let live = match writes.get(&target).await {
            Ok(raw) => Some(parse(&raw, name)?),
            Err(RequestError::Api(refused)) if refused.is_not_found() => None,
            Err(error) => return Err(failed(name, "read", &error)),
        };
        match live {
            None => {
                let first = body(&first(crd))?;
                match writes
                    .create(&resource, None, first, &WriteOptions::by(manager))
                    .await
                {
                    Ok(_) => {
                        tracing::info!(crd = name, "created CustomResourceDefinition");
                        installed = Installed::Changed;
                    }
                    Err(RequestError::Api(refused)) if refused.is_already_exists() => {}
                    Err(error) => return Err(failed(name, "created", &error)),
                }
            }
            Some(live) if policy == CrdPolicy::CreateReplace => {
                keeps_stored_versions(name, &live, crd)?;
                let wanted = wanted(crd);
                if wanted.holds(&live, manager) {
                    continue;
                }
                writes
                    .apply(
                        &target,
                        body(wanted.object())?,
                        &ApplyOptions::force(manager),
                    )
                    .await
                    .map_err(|error| failed(name, "updated", &error))?;
                tracing::info!(crd = name, "updated CustomResourceDefinition");
                installed = Installed::Changed;
            }
            Some(_) => {}
        }
    }
    Ok(installed)
}

/// The CRD as it is sent. Conversion belongs to whoever runs the webhook: never claimed by us.
fn wanted(crd: &Value) -> Kept {
    let mut crd = crd.clone();
    if let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("conversion");
    }
    Kept::new(crd)
}

/// The CRD as it is created: with the conversion that it came with.
fn first(crd: &Value) -> Value {
    let mut object = wanted(crd).object().clone();
    if let (Some(conversion), Some(spec)) = (
        crd.pointer("/spec/conversion"),
        object.get_mut("spec").and_then(Value::as_object_mut),
    ) {
        spec.insert("conversion".to_owned(), conversion.clone());
    }
    object
}

/// Refuses a CRD that no longer has a version in which objects are stored.
fn keeps_stored_versions(name: &str, live: &Value, wanted: &Value) -> Result<(), Problem> {
    let versions: Vec<&str> = wanted
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|version| version.get("name").and_then(Value::as_str))
        .collect();
    let lost: Vec<&str> = live
        .pointer("/status/storedVersions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|stored| !versions.contains(stored))
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(Problem::new(
        "CRDRefused",
        format!(
            "CustomResourceDefinition {name}: objects may be stored as {}, which the plugin's CRD no longer has; migrate them and remove the version from status.storedVersions first",
            lost.join(", ")
        ),
    ))
}

fn body(value: &Value) -> Result<Bytes, Problem> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| {
        Problem::new(
            "InvalidManifest",
            format!("a CRD cannot be written as JSON: {error}"),
        )
    })
}

fn parse(raw: &Bytes, name: &str) -> Result<Value, Problem> {
    serde_json::from_slice(raw).map_err(|error| {
        Problem::passing(
            "CRDFailed",
            format!("{name}: the answer is no JSON: {error}"),
        )
    })
}

fn failed(name: &str, what: &str, error: &RequestError) -> Problem {
    Problem::passing(
        "CRDFailed",
        format!(
            "CustomResourceDefinition {name} could not be {what}: {error}; install it yourself and set spec.crds: Skip, or give the host that right"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conversion_comes_with_the_first_write_and_is_never_claimed_again() {
        let crd = json!({ "metadata": { "name": "x" }, "spec": { "group": "g", "conversion": { "strategy": "None" } } });
        assert_eq!(first(&crd)["spec"], crd["spec"]);
        assert_eq!(wanted(&crd).object()["spec"], json!({ "group": "g" }));
        let hash = |object: &Value| object["metadata"]["annotations"]["kybern.dev/intent"].clone();
        assert_eq!(hash(&first(&crd)), hash(wanted(&crd).object()));
    }

    #[test]
    fn a_stored_version_must_stay() {
        let live = json!({ "status": { "storedVersions": ["v1alpha1", "v1"] } });
        let wanted = json!({ "spec": { "versions": [{ "name": "v1" }] } });
        let problem = keeps_stored_versions("x", &live, &wanted).unwrap_err();
        assert!(problem.message.contains("v1alpha1"), "{}", problem.message);
        let both = json!({ "spec": { "versions": [{ "name": "v1" }, { "name": "v1alpha1" }] } });
        assert_eq!(keeps_stored_versions("x", &live, &both), Ok(()));
    }
}
