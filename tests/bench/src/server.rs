//! As much of an API server as a watch of pods needs, on 127.0.0.1, without TLS.
//!
//! Lists, in pages where asked to; watches, streaming lists among them; 410 when told so. Objects
//! are made while they are sent, so that the server never holds up who reads faster.

use crate::recording::{event, listed};
use crate::world::{Happening, World};
use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{StatusCode, Uri};
use std::convert::Infallible;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Objects of one write to a connection.
const AT_ONCE: usize = 16;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Ends the server when it is dropped.
    _runtime: Runtime,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    changed: watch::Sender<usize>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    pub(crate) fn start(world: World) -> Result<Server> {
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            changed: watch::Sender::new(0),
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

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the world; watches see it. Returns the last pod as it then is.
    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) -> String {
        let mut world = self.shared.world();
        change(&mut world);
        let (last, happened) = (world.last(), world.happened());
        drop(world);
        self.shared.changed.send_replace(happened);
        last
    }
}

/// What a request asks for.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(crate) watch: bool,
    pub(crate) initial_events: bool,
    limit: Option<usize>,
    from: usize,
    pub(crate) resource_version: u64,
}

impl Query {
    pub(crate) fn of(uri: &Uri) -> Result<Query> {
        let mut query = Query::default();
        for pair in uri.query().unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let yes = matches!(value, "true" | "1");
            match key {
                "watch" => query.watch = yes,
                "sendInitialEvents" => query.initial_events = yes,
                "limit" => query.limit = Some(value.parse()?).filter(|limit| *limit > 0),
                "continue" if !value.is_empty() => query.from = value.parse()?,
                "resourceVersion" if !value.is_empty() => query.resource_version = value.parse()?,
                _ => {}
            }
        }
        Ok(query)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    if uri.path() != "/api/v1/pods" {
        return status(StatusCode::NOT_FOUND, "this server has pods only");
    }
    let query = match Query::of(&uri) {
        Ok(query) => query,
        Err(error) => return status(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let world = shared.world().clone();
    let body = if query.watch {
        Body::from_stream(stream::unfold(
            Watch::new(world, shared, &query),
            Watch::chunk,
        ))
    } else {
        Body::from_stream(stream::unfold(List::new(world, &query), |mut list| async {
            list.chunk().map(|chunk| (Ok::<_, Infallible>(chunk), list))
        }))
    };
    json(StatusCode::OK, body)
}

/// A failure, as an API server says it.
pub(crate) fn status(code: StatusCode, message: &str) -> Response {
    let text = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": message, "code": code.as_u16(),
    });
    json(code, Body::from(text.to_string()))
}

/// An answer in JSON.
pub(crate) fn json(code: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

/// A list, or one page of it, while it is sent.
struct List {
    world: World,
    /// What is next; none when all is sent.
    next: Option<usize>,
    begun: bool,
    end: usize,
}

impl List {
    fn new(world: World, query: &Query) -> List {
        let all = world.objects();
        let end = query
            .limit
            .map_or(all, |limit| query.from.saturating_add(limit).min(all));
        List {
            world,
            next: Some(query.from.min(end)),
            begun: false,
            end,
        }
    }

    fn chunk(&mut self) -> Option<Bytes> {
        let from = self.next?;
        let to = from.saturating_add(AT_ONCE).min(self.end);
        let mut out = String::new();
        if !self.begun {
            self.begun = true;
            out.push_str(&self.head());
        }
        for number in from..to {
            let pod = self.world.pod(number)?;
            if !out.ends_with('[') {
                out.push(',');
            }
            // As an API server: the items of a list do not say their kind.
            match pod.strip_prefix(r#"{"apiVersion":"v1","kind":"Pod","#) {
                Some(rest) => {
                    out.push('{');
                    out.push_str(rest);
                }
                None => out.push_str(&pod),
            }
        }
        self.next = (to < self.end).then_some(to);
        if self.next.is_none() {
            out.push_str("]}\n");
        }
        Some(out.into())
    }

    fn head(&self) -> String {
        let left = self.world.objects() - self.end;
        let mut head = format!(
            r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{}""#,
            self.world.resource_version()
        );
        if left > 0 {
            // Writing into a String cannot fail.
            let _ = write!(
                head,
                r#","continue":"{}","remainingItemCount":{left}"#,
                self.end
            );
        }
        head.push_str(r#"},"items":["#);
        head
    }
}

/// A watch while it is sent.
struct Watch {
    /// As it was when the watch began.
    world: World,
    shared: Arc<Shared>,
    changed: watch::Receiver<usize>,
    at: At,
}

/// Where a watch is.
#[derive(Clone, Copy)]
enum At {
    /// The pods that it begins with.
    Initial {
        next: usize,
    },
    /// Something that happened, and the next pod of it.
    Happening {
        number: usize,
        next: usize,
    },
    Ended,
}

impl Watch {
    fn new(world: World, shared: Arc<Shared>, query: &Query) -> Watch {
        let at = if query.initial_events {
            At::Initial { next: 0 }
        } else {
            At::Happening {
                number: world.after(query.resource_version),
                next: 0,
            }
        };
        let changed = shared.changed.subscribe();
        Watch {
            world,
            shared,
            changed,
            at,
        }
    }

    async fn chunk(mut self) -> Option<(Result<Bytes, Infallible>, Watch)> {
        loop {
            let (happening, number, next) = match self.at {
                At::Initial { next } => {
                    let out = self.initial(next);
                    return Some((Ok(out), self));
                }
                At::Happening { number, next } => {
                    let happening = self.shared.world().happening(number);
                    (happening, number, next)
                }
                At::Ended => return None,
            };
            match happening {
                Some(Happening::Updated(count)) => {
                    let out = self.updated(number, next, count);
                    return Some((Ok(out), self));
                }
                Some(Happening::Expired(_)) => {
                    self.at = At::Ended;
                    let gone = event(
                        "ERROR",
                        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version","reason":"Expired","code":410}"#,
                    );
                    return Some((Ok((gone + "\n").into()), self));
                }
                None => {
                    let more = self.changed.wait_for(|happened| *happened > number).await;
                    if more.is_err() {
                        return None;
                    }
                }
            }
        }
    }

    fn initial(&mut self, next: usize) -> Bytes {
        let mut out = String::new();
        let to = next.saturating_add(AT_ONCE).min(self.world.objects());
        for pod in (next..to).filter_map(|number| self.world.pod(number)) {
            out.push_str(&event("ADDED", &pod));
            out.push('\n');
        }
        self.at = At::Initial { next: to };
        if to == self.world.objects() {
            out.push_str(&listed(self.world.resource_version()));
            out.push('\n');
            let number = self.world.happened();
            self.at = At::Happening { number, next: 0 };
        }
        out.into()
    }

    fn updated(&mut self, number: usize, next: usize, count: u64) -> Bytes {
        let mut out = String::new();
        let to = next.saturating_add(AT_ONCE).min(self.world.objects());
        for pod in (next..to).filter_map(|number| self.world.pod_after(number, count)) {
            out.push_str(&event("MODIFIED", &pod));
            out.push('\n');
        }
        self.at = if to == self.world.objects() {
            At::Happening {
                number: number + 1,
                next: 0,
            }
        } else {
            At::Happening { number, next: to }
        };
        out.into()
    }
}
