use super::*;
use crate::budget::Sources;
use crate::fake_api::{FakeApi, def, page};
use crate::memory::Meter;
use kybern_sql::SqlLimits;
use kybern_table::StoreConfig;
use std::path::Path;

/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(30);

/// One that is never exceeded.
fn budget(reader: &Reader) -> Budget {
    let sources = Sources {
        sql: kybern_sql::Engine::new(reader.clone(), SqlLimits::default()),
        reader: reader.clone(),
        guests: None,
    };
    Budget::new(sources, None, Meter::new(Path::new("/"), None))
}

#[tokio::test]
async fn a_kind_that_cannot_be_listed_holds_a_new_leader_back_for_a_while_only() {
    let api = FakeApi::start(async |asked: String| match asked.contains("/secrets") {
        true => None,
        false => Some(page(&[], None)),
    })
    .await;
    let (writer, reader) = kybern_table::store(StoreConfig::default());
    let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence()).unwrap();
    let stop = CancellationToken::new();
    let config = WatchConfig {
        streaming: false,
        ..WatchConfig::default()
    };
    let cluster = api.cluster.clone();
    let stop_watches = stop.child_token();
    let watches = Watches::new(
        cluster,
        ingest.clone(),
        config,
        None,
        budget(&reader),
        stop_watches,
    );
    let (maps, secrets) = (def("ConfigMap", "configmaps"), def("Secret", "secrets"));
    watches.set(vec![maps.clone(), secrets.clone()]).await;

    let limit = Duration::from_millis(500);
    let fresh = watches.refresh(&reader, &stop, limit);
    tokio::time::timeout(FOR_EVER, fresh)
        .await
        .expect("a new leader goes on");
    let snapshot = reader.snapshot();
    let state = |def: &TableDef| snapshot.table(&def.key).map(|table| table.state());
    assert!(
        matches!(state(&maps), Some(TableState::Ready { .. })),
        "{:?}",
        state(&maps)
    );
    match state(&secrets) {
        Some(TableState::Failed(reason)) => {
            assert!(reason.contains("could not be listed afresh"), "{reason}");
        }
        other => panic!("what reads it must wait: {other:?}"),
    }
    stop.cancel();
}

/// The definitions and states of all tables.
fn tables(reader: &Reader) -> Vec<String> {
    let snapshot = reader.snapshot();
    let mut tables: Vec<String> = snapshot
        .tables()
        .map(|table| format!("{}: {:?}", table.def().plural, table.state()))
        .collect();
    tables.sort();
    tables
}

/// Waits until the tables are as expected.
async fn until_tables(reader: &Reader, ingest: &Ingest, wanted: &[&str]) {
    let mut commits = ingest.commits();
    let there = async {
        while tables(reader) != wanted {
            commits.changed().await.expect("the writer lives");
        }
    };
    if tokio::time::timeout(FOR_EVER, there).await.is_err() {
        panic!("{:?}, not {wanted:?}", tables(reader));
    }
}

#[tokio::test]
async fn a_kind_that_nobody_needs_is_kept_for_a_while_and_then_goes() {
    let api = FakeApi::start(async |_| Some(page(&[], None))).await;
    let (writer, reader) = kybern_table::store(StoreConfig::default());
    let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence()).unwrap();
    let stop = CancellationToken::new();
    let config = WatchConfig {
        streaming: false,
        ..WatchConfig::default()
    };
    let mut watches = Watches::new(
        api.cluster.clone(),
        ingest.clone(),
        config,
        None,
        budget(&reader),
        stop.child_token(),
    );
    Arc::get_mut(&mut watches.shared).unwrap().grace = Duration::from_millis(300);
    let (maps, secrets) = (def("ConfigMap", "configmaps"), def("Secret", "secrets"));
    watches.set(vec![maps.clone(), secrets.clone()]).await;
    let both = [
        "configmaps: Ready { resource_version: 5 }",
        "secrets: Ready { resource_version: 5 }",
    ];
    until_tables(&reader, &ingest, &both).await;

    // It comes back in time: the same watch goes on, nothing is listed again.
    watches.set(vec![maps.clone()]).await;
    assert_eq!(tables(&reader), both);
    watches.set(vec![maps.clone(), secrets.clone()]).await;
    watches.end_unwanted(Duration::from_millis(300)).await;
    let lists = || watches.health()[&secrets.key].lists;
    assert_eq!(
        (tables(&reader), lists()),
        (both.map(str::to_owned).to_vec(), 1)
    );

    watches.set(vec![maps.clone()]).await;
    let since = crate::clock::monotonic();
    until_tables(&reader, &ingest, &both[..1]).await;
    let kept = crate::clock::monotonic().saturating_sub(since);
    assert!(kept >= Duration::from_millis(300), "{kept:?}");
    assert!(!watches.health().contains_key(&secrets.key));
    stop.cancel();
}
