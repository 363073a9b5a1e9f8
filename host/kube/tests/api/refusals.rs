//! A kind that cannot be followed fails loudly, and heals when its cause is gone.

use kybern_kube::{Cluster, Resource, WatchConfig, WatchTarget};
use kybern_testcluster::Object;
use serde_json::{Value, json};

use crate::support::{
    Running, admin, cluster_of, eventually, in_namespace, plane, put, quick, table, writes,
};

fn widgets(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("widgets.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "plural": "widgets", "singular": "widget", "kind": "Widget" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_not_served_fails_until_it_is() {
    let group = "late.example";
    let cluster = admin(plane()).await;
    let resource = Resource::new(group, "v1", "Widget", "widgets", true);
    let target = WatchTarget::all(table(&resource));
    let running = Running::start(&cluster, target, quick());
    let seen = running
        .until("the failure", |seen| seen.failed.is_some())
        .await;
    let reason = seen.failed.expect("failed");
    assert!(
        reason.starts_with("widgets.late.example (late.example/v1) is not served"),
        "{reason}"
    );
    plane().install_crd(&widgets(group)).expect("installs");
    running
        .until("the list", |seen| seen.ready && seen.failed.is_none())
        .await;
    let definition = Object::cluster(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "widgets.late.example",
    );
    plane().client().delete(&definition).expect("deletes");
    running
        .until("the failure again", |seen| {
            seen.failed.is_some() && !seen.ready
        })
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_and_heals_when_granted() {
    let namespace = plane().namespace("forbidden").expect("a namespace");
    let user = plane()
        .service_account(&namespace, "watcher")
        .expect("a user");
    let cluster = cluster_of(plane(), &user).await;
    let running = Running::start(&cluster, in_namespace(&namespace), quick());
    let seen = running
        .until("the failure", |seen| seen.failed.is_some())
        .await;
    let reason = seen.failed.expect("failed");
    let advice = format!("grant the verbs list and watch on configmaps in namespace {namespace}");
    assert!(reason.contains(&advice), "{reason}");
    let rules =
        json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"] }]);
    plane().grant(&user, &rules).expect("grants");
    running
        .until("the list", |seen| seen.ready && seen.failed.is_none())
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_beyond_the_bound_fails_the_kind_and_heals_when_it_is_gone() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("long").expect("a namespace");
    let writes = writes(&cluster);
    let config = WatchConfig {
        max_line_bytes: 4096,
        ..quick()
    };
    let running = Running::start(&cluster, in_namespace(&namespace), config);
    running.until("the list", |seen| seen.ready).await;
    put(&writes, &namespace, "long", &"x".repeat(10_000)).await;
    let seen = running
        .until("the failure", |seen| seen.failed.is_some())
        .await;
    assert_eq!(
        seen.failed.as_deref(),
        Some("a watch event is longer than 4096 bytes")
    );
    put(&writes, &namespace, "long", "short").await;
    running
        .until("the list again", |seen| seen.ready && seen.rows.len() == 1)
        .await;
    running.stop().await;
}

/// kube-rs reads the file again only when the wall clock says that a minute has passed.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_read_again_without_asking_the_wall_clock() {
    let user = plane().user("admin").expect("an administrator");
    let path = |name: &str| plane().folder().join(format!("renewed.{name}"));
    std::fs::write(path("token"), "expired").expect("writes");
    let known = std::fs::read(plane().admin_kubeconfig().expect("a kubeconfig")).expect("reads");
    let mut config: Value = serde_json::from_slice(&known).expect("JSON");
    config["users"][0]["user"] = json!({ "tokenFile": path("token") });
    std::fs::write(path("kubeconfig"), config.to_string()).expect("writes");
    let cluster = Cluster::from_kubeconfig_path(&path("kubeconfig"), None)
        .await
        .expect("a connection");
    let ask = async || cluster.get_path("/api/v1/namespaces/default").await;
    let refused = ask().await.expect_err("nobody knows this token");
    let code = refused.api().map(|error| error.code);
    assert_eq!(code, Some(401), "{refused}");
    std::fs::write(path("token"), user.token()).expect("writes");
    // Sooner than the minute: this gives up before it.
    eventually("the new token", async || ask().await.ok()).await;
}
