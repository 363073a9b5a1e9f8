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
mod secret;

pub(crate) use address::{never, refused};
pub(crate) use client::Client;
pub(crate) use connect::{Connector, Names, Unsent, why};
pub(crate) use grant::check;
pub(crate) use secret::{ReadSecret, Secrets, check as check_secrets};

use kybern_interface::HttpGrant;
use kybern_plugin::{Outgoing, Request, Response, SecretHeader, SendError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The way out of one act call.
pub(crate) struct Granted {
    client: Client,
    grants: Vec<HttpGrant>,
    secrets: Secrets,
    stop: CancellationToken,
}

impl Granted {
    /// With these grants; ends what is under way when `stop` says so.
    pub(crate) fn new(
        client: Client,
        grants: Vec<HttpGrant>,
        secrets: Secrets,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client,
            grants,
            secrets,
            stop,
        }
    }
}

impl Outgoing for Granted {
    fn send(
        &self,
        request: Request,
        headers: Vec<SecretHeader>,
        within: Duration,
        most: usize,
    ) -> Result<Response, SendError> {
        let begun = crate::clock::monotonic();
        let mut request = head::request(request)?;
        grant::granted(&self.grants, &request)?;
        // Last of all, so that nothing that is refused ever held one.
        let asked = self.secrets.granted(&headers, &request)?;
        let reading = self.secrets.read(&asked);
        let values = self.client.wait(reading, within, &self.stop)??;
        secret::put_in(&mut request, &headers, &values)?;
        let within = within.saturating_sub(crate::clock::monotonic().saturating_sub(begun));
        let answer = self.client.send(request, within, most, &self.stop)?;
        Ok(secret::taken_out(answer, &values))
    }
}
