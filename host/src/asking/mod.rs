//! A running host is asked through a socket of its own: statements, what becomes of their answers,
//! and what the last pass over a custom resource did.
//!
//! # Contract
//! Nothing is written. Whoever may connect reads what the host reads, Secrets that it watches
//! included, so the socket is for the host's own user alone: in a cluster, for whoever may `kubectl
//! exec` into its Pod. It is reached from no network.
//!
//! # Limits
//! [`AskConfig`], and for each statement the limits of every other. Connections are not counted:
//! only the host's own user can make any.

mod client;
mod facts;
mod feed;
mod last;
mod plugins;
mod server;
mod socket;
mod subscribe;
#[cfg(test)]
mod subscribe_tests;
#[cfg(test)]
mod tests;

pub(crate) use client::{Host, HostError};
pub(crate) use facts::EngineNow;
pub(crate) use feed::{Feed, Happened, News, tell_here};
pub(crate) use server::{Asked, Server};
pub(crate) use socket::Claim;

use serde::{Deserialize, Serialize};

/// Where the image's host listens, and who asks without saying where.
const SOCKET: &str = "/run/kybern/kybern.sock";

/// Where statements are posted to.
const SQL_PATH: &str = "/sql";
/// Where it is asked for the last pass over a custom resource.
const LAST_PATH: &str = "/last";
/// Of an answer: whether it is that of an EXPLAIN.
const EXPLAIN_HEADER: &str = "kybern-explain";
/// Of an answer: its fingerprint, in hexadecimal digits.
const FINGERPRINT_HEADER: &str = "kybern-fingerprint";
/// Of a subscription: whether marks were asked for.
const PROGRESS_HEADER: &str = "kybern-progress";
/// Of a subscription: the positions of the columns of its key, if it has one.
const KEY_HEADER: &str = "kybern-key";

/// How much is answered at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AskConfig {
    /// Statements whose answers are made or read; more are refused.
    pub(crate) statements: usize,
    /// Subscriptions that are told; more are refused.
    pub(crate) subscriptions: usize,
    /// Bytes of one statement.
    pub(crate) statement_bytes: usize,
}

impl Default for AskConfig {
    fn default() -> Self {
        Self {
            statements: 4,
            subscriptions: 16,
            statement_bytes: 1 << 20,
        }
    }
}

/// A custom resource of which the last pass is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastAsk {
    plugin: String,
    /// Empty for a cluster-scoped one.
    namespace: String,
    name: String,
}
