//! Statements that run for long take nothing from the others: leases are renewed, watches go on.

use crate::scene::{SOON, Scene};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, Progress, Stopwatch, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Statements at once.
const STATEMENTS: usize = 8;
/// ConfigMaps that each joins with themselves three times: more pairs than anybody waits for.
const MAPS: usize = 100;
/// The lease is renewed every 2 s and ends after 15 s.
const RENEWALS: usize = 4;
/// A pass beside them, on a machine whose processors are all taken.
const PASS: Duration = Duration::from_secs(10);

const ENDLESS: &str = "SELECT count(*) AS n FROM core.configmaps a, core.configmaps b, \
     core.configmaps c, core.configmaps d \
     WHERE a.name || b.name || c.name || d.name LIKE '%no such%'";

/// What keeps the lead.
fn lease(scene: &Scene) -> Result<Value> {
    let all = scene.client().list(
        "coordination.k8s.io/v1",
        "Lease",
        Some(scene.namespace.as_str()),
    )?;
    let lease = all.into_iter().next().context("a lease")?;
    Ok(lease["spec"].clone())
}

#[test]
fn leases_and_watches_go_on_beside_eight_heavy_statements() -> Result<()> {
    let mut scene = Scene::new("heavy")?;
    let registrations = [scene.appservice()?, scene.evil()?];
    scene.grant(&registrations)?;
    for number in 0..MAPS {
        scene.client().create(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("map-{number}"), "namespace": scene.namespace },
        }))?;
    }
    scene.start_host_with(&["--leader-elect=true"])?;
    for registration in &registrations {
        scene.client().create(registration)?;
    }
    for registration in &registrations {
        scene.plugin_condition(&Object::of(registration)?, "Ready", "True")?;
    }
    let (web, deployment, _) = scene.create_app("web", 1)?;

    for number in 0..STATEMENTS {
        scene.client().create(&json!({
            "apiVersion": "evil.example.com/v1", "kind": "Evil",
            "metadata": { "name": format!("heavy-{number}"), "namespace": scene.namespace },
            "spec": { "mode": "compare", "queries": [{ "name": "endless", "sql": ENDLESS }] },
        }))?;
    }
    let running = || scene.metric("kybern_passes_running", "");
    until("all to run", SOON, || {
        let now = running()?;
        Ok(match now >= 8.0 {
            true => Progress::Done(()),
            false => Progress::Waiting(format!("{now} passes")),
        })
    })?;
    let before = lease(&scene)?;
    let (mut renewed, mut size, mut slowest) = (BTreeSet::new(), 1, Duration::ZERO);
    until("the lease to be renewed", SOON, || {
        // A change is seen by the watch, decided and written.
        size = size % 5 + 1;
        let change = Stopwatch::start();
        let spec = json!({ "spec": { "size": size } });
        scene.client().merge_patch(&web, &spec)?;
        scene.wait(&deployment, |object| object["spec"]["replicas"] == size)?;
        slowest = slowest.max(change.elapsed());
        let now = lease(&scene)?;
        // One that came to its limit of 30 s is tried again at once.
        if running()? >= 8.0 {
            renewed.insert(now["renewTime"].to_string());
        }
        Ok(match renewed.len() > RENEWALS {
            true => Progress::Done(()),
            false => Progress::Waiting(format!("{renewed:?}")),
        })
    })?;
    let after = lease(&scene)?;
    for same in ["holderIdentity", "leaseTransitions", "acquireTime"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert!(slowest <= PASS, "{slowest:?}");
    Ok(())
}
