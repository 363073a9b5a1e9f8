//! An API server of a test's own: lists as the test says, and watches that say nothing.

use crate::wiring::watches::Wanted;
use futures::future::BoxFuture;
use kybern_kube::Cluster;
use kybern_table::{KindKey, TableDef};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// All of these kinds.
pub(crate) fn all<const N: usize>(defs: [TableDef; N]) -> Vec<Wanted> {
    defs.into_iter().map(Wanted::all).collect()
}

/// The body for a request's first line, of one with a body for all of it; none = it is never
/// answered.
type Answer = Arc<dyn Fn(String) -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// The server; it ends when dropped.
pub(crate) struct FakeApi {
    pub(crate) cluster: Cluster,
    _serving: AbortOnDropHandle<()>,
}

impl FakeApi {
    /// Starts it. Watches open, and say nothing.
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Option<String>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cluster = connect(&listener).await;
        let answer: Answer = Arc::new(move |asked| Box::pin(answer(asked)));
        let serving = TaskTracker::new().spawn(serve(listener, answer));
        Self {
            cluster,
            _serving: AbortOnDropHandle::new(serving),
        }
    }
}

/// A page of a list; `next` is the token of the page after it.
pub(crate) fn page(items: &[Value], next: Option<&str>) -> String {
    json!({
        "apiVersion": "v1", "kind": "List",
        "metadata": { "resourceVersion": "5", "continue": next }, "items": items,
    })
    .to_string()
}

/// The table of a kind of the core group.
pub(crate) fn def(kind: &str, plural: &str) -> TableDef {
    TableDef {
        key: KindKey::new("", "v1", kind),
        schema: "core".into(),
        plural: plural.into(),
        namespaced: true,
        label_keys: Vec::new(),
        path_indexes: Vec::new(),
    }
}

async fn serve(listener: TcpListener, answer: Answer) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&answer)));
    }
}

async fn converse(mut stream: TcpStream, answer: Answer) {
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
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is = name.eq_ignore_ascii_case("content-length");
            is.then(|| value.trim().parse::<usize>().unwrap())
        });
        while asked.len() < length.unwrap_or_default() {
            let Ok(read @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            asked.extend_from_slice(&buffer[..read]);
        }
        let sent: Vec<u8> = asked.drain(..length.unwrap_or_default()).collect();
        let is_watch = line.contains("watch=");
        if is_watch {
            let head = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
        }
        let body = match is_watch {
            true => None,
            false if sent.is_empty() => answer(line.to_owned()).await,
            false => answer(format!("{head}\n{}", String::from_utf8_lossy(&sent))).await,
        };
        let Some(body) = body else {
            return std::future::pending().await;
        };
        // A refusal says its code itself.
        let refusal: Option<Value> = serde_json::from_str(&body).ok();
        let refusal = refusal.filter(|body| body["kind"] == "Status");
        let code = refusal.map_or(200, |status| status["code"].as_u64().unwrap_or(200));
        let text = format!(
            "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
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
