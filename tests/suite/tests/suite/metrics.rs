//! /metrics is what Prometheus reads, and what docs/operate.md says; its alerts name what is there.

use crate::effects::Server;
use crate::scene::Scene;
use anyhow::{Context, Result, bail, ensure};
use kybern_testcluster::Object;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One metric with all its samples.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A label's value and what follows its closing quote.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().context("an escaped character")?.1 {
                'n' => value.push('\n'),
                c @ ('"' | '\\') => value.push(c),
                c => bail!("\\{c} is no escape"),
            },
            c => value.push(c),
        }
    }
    bail!("no closing quote")
}

fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("a name")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").context("a label")?;
            let (value, after) = quoted(after)?;
            let before = labels.insert(label.to_owned(), value);
            ensure!(before.is_none(), "label {label} twice");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').context("a space")?.parse()?;
    let name = name.to_owned();
    Ok(Sample {
        name,
        labels,
        value,
    })
}

/// Reads OpenMetrics text as its specification asks for: each family once and in one piece, its TYPE
/// and HELP before its samples, no series twice, an end.
fn parse(text: &str) -> Result<BTreeMap<String, Family>> {
    let body = text.strip_suffix("# EOF\n").context("# EOF at the end")?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut now = String::new();
    let mut series = BTreeSet::new();
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').context("a text")?;
            now = name.to_owned();
            let family = Family {
                help: help.to_owned(),
                ..Family::default()
            };
            let before = families.insert(now.clone(), family);
            ensure!(before.is_none(), "{name} twice");
            continue;
        }
        let family = families.get_mut(&now).context("HELP before samples")?;
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').context("a type")?;
            ensure!(name == now && family.samples.is_empty(), "{line}");
            family.kind = kind.to_owned();
            continue;
        }
        let sample = sample(line).with_context(|| line.to_owned())?;
        let ends: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            kind => bail!("{now} is a {kind}"),
        };
        let end = sample.name.strip_prefix(&now);
        ensure!(end.is_some_and(|end| ends.contains(&end)), "{now}: {line}");
        ensure!(
            family.kind == "gauge" || sample.value >= 0.0,
            "below nothing: {line}"
        );
        let key = (sample.name.clone(), sample.labels.clone());
        ensure!(series.insert(key), "twice: {line}");
        family.samples.push(sample);
    }
    Ok(families)
}

/// Buckets grow and are cumulative, the last is infinite and the count, and there is a sum.
fn check_histogram(name: &str, family: &Family) -> Result<()> {
    let mut all: BTreeMap<Vec<(&String, &String)>, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let labels = sample.labels.iter().filter(|(label, _)| *label != "le");
        all.entry(labels.collect()).or_default().push(sample);
    }
    for (labels, samples) in all {
        let one = |end: &str| {
            let name = format!("{name}{end}");
            let found = samples.iter().find(|sample| sample.name == name);
            found.map(|sample| sample.value).context(name)
        };
        let buckets: Vec<(f64, f64)> = samples
            .iter()
            .filter_map(|sample| Some((sample.labels.get("le")?.parse().ok()?, sample.value)))
            .collect();
        let grows = |a: &(f64, f64), b: &(f64, f64)| a.0 < b.0 && a.1 <= b.1;
        ensure!(buckets.is_sorted_by(grows), "{name} {labels:?} {buckets:?}");
        let (bound, last) = *buckets.last().context("buckets")?;
        ensure!(bound.is_infinite(), "{name} {labels:?} has no +Inf");
        let exact = (last - one("_count")?).abs() < f64::EPSILON;
        ensure!(exact, "{name} {labels:?}: +Inf is not the count");
        ensure!(one("_sum")? > 0.0, "{name} {labels:?} took no time");
    }
    Ok(())
}

/// The documentation's table, made of what the host says of itself.
fn table(families: &BTreeMap<String, Family>) -> String {
    let mut text = String::new();
    for (name, family) in families {
        let end = if family.kind == "counter" {
            "_total"
        } else {
            ""
        };
        let labels: BTreeSet<&str> = family
            .samples
            .iter()
            .flat_map(|sample| sample.labels.keys())
            .map(String::as_str)
            .filter(|label| *label != "le")
            .collect();
        let labels = labels.into_iter().collect::<Vec<_>>().join(", ");
        let help = family.help.trim_end_matches('.');
        text += &format!("| {name}{end} | {} | {labels} | {help} |\n", family.kind);
    }
    text
}

