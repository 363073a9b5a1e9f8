//! The smallest custom resource that a definition's schema allows.

use kybern_interface::{Gvk, Manifest};
use serde_json::{Map, Value, json};

/// How deep a schema is followed.
const MAX_DEPTH: usize = 32;
/// Most items and characters of what is made up.
const MAX_COUNT: u64 = 1_000;
/// Texts that are tried where a schema has a pattern or a format.
const TEXTS: [&str; 13] = [
    "x",
    "a",
    "1",
    "example",
    "example.com",
    "a@example.com",
    "https://example.com",
    "nginx:1.7.9",
    "10.0.0.1",
    "10.0.0.0/8",
    "1h",
    "1Gi",
    "2026-01-01T00:00:00Z",
];

/// An object of each kind that the plugin is in charge of and brings the definition of; those that
/// no object could be made of are left out.
pub(super) fn objects(manifest: &Manifest) -> Vec<Value> {
    let asks = manifest.resources.iter();
    asks.filter_map(|ask| object(manifest, &Gvk::new(&*ask.group, &*ask.version, &*ask.kind)))
        .collect()
}

/// The same object while it is being deleted.
pub(super) fn deleted(object: &Value) -> Value {
    let mut deleted = object.clone();
    if let Some(metadata) = deleted.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("deletionTimestamp".into(), "2026-01-01T00:00:00Z".into());
    }
    deleted
}

fn object(manifest: &Manifest, gvk: &Gvk) -> Option<Value> {
    let schema = schema(manifest, gvk)?;
    let mut object = value(schema, 0);
    let fields = object.as_object_mut()?;
    fields.insert("apiVersion".into(), gvk.api_version().into());
    fields.insert("kind".into(), gvk.kind.clone().into());
    fields.insert("metadata".into(), json!({ "name": "probe" }));
    if let Some(spec) = schema.pointer("/properties/spec") {
        fields.entry("spec").or_insert_with(|| value(spec, 0));
    }
    let fits = jsonschema::validator_for(schema).ok()?.is_valid(&object);
    fits.then_some(object)
}

/// The schema of this version in the embedded definition of the kind.
fn schema<'m>(manifest: &'m Manifest, gvk: &Gvk) -> Option<&'m Value> {
    let says = |value: &Value, path: &str, text: &str| {
        value.pointer(path).and_then(Value::as_str) == Some(text)
    };
    let crd = manifest.crds.iter().find(|crd| {
        says(crd, "/spec/group", &gvk.group) && says(crd, "/spec/names/kind", &gvk.kind)
    })?;
    let mut versions = crd.pointer("/spec/versions")?.as_array()?.iter();
    let version = versions.find(|version| says(version, "/name", &gvk.version))?;
    version.pointer("/schema/openAPIV3Schema")
}

/// The smallest value that the schema allows, as far as can be told.
fn value(schema: &Value, depth: usize) -> Value {
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    let choices = schema.get("enum").and_then(Value::as_array);
    if let Some(first) = choices.and_then(|choices| choices.first()) {
        return first.clone();
    }
    let of_type = schema.get("type").and_then(Value::as_str);
    match of_type {
        _ if depth > MAX_DEPTH => Value::Null,
        Some("object") => fields(schema, depth),
        Some("array") => items(schema, depth),
        Some("integer") => json!(least(schema)),
        Some("number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(0)),
        Some("boolean") => json!(false),
        Some("string") => text(schema),
        _ if schema.get("x-kubernetes-int-or-string").is_some() => json!(1),
        _ => json!({}),
    }
}

fn fields(schema: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let mut fields = Map::new();
    for name in names {
        let property = schema.get("properties").and_then(|all| all.get(name));
        let property = property.map_or_else(|| json!({}), |property| value(property, depth + 1));
        fields.insert(name.to_owned(), property);
    }
    fields.into()
}

fn items(schema: &Value, depth: usize) -> Value {
    let item = schema.get("items").map(|items| value(items, depth + 1));
    let items = (0..count(schema, "minItems")).map(|_| item.clone().unwrap_or(Value::Null));
    items.collect()
}

fn least(schema: &Value) -> i64 {
    let minimum = schema
        .get("minimum")
        .and_then(Value::as_f64)
        .unwrap_or_default();
    let exclusive = schema.get("exclusiveMinimum") == Some(&json!(true));
    let whole = json!(minimum.ceil()).to_string();
    let whole: i64 = whole.trim_end_matches(".0").parse().unwrap_or_default();
    whole.saturating_add(i64::from(exclusive))
}

/// The first of some texts that fits.
fn text(schema: &Value) -> Value {
    let long = "x".repeat(usize::try_from(count(schema, "minLength")).unwrap_or_default());
    let validator = jsonschema::validator_for(schema);
    let candidates = std::iter::once(long.as_str()).chain(TEXTS);
    let mut fitting = candidates.map(Value::from).filter(|text| match &validator {
        Ok(validator) => validator.is_valid(text),
        Err(_) => false,
    });
    fitting.next().unwrap_or_else(|| json!(""))
}

fn count(schema: &Value, bound: &str) -> u64 {
    let count = schema.get(bound).and_then(Value::as_u64);
    count.unwrap_or_default().min(MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(spec: Value) -> Option<Value> {
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "a", "version": "1.0.0", "world": kybern_interface::WORLD,
            "resources": [{ "group": "g", "version": "v1", "kind": "K" }],
            "crds": [{ "spec": {
                "group": "g", "names": { "kind": "K" },
                "versions": [{ "name": "v1", "schema": { "openAPIV3Schema": {
                    "type": "object", "required": ["spec"], "properties": { "spec": spec },
                } } }],
            } }],
        }))
        .unwrap();
        objects(&manifest)
            .first()
            .map(|object| object["spec"].clone())
    }

    #[test]
    fn only_what_is_required_is_there_and_it_fits() {
        let spec = json!({
            "type": "object",
            "required": ["size", "image", "mode", "ports", "on", "label"],
            "properties": {
                "size": { "type": "integer", "minimum": 3 },
                "image": { "type": "string", "pattern": "^[a-z]+:[0-9.]+$" },
                "mode": { "type": "string", "enum": ["slow", "fast"] },
                "on": { "type": "boolean", "default": true },
                "label": { "type": "string", "minLength": 4 },
                "ports": { "type": "array", "minItems": 2, "items": { "type": "integer" } },
                "more": { "type": "string" },
            },
        });
        assert_eq!(
            made(spec).unwrap(),
            json!({ "size": 3, "image": "nginx:1.7.9", "mode": "slow", "on": true, "label": "xxxx", "ports": [0, 0] })
        );
    }

    #[test]
    fn where_nothing_fits_there_is_none() {
        let odd = json!({ "type": "object", "required": ["a"], "properties": {
            "a": { "type": "string", "pattern": "^(foo){7}$" },
        } });
        assert_eq!(made(odd), None);
    }
}
