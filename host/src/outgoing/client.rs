//! Sends a granted request: resolves, checks addresses, connects, reads the whole answer.

use super::connect::{Connector, Names, Sender, Unsent, why};
use super::head::{Checked, shown};
use http_body_util::{BodyExt, Full};
use kybern_plugin::{Response, SendError};
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Sends requests on the runtime that it was made on. Clones share what trusts whom.
#[derive(Clone)]
pub(crate) struct Client {
    handle: Handle,
    /// Made with the first request: reading the machine's certificates takes a while.
    sender: Arc<OnceLock<Result<Connector, String>>>,
}

impl Client {
    /// On the runtime of the caller.
    pub(crate) fn new() -> Self {
        Self {
            handle: Handle::current(),
            sender: Arc::default(),
        }
    }

    #[cfg(test)]
    fn with(connector: Connector) -> Self {
        let client = Self::new();
        let _ = client.sender.set(Ok(connector));
        client
    }

    /// Sends a request; blocks, and so never on a thread of the runtime.
    pub(super) fn send(
        &self,
        request: Checked,
        within: Duration,
        most: usize,
        stop: &CancellationToken,
    ) -> Result<Response, SendError> {
        let connector = self.sender.get_or_init(|| Connector::new(Names::Granted));
        let failed = |why: &String| SendError::Failed(why.clone());
        let connector = connector.as_ref().map_err(failed)?;
        let sender = connector
            .sender(request.request.uri())
            .map_err(SendError::Failed)?;
        self.wait(exchange(sender, request, most), within, stop)?
    }

    /// Waits for something, for so long; blocks, and so never on a thread of the runtime.
    pub(super) fn wait<T>(
        &self,
        what: impl Future<Output = T>,
        within: Duration,
        stop: &CancellationToken,
    ) -> Result<T, SendError> {
        let waiting = async { tokio::time::timeout(within, what).await };
        match self.handle.block_on(stop.run_until_cancelled(waiting)) {
            Some(Ok(came)) => Ok(came),
            Some(Err(_)) => Err(SendError::Timeout),
            None => Err(SendError::Failed("the effect was stopped".to_owned())),
        }
    }
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
    match why(error) {
        Unsent::Refused(why) => SendError::Denied(why),
        Unsent::Failed(why) => SendError::Failed(why),
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
