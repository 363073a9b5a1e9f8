//! How a hook ends without a result.

use serde::{Deserialize, Serialize};

/// Why a pass should be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// For people; the same text for the same cause.
    pub message: String,
    /// Milliseconds to wait; none = the host's backoff decides.
    pub retry_after_ms: Option<u64>,
}

/// How a hook ends without a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The input is wrong. A retry cannot help until an input changes.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Something outside is not there yet. Not counted as a failure.
    #[error("waiting: {}", .0.message)]
    Wait(Failure),
    /// It failed and may succeed later.
    #[error("{}", .0.message)]
    Retry(Failure),
    /// A defect of the plugin.
    #[error("internal error of the plugin: {0}")]
    Internal(String),
}

impl HookError {
    /// The input is wrong at `field` (a dotted path such as `spec.size`).
    pub fn invalid(field: &str, message: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("{field}: {message}"))
    }

    /// Something outside is not there yet; the host's backoff decides when to look again.
    pub fn wait(message: impl Into<String>) -> Self {
        Self::Wait(Failure {
            message: message.into(),
            retry_after_ms: None,
        })
    }

    /// It failed and may succeed later.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry(Failure {
            message: message.into(),
            retry_after_ms: None,
        })
    }
}