fn page() -> Result<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate.md");
    Ok(std::fs::read_to_string(page)?)
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("kybern_"))
        .collect()
}

/// A host that has done something of everything that leaves a metric.
fn busy(scene: &mut Scene) -> Result<()> {
    let server = Server::start()?;
    let registrations = [scene.appservice()?, scene.caller(&server)?];
    scene.grant(&registrations)?;
    scene.start_host_with(&["--memory-limit=8Gi"])?;
    for registration in &registrations {
        scene.client().create(registration)?;
        let plugin = Object::of(registration)?;
        scene.plugin_condition(&plugin, "Ready", "True")?;
    }
    scene.one_call(&server)?;
    scene.create_app("web", 1)?;
    // One that fails.
    let (other, ..) = scene.create_app("other", 1)?;
    let revision = json!({ "kybern.dev/plugin-revision": "sha256:0" });
    let patch = json!({ "metadata": { "annotations": revision } });
    scene.client().merge_patch(&other, &patch)?;
    scene.wait(&other, |app| {
        let conditions = app.pointer("/status/conditions").and_then(Value::as_array);
        conditions.is_some_and(|all| all.iter().any(|c| c["reason"] == "RevisionUnknown"))
    })?;
    Ok(())
}

#[test]
fn metrics_are_well_formed_and_documented_and_alerts_name_them() -> Result<()> {
    let mut scene = Scene::new("metrics")?;
    busy(&mut scene)?;
    let text = scene.host().metrics()?;
    let families = parse(&text).with_context(|| text.clone())?;
    for (name, family) in &families {
        ensure!(name.starts_with("kybern_"), "{name}");
        ensure!(
            !family.help.is_empty() && !family.samples.is_empty(),
            "{name}"
        );
        if family.kind == "histogram" {
            ensure!(name.ends_with("_seconds"), "{name}");
            check_histogram(name, family)?;
        }
    }
    // Labels are of few words: never an object's name.
    for sample in families.values().flat_map(|family| &family.samples) {
        let named = |value: &String| value.contains("web") || value.contains("other");
        ensure!(!sample.labels.values().any(named), "{sample:?}");
    }

    let page = page()?;
    let (_, rest) = page
        .split_once("| metric | type | labels | what it says |\n|---|---|---|---|\n")
        .context("docs/operate.md has a table of metrics")?;
    let end = rest.find("\n\n").context("the table ends")?;
    let wanted = table(&families);
    ensure!(
        rest[..=end] == wanted,
        "docs/operate.md has another table; it should be\n{wanted}"
    );

    let samples: BTreeSet<&str> = families
        .values()
        .flat_map(|family| &family.samples)
        .map(|sample| sample.name.as_str())
        .collect();
    let known = |name: &&str| samples.contains(name) || families.contains_key(*name);
    let unknown: Vec<&str> = names(&page).into_iter().filter(|n| !known(n)).collect();
    ensure!(unknown.is_empty(), "in docs/operate.md: {unknown:?}");
    Ok(())
}

#[test]
fn every_promise_has_an_alert() -> Result<()> {
    let page = page()?;
    let (_, rest) = page
        .split_once("## Alerts\n")
        .context("docs/operate.md has alerts")?;
    let (_, rest) = rest.split_once("```yaml\n").context("an example")?;
    let (example, _) = rest.split_once("```").context("its end")?;
    let rule: Value = serde_saphyr::from_str(example)?;
    let rules = rule["spec"]["groups"][0]["rules"]
        .as_array()
        .context("rules")?;
    let mut promises = BTreeSet::new();
    for rule in rules {
        let expression = rule["expr"].as_str().context("an expression")?;
        ensure!(!names(expression).is_empty(), "{rule}");
        ensure!(rule["annotations"]["summary"].is_string(), "{rule}");
        let promise = rule["labels"]["promise"].as_str().context("a promise")?;
        promises.insert(promise.parse::<u8>()?);
    }
    ensure!(promises == (1..=12).collect(), "{promises:?}");
    Ok(())
}
