//! Who asks through the socket is told what becomes of an answer.

use super::tests::{Running, refused, running_with, until};
use super::{AskConfig, Feed, Happened, HostError};
use arrow::array::AsArray;
use bytes::Bytes;
use kybern_sql::{Catalog, CatalogTable, PathTypes};
use kybern_table::{Applied, Batch, Change, Origin};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than any of these takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn following(config: AskConfig) -> Running {
    let mut running = running_with(config);
    let def = crate::fake_api::def("ConfigMap", "configmaps");
    running.sql.set_catalog(Catalog::new(vec![CatalogTable {
        def: def.clone(),
        preferred: true,
        singular: "configmap".to_owned(),
        short_names: Vec::new(),
        top_level: vec!["data".to_owned()],
        types: PathTypes::default(),
        listable: true,
        watchable: true,
    }]));
    let (begin, end) = (def.key.clone(), def.key.clone());
    running.commit(vec![
        Change::Define(def),
        Change::ListBegin { table: begin },
        Change::ListEnd {
            table: end,
            resource_version: 1,
        },
    ]);
    running
}

impl Running {
    fn commit(&mut self, changes: Vec<Change>) -> Applied {
        let applied = self.writer.apply(Batch { changes });
        assert!(applied.errors.is_empty(), "{:?}", applied.errors);
        self.commits.send_replace(applied.sequence);
        applied
    }

    fn put(&mut self, name: &str, version: u64, value: &str) -> Applied {
        let object = json!({
            "metadata": {
                "namespace": "n", "name": name, "uid": name, "resourceVersion": version.to_string(),
            },
            "data": { "key": value },
        });
        let table = crate::fake_api::def("ConfigMap", "configmaps").key;
        self.commit(vec![Change::Upsert {
            table,
            raw: Bytes::from(object.to_string()),
            origin: Origin::Watch,
        }])
    }
}

