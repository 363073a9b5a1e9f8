//! Reads an object from raw JSON: metadata decoded, everything else kept as text.
//!
//! # Why
//!
//! A tree of JSON values costs more than everything else that happens to an
//! event. One validating pass decodes the metadata and splits the rest of the top
//! level into slices. managedFields, up to a third of an object, are cut out
//! unless a manager of ours is among them.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::index::Entries;
use crate::record::{Field, Record, Span};

/// An object that cannot be read. Retrying does not help.
#[derive(Debug, Error)]
pub(crate) enum DecodeError {
    #[error("the object is not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    #[error("the object is not a JSON object: {0}")]
    Json(serde_json::Error),
    #[error("the object has no metadata")]
    NoMetadata,
    #[error("the object's metadata cannot be read: {0}")]
    Metadata(serde_json::Error),
    #[error("the object has no metadata.name")]
    NoName,
    #[error("metadata.resourceVersion of {name} is no number: {text:?}")]
    ResourceVersion { name: String, text: String },
    #[error("the object is larger than 4 GiB")]
    TooLarge,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: Option<Box<str>>,
    namespace: Option<Box<str>>,
    uid: Option<Box<str>>,
    #[serde(borrow)]
    resource_version: Option<Cow<'a, str>>,
    generation: Option<i64>,
    #[serde(borrow)]
    creation_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    deletion_timestamp: Option<Cow<'a, str>>,
    owner_references: Option<Vec<OwnerReference>>,
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(borrow)]
    managed_fields: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OwnerReference {
    uid: Option<Box<str>>,
    controller: Option<bool>,
}

#[derive(Deserialize)]
struct Manager<'a> {
    #[serde(borrow)]
    manager: Option<Cow<'a, str>>,
}

/// The top level of an object.
#[derive(Default)]
struct TopLevel<'a> {
    /// Key text to raw value; none for the metadata, which are decoded.
    fields: Vec<(Cow<'a, str>, Option<&'a RawValue>)>,
    metadata: Option<Metadata<'a>>,
    /// The key that follows the metadata's in the text.
    next: Option<Cow<'a, str>>,
    /// There are more fields than are listed.
    more: bool,
}

/// Top-level fields that are listed; objects of any sense have a dozen.
const LISTED: usize = 256;

/// An object key, borrowed where it is written without escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the top level; says whether it is inside the metadata.
struct Top<'c>(&'c Cell<bool>);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = TopLevel<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = TopLevel<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel<'de>, A::Error> {
        let mut top = TopLevel::default();
        let mut at_metadata = false;
        while let Some(Key(key)) = map.next_key()? {
            if std::mem::take(&mut at_metadata) {
                top.next = Some(key.clone());
            }
            let value = if key == "metadata" {
                self.0.set(true);
                top.metadata = Some(map.next_value()?);
                self.0.set(false);
                (at_metadata, top.next) = (true, None);
                None
            } else {
                Some(map.next_value()?)
            };
            if top.fields.len() < LISTED {
                top.fields.retain(|(earlier, _)| *earlier != key);
                top.fields.push((key, value));
            } else {
                top.more = true;
            }
        }
        Ok(top)
    }
}

/// An object of which only the metadata is decoded yet.
pub(crate) struct Object<'a> {
    text: &'a str,
    top: TopLevel<'a>,
    metadata: Metadata<'a>,
    /// Empty for a cluster-scoped object.
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    /// Empty for an object without one.
    pub(crate) uid: Box<str>,
    /// 0 where the API gives none.
    pub(crate) resource_version: u64,
}

