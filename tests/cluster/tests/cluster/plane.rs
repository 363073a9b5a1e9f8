//! What tests rely on: requests, users, namespaces, kinds, the audit log, restarts.

use kybern_testcluster::{ControlPlane, Object, Options, shared};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn config_map(namespace: &str, name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": namespace, "name": name },
        "data": { "key": value },
    })
}

#[test]
fn objects_are_created_changed_listed_and_deleted() {
    let plane = shared().unwrap();
    let client = plane.client();
    let namespace = plane.namespace("objects").unwrap();
    let object = Object::new("v1", "ConfigMap", &namespace, "one");

    assert_eq!(client.find(&object).unwrap(), None);
    client.create(&config_map(&namespace, "one", "a")).unwrap();
    let again = client
        .create(&config_map(&namespace, "one", "a"))
        .unwrap_err();
    assert_eq!(again.code(), Some(409), "{again}");

    let applied = client
        .apply(&config_map(&namespace, "one", "b"), "test/manager")
        .unwrap();
    assert_eq!(applied["data"]["key"], "b");
    let patch = json!({ "data": { "other": "c" } });
    let patched = client.merge_patch(&object, &patch).unwrap();
    assert_eq!(patched["data"], json!({ "key": "b", "other": "c" }));
    let patch = json!([{ "op": "remove", "path": "/data/other" }]);
    client.json_patch(&object, &patch).unwrap();
    let mut whole = client.get(&object).unwrap();
    assert_eq!(whole["data"], json!({ "key": "b" }));
    whole["data"]["key"] = json!("d");
    client.update(&whole).unwrap();
    let stale = client.update(&whole).unwrap_err();
    assert_eq!(stale.code(), Some(409), "{stale}");

    client.create(&config_map(&namespace, "two", "x")).unwrap();
    let listed = client.list("v1", "ConfigMap", Some(&namespace)).unwrap();
    assert_eq!(listed.len(), 2);

    client.delete(&object).unwrap();
    client.wait_gone(&object, SOON).unwrap();
    assert_eq!(client.delete(&object).unwrap_err().code(), Some(404));
}

#[test]
fn a_wait_that_fails_shows_what_was_there() {
    let plane = shared().unwrap();
    let namespace = plane.namespace("waits").unwrap();
    plane
        .client()
        .create(&config_map(&namespace, "one", "a"))
        .unwrap();
    let object = Object::new("v1", "ConfigMap", &namespace, "one");
    let error = plane
        .client()
        .wait_for(&object, "key is z", Duration::from_millis(50), |now| {
            now["data"]["key"] == "z"
        })
        .unwrap_err()
        .to_string();
    assert!(error.contains("one: key is z: not within 50ms"), "{error}");
    assert!(error.contains(r#""key":"a""#), "{error}");
}

#[test]
fn a_custom_kind_is_served_once_installed() {
    let plane = shared().unwrap();
    let group = "testcluster.example.com";
    plane
        .install_crd(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("things.{group}") },
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": { "kind": "Thing", "plural": "things", "singular": "thing" },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        }))
        .unwrap();
    let namespace = plane.namespace("kinds").unwrap();
    let api_version = format!("{group}/v1");
    let made = plane
        .client()
        .create(&json!({
            "apiVersion": api_version, "kind": "Thing",
            "metadata": { "namespace": namespace, "name": "t" }, "spec": { "size": 3 },
        }))
        .unwrap();
    assert_eq!(made["spec"]["size"], 3);
    let unknown = plane
        .client()
        .list(&api_version, "Nothing", None)
        .unwrap_err();
    assert!(
        unknown
            .to_string()
            .contains("Nothing of testcluster.example.com/v1"),
        "{unknown}"
    );
}

#[test]
fn a_service_account_may_what_it_was_granted() {
    let plane = shared().unwrap();
    let namespace = plane.namespace("accounts").unwrap();
    let account = plane.service_account(&namespace, "worker").unwrap();
    let client = plane.client_of(&account).unwrap();

    let refused = client
        .list("v1", "ConfigMap", Some(&namespace))
        .unwrap_err();
    assert_eq!(refused.code(), Some(403), "{refused}");
    plane
        .grant(
            &account,
            &json!([
                { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] },
            ]),
        )
        .unwrap();
    // The authoriser's watch sees the binding a moment later.
    kybern_testcluster::until("the grant is seen", SOON, || {
        Ok(client.list("v1", "ConfigMap", Some(&namespace)).ok().into())
    })
    .unwrap();
    let refused = client
        .create(&config_map(&namespace, "no", "a"))
        .unwrap_err();
    assert_eq!(refused.code(), Some(403), "{refused}");
}

#[test]
fn the_audit_log_counts_the_writes_of_one_user() {
    let plane = shared().unwrap();
    let namespace = plane.namespace("audit").unwrap();
    let account = plane.service_account(&namespace, "writer").unwrap();
    plane
        .grant(
            &account,
            &json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]),
        )
        .unwrap();
    let client = plane.client_of(&account).unwrap();
    kybern_testcluster::until("the grant is seen", SOON, || {
        Ok(client.list("v1", "ConfigMap", Some(&namespace)).ok().into())
    })
    .unwrap();

    let mark = plane.audit().mark().unwrap();
    assert_eq!(plane.audit().writes_of(&account, mark).unwrap(), []);

    let object = Object::new("v1", "ConfigMap", &namespace, "c");
    client.create(&config_map(&namespace, "c", "a")).unwrap();
    client.get(&object).unwrap();
    client
        .apply(&config_map(&namespace, "c", "b"), "writer")
        .unwrap();
    // Others' writes, and those to Leases, are not counted.
    plane
        .client()
        .create(&config_map(&namespace, "other", "a"))
        .unwrap();
    client
        .create(&json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "namespace": namespace, "name": "l" },
        }))
        .unwrap();
    client.delete(&object).unwrap();

    let writes = plane.audit().writes_of(&account, mark).unwrap();
    let verbs: Vec<_> = writes.iter().map(|write| write.verb.as_str()).collect();
    assert_eq!(verbs, ["create", "patch", "delete"], "{writes:#?}");
    assert!(
        writes.iter().all(|write| write.resource == "configmaps"),
        "{writes:#?}"
    );

    let later = plane.audit().mark().unwrap();
    assert_eq!(plane.audit().writes_of(&account, later).unwrap(), []);
}

