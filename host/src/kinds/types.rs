//! Typed paths: from OpenAPI documents, from CRD schemas, and from the built-in table.

use super::KindTypes;
use kybern_kube::OpenApiTypes;
use kybern_sql::{PathStep, PathTypes};
use kybern_table::PathType;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How deep a CRD's schema is read.
const MAX_DEPTH: usize = 16;

/// The kinds of one group version.
pub(crate) fn convert(found: &OpenApiTypes) -> BTreeMap<String, KindTypes> {
    found
        .iter()
        .map(|(kind, paths)| {
            let paths = paths.iter().map(|path| {
                let steps = path
                    .steps
                    .iter()
                    .map(|step| match step {
                        kybern_kube::PathStep::Key(key) => PathStep::Key(key.clone()),
                        kybern_kube::PathStep::AnyKey => PathStep::AnyKey,
                        kybern_kube::PathStep::AnyItem => PathStep::AnyItem,
                    })
                    .collect();
                (steps, path.path_type)
            });
            (kind.clone(), collect(paths))
        })
        .collect()
}

/// Types and the top-level fields that they begin with.
fn collect(paths: impl Iterator<Item = (Vec<PathStep>, PathType)>) -> KindTypes {
    let mut top: BTreeSet<String> = BTreeSet::new();
    let mut types = PathTypes::default();
    for (steps, of) in paths {
        if let Some(PathStep::Key(first)) = steps.first()
            && is_own(first)
        {
            top.insert(first.clone());
        }
        // What may be anything is read as JSON anyway.
        if of != PathType::Json {
            types.insert(steps, of);
        }
    }
    for usual in ["spec", "status"] {
        top.insert(usual.to_owned());
    }
    KindTypes {
        top_level: top.into_iter().collect(),
        types,
    }
}

/// The built-in table's lines: `spec.replicas: Int`, `spec.containers[*].image: Text`.
pub(crate) fn parse(lines: &[String]) -> KindTypes {
    collect(lines.iter().filter_map(|line| {
        let (path, of) = line.rsplit_once(": ")?;
        let of = match of {
            "Text" => PathType::Text,
            "Json" => PathType::Json,
            "Bool" => PathType::Bool,
            "Int" => PathType::Int,
            "Float" => PathType::Float,
            "Timestamp" => PathType::Timestamp,
            _ => return None,
        };
        let mut steps = Vec::new();
        for part in path.split('.') {
            let mut key = part;
            let mut items = 0;
            while let Some(rest) = key.strip_suffix("[*]") {
                key = rest;
                items += 1;
            }
            steps.push(if key == "*" {
                PathStep::AnyKey
            } else {
                PathStep::Key(key.to_owned())
            });
            steps.extend(std::iter::repeat_n(PathStep::AnyItem, items));
        }
        Some((steps, of))
    }))
}

/// The scalars of a CRD's structural schema, and its top-level fields whatever their form.
pub(crate) fn of_schema(schema: &Value) -> KindTypes {
    let mut found = Vec::new();
    walk(schema, &mut Vec::new(), &mut found);
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut types = collect(found.into_iter());
    types.add_fields(properties.into_iter().flatten().map(|(name, _)| name));
    types
}

/// What objects without a schema say about their kind.
pub(crate) fn of_objects<'a>(objects: impl Iterator<Item = &'a Value>) -> KindTypes {
    let mut types = collect(std::iter::empty());
    for object in objects.filter_map(Value::as_object) {
        types.add_fields(object.keys());
    }
    types
}

impl KindTypes {
    /// Top-level fields of any form.
    fn add_fields<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        for name in names.filter(|name| is_own(name)) {
            if let Err(place) = self.top_level.binary_search(name) {
                self.top_level.insert(place, name.clone());
            }
        }
    }
}

/// Whether a top-level field is a column of its own.
fn is_own(field: &str) -> bool {
    !matches!(field, "apiVersion" | "kind" | "metadata")
}

fn walk(schema: &Value, path: &mut Vec<PathStep>, found: &mut Vec<(Vec<PathStep>, PathType)>) {
    if path.len() > MAX_DEPTH {
        return;
    }
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    let scalar = match text("type") {
        "integer" => Some(PathType::Int),
        "number" => Some(PathType::Float),
        "boolean" => Some(PathType::Bool),
        "string" if text("format") == "date-time" => Some(PathType::Timestamp),
        "string" => Some(PathType::Text),
        _ => None,
    };
    if let Some(of) = scalar {
        found.push((path.clone(), of));
        return;
    }
    let mut inner = |step: PathStep, schema: &Value| {
        path.push(step);
        walk(schema, path, found);
        path.pop();
    };
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        inner(PathStep::Key(name.clone()), property);
    }
    if let Some(items) = schema.get("items") {
        inner(PathStep::AnyItem, items);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|v| v.is_object()) {
        inner(PathStep::AnyKey, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_top_level_field_of_any_form_is_a_column() {
        let schema = json!({ "properties": {
            "apiVersion": { "type": "string" },
            "metadata": { "type": "object" },
            "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            "kindly": { "type": "string" },
            "spec": { "type": "object" },
        }});
        let types = of_schema(&schema);
        assert_eq!(types.top_level, ["free", "kindly", "spec", "status"]);
        let path = [kybern_table::Segment::Key("kindly".into())];
        assert_eq!(types.types.get(&path), Some(PathType::Text));
    }

    #[test]
    fn objects_without_a_schema_say_which_fields_there_are() {
        let objects = [
            json!({ "apiVersion": "a/v1", "kind": "A", "metadata": {}, "rules": [] }),
            json!({ "apiVersion": "a/v1", "kind": "A", "data": {} }),
        ];
        let types = of_objects(objects.iter());
        assert_eq!(types.top_level, ["data", "rules", "spec", "status"]);
    }
}
