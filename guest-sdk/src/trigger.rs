//! What `sense` sees besides the CR.

use crate::{HookError, decode};
use serde::de::DeserializeOwned;

/// What `sense` sees besides the CR.
#[derive(Debug, Clone)]
pub struct Trigger {
    document: kybern_interface::Trigger,
}

impl Trigger {
    pub(crate) fn new(document: kybern_interface::Trigger) -> Self {
        Self { document }
    }

    /// The registration's settings.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, HookError> {
        decode("settings", &self.document.settings)
    }

    /// The pass's time, RFC 3339 UTC.
    pub fn now(&self) -> &str {
        &self.document.now
    }
}
