//! A host whose memory is used up says why, gives the lease back and loses nothing.

use crate::scene::{SOON, Scene};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Host, Progress, Stopwatch, until};
use serde_json::{Value, json};
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// More Deployments of 200 kB than fit into what the limit leaves.
const ENOUGH: u32 = 600;

/// The value of a metric without labels.
fn metric(host: &Host, name: &str) -> Result<u64> {
    let metrics = host.metrics()?;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .with_context(|| format!("no {name} in {metrics}"))?;
    // Counts are written as 1.0.
    let whole = value.split('.').next().unwrap_or(value);
    Ok(whole.parse()?)
}

/// Text that no compression makes small, from its number alone.
fn noise(seed: u32) -> String {
    let mut state = u64::from(seed) | 1 << 40;
    let letters = (0..200_000).map(|_| {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'A' + u8::try_from(state >> 32 & 31).unwrap())
    });
    letters.collect()
}

fn big_deployment(namespace: &str, number: u32) -> Value {
    let name = format!("big-{number}");
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace, "annotations": { "noise": noise(number) } },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "big": name } },
            "template": {
                "metadata": { "labels": { "big": name } },
                "spec": { "containers": [{ "name": "c", "image": "c:1" }] },
            },
        },
    })
}

#[test]
fn a_host_without_memory_says_why_and_hands_over() -> Result<()> {
    let scene = Scene::new("memory")?;
    let registration = scene.appservice()?;
    scene.grant(std::slice::from_ref(&registration))?;
    let mut first = scene.launch(&["--leader-elect=true"])?;
    first.wait_ready()?;
    scene.register(&registration)?;
    let (app, deployment, _) = scene.create_app("web", 1)?;
    let used = metric(&first, "kybern_memory_working_set_bytes")?;
    ensure!(metric(&first, "kybern_memory_allocated_bytes")? < used);
    first.stop()?;

    let said = scene.plane.folder().join("termination-log");
    std::fs::write(&said, "")?;
    let limit = used + 48 * MIB;
    let mut first = scene.launch(&[
        "--leader-elect=true",
        &format!("--memory-limit={limit}"),
        &format!("--termination-log={}", said.display()),
    ])?;
    first.wait_ready()?;
    assert_eq!(metric(&first, "kybern_memory_limit_bytes")?, limit);
    until("the first replica to lead", SOON, || {
        let leads = metric(&first, "kybern_leading")? == 1;
        Ok(leads.then_some(()).into())
    })?;
    // Sees as little as the first, but has no limit of its own.
    let mut second = scene.launch(&["--leader-elect=true"])?;
    second.wait_ready()?;

    let mut created = 0;
    let status = loop {
        if let Some(status) = first.process().exited()? {
            break status;
        }
        ensure!(
            created < ENOUGH,
            "{created} Deployments and the host still runs: {}",
            first.process().tail()
        );
        scene
            .client()
            .create(&big_deployment(&scene.namespace, created))?;
        created += 1;
    };
    let watch = Stopwatch::start();
    assert_eq!(status.code(), Some(75), "{}", first.process().tail());
    let text = std::fs::read_to_string(&said)?;
    let limit = format!(" of {} MiB are used", limit / MIB);
    for part in [
        "out of memory: ",
        &limit,
        "apps/v1/Deployment ",
        "resources.limits.memory",
        "--namespaces",
    ] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
    let log = std::fs::read_to_string(first.log())?;
    assert!(log.contains("memory is tight"), "it warns first: {log}");
    assert!(log.contains("out of memory: "), "{log}");

    // Nothing is lost: the other replica leads before the lease would have run out.
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    let took = watch.elapsed();
    assert!(
        took <= Duration::from_secs(8),
        "the next leader's first write came after {took:?}"
    );
    let leads = until("the second replica to say so", SOON, || {
        let leads = metric(&second, "kybern_leading")?;
        Ok(match leads {
            1 => Progress::Done(leads),
            _ => Progress::Waiting("standby".to_owned()),
        })
    })?;
    assert_eq!(leads, 1);
    Ok(())
}
