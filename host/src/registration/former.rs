//! Whose fields a registration may take over: `spec.formerFieldManagers`.
//!
//! *Why.* All fields of a former manager become the plugin's, and those that its plan does not say
//! are removed. Of a program that goes on running that is a fight without an end, and of a
//! controller of Kubernetes' own it breaks the object.

use super::problem::Problem;
use kybern_interface::PluginSpec;

/// The longest name that the API server takes.
const LONGEST: usize = 128;

/// The prefix of the host's managers, those of every registration and of people's SQL included.
const OWN: &str = "kybern";

/// What goes on running in a cluster: the control plane, also where one program is all of it, and
/// what adds and takes away nodes. Each writes fields of objects that an operator makes: revisions
/// of Deployments, replicas, node names, taints.
const CONTROL_PLANE: [&str; 8] = [
    "kube-apiserver",
    "kube-controller-manager",
    "cloud-controller-manager",
    "kube-scheduler",
    "kubelet",
    "cluster-autoscaler",
    "k3s",
    "kubelite",
];

/// The first name that is not one of a former operator's.
pub(crate) fn check(spec: &PluginSpec) -> Result<(), Problem> {
    for (at, name) in spec.former_field_managers.iter().enumerate() {
        if let Some(why) = refused(name, spec.field_manager.as_deref()) {
            let shown: String = name.chars().take(LONGEST).collect();
            return Err(Problem::new(
                "InvalidFormerFieldManager",
                format!(
                    "spec.formerFieldManagers[{at}] {shown:?} {why}; name the field manager of the operator that was there before, as `kubectl get -o yaml --show-managed-fields` shows it, or remove the entry"
                ),
            ));
        }
    }
    Ok(())
}

fn refused(name: &str, own: Option<&str>) -> Option<&'static str> {
    let of = |whole: &str| {
        name.strip_prefix(whole)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > LONGEST || name.chars().any(char::is_control) {
        Some("cannot be one: it has more than 128 bytes or is not printable")
    } else if of(OWN) {
        Some("is one of Kybern's own: a plugin would take the fields of other plugins or of people")
    } else if own.is_some_and(of) {
        Some("is the registration's own (spec.fieldManager), which it goes on to write with")
    } else if CONTROL_PLANE.contains(&name) {
        Some("is a part of Kubernetes, which goes on to write its fields")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(names: serde_json::Value) -> Option<String> {
        let spec: PluginSpec = serde_json::from_value(json!({
            "resources": [], "source": { "file": "x" },
            "fieldManager": "mine", "formerFieldManagers": names,
        }))
        .unwrap();
        check(&spec).err().map(|problem| {
            assert_eq!(problem.reason, "InvalidFormerFieldManager");
            problem.message
        })
    }

    #[test]
    fn what_an_operator_writes_with_is_taken() {
        let names = ["manager", "kubectl-client-side-apply", "helm", "kybernetes"];
        assert_eq!(told(json!(names)), None);
        assert_eq!(told(json!(["a".repeat(LONGEST)])), None);
        assert_eq!(told(json!([])), None);
    }

    #[test]
    fn what_goes_on_to_write_is_refused_by_name() {
        for (name, words) in [
            ("", "is empty"),
            (&*"a".repeat(LONGEST + 1), "128 bytes"),
            ("a\nb", "not printable"),
            ("kybern", "Kybern's own"),
            ("kybern/sql", "Kybern's own"),
            ("kybern/other/abc", "Kybern's own"),
            ("mine", "spec.fieldManager"),
            ("mine/status", "spec.fieldManager"),
            ("kube-controller-manager", "part of Kubernetes"),
            ("kubelet", "part of Kubernetes"),
        ] {
            let message = told(json!(["manager", name])).unwrap();
            for part in ["spec.formerFieldManagers[1]", words, "remove the entry"] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
