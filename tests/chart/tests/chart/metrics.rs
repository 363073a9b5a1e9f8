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

/// Every metric of the host's source, as it is exported, with whether it is a counter.
fn exported() -> Result<BTreeMap<String, bool>> {
    let text = std::fs::read_to_string(root().join("host/src/metrics.rs"))?;
    let mut exported = BTreeMap::new();
    let mut counter = false;
    for line in text.lines() {
        let line = line.trim();
        if line.ends_with("MetricType::Counter,") || line == "counter," {
            counter = true;
        } else if line.ends_with("MetricType::Gauge,") || line == "gauge," {
            counter = false;
        }
        let quoted = line
            .strip_prefix("\"kybern_")
            .and_then(|l| l.split('"').next());
        if let Some(rest) = quoted {
            let suffix = if counter { "_total" } else { "" };
            exported.insert(format!("kybern_{rest}{suffix}"), counter);
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
