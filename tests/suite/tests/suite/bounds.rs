//! Every bound is on /metrics, with its usage beside it, as docs/operate.md says.

use crate::scene::Scene;
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeMap;

/// One row of the documentation's table.
struct Row {
    room: String,
    bound: String,
    value: f64,
    usage: String,
}

/// The table of bounds in docs/operate.md.
fn documented() -> Result<Vec<Row>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate.md");
    let page = std::fs::read_to_string(page)?;
    let (_, table) = page
        .split_once("| room | bound | unless told | how near |\n|---|---|---|---|\n")
        .context("docs/operate.md has a table of bounds")?;
    table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [room, bound, value, usage] = cells[..] else {
                anyhow::bail!("four cells: {line}");
            };
            Ok(Row {
                room: room.to_owned(),
                bound: bound.to_owned(),
                value: value.parse()?,
                usage: usage.to_owned(),
            })
        })
        .collect()
}

/// The value of a label in a line of metrics.
fn label<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

#[test]
fn every_bound_has_a_gauge_on_metrics() -> Result<()> {
    let mut scene = Scene::new("bounds")?;
    let (mut app, evil) = (scene.appservice()?, scene.evil()?);
    app["spec"]["limits"] = json!({ "memory": "32Mi", "time": "250ms" });
    scene.grant(&[app.clone(), evil.clone()])?;
    scene.start_host_with(&["--watch-idle=123s"])?;
    for registration in [&app, &evil] {
        scene.client().create(registration)?;
    }
    for registration in [&app, &evil] {
        let object = kybern_testcluster::Object::of(registration)?;
        scene.plugin_condition(&object, "Ready", "True")?;
    }
    // Some usage is counted by plugin, from the first pass on.
    scene.create_app("web", 1)?;
    let metrics = scene.host().metrics()?;

    // (room, bound, plugin) and what it is set to.
    let mut set = BTreeMap::new();
    for line in metrics.lines().filter(|l| l.starts_with("kybern_bound{")) {
        let room = label(line, "room").context("a room")?;
        let bound = label(line, "bound").context("a bound")?;
        let plugin = label(line, "plugin").unwrap_or_default();
        let value: f64 = line.rsplit(' ').next().context("a value")?.parse()?;
        let before = set.insert(
            (room.to_owned(), bound.to_owned(), plugin.to_owned()),
            value,
        );
        assert!(before.is_none(), "twice: {line}");
    }
    let mut wrong = Vec::new();
    let own = |plugin: &str, room: &str, bound: &str| match (room, bound) {
        ("watch", "idle_seconds") => Some(123.0),
        ("call", "memory_bytes") if plugin == scene.namespace => Some(f64::from(32 << 20)),
        ("call", "time_seconds") if plugin == scene.namespace => Some(0.25),
        _ => None,
    };
    let plugins = [scene.namespace.clone(), format!("{}-evil", scene.namespace)];
    for row in documented()? {
        let whose = match row.room.as_str() {
            "call" => plugins.to_vec(),
            _ => vec![String::new()],
        };
        for plugin in whose {
            let wanted = own(&plugin, &row.room, &row.bound).unwrap_or(row.value);
            let key = (row.room.clone(), row.bound.clone(), plugin);
            match set.remove(&key) {
                Some(value) if (value - wanted).abs() < 1e-9 => {}
                other => wrong.push(format!("{key:?}: {other:?}, not {wanted}")),
            }
        }
        let shown = metrics.lines().any(|line| {
            line.strip_prefix(row.usage.as_str())
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        if !shown {
            wrong.push(format!("{}: no usage {}", row.bound, row.usage));
        }
    }
    wrong.extend(
        set.keys()
            .map(|key| format!("not in docs/operate.md: {key:?}")),
    );
    assert!(wrong.is_empty(), "{wrong:#?}\n{metrics}");
    Ok(())
}
