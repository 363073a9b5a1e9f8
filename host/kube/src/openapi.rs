//! Which scalar lives at which path of a kind, from the API server's OpenAPI v3 documents.
//!
//! # Contract
//! Types help SQL to compare as people expect; they never decide what exists. A path that is not here
//! (free-form objects, recursion, anything beyond the limits) is simply untyped.
//!
//! # Limits
//! 20,000 paths per kind, 32 levels; a schema that contains itself is cut where it starts again.

use std::{collections::BTreeMap, fmt};

use kybern_table::PathType;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    api_error::RequestError,
    cluster::Cluster,
    exchange::{Call, exchange},
};

const MAX_PATHS: usize = 20_000;
const MAX_DEPTH: usize = 32;

/// Scalar paths of each kind of a group version, and the top-level fields in which no scalar is known.
pub type OpenApiTypes = BTreeMap<String, Vec<TypedPath>>;

/// One step of a path in a schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathStep {
    /// A field of that name.
    Key(String),
    /// Any key of a map.
    AnyKey,
    /// Any item of an array.
    AnyItem,
}

/// A path and the type of what is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypedPath {
    /// From the object's top.
    pub steps: Vec<PathStep>,
    /// How the value is read: `Timestamp` for date-times, `Text` for int-or-string and quantities,
    /// `Json` for a top-level field of any form.
    pub path_type: PathType,
}

impl fmt::Display for TypedPath {
    /// `spec.containers[*].image: Text`, `metadata.labels.*: Text`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.steps.iter().enumerate() {
            match step {
                PathStep::Key(key) if position == 0 => f.write_str(key)?,
                PathStep::Key(key) => write!(f, ".{key}")?,
                PathStep::AnyKey => f.write_str(".*")?,
                PathStep::AnyItem => f.write_str("[*]")?,
            }
        }
        write!(f, ": {:?}", self.path_type)
    }
}

/// Cannot read the types of a group version. A retry can help only with [`OpenApiError::Request`].
#[derive(Debug, thiserror::Error)]
pub enum OpenApiError {
    /// The API server could not be asked.
    #[error("cannot read the OpenAPI document of {group_version}")]
    Request {
        /// Of which group version.
        group_version: String,
        /// Why.
        #[source]
        source: RequestError,
    },
    /// There is no document for the group version.
    #[error("the API server publishes no OpenAPI v3 document for {group_version}")]
    NotServed {
        /// Which group version.
        group_version: String,
    },
    /// The document is not what OpenAPI promises.
    #[error("the OpenAPI document of {group_version} cannot be understood")]
    Decode {
        /// Of which group version.
        group_version: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    paths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "serverRelativeURL")]
    url: String,
}

/// Reads the scalar types of all kinds of one group version; the core group is the empty string.
///
/// # Errors
/// [`OpenApiError`].
pub async fn openapi_types(
    cluster: &Cluster,
    group: &str,
    version: &str,
) -> Result<OpenApiTypes, OpenApiError> {
    let (path, group_version) = if group.is_empty() {
        (format!("api/{version}"), version.to_owned())
    } else {
        (
            format!("apis/{group}/{version}"),
            format!("{group}/{version}"),
        )
    };
    let read = async |uri: String| {
        exchange(cluster, &Call::get(cluster, uri))
            .await
            .map_err(|source| OpenApiError::Request {
                group_version: group_version.clone(),
                source,
            })
    };
    let decode = |source| OpenApiError::Decode {
        group_version: group_version.clone(),
        source,
    };
    let index: Index =
        serde_json::from_slice(&read("/openapi/v3".to_owned()).await?).map_err(decode)?;
    let Some(entry) = index.paths.get(&path) else {
        return Err(OpenApiError::NotServed { group_version });
    };
    let document = read(entry.url.clone()).await?;
    types_of(&document, group, version).map_err(decode)
}

/// Reads the types from a document.
fn types_of(
    document: &[u8],
    group: &str,
    version: &str,
) -> Result<OpenApiTypes, serde_json::Error> {
    let document: Value = serde_json::from_slice(document)?;
    let mut types = OpenApiTypes::new();
    let Some(schemas) = document
        .pointer("/components/schemas")
        .and_then(Value::as_object)
    else {
        return Ok(types);
    };
    for (name, schema) in schemas {
        let Some(kind) = kind_of(schema, group, version) else {
            continue;
        };
        let mut walk = Walk {
            schemas,
            // The root is on the stack, so that a kind that contains itself is cut too.
            references: vec![name.as_str()],
            path: Vec::new(),
            found: Vec::new(),
        };
        walk.visit(schema);
        walk.found.sort();
        walk.found.dedup();
        types.insert(kind.to_owned(), walk.found);
    }
    Ok(types)
}

/// The kind that a schema describes, if it is one of this group version.
fn kind_of<'a>(schema: &'a Value, group: &str, version: &str) -> Option<&'a str> {
    let kinds = schema.get("x-kubernetes-group-version-kind")?.as_array()?;
    // Shared types such as DeleteOptions belong to many kinds and are no objects.
    if kinds.len() != 1 {
        return None;
    }
    let kind = kinds.first()?;
    let is = |key: &str, wanted: &str| kind.get(key).and_then(Value::as_str) == Some(wanted);
    (is("group", group) && is("version", version))
        .then(|| kind.get("kind")?.as_str())
        .flatten()
}

