//! Plans that are refused, and why.

use super::*;
use crate::active::PassLimits;
use crate::owner::part_of;
use kybern_interface::{Manifest, Registration};
use serde_json::json;
use std::sync::Arc;

struct Served;

impl Kinds for Served {
    fn facts(&self, gvk: &Gvk) -> Option<KindFacts> {
        let (plural, namespaced) = match gvk.kind.as_str() {
            "Deployment" => ("deployments", true),
            "ConfigMap" => ("configmaps", true),
            "Pod" => ("pods", true),
            "Secret" => ("secrets", true),
            "Namespace" => ("namespaces", false),
            "ClusterRole" => ("clusterroles", false),
            "App" => ("apps", true),
            _ => return None,
        };
        Some(KindFacts {
            plural: plural.into(),
            namespaced,
            has_status: true,
        })
    }

    fn versions(&self, _: &str, _: &str) -> Option<Vec<String>> {
        None
    }
}

fn active() -> Active {
    let registration: Registration = serde_json::from_value(json!({
        "apiVersion": "kybern.dev/v1alpha1", "kind": "Plugin", "metadata": { "name": "reg" },
        "spec": { "source": { "file": "x" }, "grants": { "write": [
            { "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "delete"] },
            { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] },
            { "group": "", "kinds": ["Namespace"], "verbs": ["apply"], "scope": "Cluster" },
            { "group": "rbac.authorization.k8s.io", "kinds": ["ClusterRole"], "verbs": ["apply"], "scope": "Cluster" },
            { "group": "app.example.com", "kinds": ["App"], "verbs": ["apply"] },
            { "group": "", "kinds": ["Secret"], "verbs": ["apply"] },
            { "group": "", "kinds": ["Pod"], "verbs": [], "subresources": ["eviction"] },
            { "group": "apps", "kinds": ["Deployment"], "verbs": [], "subresources": ["scale"] },
        ], "state": true } },
    }))
    .unwrap();
    let manifest: Manifest =
        serde_json::from_value(json!({ "name": "p", "version": "1.0.0", "world": "w" })).unwrap();
    Active {
        registration: Arc::new(registration),
        digest: "sha256:x".into(),
        manifest: Arc::new(manifest),
        primaries: Vec::new(),
        settings: Value::Null,
        limits: PassLimits::default(),
        has_sense: false,
        revisions: Vec::new(),
        missing: std::collections::BTreeSet::new(),
        trial: None,
    }
}

fn owner(namespace: &str) -> Owner {
    Owner {
        gvk: Gvk::new("app.example.com", "v1", "App"),
        plural: "apps".into(),
        namespace: namespace.into(),
        name: "a".into(),
        uid: "u1".into(),
        part_of: part_of("reg", "u1"),
    }
}

fn ask_in(namespace: &str, actions: Value) -> Result<Checked, Vec<Offence>> {
    let plan: Plan =
        serde_json::from_value(json!({ "children": "complete", "actions": actions })).unwrap();
    let limits = PlanLimits {
        actions: 4,
        object_bytes: 1_000,
        state_bytes: 100,
        ..PlanLimits::default()
    };
    check(&plan, &active(), &owner(namespace), &Served, &limits)
}

fn ask(actions: Value) -> Result<Checked, Vec<Offence>> {
    ask_in("ns", actions)
}

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

fn apply(object: Value) -> Value {
    json!({ "type": "apply", "object": object })
}

/// The one offence of a plan with this one action.
fn offence(action: Value) -> Offence {
    let mut offences = ask(json!([action])).unwrap_err();
    assert_eq!(offences.len(), 1, "{offences:?}");
    offences.remove(0)
}

#[track_caller]
fn refused(action: Value, fault: Fault, words: &str) {
    let offence = offence(action);
    assert_eq!(offence.fault, fault, "{}", offence.message);
    assert!(offence.message.contains(words), "{}", offence.message);
}

#[test]
fn a_plan_in_order_passes() {
    let checked = ask(json!([
        apply(map("x")),
        apply(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "far" } })),
        { "type": "status", "status": { "n": 1 } },
        { "type": "event", "reason": "Rolled", "message": "m" },
    ]))
    .unwrap();
    assert_eq!(checked.intents.len(), 2);
    assert!(checked.intents[0].reachable);
    assert!(!checked.intents[1].reachable);
    assert_eq!(checked.status, Some(json!({ "n": 1 })));
    assert_eq!(checked.events.len(), 1);
}

