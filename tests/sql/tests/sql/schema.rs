//! Scalar types and top-level fields of a structural schema.

use std::collections::BTreeSet;

use kybern_sql::{PathStep, PathTypes};
use kybern_table::PathType;
use serde_json::Value;

/// What a kind's schema says; the same reading as that of the host.
#[derive(Default)]
pub(crate) struct Schema {
    pub(crate) top_level: BTreeSet<String>,
    pub(crate) types: PathTypes,
}

impl Schema {
    /// From an `openAPIV3Schema`.
    pub(crate) fn read(schema: &Value) -> Self {
        let mut found = Self::default();
        found
            .top_level
            .extend(["spec".to_owned(), "status".to_owned()]);
        found.walk(schema, &mut Vec::new());
        found
    }

    fn walk(&mut self, schema: &Value, path: &mut Vec<PathStep>) {
        if let Some(of) = scalar(schema) {
            if let Some(PathStep::Key(first)) = path.first() {
                self.top_level.insert(first.clone());
            }
            return self.types.insert(path.clone(), of);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            self.enter(PathStep::Key(name.clone()), property, path);
        }
        if let Some(items) = schema.get("items") {
            self.enter(PathStep::AnyItem, items, path);
        }
        if let Some(values) = schema.get("additionalProperties") {
            self.enter(PathStep::AnyKey, values, path);
        }
    }

    fn enter(&mut self, step: PathStep, schema: &Value, path: &mut Vec<PathStep>) {
        path.push(step);
        self.walk(schema, path);
        path.pop();
    }
}

fn scalar(schema: &Value) -> Option<PathType> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    match (text("type"), text("format")) {
        ("integer", _) => Some(PathType::Int),
        ("number", _) => Some(PathType::Float),
        ("boolean", _) => Some(PathType::Bool),
        ("string", "date-time") => Some(PathType::Timestamp),
        ("string", _) => Some(PathType::Text),
        _ => None,
    }
}