/// The next of these operations, with the value before and after.
async fn next(feed: &mut Feed, ops: &[&str]) -> (Happened, String) {
    let wait = async {
        loop {
            let news = feed.next().await.unwrap().expect("the stream goes on");
            let value = |answer: &kybern_sql::Answer, row: usize| {
                let column = answer.batches[0].column_by_name("v");
                column.map(|column| column.as_string::<i32>().value(row).to_owned())
            };
            for (row, what) in news.of.into_iter().enumerate() {
                if ops.contains(&&*what.op) {
                    let old = value(&news.old, row).filter(|_| what.has_old);
                    let new = value(&news.new, row).filter(|_| what.has_new);
                    let values: Vec<String> = [old, new].into_iter().flatten().collect();
                    return (what, values.join(" -> "));
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

const QUERY: &str = "SELECT uid, data.key AS v FROM configmaps";
const CHANGES: &[&str] = &["insert", "update", "delete", "error"];

#[tokio::test]
async fn what_becomes_of_an_answer_is_told_and_who_comes_back_misses_nothing() {
    let mut running = following(AskConfig::default());
    let host = running.host.clone();
    running.put("a", 2, "one");
    let sql = format!("SUBSCRIBE WITH (PROGRESS) {QUERY}");
    let mut feed = host.subscribe(&sql).await.unwrap();
    assert!(feed.marks);
    assert_eq!(feed.key.as_deref(), Some(&[0][..]));
    let first = next(&mut feed, CHANGES).await;
    assert_eq!((&*first.0.op, &*first.1), ("insert", "one"));
    let applied = running.put("a", 3, "two");
    let second = next(&mut feed, CHANGES).await;
    assert_eq!((&*second.0.op, &*second.1), ("update", "one -> two"));
    assert_eq!(second.0.sequence, applied.sequence.0);
    let (mark, _) = next(&mut feed, &["progress"]).await;
    assert_eq!(mark.sequence, applied.sequence.0);
    let mark = mark.text.unwrap();
    assert_eq!(mark, format!("{}@c0ffee", applied.sequence));
    // While nothing happens marks go on.
    let (again, _) = next(&mut feed, &["progress", "insert"]).await;
    assert_eq!(again.text.as_ref(), Some(&mark));
    drop(feed);
    until("the end", || running.asked.subscribed() == 0).await;
    running.put("a", 4, "three");
    running.put("a", 5, "four");
    let sql = format!("SUBSCRIBE WITH (RESUME '{mark}') {QUERY}");
    let mut feed = host.subscribe(&sql).await.unwrap();
    assert!(!feed.marks);
    let third = next(&mut feed, CHANGES).await;
    assert_eq!((&*third.0.op, &*third.1), ("update", "two -> four"));
    running.put("b", 6, "five");
    let fourth = next(&mut feed, CHANGES).await;
    assert_eq!((&*fourth.0.op, &*fourth.1), ("insert", "five"));
}

#[tokio::test]
async fn an_empty_snapshot_is_told_by_its_mark() {
    let running = following(AskConfig::default());
    let sql = format!("SUBSCRIBE {QUERY}");
    let mut feed = running.host.subscribe(&sql).await.unwrap();
    let news = feed.next().await.unwrap().unwrap();
    let ops: Vec<&str> = news.of.iter().map(|what| &*what.op).collect();
    assert_eq!(ops, ["progress"]);
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_before_it_begins_or_ends_with_its_reason() {
    let mut running = following(AskConfig {
        subscriptions: 1,
        ..AskConfig::default()
    });
    let host = running.host.clone();
    let refusal = async |sql: &str| match host.subscribe(sql).await.map(|_| ()) {
        Err(HostError::Refused { at_fault, text }) => (at_fault, text),
        other => panic!("{sql}: {other:?}"),
    };
    let (at_fault, text) = refusal("SUBSCRIBE SELECT nme FROM configmaps").await;
    assert!(at_fault);
    assert!(
        text.contains("1 | SUBSCRIBE SELECT nme\n") || text.contains("1 | "),
        "{text}"
    );
    let old = format!("SUBSCRIBE WITH (RESUME '1@bad') {QUERY}");
    let (at_fault, text) = refusal(&old).await;
    assert!(!at_fault && text.contains("without RESUME"), "{text}");
    let (at_fault, text) = refused(&host, "EXPLAIN SUBSCRIBE SELECT now() AS t").await;
    assert!(at_fault && text.contains("now()"), "{text}");
    let (explained, is_explain) = host
        .answer(&format!("EXPLAIN SUBSCRIBE {QUERY}"))
        .await
        .unwrap();
    assert!(is_explain && explained.rows > 3);
    let mut feed = host.subscribe(&format!("SUBSCRIBE {QUERY}")).await.unwrap();
    let (at_fault, text) = refusal(&format!("SUBSCRIBE {QUERY}")).await;
    assert!(
        !at_fault && text.contains("takes no more at once"),
        "{text}"
    );
    // The table can no longer be read.
    let table = crate::fake_api::def("ConfigMap", "configmaps").key;
    let reason = "the API server says no".to_owned();
    running.commit(vec![Change::Fail { table, reason }]);
    let (error, _) = next(&mut feed, &["error"]).await;
    let text = error.text.unwrap();
    assert!(text.contains("the API server says no"), "{text}");
    assert!(feed.next().await.unwrap().is_none());
    until("the end", || running.asked.subscribed() == 0).await;
}

/// Who does not read: neither memory, nor snapshots, nor work for what nobody takes.
#[tokio::test]
async fn who_does_not_read_is_told_later_and_can_be_ended() {
    let mut running = following(AskConfig::default());
    let large = |value: u64| format!("{value}-{}", "x".repeat(100 << 10));
    for name in 0..20 {
        running.put(&format!("c{name}"), 2, &large(0));
    }
    let mut stream = tokio::net::UnixStream::connect(&running.path)
        .await
        .unwrap();
    let sql = "SUBSCRIBE SELECT DISTINCT uid, data.key AS v FROM configmaps";
    let request = format!(
        "POST /sql HTTP/1.1\r\nHost: k\r\nContent-Length: {}\r\n\r\n{sql}",
        sql.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // It begins to come, and the socket does not take all of it.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let first = running.sql.held().bytes();
    assert!(first > 4 << 20, "{first}");
    for round in 3..60 {
        for name in 0..20 {
            running.put(&format!("c{name}"), round, &large(round));
        }
    }
    assert_eq!(running.asked.subscribed(), 1);
    assert!(running.sql.held().bytes() <= first, "{first}");
    assert_eq!(running.reader.stats().snapshots_held, 0);
    // Its memory is wanted back: it goes although nobody reads.
    let bytes = running.sql.cancel_largest(1 << 20, |_| "enough".to_owned());
    assert!(bytes > Some(2 << 20), "{bytes:?}");
    until("its end", || running.asked.subscribed() == 0).await;
    until("its memory", || running.sql.held().bytes() == 0).await;
    // Who reads on is told why.
    let mut rest = Vec::new();
    let read = async {
        let mut part = vec![0; 1 << 16];
        while !String::from_utf8_lossy(&rest).contains("error: enough") {
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "the reason is told");
            rest.extend_from_slice(&part[..read]);
            rest.drain(..rest.len().saturating_sub(1 << 17));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
}
