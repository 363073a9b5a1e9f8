//! What a call has that belongs to its component: its bundle, and who renders what is in it.

use crate::render::Render;
use kybern_bundle::Bundle;
use std::sync::Arc;

/// What a call has that belongs to its component. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inside {
    /// None = the component has none.
    pub(crate) bundle: Option<Arc<Bundle>>,
    /// None = this host renders nothing.
    pub(crate) render: Option<Arc<dyn Render>>,
    /// Whether this call may.
    pub(crate) renders: bool,
}
