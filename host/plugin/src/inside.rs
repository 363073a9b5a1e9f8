//! What a call has that belongs to its component: its bundle, and who renders what is in it.

use crate::render::Render;
use kybern_bundle::Bundle;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// What a call has that belongs to its component. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inside {
    /// None = the component has none.
    pub(crate) bundle: Option<Arc<Bundle>>,
    /// None = this host renders nothing.
    pub(crate) render: Option<Arc<dyn Render>>,
    /// When the custom resource was made, since 1970.
    pub(crate) born: Duration,
    /// Whether this call may.
    pub(crate) renders: bool,
}

impl Inside {
    /// The same for a call with this document.
    pub(crate) fn of(&self, document: &str) -> Self {
        Self {
            born: match self.renders {
                true => born(document).unwrap_or_default(),
                false => Duration::ZERO,
            },
            ..self.clone()
        }
    }
}

/// When the custom resource of a document was made.
fn born(document: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Document {
        object: Object,
    }
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        creation_timestamp: jiff::Timestamp,
    }
    let document: Document = serde_json::from_str(document).ok()?;
    let seconds = document.object.metadata.creation_timestamp.as_second();
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_resource_is_as_old_as_it_says() {
        let at = |metadata: &str| born(&format!("{{\"object\":{{\"metadata\":{metadata}}}}}"));
        let time = at("{\"name\":\"a\",\"creationTimestamp\":\"2026-01-01T00:00:00Z\"}");
        assert_eq!(time, Some(Duration::from_secs(1_767_225_600)));
        assert_eq!(at("{\"creationTimestamp\":null}"), None);
        assert_eq!(at("{}"), None);
    }
}
