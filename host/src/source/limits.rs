//! Bounds of what is fetched and kept.

use std::time::Duration;

/// Bounds of what is fetched and kept.
#[derive(Debug, Clone)]
pub(crate) struct SourceConfig {
    /// Bytes of a component, before and after unpacking.
    pub(crate) component_bytes: usize,
    /// Bytes of a manifest, a token's answer, a payload of a signature.
    pub(crate) manifest_bytes: usize,
    /// For all requests of one fetch together.
    pub(crate) time: Duration,
    /// For the next part of an answer.
    pub(crate) idle: Duration,
    /// Redirects of one request.
    pub(crate) redirects: usize,
    /// Fetches at once; others wait.
    pub(crate) fetches: usize,
    /// Of these, those from one server: a slow one leaves turns to the others.
    pub(crate) fetches_each: usize,
    /// Bytes of components that are kept on disk.
    pub(crate) kept_bytes: u64,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            component_bytes: kybern_plugin::MAX_COMPONENT_BYTES,
            manifest_bytes: 1 << 20,
            time: Duration::from_secs(120),
            idle: Duration::from_secs(15),
            redirects: 5,
            fetches: 4,
            fetches_each: 2,
            kept_bytes: 256 << 20,
        }
    }
}
