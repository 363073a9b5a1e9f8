//! Compares two documents that should be the same, in canonical JSON (RFC 8785).

use serde_json::{Map, Value};

/// Characters of a value that are shown.
const SHOWN: usize = 120;

/// The first place where the documents differ, and both values; none = the same document.
pub(crate) fn difference(first: &str, second: &str) -> Option<String> {
    if first == second {
        return None;
    }
    let parsed = serde_json::from_str::<Value>(first)
        .and_then(|first| serde_json::from_str::<Value>(second).map(|second| (first, second)));
    let Ok((first, second)) = parsed else {
        // Checked documents that do not become values hold numbers beyond any float.
        return Some("they cannot be compared".to_owned());
    };
    let canonical = |value: &Value| serde_json_canonicalizer::to_vec(value).ok();
    match (canonical(&first), canonical(&second)) {
        (Some(one), Some(other)) if one == other => None,
        _ => {
            let mut path = String::new();
            Some(describe(&mut path, &first, &second, Shown::Yes))
        }
    }
}

/// Whether values may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    /// They are of a Secret, or go into one.
    No,
}

impl Shown {
    /// Below this key of an object.
    fn below(self, object: &Map<String, Value>, key: &str) -> Self {
        let is = |field: &str, text: &str| object.get(field).and_then(Value::as_str) == Some(text);
        let secret = match key {
            "data" | "stringData" => is("kind", "Secret"),
            "state" => is("type", "setState"),
            "input" => is("type", "effect"),
            "patch" => {
                let kind = object.get("target").and_then(|target| target.get("kind"));
                kind.and_then(Value::as_str) == Some("Secret")
            }
            _ => false,
        };
        if secret { Self::No } else { self }
    }
}

/// Goes down to the first difference. Documents are not deep: they were checked.
fn describe(path: &mut String, first: &Value, second: &Value, shown: Shown) -> String {
    match (first, second) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in one {
                match other.get(key) {
                    Some(second) if second == value => {}
                    Some(second) => {
                        path.push_str(&format!(".{key}"));
                        return describe(path, value, second, shown.below(one, key));
                    }
                    None => return text(path, &format!("has `{key}`"), "has not"),
                }
            }
            let added = other.keys().find(|key| !one.contains_key(*key));
            text(
                path,
                "has not",
                &format!("has `{}`", added.map_or("", String::as_str)),
            )
        }
        (Value::Array(one), Value::Array(other)) => {
            let pair = one.iter().zip(other).enumerate();
            for (index, (value, second)) in pair {
                if value != second {
                    path.push_str(&format!("[{index}]"));
                    return describe(path, value, second, shown);
                }
            }
            text(
                path,
                &format!("{} items", one.len()),
                &format!("{} items", other.len()),
            )
        }
        _ if shown == Shown::No => text(path, "a value that is not shown", "another"),
        (one, other) => text(path, &one.to_string(), &other.to_string()),
    }
}

fn text(path: &str, first: &str, second: &str) -> String {
    let shown = |text: &str| {
        let mut shown: String = text.chars().take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push_str("...");
        }
        shown
    };
    let path = path.trim_start_matches('.');
    let place = if path.is_empty() {
        "the document"
    } else {
        path
    };
    format!("{}: {}, then {}", shown(place), shown(first), shown(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_keys_and_spelling_of_numbers_do_not_matter() {
        assert_eq!(
            difference(r#"{"a":1,"b":[2]}"#, r#"{ "b": [2.0], "a": 1e0 }"#),
            None
        );
        assert_eq!(difference("\"\\u0061\"", "\"a\""), None);
    }

    #[test]
    fn names_the_first_difference() {
        for (first, second, expected) in [
            (
                r#"{"actions":[{"n":1},{"n":2}]}"#,
                r#"{"actions":[{"n":1},{"n":3}]}"#,
                "actions[1].n: 2, then 3",
            ),
            (r#"{"a":1}"#, r#"{}"#, "the document: has `a`, then has not"),
            (r#"{}"#, r#"{"a":1}"#, "the document: has not, then has `a`"),
            (r#"{"a":[1]}"#, r#"{"a":[1,2]}"#, "a: 1 items, then 2 items"),
            (r#""x""#, "null", "the document: \"x\", then null"),
        ] {
            assert_eq!(difference(first, second).as_deref(), Some(expected));
        }
    }

    #[test]
    fn values_of_secrets_and_states_are_not_told() {
        for (what, place) in [
            (r#"{"kind":"Secret","data":{"a":"X"}}"#, "data.a"),
            (
                r#"{"kind":"Secret","stringData":{"a":"X"}}"#,
                "stringData.a",
            ),
            (r#"{"type":"setState","state":{"a":["X"]}}"#, "state.a[0]"),
            (r#"{"type":"effect","input":{"a":["X"]}}"#, "input.a[0]"),
        ] {
            let [first, second] = ["hidden-1", "hidden-2"].map(|text| what.replace('X', text));
            assert_eq!(
                difference(&first, &second),
                Some(format!("{place}: a value that is not shown, then another"))
            );
        }
    }

    #[test]
    fn long_values_are_cut() {
        let long = serde_json::to_string(&"x".repeat(10_000)).unwrap();
        assert!(difference(&long, "1").unwrap().len() < 500);
    }
}
