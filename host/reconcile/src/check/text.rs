//! What guests write, measured and shown.

use serde_json::Value;

/// Whether a value nests deeper than `limit`.
pub(crate) fn depth_over(value: &Value, limit: usize) -> bool {
    match value {
        Value::Object(object) => {
            limit == 0 || object.values().any(|inner| depth_over(inner, limit - 1))
        }
        Value::Array(items) => limit == 0 || items.iter().any(|inner| depth_over(inner, limit - 1)),
        _ => false,
    }
}

/// A guest's text in a message: quoted, bounded.
pub(crate) fn short(text: &str) -> String {
    let mut out: String = text.chars().take(64).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    format!("{out:?}")
}

/// RFC 1123 label.
pub(super) fn label(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// RFC 1123 subdomain.
pub(super) fn subdomain(text: &str) -> Result<(), &'static str> {
    if text.len() > 253 {
        return Err("is longer than 253 characters");
    }
    let labels = !text.is_empty()
        && text.split('.').all(|part| {
            // Parts of a subdomain may be longer than a label.
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        });
    if labels {
        Ok(())
    } else {
        Err("is no DNS-1123 subdomain: lower-case letters, digits, `-` and `.`")
    }
}
