//! The dashboard asks for metrics that the host has.

use crate::helm::{chart, find, objects, root};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("kybern_"))
        .map(str::to_owned)
        .collect()
}

/// Every metric of the table in docs/operate.md, with whether it is a counter. The suite compares that
/// table with what a running host exports.
fn exported() -> Result<BTreeMap<String, bool>> {
    let text = std::fs::read_to_string(root().join("docs/operate.md"))?;
    let mut exported = BTreeMap::new();
    for line in text.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(name), Some(of)) = (cells.next(), cells.next()) else {
            continue;
        };
        if name.starts_with("kybern_") && matches!(of, "counter" | "gauge" | "histogram") {
            exported.insert(name.to_owned(), of == "counter");
        }
    }
    Ok(exported)
}

#[test]
fn each_metric_of_the_dashboard_is_exported() -> Result<()> {
    let text = std::fs::read_to_string(chart().join("files/dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text).context("dashboard.json")?;
    let exported = exported()?;
    assert!(exported.len() > 20, "{exported:?}");
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap_or_default();
            for name in names(expression) {
                let counter = exported.get(&name);
                assert!(
                    counter.is_some(),
                    "{}: no metric {name}: {expression}",
                    panel["title"]
                );
                let rated = expression.contains("rate(") || expression.contains("increase(");
                assert!(
                    counter == Some(&false) || rated,
                    "{}: {name} is a counter: {expression}",
                    panel["title"]
                );
                asked.insert(name);
            }
        }
    }
    assert!(asked.len() > 15, "{asked:?}");
    Ok(())
}

#[test]
fn the_dashboard_in_the_config_map_is_the_file() -> Result<()> {
    let objects = objects("everything")?;
    let map = find(&objects, "ConfigMap", "kybern-dashboard");
    let shown: Value = serde_json::from_str(map["data"]["kybern.json"].as_str().unwrap())?;
    let text = std::fs::read_to_string(chart().join("files/dashboard.json"))?;
    let kept: Value = serde_json::from_str(&text)?;
    assert_eq!(shown, kept);
    Ok(())
}
