//! Reads one line of a watch.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{api_error::ApiError, read, resource::Resource};

/// Annotation of the bookmark that ends the initial events of a streaming list (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One event of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// `ADDED` or `MODIFIED`: the object as it is.
    Present { raw: Bytes, resource_version: u64 },
    /// `DELETED`: the object as it was; the resourceVersion is that of the deletion.
    Absent { raw: Bytes, resource_version: u64 },
    /// `BOOKMARK`: everything up to here has been sent.
    Bookmark {
        resource_version: u64,
        initial_events_end: bool,
    },
    /// `ERROR`: the watch is over.
    Error(ApiError),
}

/// A line is not what the watch protocol promises.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventError {
    #[error("a watch event is no JSON of the expected form")]
    Json(#[from] serde_json::Error),
    #[error("a watch event has the unknown type {0:?}")]
    UnknownType(String),
    #[error("the resourceVersion {0:?} is not a number")]
    ResourceVersion(String),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    event: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    resource_version: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

pub(crate) fn parse(
    line: &[u8],
    resource: &Resource,
    metadata_only: bool,
) -> Result<Event, EventError> {
    let written = as_written(line).and_then(|(event, object)| {
        // Reads all of it, so that what is no single object does not pass.
        let head: Head<'_> = serde_json::from_str(object).ok()?;
        Some((event, object, head))
    });
    let (event, object, head) = match written {
        Some(parts) => parts,
        None => {
            let line: Line<'_> = serde_json::from_slice(line)?;
            let object = line.object.get();
            if line.event == "ERROR" {
                return Ok(Event::Error(ApiError::from_status(object)));
            }
            (line.event, object, serde_json::from_str(object)?)
        }
    };
    let resource_version = parse_version(&head.metadata.resource_version)?;
    match event {
        "ADDED" | "MODIFIED" => Ok(Event::Present {
            raw: body(object, resource, metadata_only)?,
            resource_version,
        }),
        "DELETED" => Ok(Event::Absent {
            raw: body(object, resource, metadata_only)?,
            resource_version,
        }),
        "BOOKMARK" => Ok(Event::Bookmark {
            resource_version,
            initial_events_end: ends_initial_events(&head.metadata)?,
        }),
        other => Err(EventError::UnknownType(other.to_owned())),
    }
}

/// Type and object of a line that is written as API servers write it: those two
/// fields in that order, without spaces. Spares one pass over each object.
fn as_written(line: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(line).ok()?;
    let (event, rest) = text.strip_prefix("{\"type\":\"")?.split_once('"')?;
    let object = rest.strip_prefix(",\"object\":")?.strip_suffix('}')?;
    matches!(event, "ADDED" | "MODIFIED" | "DELETED").then_some((event, object))
}

/// resourceVersions are comparable numbers (KEP-5504).
pub(crate) fn parse_version(text: &str) -> Result<u64, EventError> {
    text.parse()
        .map_err(|_| EventError::ResourceVersion(text.to_owned()))
}

/// A copy of the object alone: a slice would keep the whole read buffer alive.
fn body(
    object: &str,
    resource: &Resource,
    metadata_only: bool,
) -> Result<Bytes, serde_json::Error> {
    if metadata_only {
        read::complete(object, resource, true)
    } else {
        Ok(Bytes::copy_from_slice(object.as_bytes()))
    }
}

fn ends_initial_events(metadata: &Metadata<'_>) -> Result<bool, serde_json::Error> {
    let Some(raw) = metadata.annotations else {
        return Ok(false);
    };
    let annotations: serde_json::Value = serde_json::from_str(raw.get())?;
    Ok(annotations
        .get(INITIAL_EVENTS_END)
        .and_then(serde_json::Value::as_str)
        == Some("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> Resource {
        Resource::new("", "v1", "ConfigMap", "configmaps", true)
    }

    #[test]
    fn however_a_line_is_written_it_says_the_same() {
        let object = r#"{"metadata":{"name":"}","resourceVersion":"3"},"data":{"object":"}"}}"#;
        for line in [
            format!(r#"{{"type":"ADDED","object":{object}}}"#),
            format!(r#"{{"object":{object},"type":"ADDED"}}"#),
            format!(r#"{{ "type" : "ADDED" , "object" : {object} }}"#),
            format!(r#"{{"type":"ADDED","object":{object},"more":{{}}}}"#),
            format!(r#"{{"type":"ADDED","object":{object} }}"#),
        ] {
            let event = parse(line.as_bytes(), &maps(), false).expect(&line);
            let Event::Present {
                raw,
                resource_version,
            } = event
            else {
                panic!("{event:?}");
            };
            assert_eq!(
                (raw.trim_ascii(), resource_version),
                (object.as_bytes(), 3),
                "{line}"
            );
        }
        for line in [
            format!(r#"{{"type":"ADDED","object":{object}"#),
            format!(r#"{{"type":"ADDED","object":{object}}}}}"#),
            format!(r#"{{"type":"ADDED","object":{object}{object}}}"#),
            r#"{"type":"ADDED","object":}"#.to_owned(),
            r#"{"type":"ADDED","object":[]}"#.to_owned(),
        ] {
            parse(line.as_bytes(), &maps(), false).expect_err(&line);
        }
    }

    #[test]
    fn an_object_is_kept_as_it_was_written() {
        let object = r#"{"kind":"ConfigMap", "apiVersion":"v1","metadata":{"name":"a\n","resourceVersion":"12"},"data":{"x":"1"}}"#;
        for (name, absent) in [("ADDED", false), ("MODIFIED", false), ("DELETED", true)] {
            let line = format!(r#"{{"type":"{name}","object":{object}}}"#);
            let raw = Bytes::copy_from_slice(object.as_bytes());
            let wanted = if absent {
                Event::Absent {
                    raw,
                    resource_version: 12,
                }
            } else {
                Event::Present {
                    raw,
                    resource_version: 12,
                }
            };
            assert_eq!(
                parse(line.as_bytes(), &maps(), false).expect("parses"),
                wanted
            );
        }
    }

    #[test]
    fn the_order_of_type_and_object_does_not_matter() {
        let line = br#"{"object":{"metadata":{"resourceVersion":"5"}},"type":"BOOKMARK"}"#;
        let wanted = Event::Bookmark {
            resource_version: 5,
            initial_events_end: false,
        };
        assert_eq!(parse(line, &maps(), false).expect("parses"), wanted);
    }

    #[test]
    fn the_bookmark_that_ends_a_list_is_known_by_its_annotation() {
        let line = br#"{"type":"BOOKMARK","object":{"kind":"ConfigMap","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        let wanted = Event::Bookmark {
            resource_version: 9,
            initial_events_end: true,
        };
        assert_eq!(parse(line, &maps(), false).expect("parses"), wanted);
    }

    #[test]
    fn an_error_event_carries_its_status() {
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version: 1 (9)"}}"#;
        match parse(line, &maps(), false).expect("parses") {
            Event::Error(error) => assert!(error.is_expired(), "{error:?}"),
            other => panic!("not an error: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let maps = maps();
        for line in [
            "{",
            r#"{"type":"ADDED","object":{"metadata":{}}}"#,
            r#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"x"}}}"#,
            r#"{"type":"RENAMED","object":{"metadata":{"resourceVersion":"1"}}}"#,
        ] {
            assert!(parse(line.as_bytes(), &maps, false).is_err(), "{line}");
        }
    }
}
