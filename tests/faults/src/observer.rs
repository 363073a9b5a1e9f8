//! What became of objects, whoever changed them: an own watch, beside the proxy.

use crate::ask::{Ask, Metadata};
use crate::error::FaultError;
use crate::events::Event;
use crate::proxy::runtime;
use crate::rules::lock;
use crate::upstream::{Connections, Upstream};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;

/// What became of one object, by its name: under one name there may have been several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// The uids that it had, oldest first: how often it was created.
    pub uids: Vec<String>,
    /// How often its resourceVersion changed while it was there.
    pub changes: u64,
    /// How often it was gone.
    pub deletes: u64,
    /// Its last resourceVersion.
    pub version: String,
}

type Lives = BTreeMap<(String, String), Life>;

#[derive(Debug, Default)]
struct Seen {
    lives: Lives,
    broken: Option<String>,
}

/// Counts what becomes of the objects of some kinds from now on; ends when it is dropped.
#[derive(Debug)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    runtime: Option<Runtime>,
}

impl Observer {
    /// Watches the collections at `paths`, such as `/api/v1/namespaces/a/services`, with this token.
    ///
    /// # Errors
    /// [`FaultError`], as of [`crate::FaultProxy::start`]. A watch that breaks is told by
    /// [`Observer::broken`].
    pub fn start(upstream: Upstream, token: &str, paths: &[String]) -> Result<Self, FaultError> {
        let runtime = runtime()?;
        let inside = runtime.enter();
        let connections = Connections::new(upstream)?;
        drop(inside);
        let seen = Arc::<Mutex<Seen>>::default();
        for path in paths {
            let watch = Watch {
                connections: connections.clone(),
                headers: authorized(token),
                path: path.clone(),
                seen: Arc::clone(&seen),
            };
            runtime.block_on(watch.start(&runtime));
        }
        Ok(Self {
            seen,
            runtime: Some(runtime),
        })
    }

    /// What became of the object called `name` of this plural.
    #[must_use]
    pub fn life(&self, resource: &str, name: &str) -> Life {
        let key = (resource.to_owned(), name.to_owned());
        lock(&self.seen)
            .lives
            .get(&key)
            .cloned()
            .unwrap_or_default()
    }

    /// Why it sees nothing any more, if so.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        lock(&self.seen).broken.clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn authorized(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
        headers.insert(header::AUTHORIZATION, value);
    }
    headers
}

/// A watch of one collection.
struct Watch {
    connections: Connections,
    headers: HeaderMap,
    path: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
}

impl Watch {
    /// Returns when everything that happens from then on will be seen.
    async fn start(self, runtime: &Runtime) {
        match self.open().await {
            Ok((ask, answer)) => {
                runtime.spawn(async move { self.run(&ask, answer).await });
            }
            Err(reason) => self.broken(reason),
        }
    }

    async fn open(&self) -> Result<(Ask, Response<Incoming>), String> {
        let list = self.get(&self.path).await?.into_body().collect().await;
        let list = list.map_err(|error| error.to_string())?.to_bytes();
        let list: List = serde_json::from_slice(&list).map_err(|error| error.to_string())?;
        let from = list.metadata.resource_version.unwrap_or_default();
        let path = format!("{}?watch=true&resourceVersion={from}", self.path);
        let answer = self.get(&path).await?;
        let mut request = Request::new(());
        *request.uri_mut() = self.uri(&path)?;
        Ok((Ask::of(&request.into_parts().0, b""), answer))
    }

    async fn get(&self, path: &str) -> Result<Response<Incoming>, String> {
        let uri = self.uri(path)?;
        let sent = self
            .connections
            .send(Method::GET, &uri, &self.headers, Bytes::new());
        let answer = sent.await.map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(answer.status().to_string())
        }
    }

    fn uri(&self, path: &str) -> Result<Uri, String> {
        path.parse().map_err(|_| format!("{path} is no path"))
    }

    async fn run(&self, ask: &Ask, answer: Response<Incoming>) {
        let mut body = answer.into_body();
        let mut buffer = BytesMut::new();
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(data) = frame.data_ref() {
                buffer.extend_from_slice(data);
            }
            while let Some(at) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(at.saturating_add(1));
                match Event::of(ask, &line) {
                    Some(event) if event.kind != "ERROR" => self.see(event),
                    _ => self.broken(String::from_utf8_lossy(&line).into_owned()),
                }
            }
        }
        self.broken("the API server ended the watch".to_owned());
    }

    fn see(&self, event: Event) {
        let mut seen = lock(&self.seen);
        let key = (event.resource, event.name);
        let life = seen.lives.entry(key).or_default();
        match event.kind.as_str() {
            "ADDED" => life.uids.push(event.uid),
            "MODIFIED" => life.changes = life.changes.saturating_add(1),
            "DELETED" => life.deletes = life.deletes.saturating_add(1),
            _ => return,
        }
        life.version = event.resource_version;
    }

    fn broken(&self, reason: String) {
        lock(&self.seen)
            .broken
            .get_or_insert(format!("{}: {reason}", self.path));
    }
}
