//! values.yaml: each value has a comment, and the schema knows exactly these.

use crate::helm::chart;
use anyhow::{Context, Result};
use serde_json::Value;

/// The indentation of a line that sets a key, and the key.
fn key(line: &str) -> Option<(usize, &str)> {
    let trimmed = line.trim_start();
    let (key, rest) = trimmed.split_once(':')?;
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && !key.is_empty() && (rest.is_empty() || rest.starts_with(' ')))
        .then_some((line.len() - trimmed.len(), key))
}

#[test]
fn each_value_has_a_comment_above_it() -> Result<()> {
    let text = std::fs::read_to_string(chart().join("values.yaml"))?;
    let lines: Vec<&str> = text.lines().collect();
    let commented = |at: usize| at > 0 && lines[at - 1].trim_start().starts_with('#');
    let mut naked = Vec::new();
    // Whether the map that a deeper line belongs to has a comment of its own.
    let mut parents: Vec<(usize, bool)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((depth, name)) = key(line) else {
            continue;
        };
        parents.retain(|(parent, _)| *parent < depth);
        let described = commented(at) || parents.iter().any(|(_, commented)| *commented);
        let map = line.trim_end().ends_with(':');
        if !map && !described {
            naked.push(format!("{}: {name}", at + 1));
        }
        parents.push((depth, described));
    }
    assert!(naked.is_empty(), "values without a comment: {naked:?}");
    Ok(())
}

/// Keys of the values and of the schema's properties that the other lacks.
fn compare(path: &str, values: &Value, schema: &Value, wrong: &mut Vec<String>) {
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object())
    else {
        return;
    };
    // An empty map is the user's to fill; the schema may name what it knows of it.
    if values.is_empty() {
        return;
    }
    if schema["additionalProperties"] != false {
        wrong.push(format!("{path}: the schema lets anything through"));
    }
    for (name, value) in values {
        match properties.get(name) {
            Some(below) => compare(&format!("{path}/{name}"), value, below, wrong),
            None => wrong.push(format!("{path}/{name}: not in the schema")),
        }
    }
    for name in properties.keys() {
        let documented = values.contains_key(name) || path.is_empty() && name == "global";
        if !documented {
            wrong.push(format!("{path}/{name}: not in values.yaml"));
        }
    }
}

#[test]
fn the_schema_knows_the_values_and_no_others() -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(chart().join(name));
    let values: Value = serde_saphyr::from_str(&read("values.yaml")?)?;
    let schema: Value =
        serde_json::from_str(&read("values.schema.json")?).context("values.schema.json")?;
    let mut wrong = Vec::new();
    compare("", &values, &schema, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn the_chart_is_of_the_host_s_version() -> Result<()> {
    let text = std::fs::read_to_string(chart().join("Chart.yaml"))?;
    let chart: Value = serde_saphyr::from_str(&text)?;
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    Ok(())
}
