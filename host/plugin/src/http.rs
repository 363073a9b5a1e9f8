//! The host interface `http`: requests of the act hook, answered through [`Outgoing`].
//!
//! # Contract
//! Linked in two ways: as a denial for the pure hooks and wherever nothing is granted, and for real
//! in the instances of act calls that were given an [`Outgoing`]. What is granted is the
//! implementation's matter; how often, how large and how long is checked here.

use crate::state::CallState;
use std::fmt;
use std::time::Duration;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};
use wasmtime::{Result, StoreContextMut};

const DENIED: &str = "requests are sent by the act hook only, and only where the registration grants it (capability http, spec.grants.http)";

/// One header.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Header {
    /// Its name; any case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// One request, as a guest gave it: nothing of it is checked but its size.
#[derive(Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct Request {
    /// Like `GET`.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Headers.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
    /// Milliseconds that it may take; none = what the call has left.
    #[component(name = "timeout-ms")]
    pub timeout_ms: Option<u32>,
}

/// A header whose value the host puts in, as a guest gave it.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct SecretHeader {
    /// Its name; any case.
    pub name: String,
    /// What stands before the secret.
    pub prefix: String,
    /// The name by which the guest refers to the secret.
    pub secret: String,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request of {} bytes", self.body.len())
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response {} of {} bytes", self.status, self.body.len())
    }
}

/// Why there is no answer; the guest is told.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
pub enum SendError {
    /// No grant allows it, or none can; the reason.
    #[component(name = "denied")]
    Denied(String),
    /// The request makes no sense; the reason.
    #[component(name = "invalid")]
    Invalid(String),
    /// The other side could not be reached or did not speak HTTP; the reason.
    #[component(name = "failed")]
    Failed(String),
    /// No answer in time.
    #[component(name = "timeout")]
    Timeout,
    /// A body is larger than this many bytes.
    #[component(name = "too-large")]
    TooLarge(u64),
}

/// Sends requests of one act call.
pub trait Outgoing: Send + Sync {
    /// Sends a request and waits for the whole answer, at most `within`, with a body of at most
    /// `most` bytes. Blocks; ends early when the call is stopped. What the secrets are is the
    /// implementation's matter: the guest never sees it, nor does this crate.
    fn send(
        &self,
        request: Request,
        secrets: Vec<SecretHeader>,
        within: Duration,
        most: usize,
    ) -> std::result::Result<Response, SendError>;
}

type Sent = std::result::Result<Response, SendError>;
type WithSecrets = (Request, Vec<SecretHeader>);

/// The interface's name.
pub(crate) const INTERFACE: &str = "kybern:operator/http@0.1.0";

/// Gives guests `kybern:operator/http`, which denies.
pub(crate) fn deny_in_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut http = linker.instance(INTERFACE)?;
    http.func_wrap(
        "send",
        |store: StoreContextMut<'_, CallState>, (_,): (Request,)| -> Result<(Sent,)> {
            store.data().check()?;
            Ok((Err(SendError::Denied(DENIED.to_owned())),))
        },
    )?;
    http.func_wrap(
        "send-with-secrets",
        |store: StoreContextMut<'_, CallState>, _: WithSecrets| -> Result<(Sent,)> {
            store.data().check()?;
            Ok((Err(SendError::Denied(DENIED.to_owned())),))
        },
    )
}

/// Gives guests `kybern:operator/http`.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut http = linker.instance(INTERFACE)?;
    http.func_wrap("send", |store, (request,): (Request,)| {
        send(store, (request, Vec::new()))
    })?;
    http.func_wrap("send-with-secrets", send)
}

fn send(
    mut store: StoreContextMut<'_, CallState>,
    (request, secrets): WithSecrets,
) -> Result<(Sent,)> {
    let state = store.data_mut();
    state.check()?;
    let Some(outgoing) = state.outside.outgoing.clone() else {
        return Ok((Err(SendError::Denied(DENIED.to_owned())),));
    };
    let most = state.http_bytes;
    if request.body.len() > most {
        return Ok((Err(too_large(most)),));
    }
    let Some(left) = state.http_requests.checked_sub(1) else {
        let reason = "the call has sent as many requests as it may".to_owned();
        return Ok((Err(SendError::Denied(reason)),));
    };
    state.http_requests = left;
    let left = state.deadline.left();
    let asked = request.timeout_ms.map(u64::from).map(Duration::from_millis);
    let within = asked.map_or(left, |asked| asked.min(left));
    let sent = outgoing.send(request, secrets, within, most);
    // Before the guest goes on: it may be stopped, or out of its time.
    state.check()?;
    let sent = match sent {
        Ok(response) if response.body.len() > most => Err(too_large(most)),
        sent => sent,
    };
    if let Ok(response) = &sent {
        let bytes = u64::try_from(response.body.len()).unwrap_or(u64::MAX);
        state.bytes_in = state.bytes_in.saturating_add(bytes);
    }
    Ok((sent,))
}

fn too_large(most: usize) -> SendError {
    SendError::TooLarge(u64::try_from(most).unwrap_or(u64::MAX))
}
