//! Two replicas: one leads, the other takes over; never two writers.

use crate::scene::{SOON, Scene};
use anyhow::{Result, ensure};
use kybern_testcluster::{Host, Object, Progress, Stopwatch, until};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

pub(crate) fn leads(host: &Host) -> Result<bool> {
    let metrics = host.metrics()?;
    Ok(metrics.lines().any(|line| line == "kybern_leading 1.0"))
}

/// Waits until a replica leads.
pub(crate) fn lead(host: &Host) -> Result<()> {
    until("a replica to lead", SOON, || {
        Ok(if leads(host)? {
            Progress::Done(())
        } else {
            Progress::Waiting("standby".into())
        })
    })
}

/// Two replicas, of which the first leads and has made the children of `web`.
struct Pair {
    scene: Scene,
    first: Host,
    second: Host,
    app: Object,
    deployment: Object,
}

impl Pair {
    fn start(name: &str) -> Result<Self> {
        let scene = Scene::new(name)?;
        let registration = scene.appservice()?;
        scene.grant(std::slice::from_ref(&registration))?;
        let mut first = scene.launch(&["--leader-elect=true"])?;
        first.wait_ready()?;
        lead(&first)?;
        let mut second = scene.launch(&["--leader-elect=true"])?;
        second.wait_ready()?;
        scene.register(&registration)?;
        let (app, deployment, _) = scene.create_app("web", 1)?;
        ensure!(!leads(&second)?, "one replica leads");
        Ok(Self {
            scene,
            first,
            second,
            app,
            deployment,
        })
    }

    /// Time until the second replica has answered a change, once the first is gone.
    fn take_over(&self) -> Result<Duration> {
        let watch = Stopwatch::start();
        self.scene
            .client()
            .merge_patch(&self.app, &json!({ "spec": { "size": 3 } }))?;
        self.scene
            .wait(&self.deployment, |d| d["spec"]["replicas"] == 3)?;
        let took = watch.elapsed();
        ensure!(leads(&self.second)?, "the second replica leads now");
        Ok(took)
    }
}

#[test]
fn a_killed_leader_is_replaced_within_15_seconds() -> Result<()> {
    let mut pair = Pair::start("leader")?;
    pair.first.process().kill()?;
    let took = pair.take_over()?;
    assert!(
        took <= Duration::from_secs(15),
        "the standby's first write came after {took:?}"
    );
    Ok(())
}

#[test]
fn a_clean_shutdown_hands_over_before_the_lease_ends() -> Result<()> {
    let mut pair = Pair::start("handover")?;
    let first = std::mem::replace(
        &mut pair.first,
        pair.scene.launch(&["--leader-elect=true"])?,
    );
    first.stop()?;
    let watch = Stopwatch::start();
    pair.scene
        .client()
        .merge_patch(&pair.app, &json!({ "spec": { "size": 3 } }))?;
    pair.scene
        .wait(&pair.deployment, |d| d["spec"]["replicas"] == 3)?;
    let took = watch.elapsed();
    // One try to take the lease, every 2 s, and one list of each kind.
    assert!(
        took <= Duration::from_secs(5),
        "the next leader's first write came after {took:?}"
    );
    Ok(())
}

/// Passes that a replica has counted.
pub(crate) fn passes(host: &Host) -> Result<f64> {
    let metrics = host.metrics()?;
    let lines = metrics.lines();
    Ok(lines
        .filter(|line| line.starts_with("kybern_passes_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum())
}

/// Stops a process from running, or lets it run again.
pub(crate) fn signal(host: &mut Host, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .args([name, &host.process().id().to_string()])
        .status()?;
    ensure!(status.success(), "kill {name}: {status}");
    Ok(())
}

#[test]
fn a_replica_that_loses_the_lead_and_gets_it_back_works_in_its_second_term() -> Result<()> {
    let mut pair = Pair::start("again")?;
    let before = passes(&pair.first)?;
    ensure!(before > 0.0, "the first has led");
    // The first hears nothing for longer than its lease.
    signal(&mut pair.first, "-STOP")?;
    pair.take_over()?;
    signal(&mut pair.first, "-CONT")?;
    until("the first replica to know", SOON, || {
        Ok(if leads(&pair.first)? {
            Progress::Waiting("it still thinks that it leads".into())
        } else {
            Progress::Done(())
        })
    })?;
    pair.second.process().kill()?;
    lead(&pair.first)?;
    // Its engine is another one than before, has the registration, and counts on.
    until("passes of the second term", SOON, || {
        let now = passes(&pair.first)?;
        Ok(if now > before {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{now} after {before}"))
        })
    })?;
    pair.scene
        .client()
        .merge_patch(&pair.app, &json!({ "spec": { "size": 5 } }))?;
    pair.scene
        .wait(&pair.deployment, |d| d["spec"]["replicas"] == 5)?;
    pair.scene.create_app("later", 1)?;
    Ok(())
}