struct Walk<'a> {
    schemas: &'a serde_json::Map<String, Value>,
    references: Vec<&'a str>,
    path: Vec<PathStep>,
    found: Vec<TypedPath>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, schema: &'a Value) {
        if self.path.len() > MAX_DEPTH || self.found.len() >= MAX_PATHS {
            return;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            self.follow(reference);
            return;
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            for part in parts {
                self.visit(part);
            }
        }
        match scalar(schema) {
            Some(path_type) if !self.path.is_empty() => {
                self.found.push(TypedPath {
                    steps: self.path.clone(),
                    path_type,
                });
            }
            _ => self.descend(schema),
        }
    }

    fn follow(&mut self, reference: &'a str) {
        let name = reference
            .strip_prefix("#/components/schemas/")
            .unwrap_or(reference);
        if self.references.contains(&name) {
            return;
        }
        if let Some(schema) = self.schemas.get(name) {
            self.references.push(name);
            self.visit(schema);
            self.references.pop();
        }
    }

    fn descend(&mut self, schema: &'a Value) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (key, property) in properties {
                self.below(PathStep::Key(key.clone()), property);
            }
        }
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|value| value.is_object())
        {
            self.below(PathStep::AnyKey, values);
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.below(PathStep::AnyItem, items);
        }
    }

    fn below(&mut self, step: PathStep, schema: &'a Value) {
        self.path.push(step);
        let before = self.found.len();
        self.visit(schema);
        // A top-level field of any form is there all the same.
        if self.path.len() == 1 && self.found.len() == before {
            self.found.push(TypedPath {
                steps: self.path.clone(),
                path_type: PathType::Json,
            });
        }
        self.path.pop();
    }
}

fn scalar(schema: &Value) -> Option<PathType> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let int_or_string = schema
        .get("x-kubernetes-int-or-string")
        .and_then(Value::as_bool);
    if int_or_string == Some(true) || text("format") == Some("int-or-string") {
        return Some(PathType::Text);
    }
    match (text("type"), text("format")) {
        (Some("string"), Some("date-time")) => Some(PathType::Timestamp),
        (Some("string"), _) => Some(PathType::Text),
        (Some("integer"), _) => Some(PathType::Int),
        (Some("number"), _) => Some(PathType::Float),
        (Some("boolean"), _) => Some(PathType::Bool),
        (Some(_), _) => None,
        // A quantity is "a string or a number", and always stored as a string.
        (None, _) => either_is_string(schema).then_some(PathType::Text),
    }
}

fn either_is_string(schema: &Value) -> bool {
    ["oneOf", "anyOf"].iter().any(|key| {
        schema
            .get(*key)
            .and_then(Value::as_array)
            .is_some_and(|parts| {
                let scalar_type = |part: &Value| {
                    matches!(
                        part.get("type").and_then(Value::as_str),
                        Some("string" | "integer" | "number")
                    )
                };
                !parts.is_empty() && parts.iter().all(scalar_type)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r##"{"components":{"schemas":{
        "g.Widget":{"type":"object","x-kubernetes-group-version-kind":[{"group":"g","version":"v1","kind":"Widget"}],
          "properties":{
            "metadata":{"allOf":[{"$ref":"#/components/schemas/Meta"}],"default":{}},
            "spec":{"type":"object","properties":{
              "replicas":{"type":"integer","format":"int32"},
              "paused":{"type":"boolean"},
              "ratio":{"type":"number"},
              "port":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]},
              "memory":{"$ref":"#/components/schemas/Quantity"},
              "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},
              "tree":{"$ref":"#/components/schemas/Tree"},
              "parts":{"type":"array","items":{"type":"object","properties":{"image":{"type":"string"}}}},
              "tags":{"type":"array","items":{"type":"string"}}}},
            "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}},
        "g.WidgetList":{"x-kubernetes-group-version-kind":[{"group":"g","version":"v1","kind":"WidgetList"}],
          "properties":{"items":{"type":"array","items":{"$ref":"#/components/schemas/g.Widget"}}}},
        "Other":{"x-kubernetes-group-version-kind":[{"group":"h","version":"v1","kind":"Other"}]},
        "DeleteOptions":{"x-kubernetes-group-version-kind":[{"group":"g","version":"v1","kind":"DeleteOptions"},{"group":"h","version":"v1","kind":"DeleteOptions"}]},
        "Quantity":{"oneOf":[{"type":"string"},{"type":"number"}]},
        "Tree":{"type":"object","properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/components/schemas/Tree"}}}},
        "Meta":{"type":"object","properties":{
          "labels":{"type":"object","additionalProperties":{"type":"string"}},
          "creationTimestamp":{"allOf":[{"$ref":"#/components/schemas/Time"}]}}},
        "Time":{"type":"string","format":"date-time"}}}}"##;

    #[test]
    fn scalars_are_found_through_references_maps_and_arrays() {
        let types = types_of(DOCUMENT.as_bytes(), "g", "v1").expect("parses");
        let kinds: Vec<&str> = types.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["Widget", "WidgetList"]);
        let mut found: Vec<String> = types["Widget"].iter().map(ToString::to_string).collect();
        found.sort();
        assert_eq!(
            found,
            [
                // Of any form, but a field of its own.
                "free: Json",
                "metadata.creationTimestamp: Timestamp",
                "metadata.labels.*: Text",
                "spec.memory: Text",
                "spec.parts[*].image: Text",
                "spec.paused: Bool",
                "spec.port: Text",
                "spec.ratio: Float",
                "spec.replicas: Int",
                "spec.tags[*]: Text",
                "spec.tree.name: Text",
            ]
        );
    }

    #[test]
    fn a_document_without_schemas_has_no_types() {
        assert!(types_of(b"{}", "g", "v1").expect("parses").is_empty());
        assert!(types_of(b"{", "g", "v1").is_err());
    }
}
