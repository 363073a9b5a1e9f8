//! Checks a document that a guest returned, before anybody parses it into types.

use crate::call::CallError;
use crate::limits::CallLimits;
use serde::de::IgnoredAny;

/// The document, if it is one JSON value within the limits of size and depth.
pub(crate) fn check(text: String, limits: &CallLimits) -> Result<String, CallError> {
    if text.len() > limits.output_bytes {
        return Err(CallError::OutputTooLarge {
            bytes: text.len(),
            limit: limits.output_bytes,
        });
    }
    // Depth first: it needs no recursion, whatever comes.
    let depth = depth(text.as_bytes());
    if depth > limits.output_depth {
        return Err(CallError::MalformedOutput {
            reason: format!(
                "nested {depth} deep, more than the limit of {}",
                limits.output_depth
            ),
        });
    }
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(IgnoredAny) => Ok(text),
        Err(error) => Err(CallError::MalformedOutput {
            reason: format!("not JSON: {error}"),
        }),
    }
}

/// How deep brackets outside strings are nested, whether they match or not.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn limits() -> CallLimits {
        CallLimits {
            output_bytes: 64,
            output_depth: 3,
            ..CallLimits::default()
        }
    }

    fn verdict(text: &str) -> String {
        match check(text.to_owned(), &limits()) {
            Ok(same) => {
                assert_eq!(same, text);
                "ok".to_owned()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn takes_any_json_value() {
        for text in [
            "{}",
            "null",
            "\"skip\"",
            "[[[1]]]",
            "{\"a\":\"[[[[[\\\"[[[[\"}",
        ] {
            assert_eq!(verdict(text), "ok", "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(
            verdict("[[[[]]]]"),
            "the plugin returned a malformed document: nested 4 deep, more than the limit of 3"
        );
        assert_eq!(
            verdict("{\"a\":}"),
            "the plugin returned a malformed document: not JSON: expected value at line 1 column 6"
        );
        assert_eq!(
            verdict("{} {}"),
            "the plugin returned a malformed document: not JSON: trailing characters at line 1 column 4"
        );
        assert_eq!(
            verdict(&" ".repeat(65)),
            "the plugin returned 65 bytes, more than the limit of 64"
        );
        assert!(verdict("").contains("not JSON"));
    }

    fn value_depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(value_depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(value_depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            r#"[\[\]{}"\\a-c]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(r#"[\[\]{}"\\a-c]{0,4}"#, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn depth_is_that_of_the_value(value in values()) {
            prop_assert_eq!(depth(value.to_string().as_bytes()), value_depth(&value));
        }
    }
}
