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
mod tests;