#[test]
fn a_restarted_api_server_keeps_its_port_and_data() {
    let plane = ControlPlane::start(Options::new().user("alice", &["readers"])).unwrap();
    let client = plane.client();
    client.create(&config_map("default", "kept", "a")).unwrap();
    let url = plane.url();
    assert!(plane.start_api_server().is_err(), "it runs already");

    plane.stop_api_server().unwrap();
    let gone = client.text("/readyz").unwrap_err();
    assert_eq!(gone.code(), None, "{gone}");
    plane.start_api_server().unwrap();

    assert_eq!(plane.url(), url);
    let kept = Object::new("v1", "ConfigMap", "default", "kept");
    assert_eq!(client.get(&kept).unwrap()["data"]["key"], "a");

    // Users of the token file are known by name; without rules they may nothing.
    let alice = plane.client_of(plane.user("alice").unwrap()).unwrap();
    let refused = alice.get(&kept).unwrap_err();
    assert_eq!(refused.code(), Some(403), "{refused}");
    assert!(refused.to_string().contains("alice"), "{refused}");

    let folder = plane.folder().to_owned();
    let children = plane.process_ids();
    drop(plane);
    assert!(!folder.exists());
    for child in children {
        assert!(!crate::children::runs(child), "process {child} was left");
    }
}

#[test]
fn with_controllers_and_nodes_a_deployment_gets_ready_pods_and_goes_with_them() {
    let options = Options::new().with_controller_manager().with_kwok(1);
    let plane = ControlPlane::start(options).unwrap();
    let client = plane.client();
    let namespace = plane.namespace("pods").unwrap();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "nginx:1.7.9" }] },
            },
        },
    });
    let object = Object::of(&deployment).unwrap();
    client.create(&deployment).unwrap();
    client
        .wait_for(
            &object,
            "two Pods are ready",
            Duration::from_secs(90),
            |now| now["status"]["readyReplicas"] == 2,
        )
        .unwrap();

    client.delete(&object).unwrap();
    kybern_testcluster::until("the Pods are gone", Duration::from_secs(90), || {
        let left = client.list("v1", "Pod", Some(&namespace))?;
        Ok(left.is_empty().then_some(()).into())
    })
    .unwrap();
}

#[test]
fn with_nodes_alone_a_pod_becomes_ready() {
    let plane = ControlPlane::start(Options::new().with_kwok(2)).unwrap();
    let namespace = plane.namespace("pods").unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": "alone" },
        "spec": { "containers": [{ "name": "web", "image": "nginx:1.7.9" }] },
    });
    plane.client().create(&pod).unwrap();
    plane
        .client()
        .wait_for(&Object::of(&pod).unwrap(), "it runs", SOON, |now| {
            now["status"]["phase"] == "Running"
        })
        .unwrap();
}

#[test]
fn a_store_is_written_copied_raised_and_restored() {
    let plane = ControlPlane::start(Options::new()).unwrap();
    let (client, store) = (plane.client(), plane.store());
    let object = |name: &str| Object::new("v1", "ConfigMap", "default", name);
    let mut direct = config_map("default", "direct", "a");
    direct["metadata"]["uid"] = json!("6f1b7d1e-0000-4000-8000-000000000001");
    let key = "/registry/configmaps/default/direct".to_owned();
    store.put([(key, direct.to_string())]).unwrap();
    client
        .wait_for(&object("direct"), "it is seen", SOON, |now| {
            now["data"]["key"] == "a"
        })
        .unwrap();

    // As an API server writes them: no two changes of one revision.
    let pairs = |n: usize| (format!("/many/{n}"), format!("{n}"));
    let before = store.revision().unwrap();
    store.put((0..250).map(pairs)).unwrap();
    assert!(store.revision().unwrap() >= before + 250);

    let copy = store.copy().unwrap();
    client.create(&config_map("default", "lost", "a")).unwrap();
    let before = store.revision().unwrap();
    plane.stop_api_server().unwrap();
    store.restore(&copy).unwrap();
    assert!(store.revision().unwrap() < before);
    store.raise_revision(before + 10).unwrap();
    store.compact().unwrap();
    plane.start_api_server().unwrap();
    assert!(client.find(&object("direct")).unwrap().is_some());
    assert_eq!(client.find(&object("lost")).unwrap(), None);
    assert!(store.revision().unwrap() >= before + 10);
}
