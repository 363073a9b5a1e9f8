//! The status of a Deployment, as that of the custom resource whose child it is.

use crate::Schema;
use serde::{Deserialize, Deserializer, Serialize};

/// The Deployment's counts.
///
/// They are those of the Deployment that the attribute's `mirror` names, as the
/// status of a custom resource: `plan.status(situation.deployment()?)`. With
/// [`with_readiness`](Self::with_readiness) it also says how far the Deployment is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// Pods there are.
    #[serde(deserialize_with = "or_zero")]
    pub replicas: u32,
    /// Pods that are ready.
    #[serde(deserialize_with = "or_zero")]
    #[schema(column = "Ready")]
    pub ready_replicas: u32,
    /// Pods that have been ready for long enough.
    #[serde(deserialize_with = "or_zero")]
    pub available_replicas: u32,
    /// Pods of the newest template.
    #[serde(deserialize_with = "or_zero")]
    pub updated_replicas: u32,
    /// Pods that are missing or not available yet.
    #[serde(deserialize_with = "or_zero")]
    pub unavailable_replicas: u32,
    /// What `with_readiness` says.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Condition>,
    /// `metadata.generation`; none while there is no Deployment.
    #[serde(skip_serializing)]
    #[schema(skip)]
    generation: Option<i64>,
    /// Pods wanted.
    #[serde(skip_serializing)]
    #[schema(skip)]
    wanted: Option<u32>,
    /// The generation that its controller has seen.
    #[serde(skip_serializing)]
    #[schema(skip)]
    seen: Option<i64>,
    /// Its own conditions.
    #[serde(skip_serializing)]
    #[schema(skip)]
    reported: Option<Vec<Condition>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// Zero is null in a row, as it is absent in a Deployment's status.
fn or_zero<'de, D: Deserializer<'de>>(number: D) -> Result<u32, D::Error> {
    Option::deserialize(number).map(Option::unwrap_or_default)
}

impl DeploymentStatus {
    /// Makes the custom resource as ready as the Deployment: with the conditions
    /// Ready, Reconciling and Stalled (kstatus), which then stand for those of the
    /// host while passes succeed. Without it Ready says that everything was applied.
    #[must_use]
    pub fn with_readiness(mut self) -> Self {
        let (stalled, reason, message) = self.progress();
        let ready = reason == "Available";
        let mut say = |kind: &str, status: bool| {
            self.conditions.push(Condition {
                kind: kind.to_owned(),
                status: if status { "True" } else { "False" }.to_owned(),
                reason: reason.clone(),
                message: message.clone(),
            });
        };
        say("Ready", ready);
        if !ready {
            say(if stalled { "Stalled" } else { "Reconciling" }, true);
        }
        self
    }

    /// Whether it is stuck, and a reason and message that are the same for the same cause.
    fn progress(&self) -> (bool, String, String) {
        let going = |reason: &str, message: &str| (false, reason.to_owned(), message.to_owned());
        let Some(generation) = self.generation else {
            return going("Creating", "the Deployment is not there yet");
        };
        if self.seen.is_none_or(|seen| seen < generation) {
            return going(
                "Starting",
                "the Deployment's controller has not seen its newest spec yet",
            );
        }
        let deadline = self.reported.iter().flatten().find(|condition| {
            condition.kind == "Progressing" && condition.reason == "ProgressDeadlineExceeded"
        });
        if let Some(deadline) = deadline {
            return (true, deadline.reason.clone(), deadline.message.clone());
        }
        let wanted = self.wanted.unwrap_or(1);
        if self.updated_replicas < wanted {
            return going("RollingOut", "not all pods are of the newest template");
        }
        if self.replicas > self.updated_replicas {
            return going("RollingOut", "pods of an older template are still there");
        }
        if self.available_replicas < wanted {
            return going("Starting", "not all pods are available");
        }
        going("Available", "all pods are available")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Value, json};

    /// A complete Deployment, with changes.
    fn status(changes: &[(&str, Value)]) -> Value {
        let mut row = json!({
            "generation": 3, "seen": 3, "wanted": 2, "replicas": 2, "readyReplicas": 2,
            "availableReplicas": 2, "updatedReplicas": 2, "unavailableReplicas": null,
            "reported": [{ "type": "Progressing", "status": "True" }],
        });
        for (column, value) in changes {
            row[column] = value.clone();
        }
        let read: DeploymentStatus = serde_json::from_value(row).unwrap();
        serde_json::to_value(read.with_readiness()).unwrap()
    }

    /// Conditions as `type=status reason`.
    fn conditions(status: &Value) -> Vec<String> {
        let list = status["conditions"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list.iter()
            .map(|c| {
                format!(
                    "{}={} {}",
                    text(&c["type"]),
                    text(&c["status"]),
                    text(&c["reason"])
                )
            })
            .collect()
    }

    #[test]
    fn a_status_is_the_counts_and_nothing_else() {
        let row = json!({ "replicas": 2, "readyReplicas": null, "generation": 3, "wanted": 2 });
        let read: DeploymentStatus = serde_json::from_value(row).unwrap();
        assert_eq!(
            serde_json::to_value(read).unwrap(),
            json!({
                "replicas": 2, "readyReplicas": 0, "availableReplicas": 0,
                "updatedReplicas": 0, "unavailableReplicas": 0,
            })
        );
    }

    #[test]
    fn it_is_ready_when_the_deployment_is_and_else_says_why_not() {
        assert_eq!(conditions(&status(&[])), ["Ready=True Available"]);
        let deadline = json!([{
            "type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "timed out",
        }]);
        for (changes, expected) in [
            (vec![("generation", json!(4))], "Reconciling=True Starting"),
            (vec![("seen", Value::Null)], "Reconciling=True Starting"),
            (vec![("wanted", json!(3))], "Reconciling=True RollingOut"),
            (vec![("replicas", json!(3))], "Reconciling=True RollingOut"),
            (
                vec![("availableReplicas", json!(1))],
                "Reconciling=True Starting",
            ),
            (
                vec![("generation", Value::Null)],
                "Reconciling=True Creating",
            ),
            (
                vec![("reported", deadline)],
                "Stalled=True ProgressDeadlineExceeded",
            ),
        ] {
            let conditions = conditions(&status(&changes));
            assert!(
                conditions[0].starts_with("Ready=False"),
                "{changes:?}: {conditions:?}"
            );
            assert_eq!(conditions[1], expected, "{changes:?}");
        }
    }
}
