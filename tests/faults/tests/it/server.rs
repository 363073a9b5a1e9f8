//! As much of an API server as the proxy's tests need: it accepts every write, lists one object of
//! whatever is asked for, and says on watches what the test wants.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kybern_faults::{FaultProxy, Upstream};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What is created so is answered when the test says so.
pub(crate) const SLOW: &str = "slow";

/// The body of a watch.
struct Said(UnboundedReceiver<Bytes>);

impl hyper::body::Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|line| Some(Ok(Frame::data(line?))))
    }
}

#[derive(Default)]
struct State {
    /// Method, path and query of all requests.
    asked: Vec<String>,
    watches: Vec<(String, UnboundedSender<Bytes>)>,
    /// What requests for [`SLOW`] wait for.
    gate: Arc<Notify>,
}

pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    url: String,
    _runtime: Runtime,
}

impl Server {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        runtime.spawn(serve(listener, Arc::clone(&state)));
        Self {
            state,
            url,
            _runtime: runtime,
        }
    }

    pub(crate) fn proxy(&self) -> FaultProxy {
        FaultProxy::start(self.upstream()).unwrap()
    }

    pub(crate) fn upstream(&self) -> Upstream {
        Upstream::new(&self.url, None).unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Lets one request for [`SLOW`] go on.
    pub(crate) fn answer_slow(&self) {
        self.state.lock().unwrap().gate.notify_one();
    }

    /// Says something on the watches of this path.
    pub(crate) fn say(&self, path: &str, kind: &str, object: &Value) {
        let line = Bytes::from(format!("{}\n", json!({ "type": kind, "object": object })));
        let state = self.state.lock().unwrap();
        let of_path = state.watches.iter().filter(|(at, _)| at == path);
        // Those that were cut do not hear it.
        let heard = of_path.filter(|(_, watch)| watch.send(line.clone()).is_ok());
        assert!(heard.count() > 0, "somebody watches {path}");
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(Arc::clone(&state), request));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (path, query) = (
        parts.uri.path().to_owned(),
        parts.uri.query().unwrap_or_default(),
    );
    if body.windows(SLOW.len()).any(|part| part == SLOW.as_bytes()) {
        let gate = Arc::clone(&state.lock().unwrap().gate);
        gate.notified().await;
    }
    let mut state = state.lock().unwrap();
    state.asked.push(format!("{} {}", parts.method, parts.uri));
    let object = match parts.method {
        Method::GET if query.contains("watch=true") => {
            let (say, said) = unbounded_channel();
            state.watches.push((path, say));
            return Ok(Response::new(Said(said).boxed_unsync()));
        }
        Method::GET => json!({
            "kind": "ThingList", "apiVersion": "v1", "metadata": { "resourceVersion": "7" },
            "items": [{ "metadata": { "name": "one", "uid": "u", "resourceVersion": "5" } }],
        }),
        _ => {
            let mut object: Value = serde_json::from_slice(&body).unwrap_or_else(|_| json!({}));
            object["metadata"]["uid"] = json!("u");
            object["metadata"]["resourceVersion"] = json!("9");
            object
        }
    };
    let mut answer = Response::new(Full::new(Bytes::from(object.to_string())).boxed_unsync());
    if parts.method == Method::POST {
        *answer.status_mut() = StatusCode::CREATED;
    }
    Ok(answer)
}
