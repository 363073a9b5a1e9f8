use super::*;
use crate::budget::Sources;
use crate::fake_api::{FakeApi, def, page};
use crate::memory::Meter;
use kybern_sql::SqlLimits;
use kybern_table::StoreConfig;
use std::path::Path;

/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(30);

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
    let sources = Sources {
        sql: kybern_sql::Engine::new(reader.clone(), SqlLimits::default()),
        reader: reader.clone(),
        guests: None,
    };
    let budget = Budget::new(sources, None, Meter::new(Path::new("/"), None));
    let cluster = api.cluster.clone();
    let stop_watches = stop.child_token();
    let watches = Watches::new(cluster, ingest.clone(), config, None, budget, stop_watches);
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
