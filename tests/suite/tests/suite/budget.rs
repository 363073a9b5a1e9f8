//! The memory budget: a kind that does not fit is refused by name, everybody else goes on.

use crate::lifecycle::own_plane;
use crate::scene::{SOON, Scene};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, Progress, until};
use serde_json::json;

const MIB: f64 = 1_048_576.0;
/// ConfigMaps, each with so many bytes of text.
const MAPS: u64 = 100;
const MAP_BYTES: usize = 100 << 10;

/// Text of hexadecimal digits in no order.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let mut text = String::new();
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", state ^ (state >> 29)));
    }
    text
}

/// What all accounts hold.
fn held(scene: &Scene) -> Result<f64> {
    let metrics = scene.host().metrics()?;
    let mut sum = 0.0;
    for account in ["store", "queries", "guests", "caches"] {
        let start = format!("kybern_memory_account_bytes{{account=\"{account}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
        let value = value.with_context(|| format!("{start}in\n{metrics}"))?;
        sum += value.parse::<f64>()?;
    }
    Ok(sum)
}

/// Who holds it, and which tables there are.
fn memory(scene: &Scene) -> Result<String> {
    let metrics = scene.host().metrics()?;
    let of = |line: &&str| {
        ["kybern_memory_", "kybern_table_"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    Ok(metrics.lines().filter(of).collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_kind_that_does_not_fit_is_refused_by_name_and_everybody_else_goes_on() -> Result<()> {
    // Bytes are counted, so nobody else may add any.
    let mut scene = Scene::on(own_plane()?, "budget")?;
    let (app, evil) = (scene.appservice()?, scene.evil()?);
    scene.grant(&[app.clone(), evil.clone()])?;
    for number in 0..MAPS {
        scene.client().create(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("large-{number}"), "namespace": scene.namespace },
            "data": { "text": noise(number, MAP_BYTES) },
        }))?;
    }
    // What the host takes without the kind that will not fit.
    scene.start_host()?;
    scene.client().create(&app)?;
    let plugin = Object::of(&app)?;
    scene.plugin_condition(&plugin, "Ready", "True")?;
    let (web, deployment, _) = scene.create_app("web", 1)?;
    let used = held(&scene)?;
    scene.stop_host()?;

    let budget = used + 4.0 * MIB;
    scene.start_host_with(&[&format!("--memory-budget={budget:.0}")])?;
    scene.plugin_condition(&plugin, "Ready", "True")?;
    let shown = scene.metric("kybern_memory_budget_bytes", "")?;
    assert!((shown - budget).abs() < 1.0, "{shown}");
    scene.client().create(&evil)?;
    let refused = Object::of(&evil)?;
    let condition = scene.plugin_condition(&refused, "Ready", "False")?;
    let condition = match condition["reason"].as_str() {
        // It may say first that the kind is being listed.
        Some("KindUnreadable") => condition,
        _ => crate::scene::condition(scene.client(), &refused, "Ready", |condition| {
            condition["reason"] == "KindUnreadable"
        })?,
    };
    let message = condition["message"].as_str().unwrap_or_default();
    let about = [
        "v1/ConfigMap is not watched: the memory budget was used up before its first list was complete",
        "are held: store",
        "Raise --memory-budget",
        "fewer kinds in the grants",
    ];
    for words in about {
        assert!(message.contains(words), "{words}: {message}");
    }
    let one = scene.metric("kybern_memory_refused_tables", "")?;
    assert!((one - 1.0).abs() < 0.5, "{one}");
    // What came of it is dropped.
    until("the budget to be kept", SOON, || {
        let now = held(&scene)?;
        Ok(match now <= budget {
            true => Progress::Done(()),
            false => Progress::Waiting(format!("{now} of {budget}:\n{}", memory(&scene)?)),
        })
    })?;
    // Kinds that are watched go on: a change starts a pass, which reads what it wrote.
    let size = json!({ "spec": { "size": 3 } });
    scene.client().merge_patch(&web, &size)?;
    scene.wait(&deployment, |object| object["spec"]["replicas"] == 3)?;
    scene.create_app("other", 1)?;
    // It is not tried again and again: each pause is twice as long as the one before.
    let refusals = scene.metric("kybern_memory_refusals_total", "")?;
    assert!((0.5..4.5).contains(&refusals), "{refusals}");
    scene.stop_host()?;

    // The cure that the message names.
    let raised = budget + 64.0 * MIB;
    scene.start_host_with(&[&format!("--memory-budget={raised:.0}")])?;
    scene.plugin_condition(&refused, "Ready", "True")?;
    let refusals = scene.metric("kybern_memory_refusals_total", "")?;
    assert!(refusals < 0.5, "{refusals}");
    Ok(())
}
