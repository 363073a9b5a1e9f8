//! Writes, their guards, and what the API server says to them.

use std::{sync::Arc, time::Duration};

use kybern_kube::{
    ApiError, ApplyOptions, DeleteOptions, Deletion, Fence, Impersonate, NotLeading, PatchOptions,
    RequestError, Resource, Target, WriteOptions, Writes,
};
use serde_json::json;

use crate::support::{
    admin, bytes, config_map, config_maps, create, plane, put, try_create, value, writes,
};

fn refused<T: std::fmt::Debug>(result: Result<T, RequestError>) -> ApiError {
    match result {
        Err(RequestError::Api(error)) => error,
        other => panic!("not refused by the API server: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_create_meets_the_first() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("create").expect("a namespace");
    create(&writes, &namespace, &config_map("a", "1")).await;
    let again = try_create(&writes, &namespace, &config_map("a", "2")).await;
    assert!(refused(again).is_already_exists());
    let maps = config_maps();
    let target = Target::new(&maps, Some(&namespace), "a");
    assert_eq!(
        value(&writes.get(&target).await.expect("reads"))["data"]["x"],
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_status_that_names_the_object_says_that_it_is_gone() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("gone").expect("a namespace");
    let ask = async |resource: &Resource, namespace: &str| {
        let target = Target::new(resource, Some(namespace), "a");
        let refused = refused(writes.get(&target).await);
        assert!(refused.is_not_found(), "{refused:?}");
        refused.is_gone("a")
    };
    let deployments = |version| Resource::new("apps", version, "Deployment", "deployments", true);
    assert!(ask(&config_maps(), &namespace).await);
    assert!(ask(&deployments("v1"), &namespace).await);
    assert!(ask(&deployments("v1"), "no-such-namespace").await);
    assert!(!ask(&deployments("v9"), &namespace).await, "version");
    let nobodys = Resource::new("example.org", "v1", "Thing", "things", true);
    assert!(!ask(&nobodys, &namespace).await, "group");
    let target = Target::new(&nobodys, Some(&namespace), "a");
    let object = bytes(&json!({
        "apiVersion": "example.org/v1", "kind": "Thing", "metadata": { "name": "a" },
    }));
    let polite = ApplyOptions::polite("us");
    let patched = writes.apply(&target, object, &polite).await;
    assert!(!refused(patched).is_gone("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_without_force_names_the_other_manager() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("conflict").expect("a namespace");
    let maps = config_maps();
    let target = Target::new(&maps, Some(&namespace), "a");
    let one = bytes(&config_map("a", "1"));
    let two = bytes(&config_map("a", "2"));
    writes
        .apply(&target, one, &ApplyOptions::force("first"))
        .await
        .expect("applies");
    let error = refused(
        writes
            .apply(&target, two.clone(), &ApplyOptions::polite("second"))
            .await,
    );
    assert!(error.is_field_conflict(), "{error:?}");
    assert_eq!(error.causes[0].field, ".data.x");
    assert!(
        error.causes[0].message.contains("first"),
        "{:?}",
        error.causes
    );
    let forced = writes
        .apply(&target, two, &ApplyOptions::force("second"))
        .await
        .expect("applies");
    assert_eq!(value(&forced)["data"]["x"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_with_a_uid_never_creates() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("uid").expect("a namespace");
    let maps = config_maps();
    let target = Target::new(&maps, Some(&namespace), "a");
    let uid = "00000000-0000-4000-8000-000000000000";
    let with_uid = json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "a", "uid": uid }, "data": { "x": "1" } });
    let force = ApplyOptions::force("test");
    let error = refused(writes.apply(&target, bytes(&with_uid), &force).await);
    assert_eq!(error.code, 409, "absent: {error}");
    put(&writes, &namespace, "a", "1").await;
    let error = refused(writes.apply(&target, bytes(&with_uid), &force).await);
    assert_eq!(error.code, 422, "another object: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_guarded_by_uid_and_waits_for_finalizers() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("delete").expect("a namespace");
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "a", "finalizers": ["test.kybern.dev/wait"] } });
    let created = create(&writes, &namespace, &object).await;
    let uid = created["metadata"]["uid"].as_str().expect("a uid");
    let maps = config_maps();
    let target = Target::new(&maps, Some(&namespace), "a");
    let wrong = DeleteOptions::of("00000000-0000-4000-8000-000000000000");
    assert!(refused(writes.delete(&target, &wrong).await).is_conflict());
    let old = DeleteOptions {
        resource_version: Some("1".to_owned()),
        ..DeleteOptions::of(uid)
    };
    assert!(refused(writes.delete(&target, &old).await).is_conflict());
    match writes
        .delete(&target, &DeleteOptions::of(uid))
        .await
        .expect("deletes")
    {
        Deletion::Pending(body) => {
            assert!(value(&body)["metadata"]["deletionTimestamp"].is_string())
        }
        Deletion::Gone => panic!("it has a finalizer"),
    }
    let release = bytes(&json!([{ "op": "remove", "path": "/metadata/finalizers" }]));
    writes
        .json_patch(&target, release, &PatchOptions::default())
        .await
        .expect("patches");
    assert!(refused(writes.get(&target).await).is_not_found());
    let plain = put(&writes, &namespace, "b", "1").await;
    let target = Target::new(&maps, Some(&namespace), "b");
    let uid = plain["metadata"]["uid"].as_str().expect("a uid");
    let deletion = writes
        .delete(&target, &DeleteOptions::of(uid))
        .await
        .expect("deletes");
    assert_eq!(deletion, Deletion::Gone);
    assert!(refused(writes.delete(&target, &DeleteOptions::of(uid)).await).is_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_are_told_apart() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("patch").expect("a namespace");
    put(&writes, &namespace, "a", "1").await;
    let maps = config_maps();
    let target = Target::new(&maps, Some(&namespace), "a");
    let options = PatchOptions {
        write: WriteOptions::by("test"),
        subresource: None,
    };
    let merge = bytes(&json!({ "data": { "y": "2" } }));
    let merged = writes
        .merge_patch(&target, merge, &options)
        .await
        .expect("patches");
    assert_eq!(value(&merged)["data"], json!({ "x": "1", "y": "2" }));
    let guarded = bytes(&json!([
        { "op": "test", "path": "/data/x", "value": "other" },
        { "op": "remove", "path": "/data/x" },
    ]));
    let error = refused(writes.json_patch(&target, guarded, &options).await);
    assert_eq!(error.code, 422, "{error}");
    let dry = PatchOptions {
        write: WriteOptions {
            dry_run: true,
            ..WriteOptions::default()
        },
        subresource: None,
    };
    let merge = bytes(&json!({ "data": { "z": "3" } }));
    let shown = writes
        .merge_patch(&target, merge, &dry)
        .await
        .expect("patches");
    assert_eq!(value(&shown)["data"]["z"], "3");
    let stored = writes.get(&target).await.expect("reads");
    assert_eq!(value(&stored)["data"].get("z"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_applied_to_its_subresource() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("status").expect("a namespace");
    let deployments = Resource::new("apps", "v1", "Deployment", "deployments", true);
    let target = Target::new(&deployments, Some(&namespace), "web");
    let labels = json!({ "app": "web" });
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels },
                  "spec": { "containers": [{ "name": "web", "image": "web" }] } } } });
    let force = ApplyOptions::force("test");
    writes
        .apply(&target, bytes(&deployment), &force)
        .await
        .expect("applies");
    let status = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "status": { "replicas": 3 } });
    let answer = writes
        .apply_status(&target, bytes(&status), &force)
        .await
        .expect("applies");
    let answer = value(&answer);
    assert_eq!(answer["status"]["replicas"], 3);
    assert_eq!(answer["spec"]["replicas"], 1, "the spec is untouched");
    let invalid = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "bad" },
        "spec": { "selector": {}, "template": { "spec": { "containers": [] } } } });
    let target = Target::new(&deployments, Some(&namespace), "bad");
    let error = refused(writes.apply(&target, bytes(&invalid), &force).await);
    assert_eq!((error.code, error.reason.as_str()), (422, "Invalid"));
    assert!(
        error
            .causes
            .iter()
            .any(|cause| cause.field == "spec.selector"),
        "{:?}",
        error.causes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_given_up_keeps_what_others_said() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("parts").expect("a namespace");
    let deployments = Resource::new("apps", "v1", "Deployment", "deployments", true);
    let target = Target::new(&deployments, Some(&namespace), "web");
    let labels = json!({ "app": "web" });
    let named = |more: serde_json::Value| {
        let mut object =
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" } });
        for (key, value) in more.as_object().expect("fields") {
            object[key] = value.clone();
        }
        object
    };
    let spec = json!({ "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels },
        "spec": { "containers": [{ "name": "web", "image": "web" }] } } });
    let theirs = ApplyOptions::force("theirs");
    let made = writes
        .apply(&target, bytes(&named(json!({ "spec": spec }))), &theirs)
        .await
        .expect("applies");
    let status = |status: serde_json::Value| bytes(&named(json!({ "status": status })));
    writes
        .apply_part(&target, "status", status(json!({ "replicas": 3 })), &theirs)
        .await
        .expect("applies");
    let ours = ApplyOptions::polite("ours");
    let taken = status(json!({ "replicas": 2 }));
    let conflict = refused(writes.apply_part(&target, "status", taken, &ours).await);
    assert!(conflict.is_field_conflict(), "{conflict:?}");
    let more = status(json!({ "readyReplicas": 1 }));
    let live = writes
        .apply_part(&target, "status", more, &ours)
        .await
        .expect("applies");
    let counts = |live: &serde_json::Value| {
        let status = live["status"].clone();
        (status["replicas"].clone(), status["readyReplicas"].clone())
    };
    assert_eq!(counts(&value(&live)), (json!(3), json!(1)));
    let mut nothing = named(json!({}));
    nothing["metadata"]["uid"] = value(&made)["metadata"]["uid"].clone();
    let live = writes
        .apply_part(&target, "status", bytes(&nothing), &ours)
        .await
        .expect("applies");
    let live = value(&live);
    assert_eq!(counts(&live), (json!(3), json!(null)));
    assert!(!live.to_string().contains("\"ours\""), "{live}");
    // Once more changes nothing.
    let again = writes
        .apply_part(&target, "status", bytes(&nothing), &ours)
        .await
        .expect("applies");
    assert_eq!(value(&again), live);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impersonated_user_may_only_what_it_may() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("acting").expect("a namespace");
    put(&writes(&cluster), &namespace, "a", "1").await;
    let nobody = Impersonate::service_account(&namespace, "nobody");
    let acting = writes(&cluster).acting_as(Some(nobody));
    let maps = config_maps();
    let target = Target::new(&maps, Some(&namespace), "a");
    for error in [
        refused(acting.get(&target).await),
        refused(acting.delete(&target, &DeleteOptions::default()).await),
    ] {
        assert_eq!(error.code, 403);
        assert!(
            error
                .message
                .contains(&format!("system:serviceaccount:{namespace}:nobody")),
            "{error}"
        );
    }
    // The API server puts it in the groups of service accounts itself.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": "read", "namespace": namespace },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }],
    });
    let group = format!("system:serviceaccounts:{namespace}");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "read", "namespace": namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group }],
    });
    for object in [role, binding] {
        plane().client().create(&object).expect("is created");
    }
    // It learns of a binding by a watch of its own.
    let learnt = async {
        while acting.get(&target).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let learnt = tokio::time::timeout(Duration::from_secs(30), learnt).await;
    learnt.expect("the group's right is its own");
}

