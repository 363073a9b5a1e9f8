//! What the host says about itself, as far as the asker may know.

use std::sync::Arc;

use super::fixture::{Cluster, kind, text};
use crate::{AccessSet, EngineFacts, HostFacts, MemoryFact, RowScope, TableAccess, WatchFact};
use kybern_table::KindKey;

struct Made;

fn watch(table: KindKey, state: &'static str, live: bool) -> WatchFact {
    WatchFact {
        table,
        scope: "all namespaces".to_owned(),
        state,
        live,
        silence_seconds: live.then_some(1.5),
        lists: 2,
        interruptions: 1,
        reason: (!live).then(|| "no room".to_owned()),
        changes: 9,
        resource_version: live.then_some(100),
    }
}

fn memory(account: &'static str, part: &'static str, table: Option<KindKey>) -> MemoryFact {
    let of_table = table.is_some();
    MemoryFact {
        account,
        part,
        table,
        index: (part == "index").then(|| "uid".to_owned()),
        bytes: 1000,
        rows: Some(5),
        dead_bytes: of_table.then_some(10),
    }
}

impl HostFacts for Made {
    fn watches(&self) -> Vec<WatchFact> {
        // Of a table that is not served any more nobody has a name.
        let gone = KindKey::new("gone.example.com", "v1", "Gone");
        vec![
            watch(kind("Secret"), "watching", true),
            watch(kind("Pod"), "watching", true),
            watch(kind("App"), "refused", false),
            watch(gone, "watching", true),
        ]
    }

    fn memory(&self) -> Vec<MemoryFact> {
        vec![
            memory("store", "body", Some(kind("Pod"))),
            memory("store", "index", Some(kind("Pod"))),
            memory("store", "body", Some(kind("Secret"))),
            memory("store", "log", None),
            memory("caches", "plan", None),
        ]
    }

    fn engine(&self) -> Result<Arc<dyn EngineFacts>, String> {
        Err("ask another".to_owned())
    }
}

/// Both tables as an asker sees them.
async fn shown(access: &AccessSet) -> String {
    let cluster = Cluster::new();
    let engine = cluster.engine.with_host(Arc::new(Made));
    let mut all = Vec::new();
    for sql in [
        "SELECT * FROM kybern.watches",
        "SELECT * FROM kybern.memory",
    ] {
        let prepared = engine.prepare(sql, access).await.unwrap();
        let answer = engine.execute(&prepared, &[], &cluster.snapshot()).await;
        all.push(text(&answer.unwrap()));
    }
    all.join("\n\n")
}

#[tokio::test]
async fn watches_and_memory_of_everything() {
    insta::assert_snapshot!(shown(&AccessSet::all()).await);
}

#[tokio::test]
async fn what_is_of_a_kind_is_shown_only_to_those_who_may_read_it() {
    let grant = |name, scope| TableAccess {
        table: kind(name),
        scope,
    };
    let some = AccessSet::of(vec![
        grant("Pod", RowScope::Namespaces(vec!["a".to_owned()])),
        grant("App", RowScope::All),
    ]);
    let text = shown(&some).await;
    assert!(
        !text.contains("secret") && !text.contains("Secret"),
        "{text}"
    );
    insta::assert_snapshot!(text);
}
