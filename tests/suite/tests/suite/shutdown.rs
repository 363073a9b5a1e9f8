//! The end of a host: what was begun is finished.

use crate::scene::{SOON, Scene};
use anyhow::Result;
use kybern_testcluster::{Progress, until};
use serde_json::json;

#[test]
fn a_pass_under_way_at_shutdown_makes_its_children_and_its_status() -> Result<()> {
    let mut scene = Scene::new("drain")?;
    let mut registration = scene.evil()?;
    registration["spec"]["limits"] = json!({ "time": "20s" });
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    scene.register(&registration)?;
    // Its decide takes a moment, in which the host is asked to end.
    scene.client().create(&json!({
        "apiVersion": "evil.example.com/v1", "kind": "Evil",
        "metadata": { "name": "slow", "namespace": scene.namespace },
        "spec": { "mode": "slow", "rounds": 100_000_000 },
    }))?;
    until("the pass to begin", SOON, || {
        let metrics = scene.host().metrics()?;
        let running = metrics
            .lines()
            .any(|line| line == "kybern_passes_running 1.0" || line == "kybern_passes_running 1");
        Ok(if running {
            Progress::Done(())
        } else {
            Progress::Waiting("no pass".into())
        })
    })?;
    let map = scene.object("v1", "ConfigMap", "slow");
    scene.stop_host()?;
    assert!(scene.client().find(&map)?.is_some(), "the child was made");
    let evil = scene.object("evil.example.com/v1", "Evil", "slow");
    let object = scene.client().get(&evil)?;
    assert_eq!(
        object["status"]["conditions"][0]["status"], "True",
        "{object}"
    );
    Ok(())
}
