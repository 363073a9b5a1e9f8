//! Why a proxy or an observer cannot start.

/// None of these is cured by a retry.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The URL is none, or it has no host.
    #[error("{url} is no URL of an API server")]
    Url {
        /// As given.
        url: String,
    },
    /// The certificates cannot be used.
    #[error("the API server's certificates cannot be used: {reason}")]
    Authority {
        /// Why.
        reason: String,
    },
    /// No runtime, or no port.
    #[error("the proxy cannot start")]
    Start(#[source] std::io::Error),
}