impl<'a> Object<'a> {
    /// Validates the text and reads the metadata.
    pub(crate) fn decode(raw: &'a [u8]) -> Result<Object<'a>, DecodeError> {
        let text = std::str::from_utf8(raw).map_err(DecodeError::Utf8)?;
        let text = text.trim_ascii();
        if u32::try_from(text.len()).is_err() {
            return Err(DecodeError::TooLarge);
        }
        let mut top = parse(text)?;
        let mut metadata = top.metadata.take().ok_or(DecodeError::NoMetadata)?;
        let name = metadata
            .name
            .take()
            .filter(|name| !name.is_empty())
            .ok_or(DecodeError::NoName)?;
        let resource_version = match metadata.resource_version.as_deref() {
            None | Some("") => 0,
            Some(number) => number.parse().map_err(|_| DecodeError::ResourceVersion {
                name: name.to_string(),
                text: number.to_owned(),
            })?,
        };
        Ok(Object {
            text,
            top,
            namespace: metadata.namespace.take().unwrap_or_default(),
            uid: metadata.uid.take().unwrap_or_default(),
            name,
            resource_version,
            metadata,
        })
    }

    /// The complete record, with a body of its own.
    pub(crate) fn into_record(self) -> Record {
        let cut = self.managed_fields();
        let keep_span = |part: Range<usize>| shift(part, &cut);
        let mut listed = !self.top.more;
        let mut fields = Vec::with_capacity(self.top.fields.len());
        for (key, value) in &self.top.fields {
            let Cow::Borrowed(key) = *key else {
                listed = false;
                continue;
            };
            let key_range = self.offset_of(key);
            let value = match value {
                _ if matches!(key, "apiVersion" | "kind") => continue,
                Some(value) => Some(self.offset_of(value.get())),
                None => self.metadata_range(key_range.end),
            };
            match value {
                Some(value) => fields.push(Field {
                    key: keep_span(key_range),
                    value: keep_span(value),
                }),
                None => listed = false,
            }
        }
        let labels = self.metadata.labels.map(|raw| self.offset_of(raw.get()));
        let labels = labels.map(keep_span);
        let mut body = String::with_capacity(self.text.len() - cut.len());
        body.push_str(self.text.get(..cut.start).unwrap_or_default());
        body.push_str(self.text.get(cut.end..).unwrap_or_default());
        let owner = self
            .metadata
            .owner_references
            .into_iter()
            .flatten()
            .find(|reference| reference.controller == Some(true))
            .and_then(|reference| reference.uid)
            .filter(|uid| !uid.is_empty());
        Record {
            namespace: self.namespace,
            name: self.name,
            uid: self.uid.into(),
            resource_version: self.resource_version,
            generation: self.metadata.generation,
            created: self.metadata.creation_timestamp.as_deref().and_then(micros),
            deleted: deletion(self.metadata.deletion_timestamp.as_deref()),
            owner,
            labels,
            fields: fields.into(),
            listed,
            entries: Entries::default(),
            body: body.into(),
        }
    }

    fn offset_of(&self, part: &str) -> Range<usize> {
        let start = part
            .as_ptr()
            .addr()
            .saturating_sub(self.text.as_ptr().addr());
        start..start + part.len()
    }

    /// Where the metadata's value stands, whose key ends at `key_end`; none if
    /// only a parser can tell.
    fn metadata_range(&self, key_end: usize) -> Option<Range<usize>> {
        let behind = self.text.get(key_end..)?.strip_prefix('"')?.trim_start();
        let behind = behind.strip_prefix(':')?.trim_start();
        let start = self.text.len() - behind.len();
        if !behind.starts_with('{') {
            return None;
        }
        let end = match &self.top.next {
            Some(Cow::Borrowed(key)) => {
                let before = self.text.get(..self.offset_of(key).start)?;
                let before = before.strip_suffix('"')?.trim_end();
                before.strip_suffix(',')?.trim_end().len()
            }
            Some(Cow::Owned(_)) => return None,
            None => self.text.strip_suffix('}')?.trim_end().len(),
        };
        Some(start..end)
    }

    /// The part of the text to leave out: managedFields and a comma beside it.
    fn managed_fields(&self) -> Range<usize> {
        let managed = self.metadata.managed_fields.filter(|raw| !is_ours(raw));
        let cut = managed.and_then(|raw| {
            let value = self.offset_of(raw.get());
            let before = self.text.get(..value.start)?.trim_end();
            let before = before.strip_suffix(':')?.trim_end();
            // A key with escapes stays, and its value with it.
            let before = before.strip_suffix("\"managedFields\"")?;
            let after = self.text.get(value.end..)?;
            let lone = before.trim_end();
            Some(if lone.ends_with(',') {
                lone.len() - 1..value.end
            } else {
                let rest = after.trim_start();
                let comma = usize::from(rest.starts_with(','));
                before.len()..self.text.len() - rest.len() + comma
            })
        });
        cut.unwrap_or(0..0)
    }
}

fn parse(text: &str) -> Result<TopLevel<'_>, DecodeError> {
    let in_metadata = Cell::new(false);
    let mut parser = serde_json::Deserializer::from_str(text);
    let top = Top(&in_metadata).deserialize(&mut parser);
    let top = top.and_then(|top| parser.end().map(|()| top));
    top.map_err(|error| {
        if in_metadata.get() && error.is_data() {
            DecodeError::Metadata(error)
        } else {
            DecodeError::Json(error)
        }
    })
}

