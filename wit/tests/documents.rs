//! The documents as a plugin in another language would write and read them.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use kybern_interface::{
    Effect, Gvk, HookError, Manifest, Outcome, OutcomeResult, Plan, Query, Registration, Scope,
    Sensing, Situation, Trigger, names,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reads the document and writes it again: nothing is lost, nothing is added.
fn same<T: DeserializeOwned + Serialize>(document: Value) -> T {
    let read: T = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), document);
    read
}

fn app() -> Value {
    json!({ "group": "app.example.com", "version": "v1", "kind": "AppService" })
}

#[test]
fn sensing() {
    assert_eq!(same::<Sensing>(json!("skip")), Sensing::Skip);
    let query = json!({ "name": "pods", "sql": "SELECT name FROM pods WHERE namespace = $1", "params": ["default"] });
    let query_type =
        Query::new("pods", "SELECT name FROM pods WHERE namespace = $1").param("default");
    assert_eq!(
        same::<Sensing>(json!({ "queries": [query] })),
        Sensing::Queries(vec![query_type.clone()])
    );
    assert_eq!(
        same::<Sensing>(json!({ "again": [query] })),
        Sensing::Again(vec![query_type])
    );
}

#[test]
fn trigger_and_situation() {
    let object = json!({ "metadata": { "name": "a" }, "spec": { "size": 2 } });
    same::<Trigger>(
        json!({ "resource": app(), "object": object, "settings": {}, "now": "2026-01-01T00:00:00Z" }),
    );
    same::<Trigger>(
        json!({ "resource": app(), "object": object, "settings": {}, "now": "2026-01-01T00:00:00Z", "queries": ["pods"] }),
    );
    let situation: Situation = same(json!({
        "resource": app(), "object": object, "queries": ["pods"], "settings": { "a": 1 },
        "state": { "seen": 3 }, "now": "2026-01-01T00:00:00Z",
        "outcomes": [
            { "name": "backup", "key": "a", "attempt": 1, "ok": null, "at": "2026-01-01T00:00:00Z" },
            { "name": "backup", "key": "b", "attempt": 2, "error": "no route", "at": "2026-01-01T00:00:00Z" },
        ],
    }));
    let results: Vec<&OutcomeResult> = situation.outcomes.iter().map(|o| &o.result).collect();
    assert_eq!(
        results,
        [
            &OutcomeResult::Ok(Value::Null),
            &OutcomeResult::Error("no route".into())
        ]
    );
    assert!(!situation.deleting());
}

#[test]
fn a_plan_with_every_action() {
    let target = json!({ "group": "", "version": "v1", "kind": "Pod", "namespace": "default", "name": "a", "uid": "u" });
    let plan: Plan = same(json!({
        "children": { "partial": "the quota is not known" },
        "actions": [
            { "type": "apply", "object": { "apiVersion": "v1" }, "mode": "createOnce", "wave": -1, "ready": true,
              "onImmutable": "recreate", "adopt": "ifUnowned", "prune": "orphan", "duringDeletion": true,
              "ignorePaths": ["spec.replicas"] },
            { "type": "patch", "target": target, "kind": "merge", "patch": { "a": null }, "subresource": "status", "wave": 1 },
            { "type": "delete", "target": target, "propagation": "Foreground", "wave": 2 },
            { "type": "status", "status": { "replicas": 1 } },
            { "type": "event", "severity": "Warning", "reason": "TooFew", "message": "one of two" },
            { "type": "effect", "name": "backup", "key": "a", "input": [1], "maxAgeMs": 1, "timeoutMs": 2, "phase": "finalize" },
            { "type": "sql", "statement": "DELETE FROM pods WHERE name = $1", "params": ["a", 1, null] },
            { "type": "setState", "state": { "seen": 4 } },
            { "type": "createSubresource", "target": target, "subresource": "eviction", "body": {} },
        ],
        "deletion": { "inProgress": "the backup runs" },
        "requeueAfterMs": 5000,
    }));
    assert_eq!(plan.actions.len(), 9);
}

#[test]
fn what_is_left_out_has_a_default() {
    let plan: Plan = serde_json::from_value(json!({
        "children": "complete",
        "actions": [{ "type": "apply", "object": {} }, { "type": "effect", "name": "a", "key": "b" }],
    }))
    .unwrap();
    assert_eq!(
        serde_json::to_value(plan).unwrap(),
        json!({
            "children": "complete",
            "actions": [
                { "type": "apply", "object": {}, "mode": "managed", "wave": 0, "ready": false, "onImmutable": "fail",
                  "adopt": "never", "prune": "delete", "duringDeletion": false },
                { "type": "effect", "name": "a", "key": "b", "input": null, "phase": "normal" },
            ],
            "deletion": "notDeleting",
        })
    );
}

