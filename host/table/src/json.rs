//! Finds values inside JSON text without a tree of values.
//!
//! # Contract
//!
//! The text was validated when it was ingested. On other text the functions end
//! and stay inside it, but what they find means nothing.

use std::borrow::Cow;
use std::ops::Range;

use crate::path::Segment;

/// One member of an object, as byte ranges of the object's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// With its quotes.
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// The members of an object; nothing for any other value.
pub(crate) fn members(text: &str) -> impl Iterator<Item = Member> + '_ {
    let bytes = text.as_bytes();
    let mut at = opening(bytes, b'{');
    std::iter::from_fn(move || {
        let start = next_item(bytes, at?)?;
        let key_end = skip_value(bytes, start);
        let value_start = skip_space(bytes, skip_space(bytes, key_end) + 1);
        let value_end = skip_value(bytes, value_start);
        if value_end <= value_start {
            return None;
        }
        at = Some(value_end);
        Some(Member {
            key: start..key_end,
            value: value_start..value_end,
        })
    })
}

/// The elements of a JSON array, each as its JSON text; nothing for any other value.
pub fn elements(text: &str) -> impl Iterator<Item = &str> + '_ {
    let bytes = text.as_bytes();
    let mut at = opening(bytes, b'[');
    std::iter::from_fn(move || {
        let start = next_item(bytes, at?)?;
        let end = skip_value(bytes, start);
        if end <= start {
            return None;
        }
        at = Some(end);
        text.get(start..end)
    })
}

/// The value that the steps lead to.
pub(crate) fn get<'a>(text: &'a str, steps: &[Segment]) -> Option<&'a str> {
    let mut value = text;
    for step in steps {
        value = match step {
            Segment::Key(key) => member(value, key)?,
            Segment::Index(index) => elements(value).nth(*index)?,
        };
    }
    Some(value)
}

/// The value of one member of an object.
pub(crate) fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    members(text)
        .find(|member| {
            text.get(member.key.clone())
                .is_some_and(|raw| is_key(raw, key))
        })
        .and_then(|member| text.get(member.value))
}

/// Whether the quoted key text spells this key.
pub(crate) fn is_key(raw: &str, key: &str) -> bool {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains('\\') {
        text(raw).is_some_and(|decoded| decoded == key)
    } else {
        inner == key
    }
}

/// What SQL's `->>` gives: a string's content, else the JSON text; none for null.
pub(crate) fn text(raw: &str) -> Option<Cow<'_, str>> {
    if raw == "null" {
        None
    } else if raw.starts_with('"') {
        let inner = raw.get(1..raw.len().saturating_sub(1))?;
        if inner.contains('\\') {
            serde_json::from_str(raw).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
    } else {
        Some(Cow::Borrowed(raw))
    }
}

fn opening(bytes: &[u8], bracket: u8) -> Option<usize> {
    let at = skip_space(bytes, 0);
    (bytes.get(at) == Some(&bracket)).then_some(at + 1)
}

/// The start of the next member or element, if there is one.
fn next_item(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = skip_space(bytes, at);
    if bytes.get(at) == Some(&b',') {
        at = skip_space(bytes, at + 1);
    }
    match bytes.get(at) {
        None | Some(b'}' | b']') => None,
        Some(_) => Some(at),
    }
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let spaces = rest
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
        .count();
    at + spaces
}

fn skip_string(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match rest.iter().position(|b| matches!(b, b'"' | b'\\')) {
            None => return bytes.len(),
            Some(offset) if rest.get(offset) == Some(&b'"') => return at + offset + 1,
            Some(offset) => at += offset + 2,
        }
    }
}

fn skip_value(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start) {
        Some(b'"') => skip_string(bytes, start),
        Some(b'{' | b'[') => skip_nested(bytes, start),
        _ => {
            let rest = bytes.get(start..).unwrap_or_default();
            let length = rest
                .iter()
                .position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
            start + length.unwrap_or(rest.len())
        }
    }
}

fn skip_nested(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let found = rest
            .iter()
            .position(|b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']'));
        let Some(offset) = found else {
            return bytes.len();
        };
        match rest.get(offset) {
            Some(b'"') => at = skip_string(bytes, at + offset),
            Some(b'{' | b'[') => {
                depth += 1;
                at += offset + 1;
            }
            _ => {
                depth = depth.saturating_sub(1);
                at += offset + 1;
                if depth == 0 {
                    return at;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\"\\\\{}\\[\\],: ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\{}é]{0,3}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Every place in the tree, with the steps to it.
    fn places(value: &Value) -> Vec<(Vec<Segment>, Value)> {
        let mut all = vec![(Vec::new(), value.clone())];
        let mut add = |step: Segment, inner: &Value| {
            for (mut steps, value) in places(inner) {
                steps.insert(0, step.clone());
                all.push((steps, value));
            }
        };
        match value {
            Value::Object(map) => map
                .iter()
                .for_each(|(key, inner)| add(Segment::Key(key.clone()), inner)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(index, inner)| add(Segment::Index(index), inner)),
            _ => {}
        }
        all
    }

    proptest! {
        #[test]
        fn finds_what_a_tree_holds(value in value(), pretty in any::<bool>()) {
            let raw = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            for (steps, expected) in places(&value) {
                let found = get(&raw, &steps).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Value>(found).unwrap(), &expected);
                if let Value::String(content) = expected {
                    prop_assert_eq!(text(found).unwrap(), content);
                }
            }
            prop_assert_eq!(get(&raw, &[Segment::Key("zz".to_owned())]), None);
            prop_assert_eq!(get(&raw, &[Segment::Index(99)]), None);
        }

        #[test]
        fn stays_inside_any_text(raw in any::<String>()) {
            prop_assert!(members(&raw).count() <= raw.len());
            prop_assert!(elements(&raw).count() <= raw.len());
        }

        #[test]
        fn stays_inside_broken_json(raw in "[\\[{\"a:,}\\]\\\\ ]{0,20}") {
            prop_assert!(members(&raw).count() <= raw.len());
            prop_assert!(elements(&raw).count() <= raw.len());
        }
    }

    #[test]
    fn an_escaped_key_is_not_its_own_spelling() {
        let raw = r#"{"\\":1,"\\\\":2}"#;
        assert_eq!(member(raw, "\\"), Some("1"));
        assert_eq!(member(raw, "\\\\"), Some("2"));
    }

    #[test]
    fn keys_may_be_escaped() {
        let raw = r#"{"a\u0062":1,"a/b":"x\"y","n":null}"#;
        assert_eq!(member(raw, "ab"), Some("1"));
        assert_eq!(
            text(member(raw, "a/b").unwrap()).unwrap(),
            Cow::Borrowed("x\"y")
        );
        assert_eq!(text(member(raw, "n").unwrap()), None);
    }
}
