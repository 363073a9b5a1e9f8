//! Events and their series.

use std::{sync::Arc, time::Duration};

use kybern_kube::{
    Cluster, ListOptions, Resource,
    clock::{SystemClock, Timestamp},
    events::{Occurrence, Recorded, RecorderConfig, Regarding, Severity, recorder},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{Jumping, admin, eventually, plane, value};

fn occurrence(namespace: Option<&str>, name: &str, note: &str) -> Occurrence {
    Occurrence {
        regarding: Regarding {
            api_version: "v1".to_owned(),
            kind: if namespace.is_some() {
                "ConfigMap"
            } else {
                "Namespace"
            }
            .to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            uid: "00000000-0000-4000-8000-000000000000".to_owned(),
        },
        severity: Severity::Warning,
        reason: "ApplyFailed".to_owned(),
        action: "Apply".to_owned(),
        note: note.to_owned(),
    }
}

async fn events(cluster: &Cluster, namespace: &str, of: &str) -> Vec<Value> {
    let resource = Resource::new("events.k8s.io", "v1", "Event", "events", true);
    let list = cluster
        .list_all(&resource, Some(namespace), &ListOptions::default(), 1000)
        .await;
    let items = list.expect("lists").items;
    items
        .iter()
        .map(value)
        .filter(|event| event["regarding"]["name"] == of)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_become_a_series() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("events").expect("a namespace");
    let config = RecorderConfig {
        patch_every: Duration::from_millis(100),
        ..RecorderConfig::new("kybern.dev/test", "test-0")
    };
    let (recorder, worker) = recorder(cluster.clone(), config, Arc::new(SystemClock));
    let cancel = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(worker.run(cancel.clone()));
    for _ in 0..5 {
        let one = occurrence(Some(&namespace), "a", "the image is missing; push it");
        assert_eq!(recorder.record(one), Recorded::Queued);
    }
    recorder.record(occurrence(Some(&namespace), "a", "another note"));
    recorder.record(occurrence(None, &namespace, "of a cluster-scoped object"));
    let found = eventually("a series of five", async || {
        let found = events(&cluster, &namespace, "a").await;
        found
            .iter()
            .any(|event| event["series"]["count"] == 5)
            .then_some(found)
    })
    .await;
    assert_eq!(found.len(), 2, "{found:?}");
    let series = found
        .iter()
        .find(|event| event["series"].is_object())
        .expect("a series");
    assert_eq!(series["note"], "the image is missing; push it");
    assert_eq!(series["type"], "Warning");
    assert_eq!(series["reportingController"], "kybern.dev/test");
    // What waits at the end is still written.
    recorder.record(occurrence(Some(&namespace), "a", "another note"));
    cancel.cancel();
    tasks.join_all().await;
    let found = events(&cluster, &namespace, "a").await;
    let other = found
        .iter()
        .find(|event| event["note"] == "another note")
        .expect("is there");
    assert_eq!(other["series"]["count"], 2);
    assert_eq!(events(&cluster, "default", &namespace).await.len(), 1);
    let stats = recorder.stats();
    assert_eq!((stats.created, stats.dropped), (3, 0));
    assert_eq!(
        recorder.record(occurrence(None, "late", "x")),
        Recorded::Dropped
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_put_back_makes_no_second_event_and_a_series_that_is_accepted() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("events").expect("a namespace");
    let config = RecorderConfig {
        patch_every: Duration::from_millis(100),
        ..RecorderConfig::new("kybern.dev/test", "test-0")
    };
    let clock = Arc::new(Jumping::default());
    let (recorder, worker) = recorder(cluster.clone(), config, clock.clone());
    let cancel = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(worker.run(cancel.clone()));
    let mut series = Vec::new();
    for (count, hours) in [(1, 0), (2, -5), (3, 9)] {
        clock.turn(hours);
        recorder.record(occurrence(Some(&namespace), "a", "it is missing"));
        let found = eventually("the series", async || {
            let found = events(&cluster, &namespace, "a").await;
            assert!(found.len() <= 1, "{found:?}");
            let told = |event: &Value| event["series"]["count"].as_u64().unwrap_or(1);
            found.into_iter().find(|event| told(event) == count)
        })
        .await;
        series.push(found);
    }
    cancel.cancel();
    tasks.join_all().await;
    // Each time is the one that the clock said.
    let time =
        |value: &Value| -> Timestamp { value.as_str().expect("a time").parse().expect("RFC 3339") };
    let begun = time(&series[0]["eventTime"]);
    let last = |n: usize| time(&series[n]["series"]["lastObservedTime"]);
    assert!(last(1) < begun && begun < last(2), "{series:?}");
    assert_eq!(recorder.stats().dropped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_events_are_counted_and_harm_nothing() {
    let cluster = admin(plane()).await;
    let config = RecorderConfig::new("kybern.dev/test", "test-0");
    let (recorder, worker) = recorder(cluster, config, Arc::new(SystemClock));
    recorder.record(occurrence(Some("no-such-namespace"), "a", "x"));
    let cancel = CancellationToken::new();
    cancel.cancel();
    worker.run(cancel).await;
    assert_eq!(recorder.stats().dropped, 1);
}
