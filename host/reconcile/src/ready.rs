//! Whether a child is ready, by the rules of kstatus (sigs.k8s.io/cli-utils).

use serde_json::Value;

/// Whether an object is as far as it wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Readiness {
    /// kstatus `Current`.
    Ready,
    /// kstatus `InProgress`.
    Progressing,
    /// kstatus `Failed`.
    Failed,
}

/// Whether an object is ready.
pub(crate) fn readiness(object: &Value) -> Readiness {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let generation = number("/metadata/generation");
    if let (Some(generation), Some(observed)) = (generation, number("/status/observedGeneration"))
        && observed < generation
    {
        return Readiness::Progressing;
    }
    if condition(object, "Stalled") == Some("True") {
        return Readiness::Failed;
    }
    if condition(object, "Reconciling") == Some("True") {
        return Readiness::Progressing;
    }
    let group = text("/apiVersion").split_once('/').map_or("", |(g, _)| g);
    let done = |yes: bool| {
        if yes {
            Readiness::Ready
        } else {
            Readiness::Progressing
        }
    };
    match (group, text("/kind")) {
        ("apps", "Deployment") => {
            let wanted = number("/spec/replicas").unwrap_or(1);
            let have = |field: &str| number(&format!("/status/{field}")).unwrap_or(0);
            if reason(object, "Progressing") == Some("ProgressDeadlineExceeded") {
                return Readiness::Failed;
            }
            done(
                number("/status/observedGeneration").is_some()
                    && have("updatedReplicas") >= wanted
                    && have("replicas") <= have("updatedReplicas")
                    && have("availableReplicas") >= have("updatedReplicas"),
            )
        }
        ("apps", "StatefulSet") => {
            let wanted = number("/spec/replicas").unwrap_or(1);
            let have = |field: &str| number(&format!("/status/{field}")).unwrap_or(0);
            let rolls = text("/spec/updateStrategy/type") != "OnDelete";
            let partition = number("/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
            done(
                number("/status/observedGeneration").is_some()
                    && have("readyReplicas") >= wanted
                    && (!rolls || partition > 0 || have("updatedReplicas") >= wanted),
            )
        }
        ("apps", "DaemonSet") => {
            let have = |field: &str| number(&format!("/status/{field}")).unwrap_or(0);
            let wanted = have("desiredNumberScheduled");
            done(
                number("/status/observedGeneration").is_some()
                    && have("updatedNumberScheduled") >= wanted
                    && have("numberAvailable") >= wanted,
            )
        }
        ("apps", "ReplicaSet") => {
            let wanted = number("/spec/replicas").unwrap_or(1);
            done(number("/status/availableReplicas").unwrap_or(0) >= wanted)
        }
        ("batch", "Job") => {
            if condition(object, "Failed") == Some("True") {
                Readiness::Failed
            } else {
                done(condition(object, "Complete") == Some("True"))
            }
        }
        ("", "Pod") => match text("/status/phase") {
            "Succeeded" => Readiness::Ready,
            "Failed" => Readiness::Failed,
            _ => done(condition(object, "Ready") == Some("True")),
        },
        ("", "PersistentVolumeClaim") => match text("/status/phase") {
            "Lost" => Readiness::Failed,
            // A claim that waits for its first consumer is pending through no fault of its own.
            _ => Readiness::Ready,
        },
        ("", "Service") => done(
            text("/spec/type") != "LoadBalancer"
                || object.pointer("/status/loadBalancer/ingress").is_some(),
        ),
        // Other kinds say it themselves, or have nothing to wait for.
        _ => match condition(object, "Ready").or_else(|| condition(object, "Available")) {
            Some("False" | "Unknown") => Readiness::Progressing,
            _ => Readiness::Ready,
        },
    }
}

fn find<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|c| c.get("type").and_then(Value::as_str) == Some(kind))
}

fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v str> {
    find(object, kind)?.get("status")?.as_str()
}

fn reason<'v>(object: &'v Value, kind: &str) -> Option<&'v str> {
    find(object, kind)?.get("reason")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(status: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": status,
        })
    }

    #[test]
    fn a_deployment_is_ready_when_its_new_replicas_are_available() {
        let is = |status| readiness(&deployment(status));
        assert_eq!(is(json!({})), Readiness::Progressing);
        let full = json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 });
        assert_eq!(is(full.clone()), Readiness::Ready);
        for (field, value) in [
            ("observedGeneration", 1),
            ("replicas", 3),
            ("updatedReplicas", 1),
            ("availableReplicas", 1),
        ] {
            let mut status = full.clone();
            status[field] = json!(value);
            assert_eq!(is(status), Readiness::Progressing, "{field}");
        }
        let late = json!({ "observedGeneration": 2, "conditions": [
            { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" },
        ] });
        assert_eq!(is(late), Readiness::Failed);
    }

    #[test]
    fn other_kinds_say_it_themselves_or_have_nothing_to_wait_for() {
        let custom = |status: Value| {
            readiness(&json!({ "apiVersion": "x/v1", "kind": "X", "status": status }))
        };
        assert_eq!(custom(json!(null)), Readiness::Ready);
        let ready = |status: &str| json!({ "conditions": [{ "type": "Ready", "status": status }] });
        assert_eq!(custom(ready("True")), Readiness::Ready);
        assert_eq!(custom(ready("False")), Readiness::Progressing);
        let stalled = json!({ "conditions": [{ "type": "Stalled", "status": "True" }] });
        assert_eq!(custom(stalled), Readiness::Failed);
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap" });
        assert_eq!(readiness(&map), Readiness::Ready);
        let balanced =
            json!({ "apiVersion": "v1", "kind": "Service", "spec": { "type": "LoadBalancer" } });
        assert_eq!(readiness(&balanced), Readiness::Progressing);
    }
}
