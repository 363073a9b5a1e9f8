//! When an object is as intended, and what is sent when it is not.

use super::*;
use crate::active::KindFacts;
use crate::memory::Baseline;
use crate::owner::part_of;
use kybern_interface::{ApplyObject, Gvk};

const MANAGER: &str = "kybern/reg";
const OURS: Managers<'_> = Managers {
    manager: MANAGER,
    former: &[],
};

fn owner() -> Owner {
    Owner {
        gvk: Gvk::new("app.example.com", "v1", "App"),
        plural: "apps".into(),
        namespace: "ns".into(),
        name: "a".into(),
        uid: "u1".into(),
        part_of: part_of("reg", "u1"),
    }
}

fn intent_of(action: Value) -> Intent {
    let action: ApplyObject = serde_json::from_value(action).unwrap();
    let facts = KindFacts {
        plural: "deployments".into(),
        namespaced: true,
        has_status: true,
    };
    Intent::of(&action, &owner(), &facts)
}

fn deployment() -> Value {
    json!({ "object": {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 2, "template": { "spec": { "containers": [
            { "name": "web", "image": "i:1", "resources": { "limits": { "cpu": "1000m" } } },
        ] } } },
    } })
}

/// The entry that a POST or an apply of the intent leaves.
fn entry(intent: &Intent, operation: &str) -> Value {
    let mut fields = json!({
        "f:metadata": {
            "f:labels": { ".": {}, "f:applyset.kubernetes.io/part-of": {} },
            "f:annotations": { ".": {}, "f:kybern.dev/intent": {} },
            "f:ownerReferences": { ".": {}, "k:{\"uid\":\"u1\"}": {} },
        },
        "f:spec": { "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": {
            ".": {}, "f:name": {}, "f:image": {}, "f:resources": { ".": {}, "f:limits": { ".": {}, "f:cpu": {} } },
        } } } } },
    });
    if intent.object.pointer("/spec/replicas").is_some() {
        fields["f:spec"]["f:replicas"] = json!({});
    }
    json!({ "manager": MANAGER, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields })
}