struct Refuses;

impl Fence for Refuses {
    fn allowed(&self, needed: Duration) -> Result<(), NotLeading> {
        Err(NotLeading {
            remaining: Duration::ZERO,
            needed,
        })
    }
}

/// Allows the beginning of a write and then loses the lease.
#[derive(Default)]
struct LostMeanwhile(std::sync::atomic::AtomicBool);

impl Fence for LostMeanwhile {
    fn allowed(&self, needed: Duration) -> Result<(), NotLeading> {
        if self.0.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return Err(NotLeading {
                remaining: Duration::ZERO,
                needed,
            });
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_without_the_fence() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("fence").expect("a namespace");
    let maps = config_maps();
    let fences: [Arc<dyn Fence>; 2] = [Arc::new(Refuses), Arc::new(LostMeanwhile::default())];
    for fence in fences {
        let fenced = Writes::new(cluster.clone(), fence);
        let body = bytes(&config_map("a", "1"));
        let result = fenced
            .create(&maps, Some(&namespace), body, &WriteOptions::default())
            .await;
        match result {
            Err(RequestError::NotLeading(_)) => {}
            other => panic!("not fenced: {other:?}"),
        }
        let target = Target::new(&maps, Some(&namespace), "a");
        assert!(refused(fenced.get(&target).await).is_not_found());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_in_a_namespace_that_ends() {
    let writes = writes(&admin(plane()).await);
    let namespace = plane().namespace("ending").expect("a namespace");
    let namespaces = Resource::new("", "v1", "Namespace", "namespaces", false);
    // Nobody finalizes namespaces here, so it stays as it is.
    let target = Target::new(&namespaces, None, &namespace);
    let deletion = writes
        .delete(&target, &DeleteOptions::default())
        .await
        .expect("deletes");
    assert!(matches!(deletion, Deletion::Pending(_)));
    let result = try_create(&writes, &namespace, &config_map("a", "1")).await;
    let error = refused(result);
    assert!(error.is_namespace_terminating(), "{error:?}");
}
