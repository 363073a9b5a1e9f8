//! Two replicas: one leads, the other takes over; never two writers.

use crate::scene::{SOON, Scene};
use anyhow::Result;
use kybern_testcluster::{Progress, Stopwatch, until};
use serde_json::json;
use std::time::Duration;

fn leads(host: &kybern_testcluster::Host) -> Result<bool> {
    Ok(host
        .metrics()?
        .lines()
        .any(|line| line == "kybern_leading 1.0"))
}

#[test]
fn a_killed_leader_is_replaced_within_15_seconds() -> Result<()> {
    let scene = Scene::new("leader")?;
    let registration = scene.appservice()?;
    scene.grant(std::slice::from_ref(&registration))?;
    let mut first = scene.launch(&["--leader-elect=true"])?;
    first.wait_ready()?;
    until("the first replica to lead", SOON, || {
        Ok(leads(&first)?
            .then_some(())
            .map_or_else(|| Progress::Waiting("standby".into()), Progress::Done))
    })?;
    let mut second = scene.launch(&["--leader-elect=true"])?;
    second.wait_ready()?;
    scene.register(&registration)?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    assert!(!leads(&second)?, "one replica leads");
    drop(first);
    let watch = Stopwatch::start();
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    let took = watch.elapsed();
    assert!(
        took <= Duration::from_secs(15),
        "the standby's first write came after {took:?}"
    );
    assert!(leads(&second)?);
    Ok(())
}

#[test]
fn a_clean_shutdown_hands_over_within_2_seconds() -> Result<()> {
    let scene = Scene::new("handover")?;
    let registration = scene.appservice()?;
    scene.grant(std::slice::from_ref(&registration))?;
    let mut first = scene.launch(&["--leader-elect=true"])?;
    first.wait_ready()?;
    until("the first replica to lead", SOON, || {
        Ok(leads(&first)?
            .then_some(())
            .map_or_else(|| Progress::Waiting("standby".into()), Progress::Done))
    })?;
    let mut second = scene.launch(&["--leader-elect=true", "--retry-period", "1s"])?;
    second.wait_ready()?;
    scene.register(&registration)?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    first.stop()?;
    let watch = Stopwatch::start();
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    let took = watch.elapsed();
    assert!(
        took <= Duration::from_secs(4),
        "the standby's first write came after {took:?}"
    );
    Ok(())
}