/// What the API server makes of it: defaults, normalised quantities, a sidecar, status.
fn live(intent: &Intent, operation: &str) -> Value {
    let mut live = intent.object.clone();
    live["metadata"]["uid"] = json!("c1");
    live["metadata"]["resourceVersion"] = json!("10");
    live["metadata"]["generation"] = json!(1);
    live["metadata"]["managedFields"] = json!([entry(intent, operation)]);
    live["spec"]["strategy"] = json!({ "type": "RollingUpdate" });
    let containers = live["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap();
    containers[0]["imagePullPolicy"] = json!("Always");
    containers[0]["resources"]["limits"]["cpu"] = json!("1");
    containers.insert(0, json!({ "name": "sidecar", "image": "s:1" }));
    live["status"] = json!({ "replicas": 1 });
    live
}

fn judge(intent: &Intent, live: &Value, remembered: Option<&Baseline>) -> Verdict {
    diff(intent, Some(live), &owner(), &OURS, remembered, false).verdict
}

#[test]
fn what_is_not_there_is_created() {
    let intent = intent_of(deployment());
    let found = diff(&intent, None, &owner(), &OURS, None, false);
    assert_eq!(found.verdict, Verdict::Create);
}

#[test]
fn defaults_normalised_values_and_sidecars_are_not_drift() {
    let intent = intent_of(deployment());
    for operation in ["Update", "Apply"] {
        let live = live(&intent, operation);
        // After a restart: nothing remembered.
        let found = diff(&intent, Some(&live), &owner(), &OURS, None, false);
        assert_eq!(found.verdict, Verdict::Converged);
        // Remembered: the values after our own write.
        let baseline = Baseline::of(&intent, &live, MANAGER);
        let mut later = live.clone();
        later["status"] = json!({ "replicas": 2 });
        later["metadata"]["labels"]["foreign"] = json!("x");
        assert_eq!(judge(&intent, &later, Some(&baseline)), Verdict::Converged);
    }
}

#[test]
fn a_changed_owned_value_is_drift() {
    let intent = intent_of(deployment());
    let live = live(&intent, "Apply");
    let baseline = Baseline::of(&intent, &live, MANAGER);
    let mut changed = live.clone();
    changed["spec"]["replicas"] = json!(5);
    let Verdict::Apply(ApplyReason::Drift(paths)) = judge(&intent, &changed, Some(&baseline))
    else {
        panic!("not seen");
    };
    assert!(paths.contains(&"spec.replicas".to_owned()), "{paths:?}");
    let mut removed = live.clone();
    removed["metadata"]["ownerReferences"] = json!([]);
    assert!(matches!(
        judge(&intent, &removed, Some(&baseline)),
        Verdict::Apply(ApplyReason::Drift(_))
    ));
}

#[test]
fn after_a_restart_a_path_that_another_manager_took_is_drift() {
    let intent = intent_of(deployment());
    let mut live = live(&intent, "Apply");
    live["spec"]["replicas"] = json!(5);
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
        .as_object_mut()
        .unwrap()
        .remove("f:replicas");
    assert_eq!(
        judge(&intent, &live, None),
        Verdict::Apply(ApplyReason::NotCovered(vec!["spec.replicas".into()]))
    );
}

#[test]
fn another_intent_or_a_removed_mark_is_applied() {
    let intent = intent_of(deployment());
    let now = live(&intent, "Apply");
    let mut next = deployment();
    next["object"]["spec"]["replicas"] = json!(3);
    let next = intent_of(next);
    let baseline = Baseline::of(&intent, &now, MANAGER);
    assert_eq!(
        judge(&next, &now, Some(&baseline)),
        Verdict::Apply(ApplyReason::Intent)
    );
    let mut unmarked = now;
    unmarked["metadata"]["annotations"] = json!({});
    assert_eq!(
        judge(&intent, &unmarked, Some(&baseline)),
        Verdict::Apply(ApplyReason::Intent)
    );
}

#[test]
fn force_applies_what_is_converged() {
    let intent = intent_of(deployment());
    let live = live(&intent, "Apply");
    let found = diff(&intent, Some(&live), &owner(), &OURS, None, true);
    assert_eq!(found.verdict, Verdict::Apply(ApplyReason::Forced));
}

#[test]
fn what_is_somebody_elses_is_left_alone() {
    let intent = intent_of(deployment());
    let mut other = live(&intent, "Apply");
    other["metadata"]["ownerReferences"][0]["uid"] = json!("u9");
    other["metadata"]["ownerReferences"][0]["name"] = json!("b");
    assert!(
        matches!(judge(&intent, &other, None), Verdict::NotOurs { whose } if whose.contains("App b"))
    );
    // The same kind and name under another uid: its predecessor's, on its way out.
    other["metadata"]["ownerReferences"][0]["name"] = json!("a");
    assert_eq!(judge(&intent, &other, None), Verdict::WaitingForDeletion);
    let free =
        json!({ "metadata": { "name": "web", "managedFields": [{ "manager": "kubectl" }] } });
    assert!(
        matches!(judge(&intent, &free, None), Verdict::NotOurs { whose } if whose.contains("kubectl"))
    );
    let mut adopting = deployment();
    adopting["adopt"] = json!("ifUnowned");
    assert_eq!(judge(&intent_of(adopting), &free, None), Verdict::Adopt);
    let mut deleting = live(&intent, "Apply");
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(judge(&intent, &deleting, None), Verdict::WaitingForDeletion);
}

#[test]
fn what_is_created_once_is_never_changed() {
    let mut once = deployment();
    once["mode"] = json!("createOnce");
    let intent = intent_of(once);
    let mut live = live(&intent, "Update");
    live["spec"]["replicas"] = json!(9);
    live["metadata"]["annotations"] = json!({});
    assert_eq!(judge(&intent, &live, None), Verdict::Kept);
}

#[test]
fn the_request_carries_the_uid_and_the_live_value_of_a_handed_over_path() {
    let mut handed = deployment();
    handed["ignorePaths"] = json!(["spec.replicas"]);
    let intent = intent_of(handed);
    let mut now = live(&intent, "Apply");
    now["spec"]["replicas"] = json!(7);
    // Nobody else has it: the live value goes on being sent, never the default.
    let sent = request(&intent, &now, MANAGER, &[]);
    assert_eq!(sent["metadata"]["uid"], "c1");
    assert_eq!(sent["spec"]["replicas"], 7);
    assert_eq!(sent.pointer("/metadata/managedFields"), None);
    // An autoscaler has it: it is left out.
    now["metadata"]["managedFields"]
        .as_array_mut()
        .unwrap()
        .push(json!({
            "manager": "kube-controller-manager", "operation": "Update", "subresource": "scale",
            "fieldsV1": { "f:spec": { "f:replicas": {} } },
        }));
    let sent = request(&intent, &now, MANAGER, &[]);
    assert_eq!(sent.pointer("/spec/replicas"), None);
    // Either way its value is no drift.
    let baseline = Baseline::of(&intent, &now, MANAGER);
    now["spec"]["replicas"] = json!(8);
    assert_eq!(judge(&intent, &now, Some(&baseline)), Verdict::Converged);
    assert_eq!(judge(&intent, &now, None), Verdict::Converged);
}

#[test]
fn update_entries_become_part_of_our_apply_entry() {
    let intent = intent_of(deployment());
    let mut live = live(&intent, "Update");
    let entries = live["metadata"]["managedFields"].as_array_mut().unwrap();
    entries.push(json!({ "manager": "old", "operation": "Update", "fieldsV1": { "f:spec": { "f:paused": {} } } }));
    entries.push(json!({ "manager": MANAGER, "operation": "Apply", "fieldsV1": { "f:spec": { "f:minReadySeconds": {} } } }));
    entries.push(json!({ "manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": { "f:status": {} } }));
    let patch = upgrade(&live, MANAGER, &["old".to_owned()]).unwrap();
    assert_eq!(
        patch[1],
        json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": "10" })
    );
    let list = patch[0]["value"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["manager"], MANAGER);
    assert_eq!(list[0]["operation"], "Apply");
    let spec = &list[0]["fieldsV1"]["f:spec"];
    for field in ["f:replicas", "f:paused", "f:minReadySeconds"] {
        assert!(spec.get(field).is_some(), "{field}");
    }
    assert_eq!(list[1]["manager"], "kubelet");
    live["metadata"]["managedFields"] = json!(list);
    assert_eq!(upgrade(&live, MANAGER, &["old".to_owned()]), None);
}
