//! What differs between two states of an object, for people.

use serde_json::Value;

/// Lines of one object.
const LINES: usize = 20;
/// Characters of one value.
const SHOWN: usize = 60;
/// What the API server keeps for itself.
const OWN: &[&str] = &[
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.uid",
    "metadata.creationTimestamp",
];

/// Whether values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    Shown,
    /// They are secret; that they differ is shown.
    Hidden,
}

/// `path: old -> new` for each leaf that differs, by path; some of them where there are many.
pub(crate) fn lines(before: &Value, after: &Value, values: Values) -> Vec<String> {
    let mut found = Vec::new();
    walk(String::new(), Some(before), Some(after), &mut found);
    let more = found.len().saturating_sub(LINES);
    let mut lines: Vec<String> = found
        .into_iter()
        .take(LINES)
        .map(|(path, before, after)| {
            let hidden = values == Values::Hidden && is_secret(&path);
            let (before, after) = (shown(before, hidden), shown(after, hidden));
            if hidden && before == after {
                format!("{path}: {before} -> {after} (another)")
            } else {
                format!("{path}: {before} -> {after}")
            }
        })
        .collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn is_secret(path: &str) -> bool {
    // What was applied last is the Secret once more.
    if path.starts_with("metadata.annotations") && path.contains("last-applied-configuration") {
        return true;
    }
    ["data", "stringData"].iter().any(|field| {
        path.strip_prefix(field)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }) || path.is_empty()
}

type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn walk<'a>(
    path: String,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
    found: &mut Vec<Difference<'a>>,
) {
    if before == after || OWN.contains(&path.as_str()) {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                walk(join(&path, key), old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                let path = format!("{path}[{index}]");
                walk(path, old.get(index), new.get(index), found);
            }
        }
        _ => found.push((path, before, after)),
    }
}

fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}['{}']", key.escape_debug()),
    }
}

/// A value on one line; JSON escapes what would control a terminal.
fn shown(value: Option<&Value>, hidden: bool) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(_) if hidden => "***".to_owned(),
        Some(value) => {
            let text = value.to_string();
            let mut cut: String = text.chars().take(SHOWN).flat_map(visible).collect();
            if text.chars().nth(SHOWN).is_some() {
                cut.push_str("...");
            }
            cut
        }
    }
}

/// Characters that JSON leaves as they are may control a terminal too.
fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control();
    let text: String = match escaped {
        true => c.escape_unicode().collect(),
        false => c.to_string(),
    };
    text.chars().collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn leaves_that_differ_are_named_and_what_the_server_keeps_is_not() {
        let before = json!({"metadata": {"resourceVersion": "1", "labels": {"a/b": "x"}},
            "spec": {"replicas": 2, "items": [{"image": "a"}, 1]}});
        let after = json!({"metadata": {"resourceVersion": "2", "labels": {}},
            "spec": {"replicas": 3, "items": [{"image": "b"}], "new": {"deep": true}}});
        insta::assert_snapshot!(lines(&before, &after, Values::Shown).join("\n"), @r#"
        metadata.labels['a/b']: "x" -> (none)
        spec.items[0].image: "a" -> "b"
        spec.items[1]: 1 -> (none)
        spec.new: (none) -> {"deep":true}
        spec.replicas: 2 -> 3
        "#);
    }

    #[test]
    fn values_of_secrets_are_hidden_and_lines_are_bounded() {
        let secret =
            |value: &str| json!({"metadata": {"labels": {"a": value}}, "data": {"key": value}});
        let shown = lines(&secret("old\u{9b}1m"), &secret("new"), Values::Hidden);
        insta::assert_snapshot!(shown.join("\n"), @r#"
        data.key: *** -> *** (another)
        metadata.labels.a: "old\u{9b}1m" -> "new"
        "#);
        let many = |value: i32| {
            json!(
                (0..100)
                    .map(|index| (format!("k{index}"), value))
                    .collect::<std::collections::BTreeMap<_, _>>()
            )
        };
        let shown = lines(&many(1), &many(2), Values::Shown);
        assert_eq!(shown.len(), LINES + 1);
        assert_eq!(shown.last().map(String::as_str), Some("and 80 more"));
    }
}
