//! A registration's status, written only when it changed.

use super::authorized::authorized;
use super::condition::{Says, merge};
use super::controller::plugin_resource;
use super::dropped::{self, Dropped};
use super::problem::Problem;
use super::trial::Going;
use crate::rights::Found;
use bytes::Bytes;
use kybern_interface::{
    ActiveVersion, Gvk, PluginStatus, PreviousVersion, Registration, ResolvedImage,
};
use kybern_kube::{ApplyOptions, RequestError, Target, Writes};
use serde_json::json;

/// Field manager of registrations' status and finalizer.
pub(crate) const MANAGER: &str = "kybern";
/// Versions that are remembered.
const PREVIOUS: usize = 5;

/// What came of a registration.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and nearly always the large one"
)]
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
        /// What its OCI reference was resolved to.
        image: Option<ResolvedImage>,
        /// The kinds that it is in charge of.
        resources: Vec<Gvk>,
        /// The kinds that it may write.
        written: Vec<Gvk>,
        /// What the manifest asks for and nobody granted.
        ungranted: Vec<String>,
        /// What is wrong with the source now, while the last good version goes on.
        degraded: Option<Problem>,
        /// What the kinds' schemas do not keep of the status that the manifest speaks of.
        unsupported: Vec<String>,
        /// How the revision on trial does.
        trial: Option<Box<Going>>,
        /// What every resource fails with that is tried.
        failing: Option<String>,
        /// Kinds of before that are still to be let go of, and what is in the way.
        releasing: Option<Box<(Dropped, Option<Problem>)>>,
    },
    /// It is being deleted, and something is in the way.
    Releasing(Problem),
    /// It cannot run.
    Broken(Problem),
}

impl Outcome {
    /// Whether the status names every kind that a pass may leave something on.
    pub(crate) fn recorded(&self, registration: &Registration) -> bool {
        match self {
            Self::Active {
                resources, written, ..
            } => dropped::recorded(&registration.status, resources, written),
            Self::Broken(_) | Self::Releasing(_) => true,
        }
    }

    /// Whether a kind cannot be read now, and could be when the status was written.
    pub(crate) fn turns_unreadable(&self, registration: &Registration) -> bool {
        let is = |reason: &str| reason == "KindUnreadable";
        let mut before = registration.status.conditions.iter();
        matches!(self, Self::Broken(problem) if is(problem.reason))
            && !before.any(|said| said.kind == "Ready" && is(&said.reason))
    }

    /// What is in the way of it, or of what it lets go of.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Broken(problem) | Self::Releasing(problem) => Some(problem),
            Self::Active { releasing, .. } => releasing
                .as_deref()
                .and_then(|(_, problem)| problem.as_ref()),
        }
    }
}

/// Whether the status is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    /// It is.
    Done,
    /// The write did not succeed; it was logged.
    Failed,
}

