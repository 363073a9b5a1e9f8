//! What a value of a row becomes at the place where it is set.

use kybern_statement::{Found, Path};
use kybern_table::{PathType, Segment};
use serde_json::{Number, Value};

use crate::names::of_metadata;
use crate::path_types::PathTypes;

/// What the schema wants at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Text,
    Integer,
    Number,
    Boolean,
    List,
    Object,
    /// No schema says what.
    Anything,
}

impl Wants {
    /// What a schema says of a path from the object's root.
    pub(super) fn at(types: &PathTypes, segments: &[Segment], path: &Path) -> Self {
        match types.get(segments) {
            Some(PathType::Text | PathType::Timestamp) => return Self::Text,
            Some(PathType::Int) => return Self::Integer,
            Some(PathType::Float) => return Self::Number,
            Some(PathType::Bool) => return Self::Boolean,
            Some(PathType::Json) | None => {}
        }
        match of_metadata(path).unwrap_or_else(|| types.found(segments)) {
            Found::List => Self::List,
            Found::Object => Self::Object,
            // Labels and annotations of kinds whose schema is not known.
            Found::Scalar => Self::Text,
            Found::Unknown => Self::Anything,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::List => "a JSON array",
            Self::Object => "a JSON object",
            Self::Anything => "anything",
        }
    }
}

/// The value as it is set; none for NULL. `is_json` says that text was read where it may be JSON.
/// The error is the end of a sentence.
pub(super) fn taken(value: Value, is_json: bool, wants: &Wants) -> Result<Option<Value>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let fits = match (wants, value) {
        (Wants::Text, text @ Value::String(_)) => Ok(text),
        (Wants::Text, other @ (Value::Number(_) | Value::Bool(_))) => {
            Ok(Value::String(other.to_string()))
        }
        (Wants::Integer, Value::String(text)) => text
            .trim()
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| Value::String(text)),
        (Wants::Integer, Value::Number(number)) => integer(&number).ok_or(Value::Number(number)),
        (Wants::Number, number @ Value::Number(_)) => Ok(number),
        (Wants::Number, Value::String(text)) => {
            match text.trim().parse::<f64>().ok().and_then(Number::from_f64) {
                Some(number) => Ok(Value::Number(number)),
                None => Err(Value::String(text)),
            }
        }
        (Wants::Boolean, boolean @ Value::Bool(_)) => Ok(boolean),
        (Wants::Boolean, Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(Value::String(text)),
        },
        (Wants::List, list @ Value::Array(_)) => Ok(list),
        (Wants::Object, object @ Value::Object(_)) => Ok(object),
        (Wants::List | Wants::Object, Value::String(text)) => {
            match (wants, serde_json::from_str::<Value>(&text)) {
                (Wants::List, Ok(list @ Value::Array(_))) => Ok(list),
                (Wants::Object, Ok(object @ Value::Object(_))) => Ok(object),
                _ => Err(Value::String(text)),
            }
        }
        (Wants::Anything, Value::String(text)) => Ok(anything(text, is_json)),
        (Wants::Anything, other) => Ok(other),
        (_, other) => Err(other),
    };
    fits.map(Some).map_err(|value| {
        // Not the value itself: it may be a secret.
        format!(
            "the schema wants {} there, not {}",
            wants.name(),
            kind(&value)
        )
    })
}

/// What a value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text that is none",
        Value::Array(_) => "a JSON array",
        Value::Object(_) => "a JSON object",
    }
}

/// Text where no schema says what there is: objects and arrays are what they look like; numbers and
/// the like only where the text was read from such a place.
fn anything(text: String, is_json: bool) -> Value {
    let looks = is_json || text.trim_start().starts_with(['{', '[']);
    let parsed = looks.then(|| serde_json::from_str(&text).ok()).flatten();
    parsed.unwrap_or(Value::String(text))
}

/// A number without a fraction as an integer.
fn integer(number: &Number) -> Option<Value> {
    if number.is_i64() || number.is_u64() {
        return Some(Value::Number(number.clone()));
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
    format!("{float:.0}").parse::<i64>().ok().map(Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_become_what_the_schema_wants() {
        let cases = [
            (Wants::Text, json!("a"), json!("a")),
            (Wants::Text, json!(8080), json!("8080")),
            (Wants::Text, json!(true), json!("true")),
            (Wants::Text, json!("{}"), json!("{}")),
            (Wants::Integer, json!("3"), json!(3)),
            (Wants::Integer, json!(3.0), json!(3)),
            (Wants::Number, json!("2.5"), json!(2.5)),
            (Wants::Boolean, json!("TRUE"), json!(true)),
            (Wants::List, json!("[1]"), json!([1])),
            (Wants::Object, json!("{\"a\":1}"), json!({"a":1})),
            (Wants::Anything, json!("1.10"), json!("1.10")),
            (Wants::Anything, json!("{\"a\":1}"), json!({"a":1})),
            (Wants::Anything, json!("{a"), json!("{a")),
            (Wants::Anything, json!(7), json!(7)),
        ];
        for (wants, given, wanted) in cases {
            assert_eq!(
                taken(given.clone(), false, &wants),
                Ok(Some(wanted)),
                "{wants:?} {given}"
            );
        }
        assert_eq!(
            taken(json!("80"), true, &Wants::Anything),
            Ok(Some(json!(80)))
        );
        assert_eq!(taken(Value::Null, false, &Wants::Integer), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let cases = [
            (
                Wants::Integer,
                json!("x"),
                "the schema wants an integer there, not text that is none",
            ),
            (
                Wants::Integer,
                json!(3.5),
                "the schema wants an integer there, not a number with a fraction",
            ),
            (
                Wants::Boolean,
                json!(1),
                "the schema wants true or false there, not a number",
            ),
            (
                Wants::List,
                json!("{}"),
                "the schema wants a JSON array there, not text that is none",
            ),
            (
                Wants::Object,
                json!(1),
                "the schema wants a JSON object there, not a number",
            ),
            (
                Wants::Text,
                json!([1]),
                "the schema wants text there, not a JSON array",
            ),
        ];
        for (wants, given, message) in cases {
            assert_eq!(taken(given, false, &wants), Err(message.to_owned()));
        }
    }
}
