//! Reads an object from raw JSON: metadata decoded, everything else kept as text.
//!
//! # Why
//!
//! A tree of JSON values costs more than everything else that happens to an
//! event. One validating pass splits the top level into slices; only the
//! metadata is decoded. managedFields, up to a third of an object, are cut out
//! unless a manager of ours is among them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::json;
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

/// The top level of an object, key text to raw value.
struct TopLevel<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// An object key, borrowed where it is written without escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for TopLevel<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = TopLevel<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Kubernetes object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(6);
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    fields.retain(|(earlier, _)| *earlier != key);
                    fields.push((key, value));
                }
                Ok(TopLevel(fields))
            }
        }
        deserializer.deserialize_map(Top)
    }
}

/// An object of which only the metadata is decoded yet.
pub(crate) struct Object<'a> {
    text: &'a str,
    top: TopLevel<'a>,
    metadata: Metadata<'a>,
    metadata_text: &'a str,
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
        let top: TopLevel<'a> = serde_json::from_str(text).map_err(DecodeError::Json)?;
        let metadata_text = top
            .0
            .iter()
            .find(|(key, _)| key == "metadata")
            .map(|(_, value)| value.get())
            .ok_or(DecodeError::NoMetadata)?;
        let mut metadata: Metadata<'a> =
            serde_json::from_str(metadata_text).map_err(DecodeError::Metadata)?;
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
            metadata_text,
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
        let keep_span = |part: &str| shift(self.offset_of(part), &cut);
        let mut listed = true;
        let mut fields = Vec::with_capacity(self.top.0.len());
        for (key, value) in &self.top.0 {
            match key {
                Cow::Borrowed("apiVersion" | "kind") => {}
                Cow::Borrowed(key) => fields.push(Field {
                    key: keep_span(key),
                    value: keep_span(value.get()),
                }),
                Cow::Owned(_) => listed = false,
            }
        }
        let labels = self.metadata.labels.map(|raw| keep_span(raw.get()));
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

    /// The part of the text to leave out: managedFields and a comma beside it.
    fn managed_fields(&self) -> Range<usize> {
        let text = self.metadata_text;
        let found = json::members(text).find(|member| {
            text.get(member.key.clone())
                .is_some_and(|key| key == "\"managedFields\"")
        });
        let Some(member) = found else { return 0..0 };
        let value = text.get(member.value.clone()).unwrap_or_default();
        let managers: Vec<Manager<'_>> = serde_json::from_str(value).unwrap_or_default();
        let ours = |manager: &Manager<'_>| {
            let name = manager.manager.as_deref();
            name.is_some_and(|name| name.starts_with("kybern"))
        };
        if managers.iter().any(ours) {
            return 0..0;
        }
        let before = text.get(..member.key.start).unwrap_or_default().trim_end();
        let after = text.get(member.value.end..).unwrap_or_default();
        let base = self.offset_of(text).start;
        let range = if before.ends_with(',') {
            before.len() - 1..member.value.end
        } else {
            let rest = after.trim_start();
            let comma = usize::from(rest.starts_with(','));
            member.key.start..text.len() - rest.len() + comma
        };
        base + range.start..base + range.end
    }
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
