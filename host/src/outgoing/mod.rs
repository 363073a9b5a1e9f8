//! Outgoing HTTP of act hooks: what is granted, and nothing else.
//!
//! # Contract
//! A request goes out if a grant names its host, port and method, and every address that its name
//! resolves to may be reached; it is connected to one of the addresses that were checked. Redirects
//! are not followed, no proxy is used, no connection is shared between requests, and nothing of the
//! host's own (tokens, certificates, cookies) goes along.
//!
//! # Limits
//! Sizes and the number of requests of one call are the sandbox's (`CallLimits`); time is what the
//! call has left.

mod address;
mod client;
mod connect;
mod grant;
mod head;

pub(crate) use address::{never, refused};
pub(crate) use client::Client;
pub(crate) use connect::{Connector, Names, Unsent, why};
pub(crate) use grant::check;

use kybern_interface::HttpGrant;
use kybern_plugin::{Outgoing, Request, Response, SendError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The way out of one act call.
pub(crate) struct Granted {
    client: Client,
    grants: Vec<HttpGrant>,
    stop: CancellationToken,
}

impl Granted {
    /// With these grants; ends what is under way when `stop` says so.
    pub(crate) fn new(client: Client, grants: Vec<HttpGrant>, stop: CancellationToken) -> Self {
        Self {
            client,
            grants,
            stop,
        }
    }
}

impl Outgoing for Granted {
    fn send(&self, request: Request, within: Duration, most: usize) -> Result<Response, SendError> {
        let request = head::request(request)?;
        grant::granted(&self.grants, &request)?;
        self.client.send(request, within, most, &self.stop)
    }
}
