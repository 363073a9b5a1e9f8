//! A table follows the API server.

use std::time::Duration;

use kybern_kube::{DeleteOptions, Resource, Scope, Target, WatchConfig, WatchEnd, WatchTarget};
use kybern_testcluster::{ControlPlane, Options};
use serde_json::json;

use crate::support::{
    Running, admin, bytes, cluster_of, config_map, config_maps, create, in_namespace, plane, put,
    quick, table, writes,
};

async fn follows(config: WatchConfig, prefix: &str) {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace(prefix).expect("a namespace");
    let writes = writes(&cluster);
    for name in ["a", "b", "c", "d", "e"] {
        put(&writes, &namespace, name, "1").await;
    }
    let running = Running::start(&cluster, in_namespace(&namespace), config);
    let seen = running.until("the list", |seen| seen.ready).await;
    assert_eq!(seen.names(), ["a", "b", "c", "d", "e"]);
    assert_eq!(seen.rows["a"]["kind"], "ConfigMap");
    assert_eq!(seen.rows["a"]["apiVersion"], "v1");
    let changed = put(&writes, &namespace, "a", "2").await;
    put(&writes, &namespace, "f", "1").await;
    let maps = config_maps();
    let gone = Target::new(&maps, Some(&namespace), "b");
    writes
        .delete(&gone, &DeleteOptions::default())
        .await
        .expect("deletes");
    let seen = running
        .until("the events", |seen| {
            seen.names() == ["a", "c", "d", "e", "f"] && seen.rows["a"] == changed
        })
        .await;
    assert_eq!(seen.lists, 1);
    assert_eq!(running.stop().await, WatchEnd::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streaming_list_and_the_events_after_it() {
    follows(quick(), "stream").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_pages_and_the_events_after_it() {
    follows(
        WatchConfig {
            streaming: false,
            page: 2,
            ..quick()
        },
        "pages",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_arrives_in_few_batches() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("batches").expect("a namespace");
    let writes = writes(&cluster);
    for number in 0..200 {
        create(
            &writes,
            &namespace,
            &config_map(&format!("m-{number}"), "1"),
        )
        .await;
    }
    let running = Running::start(&cluster, in_namespace(&namespace), quick());
    let seen = running.until("the list", |seen| seen.ready).await;
    assert_eq!(seen.rows.len(), 200);
    assert!(seen.batches <= 20, "{} batches", seen.batches);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_and_metadata_only_limit_what_is_kept() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("scope").expect("a namespace");
    let secrets = Resource::new("", "v1", "Secret", "secrets", true);
    for (name, label) in [("kept", "yes"), ("left", "no")] {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "labels": { "keep": label } }, "stringData": { "password": "s3cret" } });
        let options = kybern_kube::WriteOptions::default();
        let created = writes(&cluster)
            .create(&secrets, Some(&namespace), bytes(&secret), &options)
            .await;
        created.expect("creates");
    }
    for streaming in [true, false] {
        let scope = Scope {
            namespace: Some(namespace.clone()),
            label_selector: Some("keep=yes".to_owned()),
            field_selector: None,
            metadata_only: true,
        };
        let target = WatchTarget {
            scope,
            ..WatchTarget::all(table(&secrets))
        };
        let running = Running::start(
            &cluster,
            target,
            WatchConfig {
                streaming,
                ..quick()
            },
        );
        let seen = running.until("the list", |seen| seen.ready).await;
        assert_eq!(seen.names(), ["kept"]);
        let fields: Vec<&String> = seen.rows["kept"]
            .as_object()
            .expect("an object")
            .keys()
            .collect();
        assert_eq!(fields, ["apiVersion", "kind", "metadata"]);
        assert_eq!(seen.rows["kept"]["kind"], "Secret");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_to_one_name_are_enough_to_follow_it_whatever_happens() {
    let plane = plane();
    let namespace = plane.namespace("named").expect("a namespace");
    let user = plane
        .service_account(&namespace, "reader")
        .expect("a service account");
    let rule = json!({ "apiGroups": [""], "resources": ["configmaps"],
        "resourceNames": ["a"], "verbs": ["get", "list", "watch"] });
    plane.grant(&user, &json!([rule])).expect("grants");
    let writes = writes(&admin(plane).await);
    put(&writes, &namespace, "a", "1").await;
    put(&writes, &namespace, "b", "1").await;
    let mut target = in_namespace(&namespace);
    target.scope.field_selector = Some("metadata.name=a".to_owned());
    let mark = plane.audit().mark().expect("a mark");
    for streaming in [true, false] {
        let config = WatchConfig {
            // Silence: the watch is opened again, and before that it is looked whether it may be.
            idle: Duration::from_millis(150),
            streaming,
            ..quick()
        };
        let cluster = cluster_of(plane, &user).await;
        let running = Running::start(&cluster, target.clone(), config);
        let seen = running
            .until("lists after silence", |seen| seen.lists >= 3)
            .await;
        assert_eq!(seen.names(), ["a"]);
        running.stop().await;
    }
    let mut requests = plane.audit().since(mark).expect("the audit log");
    requests.retain(|request| request.user == user.name() && request.resource == "configmaps");
    assert!(requests.len() > 6, "{requests:?}");
    for request in requests {
        assert_ne!(request.code, Some(403), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_replaced_and_nothing_is_lost() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("idle").expect("a namespace");
    let writes = writes(&cluster);
    let config = WatchConfig {
        idle: Duration::from_millis(150),
        ..quick()
    };
    let running = Running::start(&cluster, in_namespace(&namespace), config);
    // Every second silence in a row is answered with a list.
    let seen = running
        .until("lists after silence", |seen| seen.lists >= 3)
        .await;
    assert!(
        seen.interruptions
            .iter()
            .any(|reason| reason.contains("silent")),
        "{seen:?}"
    );
    for number in 0..20 {
        put(&writes, &namespace, &format!("m-{number}"), "1").await;
    }
    running
        .until("all objects", |seen| seen.rows.len() == 20)
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_restart_of_the_api_server_and_an_expired_version() {
    let own = ControlPlane::start(Options::new()).expect("a control plane");
    let cluster = admin(&own).await;
    let namespace = own.namespace("restart").expect("a namespace");
    let writes = writes(&cluster);
    for name in ["a", "b"] {
        put(&writes, &namespace, name, "1").await;
    }
    let running = Running::start(&cluster, in_namespace(&namespace), quick());
    running
        .until("the list", |seen| seen.ready && seen.rows.len() == 2)
        .await;
    // Foreign writes raise the resourceVersion; the restarted server remembers none before its start.
    for number in 0..10 {
        own.namespace(&format!("other-{number}"))
            .expect("a namespace");
    }
    own.restart_api_server().expect("restarts");
    let cluster_after = admin(&own).await;
    put(
        &crate::support::writes(&cluster_after),
        &namespace,
        "c",
        "1",
    )
    .await;
    let seen = running
        .until("the table is up to date", |seen| seen.rows.len() == 3)
        .await;
    assert_eq!(seen.names(), ["a", "b", "c"]);
    assert!(seen.ready);
    assert!(
        seen.interruptions
            .iter()
            .any(|reason| reason.contains("expired")),
        "the resourceVersion did not expire: {:?}",
        seen.interruptions
    );
    assert!(seen.lists >= 2, "{} lists", seen.lists);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_nobody_receives() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("nobody").expect("a namespace");
    let (sink, receiver) = tokio::sync::mpsc::channel::<kybern_table::Batch>(1);
    drop(receiver);
    let end = kybern_kube::watch(
        cluster,
        in_namespace(&namespace),
        quick(),
        sink,
        std::sync::Arc::new(kybern_kube::watch::NoObserver),
        tokio_util::sync::CancellationToken::new(),
    )
    .await;
    assert_eq!(end, WatchEnd::SinkClosed);
}
