//! Bytes that nothing prints.

use std::fmt;
use std::sync::Arc;

/// Bytes that nothing prints. Clones share them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(Arc<[u8]>);

impl Hidden {
    /// Hides them.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Shows them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}
