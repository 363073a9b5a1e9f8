//! Sends a granted request: resolves, checks addresses, connects, reads the whole answer.

use super::address;
use super::head::{Checked, shown};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use kybern_plugin::{Response, SendError};
use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

type Sender =
    hyper_util::client::legacy::Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// What sends, and why it trusts nobody if there are no certificates.
struct Ready {
    sender: Sender,
    untrusting: Option<String>,
}

/// Sends requests on the runtime that it was made on. Clones share what trusts whom.
#[derive(Clone)]
pub(crate) struct Client {
    handle: Handle,
    /// Made with the first request: reading the machine's certificates takes a while.
    sender: Arc<OnceLock<Result<Ready, String>>>,
}

impl Client {
    /// On the runtime of the caller.
    pub(crate) fn new() -> Self {
        Self {
            handle: Handle::current(),
            sender: Arc::default(),
        }
    }

    /// Sends a request; blocks, and so never on a thread of the runtime.
    pub(super) fn send(
        &self,
        request: Checked,
        within: Duration,
        most: usize,
        stop: &CancellationToken,
    ) -> Result<Response, SendError> {
        let sender = self.sender.get_or_init(sender);
        let Ready { sender, untrusting } = sender
            .as_ref()
            .map_err(|why| SendError::Failed(why.clone()))?;
        let tls = request.request.uri().scheme() == Some(&http::uri::Scheme::HTTPS);
        if let (true, Some(why)) = (tls, untrusting) {
            return Err(SendError::Failed(why.clone()));
        }
        let sending = tokio::time::timeout(within, exchange(sender, request, most));
        let sent = self.handle.block_on(stop.run_until_cancelled(sending));
        match sent {
            Some(Ok(sent)) => sent,
            Some(Err(_)) => Err(SendError::Timeout),
            None => Err(SendError::Failed("the effect was stopped".to_owned())),
        }
    }
}

fn sender() -> Result<Ready, String> {
    let mut http = HttpConnector::new_with_resolver(Resolver);
    http.enforce_http(false);
    let ring = rustls::crypto::ring::default_provider;
    let trusting = HttpsConnectorBuilder::new().with_provider_and_native_roots(ring());
    // An image without certificates sends plain requests all the same.
    let (builder, untrusting) = match trusting {
        Ok(builder) => (builder, None),
        Err(error) => {
            let why = format!("this machine's certificates cannot be read: {error}");
            let nobody = rustls::ClientConfig::builder_with_provider(Arc::new(ring()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let builder = HttpsConnectorBuilder::new().with_tls_config(nobody);
            (builder, Some(why))
        }
    };
    let https = builder.https_or_http().enable_http1().wrap_connector(http);
    let sender = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        // What one request has left behind is of no use to another plugin's.
        .pool_max_idle_per_host(0)
        .build(https);
    Ok(Ready { sender, untrusting })
}

/// One request and its answer.
async fn exchange(sender: &Sender, request: Checked, most: usize) -> Result<Response, SendError> {
    let (host, port) = (request.host, request.port);
    tracing::debug!(host, port, "an effect sends a request");
    let (head, body) = request.request.into_parts();
    let request = http::Request::from_parts(head, Full::new(body));
    let answer = sender
        .request(request)
        .await
        .map_err(|error| unsent(&error))?;
    let (head, mut body) = answer.into_parts();
    let mut read = Vec::new();
    // One after the other: many small pieces take many times their bytes.
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| SendError::Failed(format!("the answer cannot be read: {error}")))?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if read.len().saturating_add(piece.len()) > most {
            return Err(SendError::TooLarge(u64::try_from(most).unwrap_or(u64::MAX)));
        }
        read.extend_from_slice(&piece);
    }
    Ok(Response {
        status: head.status.as_u16(),
        headers: shown(&head.headers),
        body: read,
    })
}

/// Why a request was not answered.
fn unsent(error: &(dyn Error + 'static)) -> SendError {
    let mut reasons = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(Refused(why)) = error.downcast_ref() {
            return SendError::Denied(why.clone());
        }
        reasons.push(error.to_string());
        // What wraps an I/O error hides it from `source`.
        let inner = error.downcast_ref::<std::io::Error>();
        let inner = inner.and_then(std::io::Error::get_ref);
        if let Some(Refused(why)) = inner.and_then(|inner| inner.downcast_ref()) {
            return SendError::Denied(why.clone());
        }
        next = error.source();
    }
    reasons.dedup();
    SendError::Failed(reasons.join(": "))
}

/// Names that are looked up at once: each holds one of the threads that hooks of plugins run on.
static LOOKUPS: Semaphore = Semaphore::const_new(32);

/// A name that leads where no name may.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// The machine's resolver, with every address checked.
#[derive(Debug, Clone, Copy)]
struct Resolver;

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        async move {
            // It takes a thread until it ends, whoever still waits for it.
            let turn = LOOKUPS.acquire().await.map_err(std::io::Error::other)?;
            let asked = name.clone();
            let looking = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let found = (&*address::asked(asked.as_str()), 0).to_socket_addrs()?;
                Ok::<_, std::io::Error>(found.collect::<Vec<SocketAddr>>())
            });
            let found = looking.await.map_err(std::io::Error::other)??;
            checked(name.as_str(), found).map_err(std::io::Error::other)
        }
        .boxed()
    }
}

/// The addresses, if a name may lead to all of them.
fn checked(name: &str, found: Vec<SocketAddr>) -> Result<std::vec::IntoIter<SocketAddr>, Refused> {
    for address in &found {
        if let Some(why) = address::refused(address.ip()) {
            return Err(Refused(format!(
                "{name} resolves to {}, which {why}: only a grant of that very address allows it",
                address.ip()
            )));
        }
    }
    Ok(found.into_iter())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
