//! The JSON of Events.

use bytes::Bytes;
use serde_json::json;

use crate::clock::micro_time;

use super::{Occurrence, RecorderConfig, aggregate::Patch};

/// Longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;
/// Longest reason, action and instance, in bytes.
const MAX_WORD: usize = 128;
/// Longest name of an object, in bytes.
const MAX_NAME: usize = 253;

/// The namespace of an occurrence's Event.
pub(super) fn namespace(occurrence: &Occurrence) -> &str {
    occurrence
        .regarding
        .namespace
        .as_deref()
        .unwrap_or("default")
}

/// A name as client-go builds it: the object's, and a number that makes it unique.
pub(super) fn name(occurrence: &Occurrence, number: u64) -> String {
    let suffix = format!(".{number:016x}");
    let room = MAX_NAME.saturating_sub(suffix.len());
    let stem: String = cut(&occurrence.regarding.name, room)
        .chars()
        .map(|letter| match letter {
            'a'..='z' | '0'..='9' | '-' | '.' => letter,
            // Names of RBAC objects may hold what an Event's name may not.
            _ => '-',
        })
        .collect();
    let stem = stem.trim_matches(['-', '.']);
    if stem.is_empty() {
        format!("event{suffix}")
    } else {
        format!("{stem}{suffix}")
    }
}

pub(super) fn create(
    occurrence: &Occurrence,
    name: &str,
    time: jiff::Timestamp,
    config: &RecorderConfig,
) -> Bytes {
    let regarding = &occurrence.regarding;
    let mut reference = json!({
        "apiVersion": regarding.api_version,
        "kind": regarding.kind,
        "name": regarding.name,
        "uid": regarding.uid,
    });
    if let (Some(fields), Some(namespace)) = (reference.as_object_mut(), &regarding.namespace) {
        fields.insert("namespace".to_owned(), json!(namespace));
    }
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": name, "namespace": namespace(occurrence) },
        "eventTime": micro_time(time),
        "reportingController": config.controller,
        "reportingInstance": cut(&config.instance, MAX_WORD),
        "action": cut(&occurrence.action, MAX_WORD),
        "reason": cut(&occurrence.reason, MAX_WORD),
        "regarding": reference,
        "note": cut(&occurrence.note, MAX_NOTE),
        "type": occurrence.severity.name(),
    });
    Bytes::from(event.to_string())
}

pub(super) fn series(patch: &Patch) -> Bytes {
    let body = json!({
        "series": { "count": patch.count, "lastObservedTime": micro_time(patch.last) },
    });
    Bytes::from(body.to_string())
}

/// Shortens a text to at most `limit` bytes, at a character's boundary.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Regarding, Severity};

    fn occurrence(name: &str, note: &str) -> Occurrence {
        Occurrence {
            regarding: Regarding {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                namespace: None,
                name: name.to_owned(),
                uid: "u".to_owned(),
            },
            severity: Severity::Normal,
            reason: "Seen".to_owned(),
            action: "Look".to_owned(),
            note: note.to_owned(),
        }
    }

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("", 2), "");
    }

    #[test]
    fn names_are_valid_whatever_the_object_is_called() {
        assert_eq!(name(&occurrence("web", ""), 255), "web.00000000000000ff");
        assert_eq!(
            name(&occurrence("system:node", ""), 1),
            "system-node.0000000000000001"
        );
        assert_eq!(name(&occurrence("::", ""), 1), "event.0000000000000001");
        assert!(name(&occurrence(&"x".repeat(400), ""), 1).len() <= MAX_NAME);
    }

    #[test]
    fn events_of_cluster_scoped_objects_live_in_default() {
        let config = RecorderConfig::new("kybern.dev/test", "i");
        let body = create(
            &occurrence("n", "hello"),
            "n.1",
            jiff::Timestamp::UNIX_EPOCH,
            &config,
        );
        let event: serde_json::Value = serde_json::from_slice(&body).expect("is JSON");
        assert_eq!(event["metadata"]["namespace"], "default");
        assert_eq!(event["regarding"].get("namespace"), None);
        assert_eq!(event["eventTime"], "1970-01-01T00:00:00.000000Z");
    }
}
