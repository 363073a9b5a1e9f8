//! Checks an object against its schema where no API server does.

use super::{Field, Kind, Node, Shape};
use crate::{HookError, Value};

/// Most bytes of a DNS label.
const LABEL: usize = 63;

/// Checks `spec` and `metadata.name` of a custom resource; what does not fit is
/// [`HookError::Invalid`] with the path of the field.
pub fn check(spec: &Node, names: Shape, object: &Value) -> Result<(), HookError> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    if let Some(why) = name.and_then(|name| misshapen(names, name)) {
        let why = format!("{why}; create it under another name");
        return Err(HookError::invalid("metadata.name", why));
    }
    object
        .get("spec")
        .map_or(Ok(()), |value| node(spec, "spec", value))
}

fn node(schema: &Node, path: &str, value: &Value) -> Result<(), HookError> {
    let wrong = |why: String| Err(HookError::invalid(path, why));
    match (&schema.kind, value) {
        (Kind::Integer | Kind::Number, Value::Number(number)) => {
            if let Some(why) = outside(schema, number) {
                return wrong(why);
            }
        }
        (Kind::Text, Value::String(text)) => {
            if let Some(why) = misshapen(schema.shape, text) {
                return wrong(why);
            }
            if let Some(why) = amount(schema, text.chars().count(), "characters") {
                return wrong(why);
            }
        }
        (Kind::List(items), Value::Array(values)) => {
            if let Some(why) = amount(schema, values.len(), "items") {
                return wrong(why);
            }
            for (at, value) in values.iter().enumerate() {
                node(items, &format!("{path}[{at}]"), value)?;
            }
            for name in schema.unique {
                distinct(name, path, values)?;
            }
        }
        (Kind::Map(values), Value::Object(map)) => {
            for (key, value) in map {
                node(values, &format!("{path}.{key}"), value)?;
            }
        }
        (Kind::Object(fields), Value::Object(object)) => {
            for Field {
                name, node: schema, ..
            } in *fields
            {
                if let Some(value) = object.get(*name) {
                    node(schema, &format!("{path}.{name}"), value)?;
                }
            }
        }
        // Another type is found where the object is read as its Rust type.
        _ => {}
    }
    Ok(())
}

/// Why a number is none of the allowed.
fn outside(schema: &Node, number: &serde_json::Number) -> Option<String> {
    let (below, above) = match (number.as_i64(), number.as_f64()) {
        (Some(number), _) => (
            schema.min.is_some_and(|min| number < min),
            schema.max.is_some_and(|max| number > max),
        ),
        // Larger than Int64, or with a fraction.
        (None, Some(number)) => (
            schema.min.is_some_and(|min| number < float(min)),
            schema.max.is_some_and(|max| number > float(max)),
        ),
        (None, None) => (false, false),
    };
    if !below && !above {
        return None;
    }
    Some(match (schema.min, schema.max) {
        (Some(min), Some(max)) => format!("{number} is out of range: {min} to {max}"),
        (Some(min), None) => format!("{number} is too small: at least {min}"),
        (None, Some(max)) => format!("{number} is too large: at most {max}"),
        (None, None) => return None,
    })
}

#[expect(
    clippy::as_conversions,
    reason = "there is no other way, and limits are far from what a float cannot hold"
)]
fn float(limit: i64) -> f64 {
    limit as f64
}

/// Why these are too few or too many.
fn amount(schema: &Node, count: usize, what: &str) -> Option<String> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    match (schema.min, schema.max) {
        (Some(min), _) if count < min && count == 0 => Some("is empty".to_owned()),
        (Some(min), _) if count < min => Some(format!("has {count} {what}: at least {min}")),
        (_, Some(max)) if count > max => Some(format!("has {count} {what}: at most {max}")),
        _ => None,
    }
}

/// Why a text does not look as it must.
fn misshapen(shape: Shape, text: &str) -> Option<String> {
    let letter = |c: char| c.is_ascii_lowercase();
    let inner = |c: char| letter(c) || c.is_ascii_digit() || c == '-';
    let label = !text.is_empty()
        && text.len() <= LABEL
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    match shape {
        Shape::Trimmed if text.is_empty() || text.trim() != text => {
            Some("is empty or has spaces around it".to_owned())
        }
        Shape::Dns1035Label if !label || !text.starts_with(letter) => Some(format!(
            "`{text}` is no DNS-1035 label: at most 63 small letters, digits and dashes, \
             the first a letter, the last no dash"
        )),
        Shape::Dns1123Label if !label => Some(format!(
            "`{text}` is no DNS-1123 label: at most 63 small letters, digits and dashes, \
             no dash at the ends"
        )),
        _ => None,
    }
}

/// No two items have this field in common.
fn distinct(name: &str, path: &str, items: &[Value]) -> Result<(), HookError> {
    let mut seen: Vec<&Value> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Some(value) = item.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        if seen.contains(&value) {
            let why = format!("{value} is named twice");
            return Err(HookError::invalid(&format!("{path}[{at}].{name}"), why));
        }
        seen.push(value);
    }
    Ok(())
}