/// The status that an outcome makes of the one before.
fn status(
    registration: &Registration,
    outcome: &Outcome,
    found: Option<&Found>,
    now: jiff::Timestamp,
) -> PluginStatus {
    let before = &registration.status;
    let mut says: Vec<Says> = Vec::new();
    let mut active = before.active.clone();
    let mut resolved = before.resolved.clone();
    let mut previous = before.previous.clone();
    let mut trial = before.trial.clone();
    let mut resources = before.resources.clone();
    let mut written = before.written.clone();
    match outcome {
        Outcome::Broken(problem) => {
            says.push(Says::new(
                "Ready",
                false,
                problem.reason,
                problem.message.clone(),
            ));
        }
        Outcome::Releasing(problem) => {
            says.push(Says::new(
                "Ready",
                false,
                "Releasing",
                problem.message.clone(),
            ));
            says.push(Says::new(
                "Releasing",
                true,
                problem.reason,
                problem.message.clone(),
            ));
        }
        Outcome::Active {
            digest,
            version,
            world,
            image,
            resources: in_charge,
            written: may_write,
            ungranted: _,
            degraded,
            unsupported,
            trial: on_trial,
            failing,
            releasing,
        } => {
            if let Some(problem) = degraded {
                let message = format!("the last good version goes on: {}", problem.message);
                says.push(Says::new("Degraded", true, problem.reason, message));
            }
            if !unsupported.is_empty() {
                let message = format!(
                    "the host leaves out what would be dropped: {}; add it to the CustomResourceDefinition",
                    unsupported.join("; ")
                );
                says.push(Says::new("StatusUnsupported", true, "NotInSchema", message));
            }
            trial = on_trial.as_ref().map(|going| going.status.clone());
            says.extend(on_trial.as_ref().map(|going| going.says.clone()));
            if let Some(message) = failing {
                says.push(Says::new("Failing", true, "PluginFailing", message.clone()));
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
            resolved.clone_from(image);
            resources = in_charge.iter().map(dropped::entry).collect();
            written = may_write.iter().map(dropped::entry).collect();
            if let Some((left, problem)) = releasing.as_deref() {
                resources.extend(left.resources.iter().map(dropped::entry));
                written.extend(left.written.iter().map(dropped::entry));
                let names = left.names();
                says.push(match problem {
                    None => Says::new(
                        "Releasing",
                        true,
                        "InProgress",
                        format!("letting go of what was made under kinds that spec no longer names: {names}"),
                    ),
                    Some(problem) => Says::new(
                        "Releasing",
                        true,
                        problem.reason,
                        format!("kinds that spec no longer names ({names}) are still held: {}", problem.message),
                    ),
                });
            }
        }
    }
    says.extend(authorized(registration, outcome, found));
    PluginStatus {
        conditions: merge(&says, &before.conditions, now, registration.generation()),
        active,
        resolved,
        previous,
        trial,
        observed_generation: Some(registration.generation()),
        resources,
        written,
    }
}

/// Writes the status if it is another than the one that the object has.
pub(crate) async fn write(
    writes: &Writes,
    registration: &Registration,
    outcome: &Outcome,
    found: Option<&Found>,
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
                reason: "Loading" | "Fetching" | "Compiling",
                ..
            })
        )
    {
        return Ok(());
    }
    let status = status(registration, outcome, found, crate::clock::wall());
    if status == registration.status {
        return Ok(());
    }
    if let Outcome::Broken(problem) | Outcome::Releasing(problem) = outcome {
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
            image: None,
            resources: vec![Gvk::new("g", "v1", "K")],
            written: vec![Gvk::new("", "v1", "Pod")],
            ungranted: vec![],
            degraded: None,
            unsupported: vec![],
            trial: None,
            failing: None,
            releasing: None,
        }
    }

    #[test]
    fn a_plugin_that_fails_whatever_it_is_asked_says_so_until_it_does_not() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut outcome = active("sha256:a");
        if let Outcome::Active { failing, .. } = &mut outcome {
            *failing = Some("PluginTrapped: unreachable".into());
        }
        let fails = status(&registration(json!({})), &outcome, None, now);
        let said = fails
            .conditions
            .iter()
            .find(|c| c.kind == "Failing")
            .unwrap();
        assert_eq!((&*said.status, &*said.reason), ("True", "PluginFailing"));
        // Others may depend on it: it is loaded, and comes back by itself.
        assert!(
            fails
                .conditions
                .iter()
                .any(|c| c.kind == "Ready" && c.status == "True")
        );
        let again = registration(serde_json::to_value(&fails).unwrap());
        let over = status(&again, &active("sha256:a"), None, now);
        assert!(over.conditions.iter().all(|c| c.kind != "Failing"));
    }

    #[test]
    fn a_dropped_kind_stays_in_the_status_until_it_is_let_go_of() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut outcome = active("sha256:a");
        let lost = Gvk::new("g", "v1", "Lost");
        if let Outcome::Active { releasing, .. } = &mut outcome {
            let left = Dropped {
                resources: vec![lost.clone()],
                written: vec![],
            };
            *releasing = Some(Box::new((left, Some(Problem::new("WriteRefused", "no")))));
        }
        let held = status(&registration(json!({})), &outcome, None, now);
        assert_eq!(held.resources.last(), Some(&dropped::entry(&lost)));
        let says = held
            .conditions
            .iter()
            .find(|c| c.kind == "Releasing")
            .unwrap();
        assert_eq!(
            (&*says.kind, &*says.status, &*says.reason),
            ("Releasing", "True", "WriteRefused")
        );
        assert!(says.message.contains("Lost"), "{}", says.message);
        let again = registration(serde_json::to_value(&held).unwrap());
        let free = status(&again, &active("sha256:a"), None, now);
        assert_eq!(free.resources, [dropped::entry(&Gvk::new("g", "v1", "K"))]);
        assert!(free.conditions.iter().all(|c| c.kind != "Releasing"));
        // What is broken says nothing new about what it holds.
        let broken = Outcome::Broken(Problem::new("InvalidSpec", "no"));
        assert_eq!(status(&again, &broken, None, now).resources, held.resources);
    }

    #[test]
    fn an_unchanged_outcome_gives_the_same_status() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let first = status(&registration(json!({})), &active("sha256:a"), None, now);
        let again = registration(serde_json::to_value(&first).unwrap());
        let later = "2026-02-01T00:00:00Z".parse().unwrap();
        assert_eq!(status(&again, &active("sha256:a"), None, later), first);
    }

    #[test]
    fn what_a_tag_was_resolved_to_stays_while_something_is_broken() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = ResolvedImage {
            image: "r.example/app:v1".into(),
            digest: "sha256:m".into(),
        };
        let mut outcome = active("sha256:a");
        if let Outcome::Active { image, .. } = &mut outcome {
            *image = Some(of.clone());
        }
        let good = status(&registration(json!({})), &outcome, None, now);
        assert_eq!(good.resolved, Some(of.clone()));
        let again = registration(serde_json::to_value(&good).unwrap());
        let broken = Outcome::Broken(Problem::new("KindTaken", "no"));
        assert_eq!(status(&again, &broken, None, now).resolved, Some(of));
        assert_eq!(
            status(&again, &active("sha256:b"), None, now).resolved,
            None
        );
    }

    #[test]
    fn a_new_digest_keeps_the_old_one_as_previous() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let first = status(&registration(json!({})), &active("sha256:a"), None, now);
        let second = status(
            &registration(serde_json::to_value(&first).unwrap()),
            &active("sha256:b"),
            None,
            now,
        );
        assert_eq!(second.active.unwrap().digest, "sha256:b");
        assert_eq!(second.previous[0].digest, "sha256:a");
    }
}
