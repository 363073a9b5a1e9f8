//! Situation files: what one `decide` sees, written by an author.

use super::rows::Row;
use anyhow::{Context, ensure};
use kybern_interface::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Largest situation that is read.
const MAX_BYTES: u64 = 64 << 20;
/// The time of a situation that does not say another.
const NOW: &str = "2026-01-01T00:00:00Z";

/// What one `decide` sees.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Situation {
    /// The custom resource. What an API server fills in may be left out.
    pub(super) object: Value,
    /// Rows by query; a query that is not named has none.
    #[serde(default)]
    pub(super) rows: BTreeMap<String, Vec<Row>>,
    /// Results of effects.
    #[serde(default)]
    pub(super) outcomes: Vec<Outcome>,
    /// What the plugin kept.
    #[serde(default)]
    pub(super) state: Value,
    /// The registration's settings; defaults are filled in.
    #[serde(default)]
    pub(super) settings: Map<String, Value>,
    /// The pass's time, RFC 3339 UTC.
    #[serde(default = "now")]
    pub(super) now: String,
}

/// A situation as it was in a cluster: the same file, written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recorded {
    /// The custom resource.
    pub(super) object: Value,
    /// Rows by query.
    pub(super) rows: BTreeMap<String, Vec<Row>>,
    /// Results of effects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) outcomes: Vec<Outcome>,
    /// What the plugin kept.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) state: Value,
    /// The registration's settings, defaults filled in.
    pub(super) settings: Value,
    /// The pass's time.
    pub(super) now: String,
}

fn now() -> String {
    NOW.to_owned()
}

impl Situation {
    /// A situation with this object and nothing else.
    pub(super) fn new(object: Value) -> Self {
        Self {
            object,
            rows: BTreeMap::new(),
            outcomes: Vec::new(),
            state: Value::Null,
            settings: Map::new(),
            now: now(),
        }
    }

    /// From a file, YAML or JSON; `-` is standard input.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let (name, text) = if path == Path::new("-") {
            (
                "standard input".to_owned(),
                bounded(std::io::stdin().lock()),
            )
        } else {
            let file = std::fs::File::open(path)
                .with_context(|| format!("{}: cannot be read", path.display()))?;
            (path.display().to_string(), bounded(file))
        };
        let text = text.with_context(|| format!("{name}: cannot be read"))?;
        Self::parse(&text).with_context(|| format!("{name}: not a situation"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let situation: Self = serde_saphyr::from_str(text)?;
        ensure!(
            situation.object.is_object(),
            "object: write the custom resource, with apiVersion, kind, metadata and spec"
        );
        ensure!(
            situation.now.parse::<jiff::Timestamp>().is_ok(),
            "now: `{}` is no time like {NOW}",
            situation.now
        );
        Ok(situation)
    }
}

fn bounded(from: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = from.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    ensure!(
        u64::try_from(read)? <= MAX_BYTES,
        "it has more than {MAX_BYTES} bytes"
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let situation = Situation::parse("object: { kind: Web }").unwrap();
        assert_eq!(
            situation,
            Situation::new(serde_json::json!({ "kind": "Web" }))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refuse = |text: &str| format!("{:#}", Situation::parse(text).unwrap_err());
        for (text, part) in [
            ("object: {}\nrow: {}", "row"),
            ("rows: {}", "object"),
            ("object: web", "object: write the custom resource"),
            ("object: {}\nnow: noon", "now: `noon`"),
            ("object: {}\nrows: { pods: { name: a } }", "rows"),
        ] {
            let told = refuse(text);
            assert!(told.contains(part), "{told} has no {part}");
        }
    }
}