#[test]
fn a_document_that_says_nothing_about_children_is_no_plan() {
    for document in [
        json!({}),
        json!({ "actions": [] }),
        json!({ "children": "complete" }),
    ] {
        assert!(
            serde_json::from_value::<Plan>(document.clone()).is_err(),
            "{document}"
        );
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_actions_refuse_the_plan() {
    let plan = json!({ "children": "complete", "actions": [{ "type": "status", "status": {}, "later": 1 }], "later": {} });
    assert!(serde_json::from_value::<Plan>(plan).is_ok());
    let plan = json!({ "children": "complete", "actions": [{ "type": "status", "status": {} }, { "type": "later" }] });
    let error = serde_json::from_value::<Plan>(plan).unwrap_err();
    assert!(
        error.to_string().contains("unknown variant `later`"),
        "{error}"
    );
}

#[test]
fn effect_and_outcome() {
    same::<Effect>(json!({
        "name": "backup", "key": "a", "attempt": 1, "input": { "to": "s3" }, "resource": app(),
        "metadata": { "name": "a", "namespace": "b", "uid": "c" }, "settings": {},
    }));
    let later = json!({ "name": "backup", "key": "a", "attempt": 1, "ok": {}, "at": "2026-01-01T00:00:00Z", "later": 1 });
    assert!(serde_json::from_value::<Outcome>(later).is_ok());
}

#[test]
fn manifest() {
    same::<Manifest>(json!({
        "name": "appservice", "version": "0.1.0", "world": kybern_interface::WORLD,
        "resources": [{ "group": "app.example.com", "version": "v1", "kind": "AppService", "role": "Primary" }],
        "queries": [{ "name": "pods", "sql": "SELECT 1", "params": ["metadata.name"] }],
        "reads": [{ "group": "", "version": "v1", "kind": "Pod", "optional": true }],
        "writes": [{ "group": "", "version": "v1", "kind": "Pod", "verbs": ["apply", "patch", "delete"], "subresources": ["eviction"] }],
        "capabilities": [{ "name": "http", "reason": "asks etcd" }],
        "effects": [{ "name": "backup", "description": "saves" }],
        "crds": [{ "kind": "CustomResourceDefinition" }],
        "settingsSchema": { "type": "object" },
        "status": { "conditions": "standard", "observedGeneration": true },
        "delegates": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }],
    }));
    let least = json!({ "name": "a", "version": "1.0.0", "world": "w" });
    assert!(serde_json::from_value::<Manifest>(least).is_ok());
}

/// As `design` shows a registration to users.
#[test]
fn registration() {
    let registration: Registration = serde_saphyr::from_str(
        r#"
        apiVersion: kybern.dev/v1alpha1
        kind: Plugin
        metadata: { name: appservice, generation: 4 }
        spec:
          class: ""
          resources:
            - { group: app.example.com, version: v1, kind: AppService, selector: {}, role: Primary }
          source: { file: /plugins/appservice.wasm }
          crds: Create
          settings: {}
          grants:
            read:
              - { group: "", kinds: [Pod], scope: Own }
              - { group: "", kinds: [Node], scope: Cluster }
              - { group: apps, kinds: [Deployment], scope: { Namespaces: [a, b] } }
              - { group: apps, kinds: [StatefulSet], scope: { Selector: { matchLabels: { a: b } } } }
            write:
              - { group: apps, kinds: [Deployment], verbs: [apply, delete], subresources: [], scope: Own, adopt: false }
            http: [ { host: "*.etcd.svc", ports: [2379], methods: [GET, POST] } ]
          limits: { memory: 64Mi, time: 500ms, effectTime: 30s, concurrency: 8, maxPrune: 50% }
          dependsOn: []
          onRemoval: Orphan
          paused: false
        "#,
    )
    .unwrap();
    assert_eq!(
        (registration.name(), registration.generation()),
        ("appservice", 4)
    );
    assert_eq!(registration.field_manager(), "kybern/appservice");
    let scopes: Vec<Scope> = registration
        .spec
        .grants
        .read
        .iter()
        .map(|grant| grant.scope.clone())
        .collect();
    assert_eq!(scopes.first(), Some(&Scope::Own));
    assert_eq!(
        scopes.get(2),
        Some(&Scope::Namespaces(vec!["a".into(), "b".into()]))
    );
    let again: Registration =
        serde_json::from_value(serde_json::to_value(&registration).unwrap()).unwrap();
    assert_eq!(again, registration);
}

#[test]
fn errors_and_names_read_well() {
    assert_eq!(
        HookError::invalid("spec.size", "is negative").to_string(),
        "invalid: spec.size: is negative"
    );
    assert_eq!(
        HookError::wait("no address yet").to_string(),
        "waiting: no address yet"
    );
    assert_eq!(
        names::cleanup_finalizer("appservice"),
        "appservice.finalizers.kybern.dev/cleanup"
    );
    assert_eq!(
        names::status_manager(&names::field_manager("a")),
        "kybern/a/status"
    );
}

proptest! {
    #[test]
    fn an_api_version_names_group_and_version(group in "([a-z]{1,8}(\\.[a-z]{1,8}){0,3})?", version in "v[1-9](alpha[1-9])?", kind in "[A-Z][a-z]{1,9}") {
        let gvk = Gvk::new(group, version, kind.clone());
        prop_assert_eq!(Gvk::from_api_version(&gvk.api_version(), &kind), gvk);
    }
}

#[test]
fn each_custom_resource_patches_under_a_name_of_its_own() {
    let manager = |uid| kybern_interface::names::patch_manager("a", uid);
    assert_eq!(
        manager("2af1ed40-f7cb-4b65-8c16-b32968556f31"),
        "kybern/a/b32968556f31"
    );
    // As the simulator makes them.
    assert_ne!(
        manager("00000000-0000-4000-8000-000000000001"),
        manager("00000000-0000-4000-8000-000000000002")
    );
    assert_eq!(manager("short"), "kybern/a/short");
}