#[test]
fn one_wrong_action_refuses_all_and_every_offence_is_named() {
    let offences = ask(json!([
        apply(map("x")),
        apply(map("Y")),
        apply(json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d", "namespace": "other" } })),
    ]))
    .unwrap_err();
    assert_eq!(offences.len(), 2);
    assert_eq!(offences[0].fault, Fault::NotGranted);
    assert!(offences[0].message.contains("other"), "{offences:?}");
    assert!(offences[1].message.contains("DNS-1123"), "{offences:?}");
}

#[test]
fn objects_need_a_full_name() {
    for object in [
        json!({}),
        json!("x"),
        json!({ "apiVersion": "v1", "kind": "ConfigMap" }),
        json!({ "kind": "ConfigMap", "metadata": { "name": "x" } }),
        json!({ "apiVersion": "v1", "metadata": { "name": "x" } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": 3 } }),
    ] {
        refused(
            apply(object),
            Fault::Invalid,
            "apiVersion, kind and metadata.name",
        );
    }
}

#[test]
fn names_are_names() {
    for name in ["A", "a_b", "-a", "a.", "", "a/b", "a..b", &"x".repeat(254)] {
        refused(apply(map(name)), Fault::Invalid, "the name");
    }
    for name in ["a", "a.b-c", "0", &"x".repeat(253)] {
        assert!(ask(json!([apply(map(name))])).is_ok(), "{name}");
    }
}

#[test]
fn sizes_are_bounded() {
    let mut large = map("x");
    large["data"] = json!({ "k": "v".repeat(1_000) });
    refused(apply(large), Fault::Invalid, "bytes");
    let mut deep = json!("x");
    for _ in 0..80 {
        deep = json!([deep]);
    }
    let mut object = map("x");
    object["data"] = deep.clone();
    refused(apply(object), Fault::Invalid, "nests deeper");
    refused(
        json!({ "type": "status", "status": { "x": deep } }),
        Fault::Invalid,
        "nests deeper",
    );
    let many: Vec<Value> = (0..5).map(|n| apply(map(&format!("x{n}")))).collect();
    assert!(
        ask(json!(many)).unwrap_err()[0]
            .message
            .contains("5 actions")
    );
}

#[test]
fn an_object_is_named_once_whatever_its_version() {
    let offences = ask(json!([
        apply(map("x")),
        apply(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "namespace": "ns" } })),
    ]))
    .unwrap_err();
    assert!(offences[0].message.contains("named twice"), "{offences:?}");
}

#[test]
fn scope_and_namespace_fit() {
    refused(
        apply(
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "x", "namespace": "ns" } }),
        ),
        Fault::Invalid,
        "cluster-scoped",
    );
    let offences = ask_in("", json!([apply(map("x"))])).unwrap_err();
    assert!(offences[0].message.contains("needs metadata.namespace"));
}

#[test]
fn what_is_not_served_granted_or_supported_is_said_so() {
    refused(
        apply(
            json!({ "apiVersion": "x.example.com/v1", "kind": "X", "metadata": { "name": "x" } }),
        ),
        Fault::NotServed,
        "x.example.com/v1, Kind=X",
    );
    refused(
        apply(
            json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "x" } }),
        ),
        Fault::NotGranted,
        "RBAC",
    );
    refused(
        json!({ "type": "apply", "object": map("x"), "adopt": "ifUnowned" }),
        Fault::NotGranted,
        "adopt",
    );
    for action in [
        json!({ "type": "sql", "statement": "DELETE" }),
        json!({ "type": "createSubresource", "target": { "version": "v1", "kind": "ServiceAccount", "name": "x" }, "subresource": "token" }),
    ] {
        refused(action, Fault::NotSupportedYet, "yet");
    }
}

#[test]
fn the_hosts_metadata_is_the_hosts() {
    for (path, value) in [
        ("labels", json!({ "applyset.kubernetes.io/part-of": "x" })),
        ("annotations", json!({ "kybern.dev/intent": "x" })),
        ("annotations", json!({ "kybern.dev/prune": "never" })),
        ("labels", json!({ "a": 1 })),
        ("labels", json!([])),
        (
            "ownerReferences",
            json!([{ "uid": "other", "controller": true }]),
        ),
        ("generateName", json!("x-")),
    ] {
        let mut object = map("x");
        object["metadata"][path] = value;
        refused(apply(object), Fault::Invalid, "action 0");
    }
    let mut kept = map("x");
    kept["metadata"]["annotations"] = json!({ "kybern.dev/prune": "disabled" });
    assert!(ask(json!([apply(kept)])).is_ok());
}

#[test]
fn a_cr_is_not_its_own_child() {
    refused(
        apply(
            json!({ "apiVersion": "app.example.com/v1", "kind": "App", "metadata": { "name": "a" } }),
        ),
        Fault::Invalid,
        "own child",
    );
}

