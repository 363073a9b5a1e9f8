//! Events of a watch, and which of them a disturbance is about.

use crate::ask::{Ask, Metadata};
use serde::Deserialize;

/// `kubernetes/enhancements` KEP-3157: the bookmark that ends the list of a streaming list.
pub(crate) const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One event of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`.
    pub kind: String,
    /// API group of the watch.
    pub group: String,
    /// Plural of the watch.
    pub resource: String,
    /// Name; empty for a bookmark.
    pub name: String,
    /// The object's uid; empty for a bookmark.
    pub uid: String,
    /// The object's resourceVersion.
    pub resource_version: String,
    /// Whether it ends the list that a streaming list begins with.
    pub ends_list: bool,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

impl Event {
    /// The event that a line of a watch holds.
    pub(crate) fn of(ask: &Ask, line: &[u8]) -> Option<Self> {
        let Line { kind, object } = serde_json::from_slice(line).ok()?;
        let metadata = object.metadata;
        let ends_list = kind == "BOOKMARK" && contains(line, INITIAL_EVENTS_END.as_bytes());
        Some(Self {
            ends_list,
            kind,
            group: ask.group.clone(),
            resource: ask.resource.clone(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        })
    }

    /// Whether it tells of an object.
    pub(crate) fn is_change(&self) -> bool {
        matches!(self.kind.as_str(), "ADDED" | "MODIFIED" | "DELETED")
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Which events a disturbance is about: changes of a kind's objects, never bookmarks.
#[derive(Debug, Clone)]
pub struct EventPattern {
    group: String,
    resource: String,
    name: Option<String>,
}

impl EventPattern {
    /// All changes of this group's and plural's objects.
    #[must_use]
    pub fn of(group: &str, resource: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: None,
        }
    }

    /// Only of the object called so.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Whether the event is one of them.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        event.is_change()
            && self.group == event.group
            && self.resource == event.resource
            && self.name.as_ref().is_none_or(|name| *name == event.name)
    }
}
