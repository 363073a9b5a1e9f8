//! Compares answers of one pass with each other.

use crate::bindings::kybern::operator::rows;
use crate::bindings::kybern::operator::types::HookError;
use crate::modes::plan;
use serde_json::{Value, json};

/// Asks the queries of `spec.queries`.
pub(crate) fn sense(trigger: &Value) -> String {
    json!({ "queries": trigger["object"]["spec"]["queries"] }).to_string()
}

/// Plans as `ok` if all answers are equal, or says which are not.
pub(crate) fn decide(situation: &Value) -> Result<String, HookError> {
    let names = situation["object"]["spec"]["queries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|query| query["name"].as_str());
    let mut first: Option<(&str, Vec<String>)> = None;
    for name in names {
        let answer = read(name)?;
        match &first {
            None => first = Some((name, answer)),
            Some((_, wanted)) if *wanted == answer => {}
            Some((other, wanted)) => {
                return Err(HookError::Internal(format!(
                    "answers differ: {other} {wanted:?}, {name} {answer:?}"
                )));
            }
        }
    }
    Ok(plan(situation).to_string())
}

/// A whole answer as JSON.
fn read(query: &str) -> Result<Vec<String>, HookError> {
    let failed = |error: rows::ReadError| HookError::Internal(format!("{query}: {error:?}"));
    let cursor = rows::open(query).map_err(failed)?;
    let mut parts = Vec::new();
    while let Some(text) = cursor.json(u32::MAX).map_err(failed)? {
        parts.push(text);
    }
    Ok(parts)
}
