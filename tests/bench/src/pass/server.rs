//! As much of an API server as the caches of a peer need, on 127.0.0.1, without TLS.
//!
//! # Contract
//! Lists (whole, whatever the limit) and watches, streaming lists among them, of four kinds. A new
//! note changes Deployments. Whatever else is asked for, every write among it, is refused and
//! remembered ([`Server::untouched`]).

use super::served::{Kind, World, last_version, note_of};
use crate::recording::event;
use crate::server::{Query, json, status};
use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::{Stream, StreamExt, stream};
use http::{Method, StatusCode, Uri};
use serde_json::Value;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Objects of one write to a connection.
const AT_ONCE: usize = 16;

/// A running server.
pub(super) struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Ends the server when it is dropped.
    _runtime: Runtime,
}

struct Shared {
    world: World,
    notes: watch::Sender<u64>,
    /// The first request that was no list and no watch.
    refused: Mutex<Option<String>>,
}

impl Server {
    pub(super) fn start(world: World) -> Result<Server> {
        let shared = Arc::new(Shared {
            world,
            notes: watch::Sender::new(0),
            refused: Mutex::new(None),
        });
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Server {
            shared,
            address,
            _runtime: runtime,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes Deployments in a way that nobody reads.
    pub(super) fn note(&self) {
        self.shared.notes.send_modify(|note| *note += 1);
    }

    /// Fails if anything but lists and watches was asked for.
    pub(super) fn untouched(&self) -> Result<()> {
        let refused = self.shared.refused.lock();
        let refused = refused.unwrap_or_else(PoisonError::into_inner);
        ensure!(
            refused.is_none(),
            "a pass that has nothing to do asked for {}",
            refused.as_deref().unwrap_or_default()
        );
        Ok(())
    }
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri) -> Response {
    let kind = Kind::ALL.into_iter().find(|kind| kind.path() == uri.path());
    let Some(kind) = kind.filter(|_| method == Method::GET) else {
        return refuse(&shared, &format!("{method} {}", uri.path()));
    };
    let query = match Query::of(&uri) {
        Ok(query) => query,
        Err(error) => return status(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let body = if query.watch {
        body(watched(kind, shared, &query))
    } else {
        body(stream::iter(listed(kind, &shared)))
    };
    json(StatusCode::OK, body)
}

fn refuse(shared: &Shared, request: &str) -> Response {
    let refused = shared.refused.lock();
    let mut refused = refused.unwrap_or_else(PoisonError::into_inner);
    refused.get_or_insert_with(|| request.to_owned());
    let message = format!("this server has four kinds to list and watch: no {request}");
    status(StatusCode::METHOD_NOT_ALLOWED, &message)
}

fn body(texts: impl Stream<Item = String> + Send + 'static) -> Body {
    Body::from_stream(texts.map(Ok::<_, Infallible>))
}

/// Objects as text, some at once.
fn texts(
    objects: impl Iterator<Item = Value>,
    each: fn(String) -> String,
) -> impl Iterator<Item = String> {
    let mut all = objects.map(move |object| each(object.to_string()));
    std::iter::from_fn(move || {
        let some: String = all.by_ref().take(AT_ONCE).collect();
        (!some.is_empty()).then_some(some)
    })
}

fn listed(kind: Kind, shared: &Shared) -> impl Iterator<Item = String> + use<> {
    let note = *shared.notes.borrow();
    let head = format!(
        r#"{{"kind":"{kind:?}List","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}},"items":["#,
        kind.api_version(),
        last_version(note)
    );
    let mut first = true;
    let items = shared.world.all(kind, note);
    let items = texts(items, |object| format!(",{object}")).map(move |items| {
        // No comma before the first one.
        let from = usize::from(std::mem::take(&mut first));
        items.get(from..).unwrap_or_default().to_owned()
    });
    std::iter::once(head)
        .chain(items)
        .chain(std::iter::once("]}\n".to_owned()))
}

/// What is there, if that is asked for, and then what changes.
fn watched(
    kind: Kind,
    shared: Arc<Shared>,
    query: &Query,
) -> impl Stream<Item = String> + Send + use<> {
    let notes = shared.notes.subscribe();
    let world = shared.world;
    let initial = query.initial_events.then(|| *notes.borrow());
    let seen = initial.unwrap_or_else(|| note_of(query.resource_version));
    let begin = initial.into_iter().flat_map(move |note| {
        let end = std::iter::once(bookmark(kind, note));
        let all = world.all(kind, note);
        texts(all, |object| event("ADDED", &object) + "\n").chain(end)
    });
    // The server stays while its sender is there.
    let later = stream::unfold(
        (notes, seen, shared),
        move |(mut notes, seen, shared)| async move {
            let note = seen + 1;
            notes.wait_for(|newest| *newest >= note).await.ok()?;
            let changed = world.changed(kind, note);
            let events = texts(changed, |object| event("MODIFIED", &object) + "\n");
            Some((stream::iter(events), (notes, note, shared)))
        },
    );
    stream::iter(begin).chain(later.flatten())
}

/// The end of a streaming list.
fn bookmark(kind: Kind, note: u64) -> String {
    let object = serde_json::json!({
        "kind": format!("{kind:?}"), "apiVersion": kind.api_version(),
        "metadata": {
            "resourceVersion": last_version(note).to_string(),
            "annotations": { "k8s.io/initial-events-end": "true" },
        },
    });
    event("BOOKMARK", &object.to_string()) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::List;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{Pod, Service};
    use serde::de::DeserializeOwned;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    const WORLD: World = World { crs: 20, noted: 10 };

    /// The status line of an answer, and its body while it comes.
    fn ask(server: &Server, request: &str) -> (String, BufReader<TcpStream>) {
        let mut connection = TcpStream::connect(server.address).expect("it listens");
        let patience = Some(Duration::from_secs(30));
        connection.set_read_timeout(patience).expect("it has one");
        write!(connection, "{request} HTTP/1.0\r\n\r\n").expect("it reads");
        let mut answer = BufReader::new(connection);
        let mut status = String::new();
        answer.read_line(&mut status).expect("an answer");
        let mut header = String::new();
        while header != "\r\n" {
            header.clear();
            answer.read_line(&mut header).expect("a header");
        }
        (status, answer)
    }

    fn list<T: DeserializeOwned>(server: &Server, kind: Kind) -> T {
        let (_, mut answer) = ask(server, &format!("GET {}", kind.path()));
        let mut text = String::new();
        answer.read_to_string(&mut text).expect("text");
        serde_json::from_str(&text).expect("a list")
    }

    fn line(watch: &mut impl BufRead) -> Value {
        let mut line = String::new();
        watch.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("an event")
    }

    #[test]
    fn all_kinds_are_listed_at_rest() {
        let server = Server::start(WORLD).expect("it starts");
        let apps: Value = list(&server, Kind::AppService);
        assert_eq!(apps["items"].as_array().map(Vec::len), Some(20));
        assert_eq!(apps["items"][7]["status"]["observedGeneration"], 1);
        let deployments: List<Deployment> = list(&server, Kind::Deployment);
        let services: List<Service> = list(&server, Kind::Service);
        assert_eq!((deployments.items.len(), services.items.len()), (20, 20));
        let pods: List<Pod> = list(&server, Kind::Pod);
        let of_seven = |pod: &&Pod| {
            let labels = pod.metadata.labels.as_ref();
            labels.is_some_and(|labels| labels["app"] == "app-7")
        };
        assert_eq!(pods.items.iter().filter(of_seven).count(), 10);
        for metadata in [&deployments.items[7].metadata, &services.items[7].metadata] {
            let owners = metadata.owner_references.as_ref().expect("owners");
            assert_eq!((&*owners[0].name, &*owners[0].uid), ("app-7", "cr-7"));
            assert_eq!(owners[0].controller, Some(true));
            assert_eq!(metadata.namespace.as_deref(), Some("team-0"));
        }
        let spec = deployments.items[7].spec.as_ref().expect("a spec");
        assert_eq!(spec.replicas, Some(3));
        server.untouched().expect("only lists");
    }

    #[test]
    fn a_note_changes_its_deployments_and_nothing_else() {
        let server = Server::start(WORLD).expect("it starts");
        let all = [Kind::AppService, Kind::Service, Kind::Pod];
        let others = |server| all.map(|kind| list::<Value>(server, kind)["items"].take());
        let before = others(&server);
        let deployments: List<Deployment> = list(&server, Kind::Deployment);
        let from = deployments.metadata.resource_version.expect("a version");
        let watch = format!("GET {}?watch=true", Kind::Deployment.path());
        let (_, mut changes) = ask(&server, &format!("{watch}&resourceVersion={from}"));
        let streaming = format!(
            "GET {}?watch=1&sendInitialEvents=true",
            Kind::Service.path()
        );
        let (_, mut services) = ask(&server, &streaming);
        for note in ["1", "2"] {
            server.note();
            for number in 0..10 {
                let event = line(&mut changes);
                assert_eq!(event["type"], "MODIFIED");
                let metadata = &event["object"]["metadata"];
                assert_eq!(metadata["name"], format!("app-{number}"));
                assert_eq!(metadata["annotations"]["note"], note);
            }
        }
        let (_, mut all) = ask(&server, &format!("{watch}&resourceVersion={from}"));
        let (_, mut last) = ask(
            &server,
            &format!("{watch}&resourceVersion={}", (1_u64 << 32) + 3),
        );
        let note_of = |event: Value| event["object"]["metadata"]["annotations"]["note"].clone();
        assert_eq!(
            (note_of(line(&mut all)), note_of(line(&mut last))),
            ("1".into(), "2".into())
        );
        assert_eq!(others(&server), before);
        for _ in 0..20 {
            assert_eq!(line(&mut services)["type"], "ADDED");
        }
        let end = line(&mut services);
        let annotations = &end["object"]["metadata"]["annotations"];
        assert_eq!(
            (&end["type"], &annotations["k8s.io/initial-events-end"]),
            (&"BOOKMARK".into(), &"true".into())
        );
    }

    #[test]
    fn whoever_writes_or_reads_one_object_is_refused_and_named() {
        for request in [
            "PATCH /apis/apps/v1/namespaces/team-0/deployments/app-0",
            "POST /api/v1/services",
            "GET /api/v1/namespaces/team-0/pods",
        ] {
            let server = Server::start(WORLD).expect("it starts");
            server.untouched().expect("nobody asked");
            let (status, _) = ask(&server, request);
            assert!(status.contains(" 405 "), "{status}");
            let error = server.untouched().expect_err("it is remembered");
            assert!(error.to_string().ends_with(request), "{error}");
        }
    }
}
