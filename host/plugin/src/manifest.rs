//! Reads and checks a component's manifest, without compiling the component.

use crate::document::depth;
use crate::load::LoadError;
use crate::world;
use kybern_interface::Manifest;
use std::collections::BTreeSet;

/// Bytes of a manifest; CRDs with long descriptions take most of it.
pub(crate) const MAX_BYTES: usize = 4 * 1024 * 1024;
pub(crate) const MAX_DEPTH: usize = 100;
/// Entries of each list.
const MAX_ENTRIES: usize = 256;
const MAX_SQL: usize = 64 * 1024;
const MAX_TEXT: usize = 253;
const MAX_LABEL: usize = 63;

/// The manifest in these bytes, checked.
pub(crate) fn parse(bytes: &[u8]) -> Result<Manifest, LoadError> {
    bounded(bytes)?;
    let manifest: Manifest = serde_json::from_slice(bytes)
        .map_err(|error| wrong(format!("is not what the interface says: {error}")))?;
    check(&manifest)?;
    Ok(manifest)
}

/// The bytes as JSON, whatever they say; none if they are too large, too deep or no JSON.
pub(crate) fn document(bytes: &[u8]) -> Option<serde_json::Value> {
    bounded(bytes).ok()?;
    serde_json::from_slice(bytes).ok()
}

fn bounded(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > MAX_BYTES {
        return Err(wrong(format!(
            "has {} bytes, more than the limit of {MAX_BYTES}",
            bytes.len()
        )));
    }
    let deep = depth(bytes);
    if deep > MAX_DEPTH {
        return Err(wrong(format!(
            "is nested {deep} deep, more than the limit of {MAX_DEPTH}"
        )));
    }
    Ok(())
}

fn check(manifest: &Manifest) -> Result<(), LoadError> {
    world::check_world(&manifest.world)?;
    if !is_label(&manifest.name) {
        return Err(wrong(format!(
            "names the plugin `{}`: use a DNS label (a-z, 0-9 and -, at most {MAX_LABEL} characters)",
            manifest.name.escape_debug()
        )));
    }
    if manifest.version.is_empty() || !is_text(&manifest.version) {
        return Err(wrong("has no usable `version`"));
    }
    for (list, entries) in [
        ("resources", manifest.resources.len()),
        ("queries", manifest.queries.len()),
        ("reads", manifest.reads.len()),
        ("writes", manifest.writes.len()),
        ("capabilities", manifest.capabilities.len()),
        ("effects", manifest.effects.len()),
        ("crds", manifest.crds.len()),
        ("delegates", manifest.delegates.len()),
    ] {
        if entries > MAX_ENTRIES {
            return Err(wrong(format!(
                "has {entries} {list}, more than the limit of {MAX_ENTRIES}"
            )));
        }
    }
    let kinds = manifest
        .resources
        .iter()
        .map(|ask| ("resources", &ask.group, &ask.version, &ask.kind))
        .chain(
            manifest
                .reads
                .iter()
                .map(|ask| ("reads", &ask.group, &ask.version, &ask.kind)),
        )
        .chain(
            manifest
                .writes
                .iter()
                .map(|ask| ("writes", &ask.group, &ask.version, &ask.kind)),
        );
    for (list, group, version, kind) in kinds {
        if version.is_empty()
            || kind.is_empty()
            || ![group, version, kind].into_iter().all(|part| is_text(part))
        {
            return Err(wrong(format!(
                "has an entry in {list} without a usable group, version and kind"
            )));
        }
    }
    let mut names = BTreeSet::new();
    for query in &manifest.queries {
        if query.name.is_empty() || !is_text(&query.name) {
            return Err(wrong("has a query without a usable name"));
        }
        if !names.insert(&query.name) {
            return Err(wrong(format!("has two queries named `{}`", query.name)));
        }
        if query.sql.len() > MAX_SQL {
            return Err(wrong(format!(
                "has {} bytes of SQL in query `{}`, more than the limit of {MAX_SQL}",
                query.sql.len(),
                query.name
            )));
        }
    }
    if let Some(crd) = manifest.crds.iter().find(|crd| !crd.is_object()) {
        return Err(wrong(format!("has a CRD that is no object: {crd}")));
    }
    Ok(())
}

fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= MAX_LABEL
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn wrong(reason: impl Into<String>) -> LoadError {
    LoadError::Manifest {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    type Change = Box<dyn FnOnce(&mut Value)>;

    fn verdict(change: impl FnOnce(&mut Value)) -> String {
        let mut manifest = json!({
            "name": "web",
            "version": "1.2.3",
            "world": "kybern:operator@0.1.0",
            "resources": [{ "group": "example.com", "version": "v1", "kind": "Web" }],
            "queries": [{ "name": "pods", "sql": "SELECT 1" }],
        });
        change(&mut manifest);
        parse(manifest.to_string().as_bytes())
            .map_or_else(|error| error.to_string(), |manifest| manifest.name)
    }

    #[test]
    fn takes_a_plain_one() {
        assert_eq!(verdict(|_| ()), "web");
        assert_eq!(verdict(|m| m["later"] = json!({ "field": 1 })), "web");
    }

    #[test]
    fn says_what_is_wrong() {
        let cases: [(&str, Change); 9] = [
            ("DNS label", Box::new(|m| m["name"] = json!("Web_1"))),
            ("DNS label", Box::new(|m| m["name"] = json!("a".repeat(64)))),
            ("version", Box::new(|m| m["version"] = json!("1\n2"))),
            (
                "built for kybern:operator@0.2.0; this host offers kybern:operator@0.1.0",
                Box::new(|m| m["world"] = json!("kybern:operator@0.2.0")),
            ),
            (
                "built for other:thing@0.1.0",
                Box::new(|m| m["world"] = json!("other:thing@0.1.0")),
            ),
            (
                "missing field `kind`",
                Box::new(|m| m["reads"] = json!([{ "version": "v1" }])),
            ),
            (
                "entry in reads",
                Box::new(|m| m["reads"] = json!([{ "version": "", "kind": "A" }])),
            ),
            (
                "two queries named `pods`",
                Box::new(|m| {
                    let query = m["queries"][0].clone();
                    m["queries"].as_array_mut().unwrap().push(query);
                }),
            ),
            (
                "CRD that is no object",
                Box::new(|m| m["crds"] = json!(["no"])),
            ),
        ];
        for (expected, change) in cases {
            let text = verdict(change);
            assert!(text.contains(expected), "{text} has no `{expected}`");
        }
    }

    #[test]
    fn is_bounded() {
        assert!(
            verdict(|m| m["reads"] = json!(vec![json!({ "version": "v1", "kind": "A" }); 257]))
                .contains("257 reads")
        );
        assert!(
            verdict(|m| m["queries"][0]["sql"] = json!("x".repeat(MAX_SQL + 1))).contains("SQL")
        );
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        assert!(
            parse(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("101 deep")
        );
        let large = vec![b' '; MAX_BYTES + 1];
        assert!(parse(&large).unwrap_err().to_string().contains("bytes"));
    }
}