/// Whether a manager of ours is among them.
fn is_ours(managed_fields: &RawValue) -> bool {
    const OURS: &str = "kybern";
    let text = managed_fields.get();
    // Almost never there, and found much faster than the managers are read.
    if !text.contains(OURS) {
        return false;
    }
    let managers: Vec<Manager<'_>> = serde_json::from_str(text).unwrap_or_default();
    let mut names = managers.iter().filter_map(|one| one.manager.as_deref());
    names.any(|name| name.starts_with(OURS))
}

/// Where a range of the text stands once `cut` is left out.
fn shift(range: Range<usize>, cut: &Range<usize>) -> Span {
    let moved = |at: usize| if at >= cut.end { at - cut.len() } else { at };
    Span::new(moved(range.start), moved(range.end))
}

/// RFC 3339 to microseconds.
pub(crate) fn micros(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_microsecond())
}

/// A deletionTimestamp that cannot be read still means that the object is being
/// deleted: it reads as the epoch.
fn deletion(text: Option<&str>) -> Option<i64> {
    text.map(|text| micros(text).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn record(raw: &str) -> Record {
        Object::decode(raw.as_bytes()).unwrap().into_record()
    }

    fn field<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
        record
            .fields
            .iter()
            .find(|field| field.key.of(&record.body) == name)
            .map(|field| field.value.of(&record.body))
    }

    #[test]
    fn metadata_is_decoded_and_fields_are_slices() {
        let record = record(
            r#" {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"n","uid":"u",
            "resourceVersion":"17","generation":3,"creationTimestamp":"2026-11-22T00:00:00Z",
            "deletionTimestamp":"2026-11-22T00:00:01.5Z","labels":{"x":"y"},
            "ownerReferences":[{"uid":"o1"},{"uid":"o2","controller":true}],"finalizers":["f"]},
            "spec":{"n":123456789012345678901234567890},"status":null}
            "#,
        );
        assert_eq!((&*record.namespace, &*record.name), ("n", "a"));
        assert_eq!((&*record.uid, record.resource_version), ("u", 17));
        assert_eq!(record.generation, Some(3));
        assert_eq!(record.deleted.unwrap() - record.created.unwrap(), 1_500_000);
        assert_eq!(record.owner.as_deref(), Some("o2"));
        assert_eq!(record.labels.unwrap().of(&record.body), r#"{"x":"y"}"#);
        assert_eq!(
            field(&record, "spec"),
            Some(r#"{"n":123456789012345678901234567890}"#)
        );
        assert_eq!(field(&record, "status"), Some("null"));
        assert_eq!(field(&record, "kind"), None);
    }

    /// A top-level field as text: its key, perhaps escaped, and its value.
    fn top_field() -> impl Strategy<Value = (&'static str, String)> {
        let metadata = prop::collection::vec(
            prop::sample::select(vec![
                r#""labels" : {"a":"}\"{"}"#,
                r#""managedFields":[{"manager":"kubectl","f":"kybern"}]"#,
                r#""managedFields" : [ {"manager":"kybern/x"} ]"#,
                r#""generation":7"#,
                r#""annotations":{"managedFields":"no"}"#,
            ]),
            0..4,
        );
        let metadata = (metadata, " {0,2}", 0usize..3).prop_map(|(mut parts, space, at)| {
            parts.dedup_by_key(|part| part.split('"').nth(1));
            parts.sort_unstable();
            parts.dedup_by_key(|part| part.split('"').nth(1));
            parts.insert(at.min(parts.len()), r#""name":"x""#);
            format!(
                "{{{space}{}{space}}}",
                parts.join(&format!("{space},{space}"))
            )
        });
        let other =
            prop::sample::select(vec!["{}", "[{\"metadata\":{}}]", "null", "\"}\"", "-1.5e3"]);
        prop_oneof![
            2 => (Just("metadata"), metadata),
            3 => (
                prop::sample::select(vec!["spec", "status", "kind", "d\\u0061ta", "meta\\\"data"]),
                other.prop_map(str::to_owned),
            ),
        ]
    }

    proptest! {
        /// Whatever the order, the spaces, duplicates and escapes: the body is the
        /// object without managedFields, and fields are where they are said to be.
        #[test]
        fn objects_come_back(
            parts in prop::collection::vec(top_field(), 1..6),
            spaces in prop::collection::vec(" {0,2}\n?", 8),
        ) {
            let fields: Vec<String> = parts
                .iter()
                .zip(&spaces)
                .map(|((key, value), s)| format!("{s}\"{key}\"{s}:{s}{value}{s}"))
                .collect();
            let raw = format!("{{{}}}", fields.join(","));
            let mut expected: Value = serde_json::from_str(&raw).unwrap();
            let object = Object::decode(raw.as_bytes());
            let Some(metadata) = expected["metadata"].as_object_mut() else {
                prop_assert!(matches!(object, Err(DecodeError::NoMetadata)));
                return Ok(());
            };
            let ours = |managed: &Value| managed[0]["manager"] == "kybern/x";
            if metadata.get("managedFields").is_some_and(|managed| !ours(managed)) {
                metadata.remove("managedFields");
            }
            let record = object.ok().unwrap().into_record();
            // An earlier duplicate is in the text still, and hidden by the last.
            let body: Value = serde_json::from_str(&record.body).unwrap();
            prop_assert_eq!(&body, &expected);
            for found in &record.fields {
                let text = found.value.of(&record.body);
                let value: Value = serde_json::from_str(text).unwrap();
                prop_assert_eq!(&value, &expected[found.key.of(&record.body)]);
            }
            let names = expected.as_object().unwrap().keys();
            let wanted = names.filter(|name| *name != "kind").count();
            prop_assert_eq!(record.listed, record.fields.len() == wanted);
            let labels = record.labels.map(|span| span.of(&record.body));
            let labels = labels.map(|text| serde_json::from_str::<Value>(text).unwrap());
            prop_assert_eq!(labels.as_ref(), expected["metadata"].get("labels"));
        }
    }

    #[test]
    fn an_object_with_thousands_of_fields_is_kept_whole_and_not_listed() {
        let fields: Vec<String> = (0..5_000).map(|n| format!("\"f{n}\":{n}")).collect();
        let raw = format!("{{{},\"metadata\":{{\"name\":\"a\"}}}}", fields.join(","));
        let record = record(&raw);
        assert_eq!(&*record.body, raw);
        assert!(!record.listed && record.fields.len() <= LISTED);
        let row = crate::refer::RowRef::Record(&record);
        assert_eq!(row.field(&raw, "f4999"), Some("4999"));
    }

    #[test]
    fn managed_fields_are_cut_wherever_they_stand() {
        let managed = r#""managedFields":[{"manager":"kubectl","fieldsV1":{"f:a":{}}}]"#;
        for metadata in [
            format!(r#"{{{managed},"name":"a","labels":{{"é":"1"}}}}"#),
            format!(r#"{{"name":"a",{managed},"labels":{{"é":"1"}}}}"#),
            format!(r#"{{"name":"a","labels":{{"é":"1"}} , {managed} }}"#),
            format!(r#"{{ {managed} , "name":"a","labels":{{"é":"1"}}}}"#),
        ] {
            let raw = format!(r#"{{"before":[1],"metadata":{metadata},"spec":{{"é":"ü"}}}}"#);
            let record = record(&raw);
            let mut expected: Value = serde_json::from_str(&raw).unwrap();
            let map = expected["metadata"].as_object_mut().unwrap();
            map.remove("managedFields");
            assert_eq!(
                serde_json::from_str::<Value>(&record.body).unwrap(),
                expected
            );
            assert_eq!(field(&record, "before"), Some("[1]"));
            assert_eq!(field(&record, "spec"), Some(r#"{"é":"ü"}"#));
            assert_eq!(record.labels.unwrap().of(&record.body), r#"{"é":"1"}"#);
        }
    }

    #[test]
    fn managed_fields_stay_when_a_manager_is_ours() {
        let raw = json!({"metadata": {"name": "a", "managedFields": [
            {"manager": "kubectl"}, {"manager": "kybern/shop"}]}})
        .to_string();
        assert_eq!(&*record(&raw).body, raw);
    }

    #[test]
    fn an_object_with_only_managed_fields_left_out_is_valid() {
        let raw = r#"{"metadata":{"name":"a","managedFields":[]}}"#;
        assert_eq!(&*record(raw).body, r#"{"metadata":{"name":"a"}}"#);
    }

    #[test]
    fn faults_say_what_is_wrong() {
        for (raw, message) in [
            (&b"\xff"[..], "not UTF-8"),
            (b"[]", "not a JSON object"),
            (b"{", "not a JSON object"),
            (br#"{"spec":{}}"#, "no metadata"),
            (br#"{"metadata":{}}"#, "no metadata.name"),
            (br#"{"metadata":{"name":3}}"#, "cannot be read"),
            (
                br#"{"metadata":{"name":"a","resourceVersion":"x"}}"#,
                "is no number",
            ),
            (br#"{"metadata":{"name":"a"},"spec":{]}"#, "not a JSON"),
        ] {
            let error = Object::decode(raw).err().unwrap().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
