//! A watch and the real table store agree on what they tell each other.

use std::{sync::Arc, time::Duration};

use kybern_kube::{DeleteOptions, Target, WatchConfig, WatchEnd, watch, watch::NoObserver};
use kybern_table::{Index, Reader, StoreConfig, TableState, store};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::{
    admin, config_maps, eventually, in_namespace, plane, put, quick, table, writes,
};

fn rows(reader: &Reader, namespace: &str) -> Option<Vec<(String, u64)>> {
    let view = reader.snapshot().table(&table(&config_maps()).key)?;
    if !matches!(view.state(), TableState::Ready { .. }) {
        return None;
    }
    let rows = view.lookup(&Index::Namespace, namespace).ok()?;
    let mut rows: Vec<(String, u64)> = rows
        .iter()
        .map(|row| (row.name().to_owned(), row.resource_version()))
        .collect();
    rows.sort();
    Some(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_becomes_what_the_server_has() {
    let cluster = admin(plane()).await;
    let namespace = plane().namespace("store").expect("a namespace");
    let writes = writes(&cluster);
    let mut wanted = Vec::new();
    for name in ["a", "b", "c"] {
        let object = put(&writes, &namespace, name, "1").await;
        let version = object["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version");
        wanted.push((name.to_owned(), version.parse().expect("a number")));
    }
    let (mut writer, reader) = store(StoreConfig::default());
    let (sink, mut batches) = mpsc::channel(4);
    let cancel = CancellationToken::new();
    // Short silences, so that the store sees many lists of what it has.
    let config = WatchConfig {
        idle: Duration::from_millis(200),
        ..quick()
    };
    let mut tasks = JoinSet::new();
    let watching = watch(
        cluster.clone(),
        in_namespace(&namespace),
        config,
        sink,
        Arc::new(NoObserver),
        cancel.clone(),
    );
    tasks.spawn(async move { assert_eq!(watching.await, WatchEnd::Cancelled) });
    tasks.spawn(async move {
        while let Some(batch) = batches.recv().await {
            assert_eq!(writer.apply(batch).errors, []);
        }
    });
    eventually("the list", async || {
        (rows(&reader, &namespace)? == wanted).then_some(())
    })
    .await;
    let maps = config_maps();
    let target = Target::new(&maps, Some(&namespace), "b");
    writes
        .delete(&target, &DeleteOptions::default())
        .await
        .expect("deletes");
    wanted.retain(|(name, _)| name != "b");
    eventually("the deletion", async || {
        (rows(&reader, &namespace)? == wanted).then_some(())
    })
    .await;
    cancel.cancel();
    tasks.join_all().await;
}
