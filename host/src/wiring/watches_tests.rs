use super::*;
use kybern_table::StoreConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(30);

/// An API server that answers lists of every kind but one, and no watch.
async fn serve(listener: TcpListener, mute: &'static str) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, mute));
    }
}

async fn answer(mut stream: TcpStream, mute: &str) {
    let mut asked = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let Ok(read @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        asked.extend_from_slice(&buffer[..read]);
        let Some(end) = asked.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&asked[..end]).into_owned();
        asked.drain(..end + 4);
        let line = head.lines().next().unwrap_or_default();
        if line.contains(mute) || line.contains("watch=") {
            std::future::pending::<()>().await;
        }
        let body = json!({
            "apiVersion": "v1", "kind": "List",
            "metadata": { "resourceVersion": "5" }, "items": [],
        })
        .to_string();
        let text = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn def(kind: &str, plural: &str) -> TableDef {
    TableDef {
        key: KindKey::new("", "v1", kind),
        schema: "core".into(),
        plural: plural.into(),
        namespaced: true,
        label_keys: Vec::new(),
        path_indexes: Vec::new(),
    }
}

async fn connect(listener: &TcpListener) -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let server = format!("http://{}", listener.local_addr().unwrap());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "x", "cluster": { "server": server } }],
        "users": [{ "name": "x", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    Cluster::from_kubeconfig_path(&file, None).await.unwrap()
}

#[tokio::test]
async fn a_kind_that_cannot_be_listed_holds_a_new_leader_back_for_a_while_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = connect(&listener).await;
    let server = tokio_util::task::AbortOnDropHandle::new(
        TaskTracker::new().spawn(serve(listener, "/secrets")),
    );
    let (writer, reader) = kybern_table::store(StoreConfig::default());
    let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence()).unwrap();
    let stop = CancellationToken::new();
    let config = WatchConfig {
        streaming: false,
        ..WatchConfig::default()
    };
    let watches = Watches::new(cluster, ingest.clone(), config, None, stop.child_token());
    let (maps, secrets) = (def("ConfigMap", "configmaps"), def("Secret", "secrets"));
    watches.set(vec![maps.clone(), secrets.clone()]);

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
    drop(server);
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = connect(&listener).await;
    let server = tokio_util::task::AbortOnDropHandle::new(
        TaskTracker::new().spawn(serve(listener, "/nothing")),
    );
    let (writer, reader) = kybern_table::store(StoreConfig::default());
    let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence()).unwrap();
    let stop = CancellationToken::new();
    let config = WatchConfig {
        streaming: false,
        ..WatchConfig::default()
    };
    let mut watches = Watches::new(cluster, ingest.clone(), config, None, stop.child_token());
    Arc::get_mut(&mut watches.shared).unwrap().grace = Duration::from_millis(300);
    let (maps, secrets) = (def("ConfigMap", "configmaps"), def("Secret", "secrets"));
    watches.set(vec![maps.clone(), secrets.clone()]);
    let both = [
        "configmaps: Ready { resource_version: 5 }",
        "secrets: Ready { resource_version: 5 }",
    ];
    until_tables(&reader, &ingest, &both).await;

    // It comes back in time: the same watch goes on, nothing is listed again.
    watches.set(vec![maps.clone()]);
    assert_eq!(tables(&reader), both);
    watches.set(vec![maps.clone(), secrets.clone()]);
    watches.end_unwanted().await;
    let lists = || watches.health()[&secrets.key].lists;
    assert_eq!(
        (tables(&reader), lists()),
        (both.map(str::to_owned).to_vec(), 1)
    );

    watches.set(vec![maps.clone()]);
    let since = crate::clock::monotonic();
    until_tables(&reader, &ingest, &both[..1]).await;
    let kept = crate::clock::monotonic().saturating_sub(since);
    assert!(kept >= Duration::from_millis(300), "{kept:?}");
    assert!(!watches.health().contains_key(&secrets.key));
    stop.cancel();
    drop(server);
}
