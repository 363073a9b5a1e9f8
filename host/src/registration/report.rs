//! A registration's status, written only when it changed.

use super::condition::{Says, merge};
use super::controller::plugin_resource;
use super::problem::Problem;
use bytes::Bytes;
use kybern_interface::{
    ActiveVersion, Gvk, PluginStatus, PreviousVersion, Registration, ResourceStatus,
};
use kybern_kube::{ApplyOptions, RequestError, Target, Writes};
use serde_json::json;

/// Field manager of registrations' status and finalizer.
pub(crate) const MANAGER: &str = "kybern";
/// Versions that are remembered.
const PREVIOUS: usize = 5;

/// What came of a registration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The engine runs it, or would if this replica led.
    Active {
        /// `sha256:...`.
        digest: String,
        /// The manifest's version.
        version: String,
        /// The manifest's world.
        world: String,
        /// What the manifest asks for and nobody granted.
        ungranted: Vec<String>,
        /// Why the source could not be read again, while the last good version goes on.
        degraded: Option<Problem>,
    },
    /// It cannot run.
    Broken(Problem),
}

/// The kinds that the registration is in charge of.
fn resources(registration: &Registration) -> Vec<ResourceStatus> {
    registration
        .spec
        .resources
        .iter()
        .map(|resource| ResourceStatus {
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
        })
        .collect()
}

/// The status that an outcome makes of the one before.
fn status(registration: &Registration, outcome: &Outcome, now: jiff::Timestamp) -> PluginStatus {
    let before = &registration.status;
    let mut says = Vec::new();
    let mut active = before.active.clone();
    let mut previous = before.previous.clone();
    let mut active_resources = before.resources.clone();
    match outcome {
        Outcome::Broken(problem) => {
            says.push(Says::new(
                "Ready",
                false,
                problem.reason,
                problem.message.clone(),
            ));
        }
        Outcome::Active {
            digest,
            version,
            world,
            ungranted,
            degraded,
        } => {
            if let Some(problem) = degraded {
                let message = format!("the last good version goes on: {}", problem.message);
                says.push(Says::new("Degraded", true, problem.reason, message));
            }
            let message = if registration.spec.paused {
                "loaded; spec.paused is true, so that no pass runs"
            } else {
                "the plugin is loaded and decides"
            };
            let reason = if registration.spec.paused {
                "Paused"
            } else {
                "Active"
            };
            says.push(Says::new("Ready", true, reason, message));
            says.push(if ungranted.is_empty() {
                Says::new(
                    "Authorized",
                    true,
                    "Granted",
                    "the grants cover what the manifest asks for",
                )
            } else {
                Says::new(
                    "Authorized",
                    false,
                    "GrantsMissing",
                    format!(
                        "the manifest asks for more than spec.grants gives: {}",
                        ungranted.join("; ")
                    ),
                )
            });
            if let Some(old) = active.take().filter(|old| old.digest != *digest) {
                previous.retain(|p| p.digest != old.digest);
                previous.insert(
                    0,
                    PreviousVersion {
                        digest: old.digest,
                        version: old.version,
                    },
                );
                previous.truncate(PREVIOUS);
            }
            active = Some(ActiveVersion {
                digest: digest.clone(),
                version: version.clone(),
                world: world.clone(),
            });
            active_resources = resources(registration);
        }
    }
    PluginStatus {
        conditions: merge(&says, &before.conditions, now, registration.generation()),
        active,
        previous,
        observed_generation: Some(registration.generation()),
        resources: active_resources,
        written: before.written.clone(),
    }
}

/// Writes the status if it is another than the one that the object has.
pub(crate) async fn write(
    writes: &Writes,
    registration: &Registration,
    outcome: &Outcome,
) -> Result<(), RequestError> {
    // A restart lists its tables anew; that is no news about a registration that was Ready before.
    let settled = registration.status.observed_generation == Some(registration.generation())
        && registration
            .status
            .conditions
            .iter()
            .any(|c| c.kind == "Ready" && c.status == "True");
    if settled
        && matches!(
            outcome,
            Outcome::Broken(Problem {
                reason: "Loading",
                ..
            })
        )
    {
        return Ok(());
    }
    let status = status(registration, outcome, crate::clock::wall());
    if status == registration.status {
        return Ok(());
    }
    if let Outcome::Broken(problem) = outcome {
        tracing::warn!(plugin = registration.name(), reason = problem.reason, message = %problem.message, "registration is not ready");
    }
    let gvk = Gvk::new(
        kybern_interface::names::GROUP,
        kybern_interface::names::VERSION,
        "Plugin",
    );
    let object = json!({
        "apiVersion": gvk.api_version(),
        "kind": gvk.kind,
        "metadata": { "name": registration.name(), "uid": registration.metadata.get("uid") },
        "status": status,
    });
    let resource = plugin_resource();
    let target = Target::new(&resource, None, registration.name());
    writes
        .apply_status(
            &target,
            Bytes::from(object.to_string()),
            &ApplyOptions::force(MANAGER),
        )
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(status: serde_json::Value) -> Registration {
        serde_json::from_value(json!({
            "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin",
            "metadata": { "name": "a", "generation": 3 },
            "spec": { "source": { "file": "x" } },
            "status": status,
        }))
        .unwrap()
    }

    fn active(digest: &str) -> Outcome {
        Outcome::Active {
            digest: digest.into(),
            version: "1".into(),
            world: "w".into(),
            ungranted: vec![],
            degraded: None,
        }
    }

    #[test]
    fn an_unchanged_outcome_gives_the_same_status() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let first = status(&registration(json!({})), &active("sha256:a"), now);
        let again = registration(serde_json::to_value(&first).unwrap());
        let later = "2026-02-01T00:00:00Z".parse().unwrap();
        assert_eq!(status(&again, &active("sha256:a"), later), first);
    }

    #[test]
    fn a_new_digest_keeps_the_old_one_as_previous() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let first = status(&registration(json!({})), &active("sha256:a"), now);
        let second = status(
            &registration(serde_json::to_value(&first).unwrap()),
            &active("sha256:b"),
            now,
        );
        assert_eq!(second.active.unwrap().digest, "sha256:b");
        assert_eq!(second.previous[0].digest, "sha256:a");
    }
}