#[test]
fn deletes_name_their_uid() {
    let target = |uid: Value| json!({ "type": "delete", "target": { "version": "v1", "kind": "ConfigMap", "namespace": "ns", "name": "x", "uid": uid } });
    refused(target(Value::Null), Fault::Invalid, "uid");
    let checked = ask(json!([target(json!("u9"))])).unwrap();
    assert_eq!(checked.deletes.len(), 1);
    refused(
        json!({ "type": "delete", "target": { "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "ns", "name": "x", "uid": "u" } }),
        Fault::NotGranted,
        "delete",
    );
}

#[test]
fn hand_over_paths_are_plain() {
    for path in ["", "spec.", "spec.a[0]", "metadata.name"] {
        refused(
            json!({ "type": "apply", "object": map("x"), "ignorePaths": [path] }),
            Fault::Invalid,
            "ignorePaths",
        );
    }
}

#[test]
fn unchanged_children_are_not_applied() {
    let plan: Plan =
        serde_json::from_value(json!({ "children": "unchanged", "actions": [apply(map("x"))] }))
            .unwrap();
    let refused = check(
        &plan,
        &active(),
        &owner("ns"),
        &Served,
        &PlanLimits::default(),
    );
    assert!(refused.is_err());
}

#[test]
fn an_unknown_action_is_no_plan() {
    let error =
        crate::parse_plan(r#"{"children":"complete","actions":[{"type":"launch"}]}"#).unwrap_err();
    assert!(error.to_string().contains("launch"), "{error}");
    assert!(crate::parse_plan(r#"{"children":"complete","actions":[],"later":1}"#).is_ok());
}

#[test]
fn a_plan_has_one_state_of_bounded_size() {
    let set = |state: Value| json!({ "type": "setState", "state": state });
    let kept = ask(json!([set(json!({ "n": 3 }))])).unwrap();
    assert_eq!(kept.state, Some(json!({ "n": 3 })));
    // Null forgets; no action leaves it.
    assert_eq!(
        ask(json!([set(Value::Null)])).unwrap().state,
        Some(Value::Null)
    );
    assert_eq!(ask(json!([])).unwrap().state, None);
    let twice = ask(json!([set(json!(1)), set(json!(2))])).unwrap_err();
    assert!(twice[0].message.contains("one state"), "{twice:?}");
    refused(
        set(json!("x".repeat(200))),
        Fault::Invalid,
        "the state has 202 bytes; at most 100 are taken",
    );
    let deep = (0..80).fold(Value::Null, |inner, _| json!([inner]));
    refused(set(deep), Fault::Invalid, "nests deeper");
}

#[test]
fn no_plan_names_a_record() {
    let name = format!("{}x", names::RECORD_PREFIX);
    refused(
        apply(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name } })),
        Fault::Invalid,
        "are the host's",
    );
    assert!(ask(json!([apply(map(&name))])).is_ok(), "a ConfigMap may");
}

#[test]
fn a_subresource_needs_its_grant_a_uid_where_it_deletes_and_a_body_that_is_understood() {
    let evict = |namespace: &str, uid: Value, body: Value| {
        json!({ "type": "createSubresource", "subresource": "eviction", "body": body,
            "target": { "version": "v1", "kind": "Pod", "namespace": namespace, "name": "p", "uid": uid } })
    };
    let scale = |kind: &str, body: Value| {
        json!({ "type": "createSubresource", "subresource": "scale", "body": body,
            "target": { "group": "apps", "version": "v1", "kind": kind, "namespace": "ns", "name": "d" } })
    };
    let grace = json!({ "deleteOptions": { "gracePeriodSeconds": 5 } });
    let three = json!({ "spec": { "replicas": 3 } });
    let checked = ask(json!([
        evict("ns", json!("u"), grace.clone()),
        scale("Deployment", three.clone())
    ]))
    .unwrap();
    let what: Vec<Sub> = checked.subresources.iter().map(|task| task.what).collect();
    let grace_seconds = Some(5);
    assert_eq!(
        what,
        [Sub::Evict { grace_seconds }, Sub::Scale { replicas: 3 }]
    );
    refused(evict("ns", Value::Null, Value::Null), Fault::Invalid, "uid");
    refused(
        evict("other", json!("u"), Value::Null),
        Fault::NotGranted,
        "does not reach",
    );
    for body in [
        json!({ "deleteOptions": { "gracePeriodSeconds": 5, "dryRun": ["All"] } }),
        json!({ "deleteOptions": { "gracePeriodSeconds": -1 } }),
        json!("x"),
    ] {
        refused(evict("ns", json!("u"), body), Fault::Invalid, "eviction is");
    }
    for body in [
        json!({ "spec": { "replicas": -1 } }),
        json!({}),
        three.clone(),
    ] {
        let action = match body == three {
            true => evict("ns", json!("u"), body),
            false => scale("Deployment", body),
        };
        refused(action, Fault::Invalid, "the body of");
    }
    let mut map_scale = scale("Deployment", three);
    map_scale["target"]["group"] = json!("");
    map_scale["target"]["kind"] = json!("ConfigMap");
    refused(map_scale, Fault::NotGranted, "subresource scale");
    let twice = ask(json!([
        evict("ns", json!("u"), grace.clone()),
        evict("ns", json!("u"), grace)
    ]))
    .unwrap_err();
    assert!(twice[0].message.contains("named twice"), "{twice:?}");
}
